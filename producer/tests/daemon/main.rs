//! The producer as a whole: real Redis, real sources, and a consumer that takes what it publishes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod leases;
mod publishing;
#[path = "../../../streams/tests/protocol/server.rs"]
mod server;
mod sources;
mod support;
