//! Whether any process grows: its resident memory under load, over half an hour.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use peregrine_proto::{CameraConfig, Subscribe};
use peregrine_stack::{Daemon, Memory, Signal, Stack};
use serde::Serialize;

use crate::{Report, client::Client};

/// Runs everything under load (files, a live camera and a client that watches them all, pictures included), and measures how
/// fast the memory of each process grows after the warm-up. What Redis and the daemons keep by design is bounded so that it is
/// full by then: the processors and Redis are halted a few times before, so that what waits fills every buffer.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long memory is measured.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// How long everything runs before that.
    #[arg(long, default_value_t = 10.0)]
    warm_up: f64,
    /// Model; the demo's where none is given.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Print all figures as JSON.
    #[arg(long)]
    json: bool,
}

/// Megabytes an hour by which a process may grow.
const ALLOWED: f64 = 1.0;
const BETWEEN_SAMPLES: Duration = Duration::from_secs(5);
/// Frames a second of each camera.
const FPS: f64 = 2.5;
const PROCESSORS: usize = 2;
/// The processors, and Redis, are halted so often for a while that is shorter than a lease.
const FILLED_TIMES: u32 = 3;
const HALTED_EVERY: Duration = Duration::from_secs(10);
const HALTED_FOR: Duration = Duration::from_secs(2);
/// The client gets a message at least as often.
const PATIENCE: Duration = Duration::from_secs(60);

/// How one process' memory changed.
#[derive(Debug, Serialize)]
struct Growth {
    process: String,
    first_mb: f64,
    last_mb: f64,
    most_mb: f64,
    mb_per_hour: f64,
    /// Of the part that belongs to no file: the heap.
    anonymous_mb_per_hour: f64,
}

/// One process at one moment.
struct Sample {
    hours: f64,
    memory: Memory,
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let mut builder = Stack::builder()
        .cameras(cameras()?)
        .processors(PROCESSORS)
        .gateway(0)
        .set(Daemon::Processor, "processor.results_kept=300")
        .set(Daemon::Producer, "producer.previews_kept=100")
        .drain_within(Duration::from_secs(60));
    if let Some(model) = &args.model {
        builder = builder.model(model);
    }
    let stack = builder.start()?;
    let (stop, messages) = (AtomicBool::new(false), AtomicU64::new(0));
    let (growths, fps) = thread::scope(|scope| {
        let client = scope.spawn(|| watch(&stack, &stop, &messages));
        let measured = measure(args, &stack, || client.is_finished());
        stop.store(true, Ordering::Relaxed);
        match client.join() {
            Ok(watched) => watched.context("the client lost the gateway")?,
            Err(_) => bail!("the client broke down"),
        }
        measured
    })?;
    let summary = stack.stop_and_drain();
    ensure!(
        summary.balanced,
        "the counts of frames do not balance, so what was measured is not trusted: {}",
        summary.problems.join("; ")
    );
    let too_fast = growths.iter().filter(|growth| growth.mb_per_hour > ALLOWED);
    let broken = too_fast.map(|growth| {
        format!("{} grows by {:.2} MB an hour, allowed is {ALLOWED}", growth.process, growth.mb_per_hour)
    });
    let broken = broken.collect();
    let text = match args.json {
        true => serde_json::to_string_pretty(&growths)?,
        false => table(args, &growths, fps, messages.load(Ordering::Relaxed))?,
    };
    Ok(Report { text, broken })
}

/// Each kind of source: a decoded file that starts again and again, a rendered scene, a live camera.
fn cameras() -> Result<Vec<CameraConfig>> {
    let clip = peregrine_stack::demo_clip();
    ensure!(clip.is_file(), "the demo clip is not there ({}): ./dev setup fetches it", clip.display());
    let live = "opencv:videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=5/2 \
                ! videoconvert ! appsink max-buffers=4 drop=true";
    // The clip has ten frames a second.
    let sources = [
        serde_json::json!({ "uri": clip, "loop": true, "every": 4 }),
        serde_json::json!({ "uri": clip, "loop": true, "every": 4 }),
        serde_json::json!({ "uri": format!("synthetic:road?w=640&h=360&fps={FPS}") }),
        serde_json::json!({ "uri": live }),
    ];
    let camera = |(number, source): (usize, serde_json::Value)| {
        serde_json::from_value(serde_json::json!({ "id": format!("camera-{number}"), "source": source }))
    };
    Ok((1..).zip(sources).map(camera).collect::<Result<_, _>>()?)
}

/// Watches all cameras, as a browser does, and counts what comes.
fn watch(stack: &Stack, stop: &AtomicBool, messages: &AtomicU64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let subscribe = Subscribe { results: true, preview_width: Some(640), ..Subscribe::default() };
        let mut client = Client::subscribe(stack, subscribe).await?;
        while !stop.load(Ordering::Relaxed) {
            client.next(PATIENCE).await?;
            messages.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })
}

/// Samples until the time is over: the growth of each process, and frames a second meanwhile.
fn measure(args: &Args, stack: &Stack, client_gone: impl Fn() -> bool) -> Result<(Vec<Growth>, f64)> {
    let minutes = |minutes: f64| Duration::from_secs_f64(minutes * 60.0);
    let (began, warm_up) = (Instant::now(), minutes(args.warm_up));
    let all = warm_up + minutes(args.minutes);
    let mut samples: BTreeMap<(String, u32), Vec<Sample>> = BTreeMap::new();
    let (mut warm_at, mut told) = (None, 0);
    fill_buffers(stack)?;
    while began.elapsed() < all {
        thread::sleep(BETWEEN_SAMPLES);
        stack.check_refused()?;
        if client_gone() {
            break;
        }
        let mut now = Vec::new();
        for process in stack.processes() {
            let pid = process.pid.filter(|_| process.restarts == 0);
            let pid = pid.with_context(|| format!("{} died:\n{}", process.name, process.last_words()))?;
            let memory = Memory::of(pid)?;
            now.push(format!("{} {:.1}", process.name, megabytes(memory.resident)));
            if began.elapsed() >= warm_up {
                let hours = began.elapsed().as_secs_f64() / 3600.0;
                samples.entry((process.name, pid)).or_default().push(Sample { hours, memory });
            }
        }
        if warm_at.is_none() && began.elapsed() >= warm_up {
            warm_at = Some((Instant::now(), results(stack)));
        }
        let minute = began.elapsed().as_secs() / 60;
        if minute > told {
            told = minute;
            eprintln!("minute {minute} of {:.0}: MB of {}", all.as_secs_f64() / 60.0, now.join(", "));
        }
    }
    let (since, before) = warm_at.context("there was no time to measure")?;
    let fps = (results(stack) - before) as f64 / since.elapsed().as_secs_f64();
    let growths = samples.into_iter().map(|((process, _), samples)| Growth::of(process, &samples)).collect();
    Ok((growths, fps))
}

/// Halts all processors for a moment, then Redis, again and again: what waits meanwhile then fills every buffer up to its bound,
/// as it would sooner or later.
fn fill_buffers(stack: &Stack) -> Result<()> {
    let processors: Vec<String> = (1..=PROCESSORS).map(|number| format!("processor-{number}")).collect();
    for _ in 0..FILLED_TIMES {
        for halted in [&processors[..], &["redis".to_owned()]] {
            thread::sleep(HALTED_EVERY);
            for (signal, pause) in [(Signal::STOP, HALTED_FOR), (Signal::CONT, Duration::ZERO)] {
                for process in halted {
                    stack.kill(process, signal)?;
                }
                thread::sleep(pause);
            }
        }
    }
    Ok(())
}

fn results(stack: &Stack) -> u64 {
    stack.tally(|tally| tally.values().map(|camera| camera.results()).sum())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl Growth {
    fn of(process: String, samples: &[Sample]) -> Self {
        let of = |part: fn(&Memory) -> u64| -> Vec<(f64, f64)> {
            samples.iter().map(|sample| (sample.hours, megabytes(part(&sample.memory)))).collect()
        };
        let resident = of(|memory| memory.resident);
        Self {
            process,
            first_mb: resident.first().map_or(0.0, |first| first.1),
            last_mb: resident.last().map_or(0.0, |last| last.1),
            most_mb: resident.iter().fold(0.0, |most, sample| sample.1.max(most)),
            mb_per_hour: slope(&resident).unwrap_or(0.0),
            anonymous_mb_per_hour: slope(&of(|memory| memory.anonymous)).unwrap_or(0.0),
        }
    }
}

/// The slope through points (x, y) by Theil and Sen: the median of the slopes between every two of them, which up to 29% of wild
/// points do not change. P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the American
/// Statistical Association 63 (1968), 1379 to 1389. None for fewer than two points.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let pairs = points.iter().enumerate().flat_map(|(at, a)| points[at + 1..].iter().map(move |b| (a, b)));
    let mut slopes: Vec<f64> =
        pairs.filter(|(a, b)| a.0 < b.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect();
    let middle = slopes.len() / 2;
    (!slopes.is_empty()).then(|| *slopes.select_nth_unstable_by(middle, f64::total_cmp).1)
}

fn table(args: &Args, growths: &[Growth], fps: f64, messages: u64) -> Result<String> {
    let mut out = format!(
        "resident memory over {} minutes, after {} of warm-up, at {fps:.1} frames a second; a client got {messages} messages\n\
         process            first MB    last MB    most MB   MB an hour   of it anonymous\n",
        args.minutes, args.warm_up
    );
    for growth in growths {
        writeln!(
            out,
            "{:<16} {:10.1} {:10.1} {:10.1} {:12.2} {:17.2}",
            growth.process,
            growth.first_mb,
            growth.last_mb,
            growth.most_mb,
            growth.mb_per_hour,
            growth.anonymous_mb_per_hour
        )?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_growth_is_not_seen_through_wild_samples() {
        let point = |i: u32| (f64::from(i) / 3600.0, 20.0 + 2.0 * f64::from(i) / 3600.0);
        let mut points: Vec<_> = (0..100).map(point).collect();
        (0..20).for_each(|i| points[i * 5].1 += 300.0);
        let found = slope(&points).unwrap();
        assert!((found - 2.0).abs() < 1e-6, "{found} MB an hour instead of 2");
    }

    #[test]
    fn a_jump_counts_as_growth() {
        let points: Vec<_> = (0..100).map(|i| (f64::from(i), if i < 90 { 20.0 } else { 30.0 })).collect();
        assert_eq!(slope(&points), Some(0.0));
    }

    #[test]
    fn one_sample_has_a_slope() {
        assert_eq!(slope(&[(0.0, 1.0)]), None);
    }
}
