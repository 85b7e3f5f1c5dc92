//! CPU time per frame, by process and stage, beside the floor measured in the same run. `./dev bench` runs it.

mod clip;
mod cpu;
mod floor;
mod pipeline;

use std::path::PathBuf;

use clap::Parser;
use floor::Floor;
use pipeline::Cost;

/// Measures what a frame costs through the whole pipeline (producer, Redis, processor, gateway), and what decoding and the bare
/// model alone cost, in turn: the ratio of the two is what Peregrine adds. Machines differ; ratios within one run compare.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
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
    #[arg(long, default_value_t = 3)]
    rounds: usize,
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

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let root = peregrine_stack::project_root();
    let clip = match args.video {
        Some(clip) => clip,
        None => clip::full_hd(&peregrine_stack::demo_clip(), &root.join(".cache/clips"))?,
    };
    let clip = clip.canonicalize()?;
    let model = args.model.unwrap_or_else(peregrine_stack::default_model);
    let mut bare = floor::BareModel::open(&model, args.threads)?;
    let mut rounds = Vec::new();
    for number in 1..=args.rounds.max(1) {
        eprintln!("round {number} of {}: floor …", args.rounds);
        let floor = floor::measure(&clip, &mut bare, 150)?;
        eprintln!("round {number} of {}: pipeline …", args.rounds);
        let pipeline = pipeline::measure(&clip, &model, args.threads, args.frames)?;
        rounds.push(Round { ratio: pipeline.total_ms() / floor.total_ms(), floor, pipeline });
    }
    rounds.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    let out = if args.json { serde_json::to_string_pretty(&rounds)? } else { table(&rounds) };
    use std::io::Write;
    writeln!(std::io::stdout(), "{out}")?;
    Ok(())
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
