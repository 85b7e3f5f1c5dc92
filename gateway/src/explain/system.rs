//! The running system in numbers: what each daemon and each camera did between the two looks. No judgement here.

use std::collections::{BTreeMap, BTreeSet};

use peregrine_daemon::Metric;
use peregrine_proto::Stage;

use super::samples::{Observed, Timing};

/// Everything that was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct System {
    pub(super) workers: Vec<Worker>,
    pub(super) cameras: Vec<Camera>,
}

/// One daemon. Cores are seconds of processor time a second.
#[derive(Debug, Clone, Default)]
pub(super) struct Worker {
    pub(super) name: String,
    /// `producer`, `processor` or `gateway`.
    pub(super) daemon: String,
    /// Cores in use.
    pub(super) cpu: f64,
    /// Threads that were ready to run and waited for a core, on average.
    pub(super) cpu_wait: f64,
    /// Cores that it may use.
    pub(super) cores: Option<f64>,
    pub(super) machine_cores: Option<f64>,
    /// Cores of its machine that did nothing.
    pub(super) machine_idle: Option<f64>,
    /// What its stages took, over all cameras.
    pub(super) stages: BTreeMap<Stage, Timing>,
    /// Frames through its model a second.
    pub(super) inferred: f64,
    /// Frames in one call of its model, on average.
    pub(super) batch: f64,
    /// Commands to Redis.
    pub(super) redis: Timing,
    /// Those of them that commit.
    pub(super) commits: Timing,
    pub(super) redis_errors: f64,
    pub(super) clients: f64,
    /// Messages to clients a second.
    pub(super) sent: f64,
    /// Messages that clients were too slow for, a second.
    pub(super) dropped: f64,
    /// Clients that were disconnected because they were too slow, a second.
    pub(super) cut_off: f64,
}

/// One camera. Rates are frames a second.
#[derive(Debug, Clone, Default)]
pub(super) struct Camera {
    pub(super) id: String,
    /// What should be analysed; none where a file is read as fast as there is room, or the source does not say.
    pub(super) target: Option<f64>,
    /// What came from its source and was wanted.
    pub(super) captured: f64,
    /// What came from its source, wanted or not.
    pub(super) decoded: f64,
    pub(super) published: f64,
    pub(super) processed: f64,
    /// What was dropped, skipped or lost anywhere, though wanted.
    pub(super) lost: f64,
    /// From capture to result, seconds.
    pub(super) age: Option<f64>,
    /// Frames that wait in its stream.
    pub(super) backlog: f64,
    /// Its source gives frames.
    pub(super) is_up: bool,
    pub(super) stages: BTreeMap<Stage, Timing>,
    /// Index of the worker that reads its source.
    pub(super) producer: Option<usize>,
    /// Index of the worker that analyses it.
    pub(super) processor: Option<usize>,
}

impl Camera {
    pub(super) fn stage(&self, stage: Stage) -> Timing {
        self.stages.get(&stage).copied().unwrap_or_default()
    }
}

impl Worker {
    pub(super) fn stage(&self, stage: Stage) -> Timing {
        self.stages.get(&stage).copied().unwrap_or_default()
    }

    pub(super) fn is(&self, daemon: &str) -> bool {
        self.daemon == daemon
    }

    /// Calls of the model at a time: 1 when it is never left alone. A batch counts once.
    pub(super) fn model_busy(&self, mean: f64) -> f64 {
        if self.batch > 0.0 { self.inferred * mean / self.batch } else { 0.0 }
    }
}

/// Disconnects that are a slow client's doing.
const TOO_SLOW: [&str; 3] = ["no_write_progress", "no_sign_of_life", "control_queue_full"];

impl System {
    pub(super) fn of(daemons: &[Observed]) -> Self {
        let ids: BTreeSet<String> = [Metric::FramesCaptured, Metric::FramesProcessed, Metric::SourceUp]
            .into_iter()
            .flat_map(|metric| daemons.iter().flat_map(move |daemon| daemon.values(metric, "camera")))
            .collect();
        Self {
            workers: daemons.iter().map(worker).collect(),
            cameras: ids.into_iter().map(|id| camera(id, daemons)).collect(),
        }
    }

    pub(super) fn processors(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(|worker| worker.is("processor"))
    }

    pub(super) fn worker(&self, index: Option<usize>) -> Option<&Worker> {
        self.workers.get(index?)
    }
}

fn worker(seen: &Observed) -> Worker {
    let one = |metric, label| seen.values(metric, label).into_iter().next();
    let batches = seen.timing(Metric::BatchSize, &[]);
    Worker {
        name: one(Metric::BuildInfo, "worker").unwrap_or_else(|| seen.address.clone()),
        daemon: one(Metric::BuildInfo, "daemon").unwrap_or_default(),
        cpu: seen.rate(Metric::ProcessCpu, &[]),
        cpu_wait: seen.rate(Metric::ProcessCpuWait, &[]),
        cores: seen.gauge(Metric::ProcessCores, &[]),
        machine_cores: seen.gauge(Metric::MachineCores, &[]),
        machine_idle: seen
            .gauge(Metric::MachineCores, &[])
            .map(|cores| seen.rate(Metric::MachineIdle, &[]).min(cores)),
        stages: stages(seen, &[]),
        inferred: batches.share,
        batch: batches.mean(),
        redis: seen.timing(Metric::RedisRoundTrip, &[]),
        commits: seen.timing(Metric::RedisRoundTrip, &[("operation", "commit")]),
        redis_errors: seen.rate(Metric::RedisErrors, &[]),
        clients: seen.gauge(Metric::Clients, &[]).unwrap_or(0.0),
        sent: seen.rate(Metric::MessagesSent, &[]),
        dropped: seen.rate(Metric::MessagesDropped, &[]),
        cut_off: TOO_SLOW.iter().map(|why| seen.rate(Metric::Disconnects, &[("reason", why)])).sum(),
    }
}

fn camera(id: String, daemons: &[Observed]) -> Camera {
    let own = [("camera", id.as_str())];
    let total = |metric| daemons.iter().map(|daemon| daemon.rate(metric, &own)).sum::<f64>();
    let not_wanted: f64 = daemons
        .iter()
        .map(|daemon| daemon.rate(Metric::FramesDropped, &[own[0], ("reason", "not_wanted")]))
        .sum();
    let mut all = BTreeMap::<Stage, Timing>::new();
    for (stage, timing) in daemons.iter().flat_map(|daemon| stages(daemon, &own)) {
        *all.entry(stage).or_default() += timing;
    }
    let ages = daemons.iter().map(|daemon| daemon.timing(Metric::ResultAge, &own)).fold(
        Timing::default(),
        |mut sum, age| {
            sum += age;
            sum
        },
    );
    let gauge = |metric| daemons.iter().filter_map(|daemon| daemon.gauge(metric, &own)).fold(0.0, f64::max);
    let decoded = total(Metric::FramesCaptured);
    let lost = [Metric::FramesDropped, Metric::FramesSkipped, Metric::FramesLost].map(total);
    Camera {
        target: Some(gauge(Metric::TargetFps)).filter(|fps| *fps > 0.0),
        captured: decoded - not_wanted,
        decoded,
        published: total(Metric::FramesPublished),
        processed: total(Metric::FramesProcessed),
        lost: lost.iter().sum::<f64>() - not_wanted,
        age: (ages.rate > 0.0).then(|| ages.mean()),
        backlog: gauge(Metric::BacklogFrames),
        is_up: gauge(Metric::SourceUp) > 0.0,
        stages: all,
        producer: busiest(daemons, |daemon| {
            daemon.rate(Metric::FramesCaptured, &own) + daemon.gauge(Metric::SourceUp, &own).unwrap_or(-1.0)
        }),
        // One that analyses nothing still counts what waits.
        processor: busiest(daemons, |daemon| {
            let owns = daemon.gauge(Metric::BacklogFrames, &own).is_some();
            daemon.rate(Metric::FramesProcessed, &own) + if owns { f64::MIN_POSITIVE } else { 0.0 }
        }),
        id,
    }
}

/// The daemon that does most of something; none where nobody does any.
fn busiest(daemons: &[Observed], does: impl Fn(&Observed) -> f64) -> Option<usize> {
    let (index, most) = daemons.iter().map(does).enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (most > 0.0).then_some(index)
}

fn stages(seen: &Observed, wanted: &[(&str, &str)]) -> BTreeMap<Stage, Timing> {
    let timing = |stage: &Stage| {
        let labels: Vec<_> = wanted.iter().copied().chain([("stage", stage.as_str())]).collect();
        (*stage, seen.timing(Metric::StageDuration, &labels))
    };
    Stage::ALL.iter().map(timing).filter(|(_, timing)| timing.rate > 0.0).collect()
}
