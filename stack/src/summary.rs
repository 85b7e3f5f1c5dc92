//! What a run amounts to: counts that must balance, rates, latencies, objects, speeds.

use std::{collections::BTreeMap, time::Instant};

use peregrine_proto::{CameraId, LossReason, Stage};
use serde::Serialize;

use crate::{
    Stack,
    ledger::Ledger,
    quantiles::{Quantiles, Spread, rounded},
    tally::{CameraTally, MOVING_FROM_MPS},
};

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Whether every count agrees with its independent counterparts, for every camera.
    pub balanced: bool,
    /// What went wrong, in sentences; empty for nothing.
    pub problems: Vec<String>,
    /// From the first result to the end of production, seconds.
    pub seconds: f64,
    /// From the start of the stack to the first result, seconds.
    pub seconds_to_first_result: Option<f64>,
    /// Analysed frames per second, of all cameras together.
    pub fps: f64,
    /// Where all frames ended.
    pub frames: Frames,
    /// How old results were when they were read.
    pub latency_ms: Latency,
    /// What was detected.
    pub objects: Objects,
    /// What was followed.
    pub tracks: Tracks,
    /// How fast it moved.
    pub speed_mps: Speeds,
    /// The same counts by camera, each from each of those who counted.
    pub cameras: Vec<Ledger>,
    /// Processes, and how often each was started again.
    pub restarts: BTreeMap<String, u32>,
}

/// Where all frames ended.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Frames {
    /// Given by the sources, and wanted.
    pub produced: u64,
    /// Given by the sources, and left out on purpose: every Nth is wanted.
    pub left_out: u64,
    /// Analysed.
    pub processed: u64,
    /// Left out before inference.
    pub skipped: Counts,
    /// Dropped before the stream or in it.
    pub dropped: Counts,
    /// Given up after they killed their worker.
    pub poison: u64,
    /// Still waiting at the end.
    pub waiting: u64,
}

/// A count and its parts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counts {
    /// All together.
    pub total: u64,
    /// By reason.
    pub by_reason: BTreeMap<LossReason, u64>,
}

/// Milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// From capture to the result, seen in its stream by the wall clock.
    pub end_to_end: Option<Spread>,
    /// By stage, in the order of a frame's journey. `commit` is what the others leave of the whole.
    pub stages: Vec<StageLatency>,
}

/// Milliseconds of one stage.
#[derive(Debug, Clone, Serialize)]
pub struct StageLatency {
    /// Which.
    pub stage: Stage,
    /// How long it took.
    #[serde(flatten)]
    pub ms: Spread,
}

/// What was detected.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Objects {
    /// Detections over all frames.
    pub total: u64,
    /// Mean per analysed frame.
    pub per_frame: f64,
}

/// What was followed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tracks {
    /// Different ones, confirmed, over all track epochs.
    pub confirmed: u64,
    /// Those of them with a known speed.
    pub measured: u64,
    /// Those of them that move.
    pub moving: u64,
}

/// The median speed of each moving track, and of these the quantiles; metres per second.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Speeds {
    /// A track moves from this median speed on.
    pub moving_from: f64,
    /// A tenth of the moving tracks is slower.
    pub p10: Option<f64>,
    /// The median.
    pub median: Option<f64>,
    /// A tenth is faster.
    pub p90: Option<f64>,
}

impl Summary {
    /// Draws up what was counted so far. `analysed` is when the first result came and when production ended.
    pub(crate) fn of(stack: &Stack, analysed: Option<(Instant, Instant)>) -> Self {
        let tallies = stack.tally(|tally| {
            let mut tally = tally.clone();
            tally.values_mut().for_each(CameraTally::close);
            tally
        });
        let (ledgers, mut problems) = match stack.ledgers() {
            Ok(ledgers) => (ledgers, Vec::new()),
            Err(error) => (Vec::new(), vec![format!("the counts cannot be read: {error:#}")]),
        };
        for ledger in &ledgers {
            problems
                .extend(ledger.disagreements.iter().map(|text| format!("camera {}: {text}", ledger.camera)));
        }
        problems.extend(stack.check_refused().err().map(|why| why.to_string()));
        let frames = frames(&ledgers);
        let seconds = analysed.map_or(0.0, |(first, end)| rounded((end - first).as_secs_f64()));
        let detections = tallies.values().map(|camera| camera.detections).sum();
        let (tracks, speed_mps) = tracks_and_speeds(&tallies);
        let restarts =
            stack.processes().into_iter().map(|process| (process.name, process.restarts)).collect();
        Self {
            balanced: problems.is_empty() && ledgers.iter().all(|ledger| ledger.balanced),
            problems,
            seconds,
            seconds_to_first_result: analysed
                .map(|(first, _)| rounded((first - stack.started).as_secs_f64())),
            fps: per(frames.processed, seconds),
            latency_ms: latency(&tallies),
            objects: Objects { total: detections, per_frame: per(detections, frames.processed as f64) },
            tracks,
            speed_mps,
            frames,
            cameras: ledgers,
            restarts,
        }
    }

    /// Notes that something went wrong.
    pub(crate) fn fail(&mut self, why: String) {
        self.problems.push(why);
        self.balanced = false;
    }
}

fn per(count: u64, of: f64) -> f64 {
    if of > 0.0 { rounded(count as f64 / of) } else { 0.0 }
}

fn frames(ledgers: &[Ledger]) -> Frames {
    let mut frames = Frames::default();
    for ledger in ledgers {
        frames.produced += ledger.produced();
        frames.left_out += ledger.left_out();
        frames.processed += ledger.results.processed;
        frames.poison += ledger.results.poison;
        frames.waiting += ledger.redis.frames_left;
        frames.skipped.add(&ledger.results.skipped);
        frames.dropped.add(&ledger.dropped());
    }
    frames
}

impl Counts {
    fn add(&mut self, by_reason: &BTreeMap<LossReason, u64>) {
        for (&reason, &count) in by_reason {
            self.total += count;
            *self.by_reason.entry(reason).or_default() += count;
        }
    }
}

fn latency(tallies: &BTreeMap<CameraId, CameraTally>) -> Latency {
    let mut end_to_end = Quantiles::default();
    let mut stages = BTreeMap::<Stage, Quantiles>::new();
    for camera in tallies.values() {
        end_to_end.merge(&camera.age_ms);
        for (&stage, times) in &camera.stages_ms {
            stages.entry(stage).or_default().merge(times);
        }
    }
    let stages = stages
        .into_iter()
        .filter_map(|(stage, times)| Some(StageLatency { stage, ms: times.spread()? }))
        .collect();
    Latency { end_to_end: end_to_end.spread(), stages }
}

fn tracks_and_speeds(tallies: &BTreeMap<CameraId, CameraTally>) -> (Tracks, Speeds) {
    let speeds =
        || tallies.values().flat_map(|camera| camera.track_speeds_mps()).map(|&speed| f64::from(speed));
    let mut moving: Vec<f64> = speeds().filter(|&speed| speed >= MOVING_FROM_MPS).collect();
    moving.sort_by(f64::total_cmp);
    let at = |q: f64| moving.get((q * moving.len() as f64) as usize).copied().map(rounded);
    let tracks = Tracks {
        confirmed: tallies.values().map(|camera| camera.confirmed_tracks).sum(),
        measured: speeds().count() as u64,
        moving: moving.len() as u64,
    };
    (tracks, Speeds { moving_from: MOVING_FROM_MPS, p10: at(0.1), median: at(0.5), p90: at(0.9) })
}
