//! Relays results to browsers and API clients over WebSocket and HTTP, and serves the dashboard.
//!
//! [`run`] is the whole daemon. `subscribe` reads from Redis what clients want, `relay` fans it out into the
//! `outbox` of each, `client` is one client's session; `state` knows how the cameras are doing; `rest` and `web`
//! answer plain requests. `ingest` takes steps made elsewhere, `steps` fans them out;
//! `frames` takes pictures of browsers' cameras.

mod client;
mod config;
mod frames;
mod http;
mod ingest;
mod listen;
mod metrics;
mod origin;
mod outbox;
mod relay;
mod rest;
mod run;
mod state;
mod steps;
mod subscribe;
mod web;

pub use config::{Config, GatewaySection, RawConfig, WebSection};
pub use outbox::OutboxLimits;
pub use run::{Gateway, run};
