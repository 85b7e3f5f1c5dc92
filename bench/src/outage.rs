//! How everything comes back when Redis was away: how soon each camera has results again, and which frames are lost.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use peregrine_proto::{CameraConfig, CameraId, FrameId, LossReason, ResultStatus};
use peregrine_stack::{
    Daemon, RedisOptions, Samples, Signal, Stack, quantiles::Quantiles, tally::CameraTally,
};
use peregrine_streams::{Redis, wall_clock_us};
use serde::Serialize;

use crate::Report;

/// Takes Redis away from a running stack, in three ways: paused (SIGSTOP), killed (kill -9) and started again with its
/// append-only file, killed and started again empty. Measures from its first answer to each camera's next result, and accounts
/// for every frame. One camera reads a file, of which nothing may be lost while Redis keeps its data; the other is live.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long Redis is away, seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// How often each fault strikes, each time on a new stack.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Print all figures as JSON.
    #[arg(long)]
    json: bool,
}

const FILE: &str = "file";
const LIVE: &str = "live";
const FPS: u64 = 20;
const PROCESSORS: usize = 2;
/// How long everything runs undisturbed before the fault.
const BEFORE: Duration = Duration::from_secs(5);
/// Frames of the file, and those after which the live camera ends: they last for a while beyond the fault.
const FRAMES: u64 = FPS * 15;
/// Beyond this, a camera hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// In which way Redis goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Fault {
    Paused,
    Restarted,
    Emptied,
}

impl Fault {
    const ALL: [Self; 3] = [Self::Paused, Self::Restarted, Self::Emptied];

    fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Restarted => "killed, append-only file",
            Self::Emptied => "killed, empty",
        }
    }

    /// Within this after Redis answers, each camera has the result of a new frame: docs/operations.md says so.
    fn promised(self) -> Duration {
        match self {
            Self::Paused | Self::Restarted => Duration::from_secs(3),
            Self::Emptied => Duration::from_secs(4),
        }
    }

    fn keeps_data(self) -> bool {
        self != Self::Emptied
    }

    fn begin(self, stack: &Stack) -> Result<()> {
        match self {
            Self::Paused => stack.kill("redis", Signal::STOP),
            Self::Restarted | Self::Emptied => {
                stack.kill("redis", Signal::KILL)?;
                // It is dead by now: this only keeps it from being started again at once.
                stack.stop("redis")
            }
        }
    }

    fn end(self, stack: &Stack) -> Result<()> {
        match self {
            Self::Paused => stack.kill("redis", Signal::CONT),
            Self::Restarted => stack.resume("redis"),
            Self::Emptied => {
                let data = stack.folder().join("redis-data");
                fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
                fs::create_dir(&data)?;
                stack.resume("redis")
            }
        }
    }
}

/// One fault on a new stack.
#[derive(Debug, Serialize)]
struct Round {
    fault: Fault,
    cameras: BTreeMap<&'static str, Outcome>,
}

/// What became of one camera.
#[derive(Debug, Serialize)]
struct Outcome {
    /// Seconds from Redis' first answer to the first result, whatever its frame's age.
    first_result_s: f64,
    /// Seconds from Redis' first answer to the first result of a frame that was captured after it.
    new_frame_s: f64,
    frames: Account,
}

/// Where a camera's frames ended, from its start to its end. Those who count do not know each other: the camera's clock, the
/// producer's metrics, and the results as they stood in Redis.
#[derive(Debug, Default, Serialize)]
struct Account {
    /// Frames that a live camera showed from the fault on and the producer did not take, being busy with a Redis that did not
    /// answer: by the clock.
    not_taken: u64,
    /// Taken from the source (producer).
    captured: u64,
    /// Dropped before the stream, by reason (producer).
    dropped: BTreeMap<String, u64>,
    /// Written to the stream (producer).
    published: u64,
    /// Analysed (results).
    analysed: u64,
    /// Left out before inference, by reason (results).
    skipped: BTreeMap<LossReason, u64>,
    /// Gone from the stream unread, by reason (results).
    lost: BTreeMap<LossReason, u64>,
    /// Published, and neither analysed nor skipped nor counted as lost: what Redis forgot.
    vanished: u64,
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let (mut rounds, mut broken) = (Vec::new(), Vec::new());
    for number in 1..=args.rounds {
        for fault in Fault::ALL {
            eprintln!("round {number} of {}: Redis {} …", args.rounds, fault.name());
            let away = Duration::from_secs(args.seconds);
            rounds.push(one(fault, away, &mut broken).with_context(|| format!("Redis {}", fault.name()))?);
        }
    }
    let text = if args.json { serde_json::to_string_pretty(&rounds)? } else { table(args, &rounds)? };
    Ok(Report { text, broken })
}

fn one(fault: Fault, away: Duration, broken: &mut Vec<String>) -> Result<Round> {
    let stack = stack()?;
    let ids = [FILE, LIVE].map(CameraId::new).into_iter().collect::<Result<Vec<_>, _>>()?;
    thread::sleep(BEFORE);
    let captured_before = Account::of(LIVE, &stack.metrics("producer")?, &CameraTally::default()).captured;
    let fault_ms = now_ms();

    fault.begin(&stack)?;
    thread::sleep(away);
    let before: Vec<CameraTally> = ids.iter().map(|id| tally(&stack, id)).collect();
    let mut returned = (Instant::now(), now_ms());
    fault.end(&stack)?;
    if fault != Fault::Paused {
        returned = (Instant::now(), now_ms());
    }
    let back = await_results(&stack, &ids, &before, returned)?;
    let deadline = Instant::now() + PATIENCE;
    while !stack.all_ended() {
        if Instant::now() > deadline {
            bail!("not all frames have a result {} s after Redis was back", PATIENCE.as_secs());
        }
        stack.check_refused()?;
        thread::sleep(Duration::from_millis(50));
    }

    let mut complain = |what: String| broken.push(format!("Redis {}: {what}", fault.name()));
    if let Err(error) = file_is_complete(&stack, &ids[0], fault) {
        complain(format!("{error:#}"));
    }
    let metrics = stack.metrics("producer")?;
    let after: Vec<CameraTally> = ids.iter().map(|id| tally(&stack, id)).collect();
    let summary = stack.stop_and_drain();
    if fault.keeps_data() && !summary.balanced {
        complain(format!("the counts do not agree: {}", summary.problems.join("; ")));
    }
    for (name, restarts) in summary.restarts.iter().filter(|(name, n)| **n > 0 && *name != "redis") {
        complain(format!("{name} died {restarts} times"));
    }
    let mut cameras = BTreeMap::new();
    for ((name, (first, new)), after) in [FILE, LIVE].into_iter().zip(back).zip(&after) {
        let mut frames = Account::of(name, &metrics, after);
        if !fault.keeps_data() {
            // The counts in the results started again with the streams, and took every frame before for a gap.
            frames.lost = BTreeMap::from([(LossReason::QueueFull, after.missing)]);
        }
        frames.vanished = frames.vanished();
        if name == LIVE {
            let shown = after.last_id.ms.saturating_sub(fault_ms) * FPS / 1000;
            frames.not_taken = shown.saturating_sub(frames.captured - captured_before);
        }
        if fault.keeps_data() && frames.vanished > 0 {
            complain(format!("{} frames of camera {name} vanished", frames.vanished));
        }
        if new > fault.promised() {
            complain(format!(
                "camera {name} had no result of a new frame for {:.2} s, promised are {:.0} s",
                new.as_secs_f64(),
                fault.promised().as_secs_f64()
            ));
        }
        let [first_result_s, new_frame_s] = [first, new].map(|time| time.as_secs_f64());
        cameras.insert(name, Outcome { first_result_s, new_frame_s, frames });
    }
    Ok(Round { fault, cameras })
}

fn stack() -> Result<Stack> {
    let source = |uri: String| serde_json::json!({ "uri": uri });
    let file = source(format!("synthetic:road?w=160&h=96&fps={FPS}&frames={FRAMES}"));
    // GStreamer's test picture comes by the clock, like a camera's, and is gone when nobody takes it.
    let mut live = source(format!(
        "opencv:videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=96,framerate={FPS}/1 \
         ! videoconvert ! appsink max-buffers=4 drop=true"
    ));
    live["max_frames"] = FRAMES.into();
    let camera = |(id, source): (&str, serde_json::Value)| -> Result<CameraConfig, serde_json::Error> {
        serde_json::from_value(serde_json::json!({
            "id": id,
            "source": source,
            "analysis": { "size": { "width": 160, "height": 96 } },
        }))
    };
    let stack = Stack::builder()
        .cameras([(FILE, file), (LIVE, live)].into_iter().map(camera).collect::<Result<_, _>>()?)
        .processors(PROCESSORS)
        .gateway(0)
        .model("simulated:10")
        .redis(RedisOptions { append_only: true, ..RedisOptions::default() })
        .set(Daemon::Processor, "processor.results_kept=10000")
        .start()?;
    Ok(stack)
}

fn now_ms() -> u64 {
    u64::try_from(wall_clock_us() / 1000).unwrap_or(0)
}

fn tally(stack: &Stack, camera: &CameraId) -> CameraTally {
    stack.tally(|tally| tally.get(camera).cloned()).unwrap_or_default()
}

/// Waits for each camera's first result that was not there `before`, and for the first of a frame captured after Redis
/// `returned` (by both clocks): how long after it they came.
fn await_results(
    stack: &Stack,
    cameras: &[CameraId],
    before: &[CameraTally],
    (returned, returned_ms): (Instant, u64),
) -> Result<Vec<(Duration, Duration)>> {
    let mut back = vec![(None, None); cameras.len()];
    while back.iter().any(|(_, new)| new.is_none()) {
        if returned.elapsed() > PATIENCE {
            bail!("no result of a new frame {} s after Redis was back", PATIENCE.as_secs());
        }
        stack.check_refused()?;
        stack.tally(|tally| {
            for ((camera, before), (first, new)) in cameras.iter().zip(before).zip(&mut back) {
                let Some(now) = tally.get(camera) else { continue };
                // It may have come while this still waited for Redis' answer.
                let at = now.latest.map(|latest| latest.saturating_duration_since(returned));
                if first.is_none() && now.results() > before.results() {
                    *first = at;
                }
                if new.is_none() && now.last_id.ms >= returned_ms {
                    *new = at;
                }
            }
        });
        thread::sleep(Duration::from_millis(2));
    }
    Ok(back.into_iter().map(|(first, new)| (first.unwrap_or_default(), new.unwrap_or_default())).collect())
}

/// Each frame of the file was analysed and has exactly one result: as it stands in Redis. Where that has lost its data, each from
/// the first one that it has again.
fn file_is_complete(stack: &Stack, camera: &CameraId, fault: Fault) -> Result<()> {
    const MORE_THAN_ENOUGH: usize = 10 * FRAMES as usize;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(async {
        let redis = Redis::open(&stack.redis_urls()).await?;
        let last = FrameId { ms: u64::MAX, seq: u64::MAX };
        redis.results_between(camera, FrameId::ZERO, last, MORE_THAN_ENOUGH).await
    })?;
    let mut ends = BTreeMap::<u64, u64>::new();
    for result in results {
        let result = result.decode()?;
        match result.status {
            ResultStatus::Ok => *ends.entry(result.position).or_default() += 1,
            ResultStatus::End => {}
            status => bail!("frame {} of the file is {status}", result.position),
        }
    }
    let first = if fault.keeps_data() { 0 } else { ends.keys().next().copied().unwrap_or(FRAMES) };
    let missing = (first..FRAMES).filter(|position| !ends.contains_key(position)).count();
    let several = ends.values().filter(|ends| **ends > 1).count();
    if missing + several > 0 {
        bail!(
            "of frames {first} to {FRAMES} of the file {missing} have no result, and {several} have several"
        );
    }
    Ok(())
}

impl Account {
    fn of(camera: &str, metrics: &Samples, tally: &CameraTally) -> Self {
        let total = |metric: &str| metrics.sum(metric, &[("camera", camera)]).unwrap_or(0.0) as u64;
        let of_camera = [("camera", camera)];
        let dropped = metrics.with("peregrine_frames_dropped_total", &of_camera);
        Self {
            captured: total("peregrine_frames_captured_total"),
            dropped: dropped.map(|(labels, count)| (labels["reason"].clone(), count as u64)).collect(),
            published: total("peregrine_frames_published_total"),
            analysed: tally.processed,
            skipped: tally.skipped.clone(),
            lost: tally.lost.clone(),
            ..Self::default()
        }
    }

    fn vanished(&self) -> u64 {
        let ended = self.analysed + self.skipped.values().sum::<u64>() + self.lost.values().sum::<u64>();
        self.published.saturating_sub(ended)
    }
}

fn table(args: &Args, rounds: &[Round]) -> Result<String> {
    let mut out = format!(
        "Redis away for {} s, {} rounds; a file and a live camera of {FPS} fps, {PROCESSORS} processors\n\n\
         seconds after Redis answers again             first result       result of a new frame\n\
         Redis was                  camera          median     max       median     max\n",
        args.seconds, args.rounds
    );
    for_each(rounds, |fault, camera, outcomes| {
        let [mut first, mut new] = [Quantiles::default(), Quantiles::default()];
        outcomes.iter().for_each(|outcome| {
            first.add(outcome.first_result_s);
            new.add(outcome.new_frame_s);
        });
        write!(out, "{:<26} {camera:<6}   ", fault.name())?;
        for times in [first, new] {
            let at = |share| times.at(share).unwrap_or(f64::NAN);
            write!(out, "      {:6.2}  {:6.2}", at(0.5), at(1.0))?;
        }
        writeln!(out)
    })?;
    out += "\nframes, all rounds together\n\
            Redis was                  camera   captured   analysed   lost, and why\n";
    for_each(rounds, |fault, camera, outcomes| {
        let sum = |of: fn(&Account) -> u64| outcomes.iter().map(|outcome| of(&outcome.frames)).sum::<u64>();
        let mut lost = BTreeMap::<String, u64>::new();
        for frames in outcomes.iter().map(|outcome| &outcome.frames) {
            let counted = frames.skipped.iter().chain(&frames.lost);
            let counted = counted.map(|(reason, count)| (reason.to_string(), *count));
            let dropped = frames.dropped.iter().map(|(reason, count)| (reason.clone(), *count));
            let others = [("not_taken", frames.not_taken), ("vanished", frames.vanished)];
            let others = others.into_iter().map(|(reason, count)| (reason.to_owned(), count));
            counted
                .chain(dropped)
                .chain(others)
                .for_each(|(reason, n)| *lost.entry(reason).or_default() += n);
        }
        let reasons: Vec<String> =
            lost.iter().filter(|(_, n)| **n > 0).map(|(reason, n)| format!("{reason} {n}")).collect();
        let (captured, analysed) = (sum(|frames| frames.captured), sum(|frames| frames.analysed));
        let total: u64 = lost.values().sum();
        writeln!(
            out,
            "{:<26} {camera:<6} {captured:10} {analysed:10}   {total} {}",
            fault.name(),
            reasons.join(", ")
        )
    })?;
    Ok(out)
}

/// All rounds of each fault and camera.
fn for_each(
    rounds: &[Round],
    mut what: impl FnMut(Fault, &str, &[&Outcome]) -> std::fmt::Result,
) -> std::fmt::Result {
    for fault in Fault::ALL {
        for camera in [FILE, LIVE] {
            let of_fault = rounds.iter().filter(|round| round.fault == fault);
            let outcomes: Vec<&Outcome> = of_fault.filter_map(|round| round.cameras.get(camera)).collect();
            what(fault, camera, &outcomes)?;
        }
    }
    Ok(())
}
