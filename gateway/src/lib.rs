//! Relays results to browsers and API clients over WebSocket and HTTP, and serves the dashboard.
//!
//! [`run`] is the whole daemon. `subscribe` reads from Redis what clients want, `relay` fans it out into the
//! `outbox` of each, `encoding` writes it as each wants it and `websocket` frames it, `client` is one client's session,
//! `playback` its place in a camera's time; `state` knows how the cameras are doing; `rest` and `web` answer plain
//! requests, which `access` lets through. `ingest` takes steps made elsewhere, `steps` fans them out; `frames` takes
//! pictures of browsers' cameras. `explain` is a command of its own: what keeps the running system from what it should do.

mod access;
mod client;
mod config;
mod encoding;
mod explain;
pub mod foreign;
mod frames;
mod http;
mod ingest;
mod ledger;
mod limit;
mod line;
mod listen;
mod metrics;
mod openapi;
mod origin;
mod outbox;
mod pace;
mod painted;
mod playback;
mod relay;
mod rest;
mod run;
mod state;
mod steps;
mod subscribe;
mod tls;
mod web;
mod websocket;

pub use access::{Role, Token, sum_of};
pub use config::{Config, GatewaySection, RawConfig, TokenSection, WebSection};
pub use explain::{ExplainArgs, explain};
pub use outbox::OutboxLimits;
pub use run::{Gateway, run};
pub use tls::TlsFiles;
