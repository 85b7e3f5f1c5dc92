//! The protocol against real Redis servers, each started by its test on a socket or port of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod agreement;
mod balance;
mod certificate;
mod cluster;
mod commit;
mod frames;
mod ingest;
mod lease;
mod offload;
mod outage;
mod sentinel;
mod server;
mod shared;
mod steps;
mod support;
mod tls;
