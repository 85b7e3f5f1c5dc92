//! The gateway binary.

use std::process::ExitCode;

use clap::Parser;
use peregrine_daemon::CommonArgs;
use peregrine_gateway::{Config, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Relays results to browsers and API clients over WebSocket and HTTP, and serves the dashboard.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    peregrine_daemon::start(&Args::parse().common, async |config: Config, shell| run(config, shell).await)
}
