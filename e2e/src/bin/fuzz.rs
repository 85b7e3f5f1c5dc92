//! `./dev fuzz`: any bytes, into every decoder that sees bytes of strangers.

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use peak_alloc::PeakAlloc;
use peregrine_e2e::fuzz::{Plan, run};
use peregrine_stack::project_root;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Throws any bytes at every decoder that sees bytes of strangers: values as they should be, damaged in many ways. None may
/// panic, hang, keep memory or take much of it. Exit code 1 when a promise is broken; each such input is named.
///
/// Should the process itself die, the input of which it died stands in .run/fuzz/at.
#[derive(Debug, Parser)]
#[command(name = "fuzz")]
struct Args {
    /// How many inputs, over all decoders.
    #[arg(long, default_value_t = 10_000_000)]
    inputs: u64,
    /// Decides all inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this decoder, or only this input of it.
    #[arg(long, value_name = "DECODER[:NUMBER]")]
    only: Option<String>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let folder = project_root().join(".run/fuzz");
    std::fs::create_dir_all(&folder)?;
    let only = args.only.map(|only| parse_only(&only)).transpose()?;
    let plan = Plan { seed: args.seed, inputs: args.inputs, only, note: folder.join("at") };
    let mut out = std::io::stdout().lock();
    let outcome = run(&plan, ALLOCATOR, &mut |text| {
        let _ = writeln!(std::io::stderr(), "{text}");
    })?;
    write!(out, "{outcome}")?;
    Ok(if outcome.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse_only(text: &str) -> Result<(String, Option<u64>)> {
    match text.split_once(':') {
        None => Ok((text.to_owned(), None)),
        Some((name, number)) => {
            let number =
                number.parse().with_context(|| format!("`{number}` is no number: use DECODER:NUMBER"))?;
            Ok((name.to_owned(), Some(number)))
        }
    }
}
