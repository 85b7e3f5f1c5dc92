//! The processor: a daemon over Redis Streams, and the same stages offline over files.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use peregrine_daemon::{CommonArgs, LogSection};
use peregrine_processor::{Config, commands};

/// Reading frames from Redis allocates much: mimalloc cut the time of that path by a factor of three.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Detects, tracks and measures the objects of leased cameras; without a command, runs as the daemon.
#[derive(Debug, Parser)]
#[command(name = "processor", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    daemon: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Analyse a video without Redis: detections, tracks and speeds as JSON lines.
    Analyze(commands::analyze::Args),
    /// Follow the objects of a file of detections (MOT text in and out).
    Track(commands::track::Args),
    /// Measure the speed of each track of a file.
    Speed(commands::speed::Args),
}

fn main() -> ExitCode {
    peregrine_media::heed_no_debug_variables();
    let cli = Cli::parse();
    if cli.command.is_some() {
        // What the code warns of is for whoever ran the command, too.
        peregrine_daemon::init_telemetry(&LogSection { level: "warn".into(), ..LogSection::default() });
    }
    let done = match &cli.command {
        Some(Command::Analyze(args)) => commands::analyze::run(args),
        Some(Command::Track(args)) => commands::track::run(args),
        Some(Command::Speed(args)) => commands::speed::run(args),
        None => {
            return peregrine_daemon::start(&cli.daemon, async |config: Config, shell| {
                peregrine_processor::run(config, shell).await
            });
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("processor: {}", peregrine_proto::mask(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
