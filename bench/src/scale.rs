//! How throughput grows with the number of replicas, and how long they take to share the cameras anew.

use std::{
    collections::BTreeMap,
    fmt::Write,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use peregrine_proto::{CameraConfig, CameraId};
use peregrine_stack::{Daemon, Stack};
use peregrine_streams::{Redis, Role};

/// Starts more and more processors on many cameras, and measures frames a second, how evenly the cameras are spread, and
/// how long that takes. Inference is simulated, so that a small machine can run many replicas.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Numbers of replicas to try, in this order.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    replicas: Vec<usize>,
    /// Cameras.
    #[arg(long, default_value_t = 64)]
    cameras: usize,
    /// Frames a second of each camera.
    #[arg(long, default_value_t = 5)]
    fps: u32,
    /// What inference of a frame takes, milliseconds.
    #[arg(long, default_value_t = 40)]
    infer_ms: u64,
    /// How long each number of replicas is measured, seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// One number of replicas.
struct Step {
    replicas: usize,
    settled: Duration,
    least: usize,
    most: usize,
    fps: f64,
}

pub(crate) fn run(args: &Args) -> Result<String> {
    let stack = Stack::builder()
        .cameras((1..=args.cameras).map(|number| camera(number, args.fps)).collect::<Result<_, _>>()?)
        .processors(args.replicas.first().copied().unwrap_or(1))
        .model(format!("simulated:{}", args.infer_ms))
        .set(Daemon::Processor, "processor.results_kept=100")
        .drain_within(Duration::from_secs(120))
        .start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let redis = runtime.block_on(Redis::open(&stack.redis_urls()))?;
    let mut steps = Vec::new();
    for &replicas in &args.replicas {
        eprintln!("{replicas} replicas …");
        let began = Instant::now();
        stack.scale(replicas)?;
        let (least, most) = runtime.block_on(spread(&redis, &stack, replicas))?;
        let settled = began.elapsed();
        // What lay in hand before is done by then.
        thread::sleep(Duration::from_secs(2));
        let (began, before) = (Instant::now(), processed(&stack));
        thread::sleep(Duration::from_secs(args.seconds));
        let fps = (processed(&stack) - before) as f64 / began.elapsed().as_secs_f64();
        steps.push(Step { replicas, settled, least, most, fps });
    }
    let summary = stack.stop_and_drain();
    ensure!(
        summary.balanced && summary.frames.dropped.total == 0,
        "frames were lost: {}",
        serde_json::to_string_pretty(&summary)?
    );
    table(args, &steps)
}

fn table(args: &Args, steps: &[Step]) -> Result<String> {
    let mut out = format!(
        "{} cameras of {} fps, simulated inference of {} ms a frame; no frame was lost\n\
         replicas     fps   of linear   cameras each   settled after\n",
        args.cameras, args.fps, args.infer_ms
    );
    let Some(first) = steps.first() else { return Ok(out) };
    let offered = f64::from(args.fps) * args.cameras as f64;
    for step in steps {
        let linear = (first.fps / first.replicas as f64 * step.replicas as f64).min(offered);
        writeln!(
            out,
            "{:8} {:7.1}   {:9.3}   {:>12}   {:11.2} s",
            step.replicas,
            step.fps,
            step.fps / linear,
            format!("{} to {}", step.least, step.most),
            step.settled.as_secs_f64()
        )?;
    }
    Ok(out)
}

fn camera(number: usize, fps: u32) -> Result<CameraConfig, serde_json::Error> {
    serde_json::from_value(serde_json::json!({
        "id": format!("camera-{number}"),
        "source": { "uri": format!("synthetic:road?w=160&h=96&fps={fps}&seed={number}") },
        "analysis": { "size": { "width": 160, "height": 96 } },
    }))
}

fn processed(stack: &Stack) -> u64 {
    stack.tally(|tally| tally.values().map(|camera| camera.processed).sum())
}

/// Waits until each replica has its share, give or take one camera: the fewest and the most.
async fn spread(redis: &Redis, stack: &Stack, replicas: usize) -> Result<(usize, usize)> {
    let cameras: Vec<CameraId> = stack.cameras().to_vec();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut shares = BTreeMap::new();
    while Instant::now() < deadline {
        shares = redis.holders(Role::Processor, &cameras).await?.into_iter().flatten().fold(
            BTreeMap::<String, usize>::new(),
            |mut shares, holder| {
                *shares.entry(holder.worker).or_default() += 1;
                shares
            },
        );
        let (least, most) = (shares.values().min().copied(), shares.values().max().copied());
        if let (Some(least), Some(most)) = (least, most)
            && shares.len() == replicas
            && shares.values().sum::<usize>() == cameras.len()
            && most - least <= 1
        {
            return Ok((least, most));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("the cameras were not spread evenly within a minute: {shares:?}")
}
