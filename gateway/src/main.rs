//! The gateway binary.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use peregrine_daemon::CommonArgs;
use peregrine_gateway::{Config, ExplainArgs, explain, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Relays results to browsers and API clients over WebSocket and HTTP, and serves the dashboard.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what keeps the running system's cameras from what they should get, what to change, and what that should give.
    Explain(ExplainArgs),
}

fn main() -> ExitCode {
    let args = Args::parse();
    match &args.command {
        Some(Command::Explain(args)) => explain(args),
        None => peregrine_daemon::start(&args.common, async |config: Config, shell| run(config, shell).await),
    }
}
