//! `commit`: result, checkpoint and progress, in one script, in the order of each camera's frames.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use peregrine_daemon::{
    Metric,
    metrics::{Counter, Gauge, Histogram, StageHistograms},
    spans,
};
use peregrine_proto::{CameraId, LossReason, ResultStatus, Stage};
use peregrine_streams::{Commit, CommitOutcome, Losses, Redis};
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{info, warn};

use crate::{
    leased::{Finished, LeasedCamera},
    run::Progress,
};

/// Commits until the journey's end has come out: each camera's frames one after another, the cameras beside each other, so that
/// none waits for one whose node of a Redis Cluster is away.
pub(crate) struct Committer {
    pub(crate) finished: mpsc::Receiver<Finished>,
    pub(crate) commits: Commits,
}

/// What the commits of all cameras need.
#[derive(Clone)]
pub(crate) struct Commits {
    pub(crate) redis: Redis,
    pub(crate) results_kept: u64,
    pub(crate) progress: Arc<Progress>,
}

/// More frames of one camera than are ever in hand.
const LANE: usize = 64;

impl Committer {
    pub(crate) async fn run(mut self) {
        let mut lanes: HashMap<CameraId, mpsc::Sender<Finished>> = HashMap::new();
        let mut tasks = JoinSet::new();
        while let Some(finished) = self.finished.recv().await {
            let lane = lanes.entry(finished.place.camera.id().clone()).or_insert_with(|| {
                let (sender, lane) = mpsc::channel(LANE);
                let metrics = CameraMetrics::new(&finished.place.camera);
                tasks.spawn(self.commits.clone().run(lane, metrics));
                sender
            });
            // Its task ends after this one.
            let _ = lane.send(finished).await;
        }
        drop(lanes);
        tasks.join_all().await;
    }
}

impl Commits {
    /// One camera's.
    async fn run(self, mut lane: mpsc::Receiver<Finished>, mut metrics: CameraMetrics) {
        while let Some(finished) = lane.recv().await {
            let camera = Arc::clone(&finished.place.camera);
            if camera.is_lost() {
                continue;
            }
            if !metrics.are_of(&camera) {
                metrics = CameraMetrics::new(&camera);
            }
            match self.commit(&finished).await {
                Some(CommitOutcome::Committed { wanted_by } | CommitOutcome::AlreadyDone { wanted_by }) => {
                    metrics.count(&finished, self.redis.since(finished.result.captured_at_us));
                    camera.note_commit(finished.lossless, wanted_by.is_some());
                    self.progress.note();
                }
                Some(CommitOutcome::CheckpointLost { wanted_by }) => {
                    warn!(camera = %camera.id(), id = %finished.id, "the checkpoint was lost and this frame has a result: moving on");
                    camera.note_commit(finished.lossless, wanted_by.is_some());
                }
                Some(CommitOutcome::Fenced) => {
                    info!(camera = %camera.id(), "another worker owns the camera now");
                    camera.lose();
                }
                Some(CommitOutcome::Stale { found }) => {
                    warn!(camera = %camera.id(), id = %finished.id, expected = %finished.after, %found, "the checkpoint is elsewhere: taking the camera again");
                    camera.lose();
                }
                None => camera.lose(),
            }
        }
    }

    async fn commit(&self, finished: &Finished) -> Option<CommitOutcome> {
        let commit = Commit {
            lease: finished.place.camera.lease(),
            id: finished.id,
            expected: finished.after,
            intake: &finished.intake,
            state: &finished.state,
            result: &finished.result,
            results_kept: self.results_kept,
        };
        let outcome = self.redis.commit(&commit).await;
        let name = match &outcome {
            Ok(CommitOutcome::Committed { .. }) => "committed",
            Ok(CommitOutcome::AlreadyDone { .. }) => "already_done",
            Ok(CommitOutcome::CheckpointLost { .. }) => "checkpoint_lost",
            Ok(CommitOutcome::Fenced) => "fenced",
            Ok(CommitOutcome::Stale { .. }) => "stale",
            Err(_) => "failed",
        };
        Metric::Commits.counter([name]).inc();
        outcome
            .inspect_err(|error| warn!(camera = %finished.place.camera.id(), %error, "cannot commit: taking the camera again"))
            .ok()
    }
}

/// The series of one camera under one lease.
struct CameraMetrics {
    of: Weak<LeasedCamera>,
    camera: String,
    stages: StageHistograms,
    age: Histogram,
    processed: Counter,
    detections: Counter,
    tracks: Gauge,
    crowded_out: Counter,
    checkpoint: Gauge,
    media: Counter,
    /// The epoch and the media time of the last frame.
    last: Option<(u32, i64)>,
    lost: Losses,
}

impl CameraMetrics {
    fn new(camera: &Arc<LeasedCamera>) -> Self {
        let id = camera.id().as_str();
        Self {
            of: Arc::downgrade(camera),
            camera: id.to_owned(),
            stages: StageHistograms::new(id),
            age: Metric::ResultAge.histogram([id]),
            processed: Metric::FramesProcessed.counter([id]),
            detections: Metric::Detections.counter([id]),
            tracks: Metric::Tracks.gauge([id]),
            crowded_out: Metric::TracksCrowdedOut.counter([id]),
            checkpoint: Metric::CheckpointBytes.gauge([id]),
            media: Metric::MediaSeconds.counter([id]),
            last: None,
            lost: camera.lost_before().clone(),
        }
    }

    fn are_of(&self, camera: &Arc<LeasedCamera>) -> bool {
        self.of.as_ptr() == Arc::as_ptr(camera)
    }

    /// Counts a frame that was committed at this age.
    fn count(&mut self, finished: &Finished, age: Duration) {
        let result = &finished.result;
        match (result.status, result.reason) {
            (ResultStatus::Ok, _) => {
                self.processed.inc();
                // The producer counts its own stages: what a stage takes is counted where it happens.
                for time in finished.clock.own_stages() {
                    self.stages.record(time.stage, time.took());
                }
                let commit = finished.clock.last().elapsed();
                self.stages.record(Stage::Commit, commit);
                if let Some(spans) = spans::of_frame(finished.place.camera.id(), finished.id) {
                    let laps = finished.clock.laps().iter().copied();
                    spans.stages(laps.chain([(Stage::Commit, commit)]), SystemTime::now());
                }
                self.age.observe(age.as_secs_f64());
                let this = (result.track_epoch, result.media_time_us);
                if let Some((_, last_us)) = self.last.replace(this).filter(|(epoch, _)| *epoch == this.0) {
                    self.media.inc_by((this.1 - last_us).max(0) as f64 / 1e6);
                }
                self.detections.inc_by(result.detections.len() as f64);
                self.tracks.set(result.tracks.len() as f64);
                self.crowded_out.inc_by(finished.crowded_out.into());
                self.checkpoint.set(finished.state.len() as f64);
            }
            (ResultStatus::End, _) => {}
            // Skipped, poison, and ends that no processor of this release gives.
            (_, reason) => {
                let reason = reason.unwrap_or(LossReason::Malformed);
                Metric::FramesSkipped.counter([&self.camera, reason.as_str()]).inc();
            }
        }
        let lost = &finished.intake.lost;
        if self.lost.total() != lost.total() {
            for loss in lost.to_vec() {
                let more = loss.count.saturating_sub(self.lost.get(loss.reason));
                Metric::FramesLost.counter([&self.camera, loss.reason.as_str()]).inc_by(more as f64);
            }
            self.lost = lost.clone();
        }
    }
}
