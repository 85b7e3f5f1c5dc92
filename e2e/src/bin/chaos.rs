//! `./dev chaos`: faults drawn from a seed against a real stack, then every promise checked.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use peregrine_e2e::chaos::{self, Plan};
use peregrine_stack::project_root;

/// Runs a real stack (Redis, a producer, several processors), lets faults strike that are drawn from a seed, and checks from the
/// streams alone that each frame has one end, in order, with the tracks of an undisturbed run. Exit code 1 when a promise is broken.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Args {
    /// How long faults strike.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Which faults strike whom and when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Replicas of the processor.
    #[arg(long, default_value_t = 3)]
    processors: usize,
    /// How long a lease lasts without a sign of life, milliseconds.
    #[arg(long, default_value_t = 1000)]
    ttl_ms: u64,
    /// Takes the checks out of COMMIT: this run must break a promise.
    #[arg(long)]
    control: bool,
    /// A checkout of the release before, with its daemons built: the run begins with them, and swaps them one by one for those of
    /// this release.
    #[arg(long, value_name = "FOLDER", conflicts_with = "control")]
    before: Option<PathBuf>,
    /// Where logs and data go; .run/chaos unless said.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let folder = args.folder.unwrap_or_else(|| project_root().join(".run/chaos"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let plan = Plan {
        seed: args.seed,
        lasts: Duration::from_secs_f64(args.minutes * 60.0),
        processors: args.processors.max(1),
        ttl: Duration::from_millis(args.ttl_ms),
        control: args.control,
        before: args.before,
        folder,
    };
    let mut out = std::io::stdout().lock();
    let outcome = chaos::run(&plan, &mut |text| {
        let _ = writeln!(std::io::stderr(), "{text}");
    })?;
    writeln!(out, "{outcome}")?;
    let (broken, control) = (!outcome.broken.is_empty(), plan.control);
    if control && !broken {
        writeln!(out, "the control broke nothing: the checks prove nothing, or no fault struck in time")?;
    }
    Ok(if broken == control { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
