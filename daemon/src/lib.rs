//! The shell that every daemon shares: configuration, telemetry, shutdown, supervision, health and metrics.
