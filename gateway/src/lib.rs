//! Relays results to browsers and API clients over WebSocket and HTTP, and serves the dashboard.
