//! What others may know of a source: its state in Redis, its counters in the metrics.

use std::time::{Duration, Instant, SystemTime};

use peregrine_daemon::{
    Metric,
    metrics::{CameraSeries, Counter, Gauge, StageHistograms, Takeover},
    spans,
};
use peregrine_media::{Damage, TimeRepairs};
use peregrine_proto::{CameraId, FrameHeader, FrameId, LossCount, LossReason, Stage};
use peregrine_streams::{Losses, Redis, SourceHealth, SourceState, wall_clock_us};
use tokio::{sync::watch, task::JoinHandle};
use tracing::debug;

/// States are written at most this often.
const EVERY: Duration = Duration::from_millis(250);

/// Keeps the state of one source and writes it to Redis, off the frames' path.
pub(crate) struct Report {
    state: watch::Sender<SourceState>,
    writer: JoinHandle<()>,
    metrics: Metrics,
    /// Until the first frame, where the camera was taken over.
    takeover: Option<Takeover>,
    /// What the writer of the frames lost so far, already in the state.
    counted: Losses,
    /// What it has written so far, already in the state.
    written: u64,
    rate: Rate,
    /// When the first and the last frame of this opening came.
    delivered: Option<(Instant, Instant)>,
}

struct Metrics {
    camera: CameraId,
    _series: CameraSeries,
    captured: Counter,
    published: Counter,
    up: Gauge,
    target: Gauge,
    reconnects: Counter,
    damage_analysed: Gauge,
    stages: StageHistograms,
}

impl Report {
    /// Starts from a state, which is written at once.
    pub(crate) fn start(
        redis: &Redis,
        camera: &CameraId,
        state: SourceState,
        takeover: Option<Takeover>,
    ) -> Self {
        let (state, mut changes) = watch::channel(state);
        changes.mark_changed();
        let writer = {
            let (redis, camera) = (redis.clone(), camera.clone());
            tokio::spawn(async move {
                while changes.changed().await.is_ok() {
                    let mut state = changes.borrow_and_update().clone();
                    state.updated_us = wall_clock_us();
                    if let Err(error) = redis.put_source_state(&camera, &state).await {
                        debug!(%camera, %error, "source state not written");
                        changes.mark_changed();
                    }
                    tokio::time::sleep(EVERY).await;
                }
            })
        };
        let name = camera.as_str();
        let metrics = Metrics {
            camera: camera.clone(),
            _series: CameraSeries::hold(name),
            captured: Metric::FramesCaptured.counter([name]),
            published: Metric::FramesPublished.counter([name]),
            up: Metric::SourceUp.gauge([name]),
            target: Metric::TargetFps.gauge([name]),
            reconnects: Metric::SourceReconnects.counter([name]),
            damage_analysed: Metric::DamageAnalysed.gauge([name]),
            stages: StageHistograms::new(name),
        };
        metrics.up.set(0.0);
        metrics.target.set(0.0);
        metrics.damage_analysed.set(0.0);
        Self {
            state,
            writer,
            metrics,
            takeover,
            counted: Losses::default(),
            written: 0,
            rate: Rate::default(),
            delivered: None,
        }
    }

    /// The last state is written, and nothing more.
    pub(crate) async fn finish(self, redis: &Redis) {
        self.metrics.up.set(0.0);
        self.metrics.target.set(0.0);
        self.writer.abort();
        let mut state = self.state.borrow().clone();
        state.updated_us = wall_clock_us();
        if let Err(error) = redis.put_source_state(&self.metrics.camera, &state).await {
            debug!(camera = %self.metrics.camera, %error, "last source state not written");
        }
    }

    /// How the source is doing, and what is wrong or waited for (masked by whoever wrote it).
    pub(crate) fn health(&mut self, health: SourceHealth, error: impl Into<String>) {
        if health == SourceHealth::Reconnecting && self.state.borrow().state != health {
            self.metrics.reconnects.inc();
        }
        self.metrics.up.set(if health == SourceHealth::Live { 1.0 } else { 0.0 });
        let error = error.into();
        self.change(|state| (state.state, state.error) = (health, error));
    }

    /// How many frames a second should be analysed from now on; 0 for as many as there is room for, and after the end.
    pub(crate) fn target(&self, fps: f64) {
        self.metrics.target.set(fps);
    }

    /// Changes the state in another way.
    pub(crate) fn change(&self, change: impl FnOnce(&mut SourceState)) {
        self.state.send_modify(change);
    }

    /// For a source that says itself what is wrong with it.
    pub(crate) fn sender(&self) -> watch::Sender<SourceState> {
        self.state.clone()
    }

    /// The state now.
    pub(crate) fn state(&self) -> SourceState {
        self.state.borrow().clone()
    }

    /// What was lost or left out of this source before publishing, but for what the writer counts and adds itself.
    pub(crate) fn lost_before_writer(&self) -> Vec<LossCount> {
        let others = |c: &LossCount| LossCount {
            reason: c.reason,
            count: c.count - self.counted.get(c.reason).min(c.count),
        };
        self.state.borrow().lost.iter().map(others).filter(|c| c.count > 0).collect()
    }

    /// A frame came from the source.
    pub(crate) fn captured(&mut self) {
        self.metrics.captured.inc();
        let now = Instant::now();
        self.delivered = Some(self.delivered.map_or((now, now), |(first, _)| (first, now)));
    }

    /// A frame is in the stream. `fps` is the source's own rate; measured where it says none.
    pub(crate) fn published(&mut self, id: FrameId, header: &FrameHeader, fps: f64, took: Duration) {
        for time in &header.stages {
            self.metrics.stages.record(time.stage, time.took());
        }
        self.metrics.stages.record(Stage::Publish, took);
        if let Some(spans) = spans::of_frame(&self.metrics.camera, id) {
            let stages =
                header.stages.iter().map(|time| (time.stage, time.took())).chain([(Stage::Publish, took)]);
            let (now, whole) = (SystemTime::now(), stages.clone().map(|(_, took)| took).sum::<Duration>());
            spans.stages(stages, now);
            spans.whole(now - whole, whole);
        }
        if let Some(takeover) = self.takeover.take() {
            takeover.end();
        }
        let fps = if fps > 0.0 { fps } else { self.rate.tick() };
        self.change(|state| {
            state.position = Some(header.position);
            (state.size, state.analysed, state.fps) = (Some(header.source), Some(header.analysed), fps);
            state.pixel_aspect = Some(header.pixel_aspect);
        });
    }

    /// Frames were lost or left out before the stream.
    pub(crate) fn lost_before(&self, reason: LossReason, count: u64) {
        if count == 0 {
            return;
        }
        Metric::FramesDropped.counter([self.metrics.camera.as_str(), reason.as_str()]).inc_by(count as f64);
        self.change(|state| {
            let mut lost: Losses = state.lost.iter().copied().collect();
            lost.add(reason, count);
            state.lost = lost.to_vec();
        });
    }

    /// The source put media times right: so many until before, so many until now.
    pub(crate) fn times_repaired(&self, before: &TimeRepairs, now: &TimeRepairs) {
        for (kind, count) in now.by_kind() {
            let new = count - before.get(kind).min(count);
            if new > 0 {
                Metric::TimesRepaired
                    .counter([self.metrics.camera.as_str(), kind.as_str()])
                    .inc_by(new as f64);
            }
        }
    }

    /// The decoder marked a picture as broken.
    pub(crate) fn damaged(&self, damage: Damage) {
        Metric::PicturesDamaged.counter([self.metrics.camera.as_str(), damage.as_str()]).inc();
    }

    /// Whether so many pictures are damaged that all are analysed.
    pub(crate) fn damage_analysed(&self, all: bool) {
        self.metrics.damage_analysed.set(f64::from(u8::from(all)));
    }

    /// Takes over what the writer of the frames has counted by now.
    pub(crate) fn lost_by_writer(&mut self, lost: &Losses) {
        for LossCount { reason, count } in lost.to_vec() {
            let new = count.saturating_sub(self.counted.get(reason));
            self.lost_before(reason, new);
            self.counted.add(reason, new);
        }
    }

    /// Takes over how many frames the writer has written by now.
    pub(crate) fn written_by_writer(&mut self, total: u64) {
        let new = total.saturating_sub(self.written);
        self.metrics.published.inc_by(new as f64);
        self.change(|state| state.published += new);
        self.written += new;
    }

    /// Whose source it is.
    pub(crate) fn camera(&self) -> &CameraId {
        &self.metrics.camera
    }

    /// The source is opened, for the first time or again.
    pub(crate) fn new_opening(&mut self) {
        self.delivered = None;
    }

    /// From the first to the last frame of this opening.
    pub(crate) fn delivered_for(&self) -> Duration {
        self.delivered.map_or(Duration::ZERO, |(first, last)| last - first)
    }

    /// A new writer counts from zero.
    pub(crate) fn new_writer(&mut self) {
        (self.counted, self.written) = (Losses::default(), 0);
    }
}

/// Frames per second over the last seconds.
#[derive(Debug, Default)]
struct Rate {
    since: Option<Instant>,
    frames: u32,
    last: f64,
}

impl Rate {
    fn tick(&mut self) -> f64 {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.frames += 1;
        let elapsed = since.elapsed();
        if elapsed > Duration::from_secs(2) {
            self.last = f64::from(self.frames - 1) / elapsed.as_secs_f64();
            (self.since, self.frames) = (Some(Instant::now()), 1);
        }
        self.last
    }
}
