//! From numbers to findings: which cameras do not get what they should, what keeps each of them, and what would help how much.

use std::collections::BTreeMap;

use peregrine_proto::Stage;
use serde::Serialize;

use super::{
    remedy::{self, Remedy},
    servers::{self, Server},
    system::{Camera, System, Worker},
};

/// A server that is busy for more of the time is full: what is left goes between one frame and the next.
const FULL: f64 = 0.8;
/// So much of what a camera should get may be missing: counts over a few seconds are off by a frame or two.
const SHORT_OF: f64 = 0.06;
/// A camera whose results are older, in seconds, is late even if none is missing.
const LATE: f64 = 1.0;
/// When so much of a worker's work is waiting for a core, that is what it lacks.
const STARVED: f64 = 0.3;
/// Redis answers in a fraction of a millisecond; when its answers take longer than this, in seconds, frames wait for them.
const SLOW_ROUND_TRIP: f64 = 0.01;

/// A client that misses less than this share of its messages had a hiccup.
const NOTICEABLE: f64 = 0.01;

/// What keeps frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cause {
    /// The source gives fewer frames than it says, or none.
    Source,
    /// Making pictures of what the source gives, on the camera's one thread.
    Decode,
    /// Redis, or the way to it.
    Redis,
    /// There is no processor that analyses the camera.
    NoProcessor,
    /// The model.
    Model,
    /// What comes before and after the model in a processor.
    Analysis,
    /// A process does not get the cores that it could use.
    Cpu,
    /// Clients that take their messages too slowly.
    Client,
    /// Nothing that was measured is full.
    Unclear,
}

/// One bottleneck.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) cause: Cause,
    /// The stage at which it shows.
    pub(super) stage: Stage,
    /// The workers where it is.
    pub(super) workers: Vec<String>,
    /// The cameras that suffer.
    pub(super) cameras: Vec<String>,
    /// What these cameras should get together, frames a second; of clients, messages.
    pub(super) target: f64,
    /// What they get.
    pub(super) actual: f64,
    /// What was measured that shows it.
    pub(super) evidence: String,
    /// What would help, the simplest first.
    pub(super) remedies: Vec<Remedy>,
}

/// Every bottleneck, the one that costs most frames first; none on a healthy system.
pub(super) fn findings(system: &System) -> Vec<Finding> {
    let mut groups: BTreeMap<(Cause, Stage, Option<usize>), Vec<&Camera>> = BTreeMap::new();
    for camera in system.cameras.iter().filter(|camera| suffers(camera)) {
        groups.entry(locate(system, camera)).or_default().push(camera);
    }
    let missing = |finding: &Finding| finding.target - finding.actual;
    let mut findings: Vec<Finding> = groups
        .into_iter()
        .map(|((cause, stage, worker), cameras)| finding(system, cause, stage, worker, &cameras))
        .collect();
    findings.sort_by(|a, b| missing(b).total_cmp(&missing(a)));
    findings.extend(slow_clients(system));
    findings
}

/// Whether a camera gets less than it should, or later.
pub(super) fn suffers(camera: &Camera) -> bool {
    let Some(target) = camera.target else { return false };
    camera.processed < target * (1.0 - SHORT_OF)
        || camera.lost > target * SHORT_OF
        || camera.age.is_some_and(|age| age > LATE)
}

/// What keeps a camera: the fullest of all that its frames pass, unless that only waits for a core.
fn locate(system: &System, camera: &Camera) -> (Cause, Stage, Option<usize>) {
    if !camera.is_up {
        return (Cause::Source, Stage::Capture, camera.producer);
    }
    let fullest = servers::of(system, camera).into_iter().max_by(|a, b| a.busy.total_cmp(&b.busy));
    let Some(Server { stage, cause, worker, busy, .. }) = fullest else { return unfilled(system, camera) };
    if system.worker(Some(worker)).is_some_and(|of| is_starved(of, busy)) {
        (Cause::Cpu, stage, Some(worker))
    } else if busy < FULL {
        unfilled(system, camera)
    } else if cause == Cause::Model {
        // All processors share its work.
        (cause, stage, None)
    } else {
        (cause, stage, Some(worker))
    }
}

/// What keeps a camera although nothing that works for it is full.
fn unfilled(system: &System, camera: &Camera) -> (Cause, Stage, Option<usize>) {
    let waits_for_redis = |at: &Option<usize>| {
        system
            .worker(*at)
            .is_some_and(|worker| worker.redis.mean() > SLOW_ROUND_TRIP || worker.redis_errors > 0.0)
    };
    let is_fed = camera.captured >= camera.target.unwrap_or(0.0) * (1.0 - SHORT_OF);
    if camera.processor.is_none() && camera.published + camera.backlog > 0.0 {
        (Cause::NoProcessor, Stage::Queue, None)
    } else if waits_for_redis(&camera.processor) {
        (Cause::Redis, Stage::Commit, camera.processor)
    } else if waits_for_redis(&camera.producer) {
        (Cause::Redis, Stage::Publish, camera.producer)
    } else if !is_fed && camera.stage(Stage::Credit).share < 1.0 - FULL {
        (Cause::Source, Stage::Capture, camera.producer)
    } else {
        (Cause::Unclear, Stage::Queue, camera.processor)
    }
}

/// Whether a worker's work is, for a good part, waiting for a core; or it uses up what it may use while its machine has more.
/// `busy` is the share of its fullest server, which may wait for other things than a core.
fn is_starved(worker: &Worker, busy: f64) -> bool {
    let at_its_limit = worker.cores.is_some_and(|cores| worker.cpu > 0.9 * cores)
        && worker.machine_idle.is_some_and(|idle| idle > 0.5);
    worker.cpu_wait > STARVED * servers::work(worker).max(busy) || at_its_limit
}

fn finding(
    system: &System,
    cause: Cause,
    stage: Stage,
    worker: Option<usize>,
    cameras: &[&Camera],
) -> Finding {
    let at = system.worker(worker);
    let (evidence, remedies) = match (cause, at) {
        (Cause::Model, _) => remedy::model(system, cameras),
        (Cause::NoProcessor, _) => remedy::no_processor(system, cameras),
        (Cause::Decode, _) => remedy::decode(system, cameras),
        (Cause::Redis, Some(worker)) => remedy::redis(system, worker, cameras),
        (Cause::Cpu, Some(worker)) => remedy::cpu(system, worker, cameras),
        (Cause::Analysis, Some(worker)) => remedy::analysis(worker, stage, cameras),
        (Cause::Source, _) => remedy::source(cameras),
        _ => remedy::unclear(system, cameras),
    };
    let workers = match (cause, at) {
        (Cause::Model, _) => system.processors().map(|worker| worker.name.clone()).collect(),
        (_, worker) => worker.map(|worker| worker.name.clone()).into_iter().collect(),
    };
    Finding {
        cause,
        stage,
        workers,
        cameras: cameras.iter().map(|camera| camera.id.clone()).collect(),
        target: cameras.iter().filter_map(|camera| camera.target).sum(),
        actual: cameras.iter().map(|camera| camera.processed).sum(),
        evidence,
        remedies,
    }
}

/// Gateways whose clients lose messages; nobody else suffers from it.
fn slow_clients(system: &System) -> impl Iterator<Item = Finding> {
    let is_slow = |worker: &&Worker| worker.dropped > NOTICEABLE * worker.sent || worker.cut_off > 0.0;
    let slow = system.workers.iter().filter(is_slow);
    slow.map(|gateway| {
        let (evidence, remedies) = remedy::client(gateway);
        Finding {
            cause: Cause::Client,
            stage: Stage::Relay,
            workers: vec![gateway.name.clone()],
            cameras: Vec::new(),
            target: gateway.sent + gateway.dropped,
            actual: gateway.sent,
            evidence,
            remedies,
        }
    })
}
