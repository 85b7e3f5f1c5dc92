//! What it costs to be seen: the pipeline with metrics, scrapes and spans, beside one without any of them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};
use peregrine_stack::{Builder, Daemon, Stack};
use serde::Serialize;

use crate::{
    Report,
    median::median,
    pipeline::{self, Cost, DAEMONS},
};

/// Measures the CPU time of a frame with everything on (metrics, a scrape of every daemon every five seconds, spans sent to a collector)
/// and with nothing of it, side by side: what else the machine does befalls both. A light model shows the difference better, as its
/// noise is the smaller.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Video to analyse; the demo clip where none is given.
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Model; the demo's where none is given.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Frames that are counted in each round.
    #[arg(long, default_value_t = 1500)]
    frames: u64,
    /// Rounds, each of one run that measures and one that does not. How much they differ is the error, so at least two.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..))]
    rounds: u16,
    /// Part of the frames that are followed by spans; the daemons' default where none is given.
    #[arg(long)]
    ratio: Option<f64>,
    /// Print all figures as JSON.
    #[arg(long)]
    json: bool,
}

const SCRAPED_EVERY: Duration = Duration::from_secs(5);
/// What all of it may cost, of a core.
const ALLOWED: f64 = 0.01;

#[derive(Debug, Serialize)]
struct Rounds {
    on: Vec<Cost>,
    off: Vec<Cost>,
    /// How much more CPU time a frame takes with everything on, milliseconds.
    more_ms: Estimate,
    /// What that is of a core, at the rate at which the frames went through.
    of_a_core: Estimate,
}

/// A mean of several rounds, and its standard error.
#[derive(Debug, Clone, Copy, Serialize)]
struct Estimate {
    mean: f64,
    error: f64,
}

impl Estimate {
    /// Of as many values as there are; without an error, of a single one.
    fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self { mean, error: (squares / (count - 1.0) / count).sqrt() }
    }

    fn times(self, factor: f64) -> Self {
        Self { mean: self.mean * factor, error: self.error * factor }
    }
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let collector = listen()?;
    let (mut on, mut off) = (Vec::new(), Vec::new());
    let nothing = |daemon, builder: Builder| builder.set(daemon, "metrics.enabled=false");
    let everything = |daemon, builder: Builder| {
        let builder = builder.set(daemon, format!("spans.endpoint={collector}"));
        match args.ratio {
            Some(ratio) => builder.set(daemon, format!("spans.ratio={ratio}")),
            None => builder,
        }
    };
    for round in 1..=args.rounds {
        eprintln!("round {round} of {} …", args.rounds);
        let (seen, unseen) = thread::scope(|scope| {
            let unseen = scope.spawn(|| measure(args, nothing, false));
            (measure(args, everything, true), unseen.join())
        });
        on.push(seen?);
        off.push(unseen.map_err(|_| anyhow!("the run without anything broke down"))??);
    }
    let rate = median(on.iter().map(|cost| cost.fps)).unwrap_or(f64::NAN);
    let differences: Vec<f64> = on.iter().zip(&off).map(|(on, off)| on.total_ms() - off.total_ms()).collect();
    let more_ms = Estimate::of(&differences);
    let rounds = Rounds { of_a_core: more_ms.times(rate / 1e3), more_ms, on, off };
    let broken = (rounds.of_a_core.mean > ALLOWED).then(|| {
        let Estimate { mean, error } = rounds.of_a_core.times(1e2);
        format!("being seen costs {mean:.2} ± {error:.2}% of a core, more than {:.0}%", ALLOWED * 1e2)
    });
    let text = if args.json { serde_json::to_string_pretty(&rounds)? } else { table(&rounds, rate) };
    Ok(Report { text, broken: broken.into_iter().collect() })
}

fn measure(args: &Args, set: impl Fn(Daemon, Builder) -> Builder, scraped: bool) -> Result<Cost> {
    let clip = args.video.clone().unwrap_or_else(peregrine_stack::demo_clip).canonicalize()?;
    let model = args.model.clone().unwrap_or_else(peregrine_stack::default_model);
    let builder =
        DAEMONS.into_iter().fold(pipeline::stack(&clip, &model, 1)?, |builder, daemon| set(daemon, builder));
    let stack = builder.start()?;
    let (stop, stopped) = sync_channel::<()>(1);
    let cost = thread::scope(|scope| {
        if scraped {
            let stack = &stack;
            scope.spawn(move || {
                scrape(stack, || stopped.recv_timeout(SCRAPED_EVERY) == Err(RecvTimeoutError::Timeout))
            });
        }
        let cost = pipeline::watch(&stack, args.frames);
        drop(stop);
        cost
    })?;
    pipeline::finish(stack, cost)
}

/// Reads what every daemon says of itself, as Prometheus would.
fn scrape(stack: &Stack, again: impl Fn() -> bool) {
    while again() {
        for process in stack.processes().iter().filter(|process| process.admin.is_some()) {
            // One that is busy misses a scrape, as it would with Prometheus.
            let _ = stack.metrics_text(&process.name);
        }
    }
}

/// Accepts whatever spans are sent: where.
fn listen() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || take(connection));
        }
    });
    Ok(address)
}

fn take(connection: TcpStream) -> Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut answers = connection;
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 0 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
        if line == "\r\n" {
            std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
            answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
        line.clear();
    }
    Ok(())
}

fn table(rounds: &Rounds, rate: f64) -> String {
    let Rounds { on, off, more_ms, of_a_core } = rounds;
    let mut out = String::from("CPU ms per frame, medians      off         on       more\n");
    let names: BTreeMap<&String, ()> =
        on.iter().flat_map(|cost| cost.cpu_ms.keys()).map(|name| (name, ())).collect();
    let mut row = |name: &str, of: &dyn Fn(&Cost) -> Option<f64>| {
        let [off, on] = [off, on].map(|costs| median(costs.iter().filter_map(of)).unwrap_or(f64::NAN));
        let _ = writeln!(out, "{name:<24} {off:9.3}  {on:9.3}  {:9.3}", on - off);
    };
    for name in names.keys() {
        row(name, &|cost| cost.cpu_ms.get(*name).copied());
    }
    row("all", &|cost| Some(cost.total_ms()));
    let spread = |costs: &[Cost]| {
        let totals: Vec<String> = costs.iter().map(|cost| format!("{:.3}", cost.total_ms())).collect();
        totals.join(", ")
    };
    let percent = of_a_core.times(1e2);
    let _ = write!(
        out,
        "\nrounds off: {}\nrounds on:  {}\nmore in a round: {:.3} ± {:.3} ms a frame, {:.2} ± {:.2}% of a core at {rate:.1} frames a \
         second (mean and standard error)\n",
        spread(off),
        spread(on),
        more_ms.mean,
        more_ms.error,
        percent.mean,
        percent.error,
    );
    out
}
