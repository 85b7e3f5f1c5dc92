//! The producer: a daemon that reads cameras and files and publishes their frames to Redis.

use std::process::ExitCode;

use clap::Parser;
use peregrine_daemon::CommonArgs;
use peregrine_producer::Config;

/// Pictures are allocated and freed at frame rate: mimalloc takes a fraction of the time for that.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Reads cameras and files and publishes their frames to Redis.
#[derive(Debug, Parser)]
#[command(name = "producer", version)]
struct Cli {
    #[command(flatten)]
    daemon: CommonArgs,
}

fn main() -> ExitCode {
    peregrine_media::heed_no_debug_variables();
    peregrine_daemon::start(&Cli::parse().daemon, async |config: Config, shell| {
        peregrine_producer::run(config, shell).await
    })
}
