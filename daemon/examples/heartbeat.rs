//! The smallest daemon: beats until it is told to stop, then finishes the beat in hand. The tests of the shell run it.
//!
//! `cargo run -p peregrine-daemon --example heartbeat -- --set heartbeat.every_s=0.5`

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use peregrine_daemon::{CommonArgs, DaemonConfig, Metric, Problems, Shell, metrics::CameraSeries, start};
use serde::{Deserialize, Serialize};
use tracing::info;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

/// As it is written.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    heartbeat: Heartbeat,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Heartbeat {
    /// From beat to beat, seconds.
    every_s: f64,
    /// What finishing takes, seconds.
    drain_s: f64,
    /// So many tasks occupy a worker thread each, as they never should.
    hogs: usize,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { every_s: 1.0, drain_s: 0.0, hogs: 0 }
    }
}

/// As it is used: nothing left to doubt.
struct Config {
    every: Duration,
    drain: Duration,
    hogs: usize,
}

impl DaemonConfig for Config {
    type Raw = Raw;
    const NAME: &'static str = "heartbeat";
    fn build(Raw { heartbeat }: Raw, problems: &mut Problems) -> Option<Self> {
        if heartbeat.every_s <= 0.0 {
            problems
                .add("heartbeat.every_s", format!("{} is no interval: use more than 0", heartbeat.every_s));
        }
        Some(Self {
            every: Duration::try_from_secs_f64(heartbeat.every_s).ok()?,
            drain: Duration::try_from_secs_f64(heartbeat.drain_s).ok()?,
            hogs: heartbeat.hogs,
        })
    }
}

fn main() -> ExitCode {
    start(&Args::parse().common, run)
}

async fn run(config: Config, shell: Shell) -> anyhow::Result<()> {
    let _camera = CameraSeries::hold("heart");
    let beats = Metric::FramesProcessed.counter(["heart"]);
    for _ in 0..config.hogs {
        let shutdown = shell.shutdown.clone();
        tokio::spawn(async move {
            while !shutdown.is_requested() {
                std::hint::spin_loop();
            }
        });
    }
    shell.health.ready(true, "beating");
    beats.inc();
    while tokio::select! {
        _ = tokio::time::sleep(config.every) => true,
        _ = shell.shutdown.requested() => false,
    } {
        beats.inc();
    }
    tokio::time::sleep(config.drain).await;
    info!("drained");
    Ok(())
}
