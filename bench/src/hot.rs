//! One camera that is too much for one processor: others detect for its owner.

use std::{
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use peregrine_proto::{CameraConfig, CameraId, FrameResult, ResultStatus};
use peregrine_stack::{Daemon, Signal, Stack, quantiles::Quantiles};
use peregrine_streams::{Redis, ResultReader, wall_clock_us};

use crate::Report;

/// Streams a live camera faster than one processor can detect, and measures order, latency and losses: undisturbed, then with
/// kill -9 of processors that do not own it, then of the one that does. Inference is simulated.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Replicas.
    #[arg(long, default_value_t = 4)]
    replicas: usize,
    /// Frames a second of the camera.
    #[arg(long, default_value_t = 60)]
    fps: u32,
    /// What inference of a frame takes, milliseconds.
    #[arg(long, default_value_t = 40)]
    infer_ms: u64,
    /// How long it is measured undisturbed, seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// How often a processor of each kind is killed.
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// Do not let others help: what it would be without.
    #[arg(long)]
    alone: bool,
}

const TTL: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);
/// After a kill it is looked at for so long what it cost.
const AFTERMATH: Duration = Duration::from_secs(6);

/// What came out.
#[derive(Default)]
struct Seen {
    results: Vec<Outcome>,
    /// Results that did not come in the order of their frames.
    disordered: usize,
}

/// One result.
struct Outcome {
    at: Instant,
    n: u64,
    /// From capture to here.
    age: f64,
    status: ResultStatus,
    lost: u64,
    worker: String,
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let camera: CameraConfig = serde_json::from_value(serde_json::json!({
        "id": "hot",
        // A live source: it does not wait, and what is too much is lost.
        "source": { "uri": format!(
            "opencv:videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=96,framerate={}/1 \
             ! videoconvert ! appsink max-buffers=4 drop=true",
            args.fps
        ) },
        "analysis": { "size": { "width": 160, "height": 96 } },
    }))?;
    let stack = Stack::builder()
        .cameras(vec![camera])
        .processors(args.replicas)
        .model(format!("simulated:{}", args.infer_ms))
        .set(Daemon::Processor, format!("processor.lease_ttl_ms={}", TTL.as_millis()))
        .set(Daemon::Processor, format!("processor.offload={}", !args.alone))
        .start()?;
    stack.await_ready(PATIENCE)?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let reader = thread::spawn({
        let (seen, stop, urls) = (Arc::clone(&seen), Arc::clone(&stop), stack.redis_urls());
        move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let redis = Redis::open(&urls).await?;
                follow(&redis, &seen, &stop).await
            })
        }
    });
    // Until others help as much as they are needed.
    thread::sleep(Duration::from_secs(3));
    eprintln!("undisturbed, {} s …", args.seconds);
    let began = Instant::now();
    thread::sleep(Duration::from_secs(args.seconds));
    let undisturbed = Span::of(&seen, began);

    let mut helpers = Vec::new();
    let mut owners = Vec::new();
    for run in 1..=args.kills {
        for (kills, of_owner) in [(&mut helpers, false), (&mut owners, true)] {
            stack.await_ready(PATIENCE).or_else(|_| stack.await_ready(PATIENCE))?;
            thread::sleep(Duration::from_secs(2));
            let owner = last_worker(&seen).context("the camera has no results")?;
            let victim = match of_owner {
                true => owner,
                false => stack
                    .processes()
                    .into_iter()
                    .map(|process| process.name)
                    .find(|name| name.starts_with("processor") && *name != owner)
                    .context("there is no other processor")?,
            };
            let began = Instant::now();
            stack.kill(&victim, Signal::KILL)?;
            thread::sleep(AFTERMATH);
            let span = Span::of(&seen, began);
            let whom = if of_owner { "the owner" } else { "a helper" };
            eprintln!("{run} of {}: {whom} killed: {} frames lost", args.kills, span.lost);
            kills.push(span);
        }
    }
    stop.store(true, Ordering::Relaxed);
    reader.join().ok().context("reading broke down")??;
    let disordered = seen.lock().unwrap_or_else(PoisonError::into_inner).disordered;
    let summary = stack.stop_and_drain();

    let mut broken = Vec::new();
    let mut text = format!(
        "one live camera of {} fps, simulated inference of {} ms a frame, {} replicas{}\n\
         undisturbed: {:.1} fps; age of a result p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms; {} lost, {} skipped\n",
        args.fps,
        args.infer_ms,
        args.replicas,
        if args.alone { " that do not help" } else { "" },
        undisturbed.results as f64 / args.seconds as f64,
        1e3 * undisturbed.age(0.5),
        1e3 * undisturbed.age(0.99),
        1e3 * undisturbed.age(1.0),
        undisturbed.lost,
        undisturbed.skipped,
    );
    if undisturbed.age(0.99) > 0.25 || undisturbed.lost + undisturbed.skipped > 0 {
        broken.push("undisturbed, 99% of results come within 250 ms and no frame is lost".to_owned());
    }
    let allowed = ((TTL.as_secs_f64() + 0.5) * f64::from(args.fps)) as u64;
    for (whom, kills, allowed) in [("helper", &helpers, 0), ("owner", &owners, allowed)] {
        let mut lost: Vec<u64> = kills.iter().map(|span| span.lost + span.skipped).collect();
        lost.sort_unstable();
        writeln!(
            text,
            "kill -9 of the {whom}: frames lost, each of {} times: {lost:?}, at most {allowed} allowed",
            kills.len()
        )?;
        if lost.last().is_some_and(|&most| most > allowed) {
            broken.push(format!("the death of the {whom} costs at most {allowed} frames"));
        }
    }
    writeln!(text, "results out of order: {disordered}; account balanced: {}", summary.balanced)?;
    if disordered > 0 || !summary.balanced {
        broken.push("results come in order, and every frame is accounted for".to_owned());
    }
    Ok(Report { text, broken })
}

/// A piece of time.
struct Span {
    results: usize,
    ages: Quantiles,
    lost: u64,
    skipped: u64,
}

impl Span {
    /// From `began` until now.
    fn of(seen: &Mutex<Seen>, began: Instant) -> Self {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let at = seen.results.partition_point(|result| result.at < began);
        let (before, since) = seen.results.split_at(at);
        let mut ages = Quantiles::default();
        since.iter().for_each(|result| ages.add(result.age));
        let total = |results: &[Outcome]| results.last().map_or(0, |result| result.lost);
        let lost = if since.is_empty() { 0 } else { total(since) - total(before) };
        let skipped = since.iter().filter(|result| result.status != ResultStatus::Ok).count() as u64;
        Self { results: since.len(), ages, lost, skipped }
    }

    fn age(&self, share: f64) -> f64 {
        self.ages.at(share).unwrap_or(f64::NAN)
    }
}

fn last_worker(seen: &Mutex<Seen>) -> Option<String> {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.results.last().map(|result| result.worker.clone())
}

async fn follow(redis: &Redis, seen: &Mutex<Seen>, stop: &AtomicBool) -> Result<()> {
    let camera = CameraId::new("hot")?;
    let mut reader = ResultReader::new(redis);
    reader.join(&camera).await?;
    while !stop.load(Ordering::Relaxed) {
        for entry in reader.read(Duration::from_millis(500)).await? {
            let FrameResult { n, captured_at_us, status, worker, lost, .. } = entry.decode()?;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let disordered = seen.results.last().is_some_and(|last| n <= last.n);
            seen.disordered += usize::from(disordered);
            let age = (wall_clock_us() - captured_at_us) as f64 / 1e6;
            let lost = lost.iter().map(|lost| lost.count).sum();
            seen.results.push(Outcome { at: Instant::now(), n, age, status, lost, worker });
        }
    }
    Ok(())
}
