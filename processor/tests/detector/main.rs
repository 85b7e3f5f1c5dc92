//! The detector with real models: those it must refuse, what it detects beside an independent reference, and the offline command.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod analyze;
mod batches;
mod doubts;
mod models;
mod reference;
mod support;
