//! Relays results to browsers and API clients over WebSocket and HTTP, and serves the dashboard.
//!
//! [`run`] is the whole daemon. `subscribe` reads from Redis what clients want, `relay` fans it out into the
//! `outbox` of each, `encoding` writes it as each wants it, `client` is one client's session; `state` knows how the
//! cameras are doing; `rest` and `web` answer plain requests.

mod client;
mod config;
mod encoding;
mod http;
mod listen;
mod metrics;
mod origin;
mod outbox;
mod relay;
mod rest;
mod run;
mod state;
mod subscribe;
mod web;

pub use config::{Config, GatewaySection, RawConfig, WebSection};
pub use outbox::OutboxLimits;
pub use run::{Gateway, run};
