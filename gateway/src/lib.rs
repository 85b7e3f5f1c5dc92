//! Relays results to browsers and API clients over WebSocket and HTTP, and serves the dashboard.

mod client;
mod config;
mod listen;
mod metrics;
mod origin;
mod outbox;
mod relay;
mod rest;
mod web;

pub use config::{Config, GatewaySection, RawConfig, WebSection};
pub use outbox::OutboxLimits;

pub(crate) fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
