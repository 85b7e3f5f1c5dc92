//! How long a camera has no results when its processor goes: killed, or asked to end.

use std::{
    fmt::Write,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use peregrine_proto::{CameraConfig, CameraId};
use peregrine_stack::{Daemon, Signal, Stack, quantiles::Quantiles};
use peregrine_streams::{Redis, ResultEntry, ResultReader};
use rand::Rng;

/// Kills processors (kill -9, then SIGTERM) at random moments, and measures from the signal to the first result of a
/// camera under its next lease. Inference is simulated; what is measured is the protocol.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Signals of each kind.
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// TTLs of the leases to try, milliseconds.
    #[arg(long, value_delimiter = ',', default_value = "3000,1000")]
    ttl_ms: Vec<u64>,
}

const CAMERAS: usize = 4;
const PROCESSORS: usize = 3;
const FPS: u32 = 50;
/// Nothing takes longer than a lease and this.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: &Args) -> Result<String> {
    let mut out = format!(
        "seconds from the signal to the first result under the next lease ({} runs each, {PROCESSORS} processors, {CAMERAS} \
         cameras of {FPS} fps)\n\
         signal    TTL     min  median     p90     max   within\n",
        args.runs
    );
    for ttl_ms in &args.ttl_ms {
        let stack = stack(*ttl_ms)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for (name, signal, allowed_ms) in
            [("kill -9", Signal::KILL, ttl_ms + 500), ("SIGTERM", Signal::TERM, 500)]
        {
            let allowed = allowed_ms as f64 / 1e3;
            let (mut gaps, mut within) = (Quantiles::default(), 0);
            for run in 1..=args.runs {
                let gap =
                    runtime.block_on(one(&stack, signal, Duration::from_millis(*ttl_ms)))?.as_secs_f64();
                eprintln!("TTL {ttl_ms} ms, {name}, {run} of {}: {gap:.3} s", args.runs);
                gaps.add(gap);
                within += usize::from(gap <= allowed);
            }
            write!(out, "{name:<8} {:4.1}", *ttl_ms as f64 / 1e3)?;
            for share in [0.0, 0.5, 0.9, 1.0] {
                write!(out, "  {:6.3}", gaps.at(share).unwrap_or(f64::NAN))?;
            }
            writeln!(out, "   {within} of {} in {allowed:.1} s", args.runs)?;
        }
        let summary = stack.stop_and_drain();
        if !summary.balanced {
            bail!("frames were lost: {}", serde_json::to_string_pretty(&summary.cameras)?);
        }
    }
    Ok(out)
}

fn stack(ttl_ms: u64) -> Result<Stack> {
    let camera = |number: usize| -> Result<CameraConfig, serde_json::Error> {
        serde_json::from_value(serde_json::json!({
            "id": format!("camera-{number}"),
            "source": { "uri": format!("synthetic:road?w=160&h=96&fps={FPS}") },
            "analysis": { "size": { "width": 160, "height": 96 } },
        }))
    };
    Stack::builder()
        .cameras((1..=CAMERAS).map(camera).collect::<Result<_, _>>()?)
        .processors(PROCESSORS)
        .model("simulated:2")
        .set(Daemon::Processor, format!("processor.lease_ttl_ms={ttl_ms}"))
        .set(Daemon::Processor, "processor.results_kept=1000")
        .start()
}

/// Signals the owner of some camera, and waits for that camera's first result by its next owner.
async fn one(stack: &Stack, signal: Signal, ttl: Duration) -> Result<Duration> {
    // The one that was signalled before has to be back; that it ends while this waits is no surprise here.
    stack.await_ready(PATIENCE).or_else(|_| stack.await_ready(PATIENCE))?;
    // Any moment between two renewals.
    thread::sleep(ttl.mul_f64(rand::rng().random_range(0.3..1.3)));
    let redis = Redis::open(&stack.redis_urls()).await?;
    let camera = CameraId::new(&format!("camera-{}", rand::rng().random_range(1..=CAMERAS)))?;
    let mut results = ResultReader::new(&redis);
    results.join(&camera).await?;
    let before = next(&mut results, |_| true).await?;
    stack.kill(&before.decode()?.worker, signal)?;
    let began = Instant::now();
    next(&mut results, |entry| entry.epoch > before.epoch).await?;
    Ok(began.elapsed())
}

async fn next(results: &mut ResultReader, wanted: impl Fn(&ResultEntry) -> bool) -> Result<ResultEntry> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let entries = results.read(Duration::from_millis(500)).await?;
        if let Some(entry) = entries.into_iter().find(&wanted) {
            return Ok(entry);
        }
    }
    None.with_context(|| format!("no result within {} s", PATIENCE.as_secs()))
}
