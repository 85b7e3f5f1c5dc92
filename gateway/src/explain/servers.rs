//! What a camera's frames pass one after another, as queueing theory sees it: each server does one frame (or one batch) at a
//! time, is busy for a share of the time, and could do so many frames a second if it never rested.

use peregrine_proto::Stage;

use super::{
    diagnosis::Cause,
    system::{Camera, System, Worker},
};

/// The thread of a processor that makes detections of the model's output, and tracks of them.
const AFTER_MODEL: [Stage; 4] = [Stage::Postprocess, Stage::Track, Stage::Speed, Stage::Zones];

/// Something that a camera's frames wait for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Server {
    /// Where most of its time goes.
    pub(super) stage: Stage,
    pub(super) cause: Cause,
    /// Index of the worker that it is in.
    pub(super) worker: usize,
    /// The share of the time in which it is busy.
    pub(super) busy: f64,
    /// Frames of this camera that it could do a second, beside those of others.
    pub(super) capacity: f64,
}

/// Everything that the camera's frames pass and that can be full.
pub(super) fn of(system: &System, camera: &Camera) -> Vec<Server> {
    let source = camera.producer.and_then(|worker| source_thread(camera, worker));
    let processor = camera.processor.zip(system.worker(camera.processor));
    let analysis =
        processor.into_iter().flat_map(|(at, worker)| analysis_threads(system, camera, at, worker));
    let commit = processor.and_then(|(at, worker)| commit_lane(camera, at, worker));
    source.into_iter().chain(analysis).chain(commit).collect()
}

/// The camera's thread in its producer: decodes all, shrinks and publishes what is wanted.
fn source_thread(camera: &Camera, worker: usize) -> Option<Server> {
    let of_all = if camera.captured > 0.0 { camera.decoded / camera.captured } else { 1.0 };
    let parts = [Stage::Decode, Stage::Resize, Stage::Publish].map(|stage| {
        let mean = camera.stage(stage).mean();
        (stage, if stage == Stage::Decode { mean * of_all } else { mean })
    });
    let (stage, _) = parts.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let each: f64 = parts.iter().map(|(_, mean)| mean).sum();
    let cause = if stage == Stage::Publish { Cause::Redis } else { Cause::Decode };
    (each > 0.0).then(|| Server { stage, cause, worker, busy: camera.captured * each, capacity: 1.0 / each })
}

/// The threads of a processor, which all its cameras share.
fn analysis_threads(system: &System, camera: &Camera, at: usize, worker: &Worker) -> Vec<Server> {
    let demand = |camera: &Camera| camera.target.unwrap_or(camera.captured);
    let all: f64 = system.cameras.iter().filter(|other| other.processor == Some(at)).map(demand).sum();
    let part = if all > 0.0 { demand(camera) / all } else { 1.0 };
    let server = |stage, cause, rate: f64, busy: f64| Server {
        stage,
        cause,
        worker: at,
        busy,
        capacity: part * rate / busy,
    };
    let infer = worker.stage(Stage::Infer);
    let slowest =
        AFTER_MODEL.into_iter().max_by(|a, b| worker.stage(*a).share.total_cmp(&worker.stage(*b).share));
    let after: f64 = AFTER_MODEL.iter().map(|stage| worker.stage(*stage).share).sum();
    let preprocess = worker.stage(Stage::Preprocess);
    [
        server(Stage::Preprocess, Cause::Analysis, preprocess.rate, preprocess.share),
        server(Stage::Infer, Cause::Model, worker.inferred, worker.model_busy(infer.mean())),
        server(slowest.unwrap_or(Stage::Track), Cause::Analysis, infer.rate, after),
    ]
    .into_iter()
    .filter(|server| server.busy > 0.0)
    .collect()
}

/// Commits of one camera follow each other, each a round trip.
fn commit_lane(camera: &Camera, worker: usize, of: &Worker) -> Option<Server> {
    let round_trip = of.commits.mean();
    let server = Server {
        stage: Stage::Commit,
        cause: Cause::Redis,
        worker,
        busy: camera.processed * round_trip,
        capacity: 1.0 / round_trip,
    };
    (round_trip > 0.0).then_some(server)
}

/// Seconds a second in which the threads of a worker's stages were at work, or wanted to be: what waiting for a core is
/// compared with.
pub(super) fn work(worker: &Worker) -> f64 {
    let shares = [Stage::Decode, Stage::Resize, Stage::Preprocess].iter().chain(&AFTER_MODEL);
    let shares: f64 = shares.map(|stage| worker.stage(*stage).share).sum();
    shares + worker.model_busy(worker.stage(Stage::Infer).mean())
}
