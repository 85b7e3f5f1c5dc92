//! Measurements of the whole system; none is a test. `./dev bench` runs them.

mod against;
mod client;
mod clip;
mod cpu;
mod fanout;
mod floor;
mod hot;
mod median;
mod memory;
mod outage;
mod overhead;
mod pipeline;
mod scale;
mod speed;
mod takeover;
mod units;
mod wire;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use floor::Floor;
use peregrine_stack::Builder;
use pipeline::Cost;

#[derive(Debug, Parser)]
#[command(
    name = "bench",
    about = "Measures the whole system; without a command, what a frame costs",
    version
)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    frame: FrameArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a frame costs, beside the floor
    Frame(FrameArgs),
    /// How long a camera has no results when its processor goes
    Takeover(takeover::Args),
    /// How throughput grows with the number of replicas
    Scale(scale::Args),
    /// Whether speeds are as far off as their standard errors say
    Speed(speed::Args),
    /// How a camera fares that is too much for one processor
    Hot(hot::Args),
    /// How everything comes back when Redis was away
    Outage(outage::Args),
    /// What metrics, scrapes and spans cost
    Overhead(overhead::Args),
    /// Whether any process grows under load
    Memory(memory::Args),
    /// What a thousand clients cost the gateway
    Fanout(fanout::Args),
    #[command(hide = true)]
    FanoutFloor(fanout::FloorArgs),
    /// What each operation costs Redis: docs/scale.md is made of it
    Units(units::Args),
    /// What a result costs on its way to a client, by encoding: docs/protocol.md has the figures
    Wire(wire::Args),
}

/// What a measurement says.
struct Report {
    text: String,
    /// Promises that did not hold; any of them makes the exit code 1.
    broken: Vec<String>,
}

impl From<String> for Report {
    fn from(text: String) -> Self {
        Self { text, broken: Vec::new() }
    }
}

/// Measures what a frame costs through the whole pipeline (producer, Redis, processor, gateway), and what decoding and the bare
/// model alone cost, in turn: the ratio of the two is what Peregrine adds. Machines differ; ratios within one run compare. With
/// `--against DIR`, rounds with another checkout's binaries take the place of the floor: whether a frame costs more than it did.
#[derive(Debug, clap::Args)]
struct FrameArgs {
    /// Video to analyse; the demo clip at 1080p where none is given.
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Model; the demo's where none is given.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Threads of one inference.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Frames that are counted in each round.
    #[arg(long, default_value_t = 300)]
    frames: u64,
    /// Rounds of floor and pipeline in turn; the median is what counts.
    #[arg(long, default_value_t = 3, conflicts_with = "against")]
    rounds: usize,
    /// Another checkout of the project, in whose folder `./dev build` was run (git worktree add ../before TAG makes one): rounds
    /// with its binaries and with these in turn, in pairs that begin with the one and the other alternately. Told is the median of
    /// the pairs' ratios of CPU time per frame, with the interval that has it with 95% (by the ranks of the ratios, whatever
    /// their distribution). Pairs are drawn, nine at least, until the interval is narrower than 2%. The exit code is 1 when a
    /// frame costs more than 2% more in the middle or more than 3% more at the interval's upper end, or the interval stays wide.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Most pairs that are drawn.
    #[arg(long, value_name = "N", default_value_t = 40, requires = "against",
          value_parser = clap::value_parser!(u16).range(i64::from(against::PAIRS)..=1000))]
    pairs_max: u16,
    /// Print all figures as JSON.
    #[arg(long)]
    json: bool,
}

/// The floor and the pipeline right after it.
#[derive(serde::Serialize)]
struct Round {
    floor: Floor,
    pipeline: Cost,
    ratio: f64,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let report = match args.what {
        None => frame(&args.frame)?,
        Some(What::Frame(args)) => frame(&args)?,
        Some(What::Takeover(args)) => takeover::run(&args)?.into(),
        Some(What::Scale(args)) => scale::run(&args)?.into(),
        Some(What::Speed(args)) => speed::run(&args)?,
        Some(What::Hot(args)) => hot::run(&args)?,
        Some(What::Outage(args)) => outage::run(&args)?,
        Some(What::Overhead(args)) => overhead::run(&args)?,
        Some(What::Memory(args)) => memory::run(&args)?,
        Some(What::Fanout(args)) => fanout::run(&args)?,
        Some(What::FanoutFloor(args)) => return fanout::run_floor(&args).map(|()| ExitCode::SUCCESS),
        Some(What::Units(args)) => units::run(&args)?.into(),
        Some(What::Wire(args)) => wire::run(&args)?,
    };
    writeln!(std::io::stdout(), "{}", report.text)?;
    for promise in &report.broken {
        eprintln!("promise broken: {promise}");
    }
    Ok(if report.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn frame(args: &FrameArgs) -> anyhow::Result<Report> {
    // Before anything is fetched or measured.
    let against = args.against.as_deref().map(against::Sides::of).transpose()?;
    let root = peregrine_stack::project_root();
    let clip = match &args.video {
        Some(clip) => clip.clone(),
        None => clip::full_hd(&peregrine_stack::demo_clip(), &root.join(".cache/clips"))?,
    };
    let clip = clip.canonicalize()?;
    let model = args.model.clone().unwrap_or_else(peregrine_stack::default_model);
    let builder = pipeline::stack(&clip, &model, args.threads)?;
    match against {
        Some(sides) => against::run(args, &sides, &builder),
        None => beside_floor(args, &clip, &model, &builder).map(Report::from),
    }
}

fn beside_floor(args: &FrameArgs, clip: &Path, model: &Path, builder: &Builder) -> anyhow::Result<String> {
    let mut bare = floor::BareModel::open(model, args.threads)?;
    let mut rounds = Vec::new();
    for number in 1..=args.rounds.max(1) {
        eprintln!("round {number} of {}: floor …", args.rounds);
        let floor = floor::measure(clip, &mut bare, 150)?;
        eprintln!("round {number} of {}: pipeline …", args.rounds);
        let pipeline = pipeline::measure(builder.clone(), args.frames)?;
        rounds.push(Round { ratio: pipeline.total_ms() / floor.total_ms(), floor, pipeline });
    }
    rounds.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    Ok(if args.json { serde_json::to_string_pretty(&rounds)? } else { table(&rounds) })
}

/// The round with the median ratio, and the spread of the ratios.
fn table(rounds: &[Round]) -> String {
    let Some(Round { floor, pipeline, ratio }) = rounds.get(rounds.len() / 2) else { return String::new() };
    let total = floor.total_ms();
    let mut out = format!(
        "CPU ms per frame                     x floor\n\
         floor: decode alone      {:8.2}\n\
         floor: bare model        {:8.2}\n\
         floor                    {total:8.2}    1.000\n",
        floor.decode_ms, floor.infer_ms
    );
    for (name, ms) in &pipeline.cpu_ms {
        out += &format!("{name:<24} {ms:8.2}    {:.3}\n", ms / total);
    }
    let ratios: Vec<String> = rounds.iter().map(|round| format!("{:.3}", round.ratio)).collect();
    out += &format!(
        "pipeline                 {:8.2}    {ratio:.3}   (rounds: {}; {:.1} fps)\n\nwall ms per frame, by stage\n",
        pipeline.total_ms(),
        ratios.join(", "),
        pipeline.fps
    );
    for (stage, ms) in &pipeline.stage_ms {
        out += &format!("{stage:<24} {ms:8.2}\n");
    }
    out
}
