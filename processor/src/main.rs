//! The processor: a daemon over Redis Streams, and the same stages offline over files.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use peregrine_processor::commands;

/// Detects, tracks and measures the objects of leased cameras; without a command, runs as the daemon.
#[derive(Debug, Parser)]
#[command(name = "processor", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Follow the objects of a file of detections (MOT text in and out).
    Track(commands::track::Args),
    /// Measure the speed of each track of a file.
    Speed(commands::speed::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Track(args)) => commands::track::run(args),
        Some(Command::Speed(args)) => commands::speed::run(args),
        None => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("processor: {error:#}");
            ExitCode::FAILURE
        }
    }
}
