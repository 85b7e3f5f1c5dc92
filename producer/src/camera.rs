//! One camera, from its source to its stream, on a thread of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use peregrine_daemon::{Shutdown, metrics::Takeover};
use peregrine_media::{Captured, DamageFilter, OpenOptions, Source, SourceCounts, SourceError, Verdict};
use peregrine_proto::{CameraConfig, Damaged, FrameId, LossReason, Pace as PaceConfig};
use peregrine_streams::{
    Flow, Lease, Redis, SourceHealth, SourceState, StreamError, fingerprint, wall_clock_us,
};
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::{
    config::Config,
    ingest::IngestSource,
    lookout::Lookout,
    pace::Pace,
    preview::Previews,
    publish::{Outcome, Publisher},
    reconnecting::{Next, Reconnecting},
    report::Report,
    resize::{AnalysedSize, FALLBACK_INPUT, Shrinker},
};

/// Between two looks at something that others must do first.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What all cameras of this process share.
pub(crate) struct Shared {
    pub(crate) redis: Redis,
    pub(crate) config: Config,
    pub(crate) lookout: Lookout,
    pub(crate) worker: String,
    pub(crate) runtime: Handle,
}

/// Stops a camera's thread, also where it waits for its source.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) shutdown: Shutdown,
    source: Arc<AtomicBool>,
}

impl Stop {
    pub(crate) fn new(shutdown: &Shutdown) -> Self {
        Self { shutdown: shutdown.child(), source: Arc::default() }
    }

    pub(crate) fn stop(&self) {
        self.source.store(true, Ordering::Release);
        self.shutdown.trigger();
    }
}

/// How a camera's work on its source ended.
#[derive(Debug)]
enum SessionEnd {
    /// Stopping was asked for.
    Stopped,
    /// The file has ended (with what was wrong with it), or as many frames as wanted were published.
    Finished(Option<String>),
    /// The source was lost, or Redis has to be asked anew: trying again may help.
    Lost(String),
    /// Trying again will not help; only another configuration will.
    Failed(String),
    /// Another producer writes this camera.
    Succeeded,
}

/// A camera under a lease.
pub(crate) struct Camera {
    pub(crate) config: CameraConfig,
    pub(crate) lease: Lease,
    /// Where the lease was taken over from a producer that had not released it.
    pub(crate) takeover: Option<Takeover>,
    pub(crate) stop: Stop,
    pub(crate) shared: Arc<Shared>,
}

impl Camera {
    /// Reads the source until stopped, trying again when it is lost. Runs on a thread of its own.
    pub(crate) fn run(mut self) {
        let camera = self.config.id.clone();
        let takeover = self.takeover.take();
        let Some(mut report) = self.start_report(takeover) else { return };
        let mut losses = Reconnecting::new(self.shared.config.longest_pause);
        loop {
            report.new_opening();
            match self.session(&mut report) {
                SessionEnd::Stopped => break,
                SessionEnd::Succeeded => {
                    warn!(%camera, "another producer writes this camera: leaving it");
                    break;
                }
                SessionEnd::Finished(problem) => {
                    info!(%camera, problem, "source ended");
                    report.target(0.0);
                    report.health(SourceHealth::Ended, problem.unwrap_or_default());
                    self.wait(None);
                    break;
                }
                SessionEnd::Failed(problem) => {
                    warn!(%camera, problem, "source failed: waiting for another configuration");
                    report.health(SourceHealth::Failed, problem);
                    self.wait(None);
                    break;
                }
                SessionEnd::Lost(problem) => {
                    let Next { pause, said } = losses.lost(&problem, report.delivered_for());
                    if let Some(times) = said {
                        let pause_ms = pause.as_millis() as u64;
                        warn!(%camera, problem, times, pause_ms, "source lost: trying again");
                    }
                    report.health(SourceHealth::Reconnecting, problem);
                    if self.wait(Some(pause)) {
                        break;
                    }
                }
            }
        }
        self.shared.runtime.block_on(report.finish(&self.shared.redis));
    }

    /// Opens the source and publishes its frames: the frame's journey through this process.
    fn session(&self, report: &mut Report) -> SessionEnd {
        let Shared { redis, config, runtime, .. } = &*self.shared;
        let mut source = match self.open_source(report) {
            Ok(source) => source,
            Err(end) => return end,
        };
        let info = source.info().clone();
        let flow = match info.live {
            true => Flow::Live { queue: config.live_queue },
            false => Flow::Lossless { queue: config.file_queue },
        };
        let opened = Publisher::open(redis, &self.lease, flow, runtime.clone(), self.stop.shutdown.clone());
        let mut publisher = match opened {
            Ok(publisher) => publisher,
            Err(error) => return broken(error),
        };
        report.new_writer();
        let continues = match self.resume(&mut *source, &publisher, report) {
            Ok(continues) => continues,
            Err(end) => return end,
        };
        let previews = match Previews::start(&self.shared, &self.config.id) {
            Ok(previews) => previews,
            Err(error) => return SessionEnd::Lost(format!("cannot start a thread: {error}")),
        };
        let Some(fallback) = self.wait_for_model(report) else { return SessionEnd::Stopped };
        report.health(SourceHealth::Live, "");

        let paced = info.live || self.config.source.pace == PaceConfig::Realtime;
        report.target(if paced { info.fps / f64::from(self.config.source.every.max(1)) } else { 0.0 });

        let mut pace = (!info.live && self.config.source.pace == PaceConfig::Realtime).then(Pace::default);
        let mut shrinker = Shrinker::default();
        let mut filter = DamageFilter::new(self.config.source.damaged == Damaged::Keep);
        let mut shown = FrameId::ZERO;
        let mut jumped = !continues;
        let mut counts = SourceCounts::default();
        loop {
            if self.stop.shutdown.is_requested() {
                return SessionEnd::Stopped;
            }
            if self.is_enough(report) {
                return self.finish(&mut publisher, report, None);
            }
            let next = source.next();
            let before = std::mem::replace(&mut counts, source.counts());
            report.lost_before(LossReason::Undecodable, counts.undecodable - before.undecodable);
            report.times_repaired(&before.times, &counts.times);
            let mut captured = match next {
                Ok(Some(captured)) => captured,
                Ok(None) if self.config.source.repeat => match source.rewind() {
                    Ok(()) => continue,
                    Err(error) => return failed(&error),
                },
                Ok(None) => return self.finish(&mut publisher, report, None),
                Err(error @ SourceError::Damaged { .. }) => {
                    return self.finish(&mut publisher, report, Some(error.to_string()));
                }
                Err(error) => return failed(&error),
            };
            report.captured();
            jumped |= captured.discontinuity;
            if !captured.position.is_multiple_of(self.config.source.every.max(1).into()) {
                report.lost_before(LossReason::NotWanted, 1);
                continue;
            }
            captured.picture = captured.picture.with_pixel_aspect(self.config.source.pixel_aspect);
            if let Some(pace) = &mut pace
                && !self.keep_pace(pace, &captured, jumped, report)
            {
                return SessionEnd::Stopped;
            }
            if !info.live {
                let_go(&mut captured);
            }
            if self.leaves_out(&mut filter, &captured, report) {
                shown = FrameId::at_us(captured.captured_at_us).max(shown.next());
                previews.offer(shown, captured.picture, true);
                continue;
            }
            captured.discontinuity = std::mem::take(&mut jumped);
            let size = self.analysed_size(fallback);
            let (mut header, pixels) = match shrinker.shrink(&captured, size) {
                Ok(shrunk) => shrunk,
                Err(error) => return SessionEnd::Failed(error.to_string()),
            };
            match publisher.publish(&mut header, pixels, info.fps, report) {
                Outcome::Written(id) => {
                    shown = id;
                    previews.offer(id, captured.picture, captured.damage.is_some());
                }
                // The next frame that arrives does not continue the one before this.
                Outcome::Lost => jumped |= captured.discontinuity,
                Outcome::Stopped => return SessionEnd::Stopped,
                Outcome::Broken(error) => return broken(error),
            }
        }
    }

    /// Waits until a file's frame is due; false when stopping was asked for meanwhile.
    fn keep_pace(&self, pace: &mut Pace, captured: &Captured, jumped: bool, report: &mut Report) -> bool {
        let wait = pace.due_in(captured.media_time_us, jumped, Instant::now());
        if wait.left_out.is_zero() {
            return !self.wait(Some(wait.time));
        }
        let said = format!(
            "the file has a gap of {} s: it goes on after {} s",
            (wait.time + wait.left_out).as_secs_f64().round(),
            wait.time.as_secs_f64().round()
        );
        info!(camera = %self.config.id, position = captured.position, "{said}");
        report.health(SourceHealth::Live, said);
        let stopped = self.wait(Some(wait.time));
        report.health(SourceHealth::Live, "");
        !stopped
    }

    /// Whether a picture is too damaged to be analysed: then it is counted.
    fn leaves_out(&self, filter: &mut DamageFilter, captured: &Captured, report: &Report) -> bool {
        let took_all = filter.takes_all();
        let verdict = filter.judge(captured.media_time_us, captured.damage);
        if let Some(damage) = captured.damage {
            report.damaged(damage);
        }
        if filter.takes_all() != took_all {
            report.damage_analysed(filter.takes_all());
            let camera = &self.config.id;
            if filter.takes_all() {
                warn!(%camera, "more than half of the pictures are damaged: all are analysed. Check the camera's network and bit rate");
            } else {
                info!(%camera, "a minute without a damaged picture: damaged ones are left out again");
            }
        }
        let left_out = verdict == Some(Verdict::LeftOut);
        report.lost_before(LossReason::Damaged, u64::from(left_out));
        left_out
    }

    fn open_source(&self, report: &Report) -> Result<Box<dyn Source>, SessionEnd> {
        let config = &self.shared.config;
        let options = OpenOptions {
            timeout: config.source_timeout,
            decode_threads: config.decode_threads,
            stop: Arc::clone(&self.stop.source),
        };
        let source = &self.config.source;
        let opened = if source.uri.is_ingest() {
            let Shared { redis, runtime, .. } = &*self.shared;
            IngestSource::open(redis, runtime, &self.config.id, options, report.sender())
                .map(|source| Box::new(source) as _)
        } else {
            peregrine_media::open(source, &config.allow, &options)
        };
        opened.map_err(|error| failed(&error))
    }

    /// The state that the last producer left, where it was of the same source; written before the first frame, so that
    /// the next producer can tell. None when stopped meanwhile.
    fn start_report(&self, takeover: Option<Takeover>) -> Option<Report> {
        let Shared { redis, runtime, worker, .. } = &*self.shared;
        let camera = &self.config.id;
        let uri = &self.config.source.uri;
        let fingerprint = fingerprint(camera, uri, redis.schema());
        loop {
            let begun = runtime.block_on(async {
                let known = redis.source_states(std::slice::from_ref(camera)).await?.pop().flatten();
                let mut state = known.filter(|state| state.is_of(camera, uri)).unwrap_or_default();
                (state.state, state.error) = (SourceHealth::Starting, String::new());
                state.worker.clone_from(worker);
                state.fingerprint.clone_from(&fingerprint);
                Ok::<SourceState, StreamError>(state)
            });
            match begun {
                Ok(state) => {
                    let _runtime = runtime.enter();
                    return Some(Report::start(redis, camera, state, takeover));
                }
                Err(error) => warn!(%camera, %error, "cannot read how far the source was read: trying again"),
            }
            if self.wait(Some(LOOK_AGAIN)) {
                return None;
            }
        }
    }

    /// Continues a file after its last published frame. A source that is new begins to be counted here. True where the
    /// media time goes on.
    fn resume(
        &self,
        source: &mut dyn Source,
        publisher: &Publisher,
        report: &Report,
    ) -> Result<bool, SessionEnd> {
        let state = report.state();
        let next_n = publisher.last_frame().map_or(0, |last| last.n) + 1;
        let last = publisher.last_frame().filter(|last| state.first_n > 0 && last.n >= state.first_n);
        let Some(last) = last else {
            report.change(|state| {
                let SourceState { fingerprint, worker, .. } = std::mem::take(state);
                *state = SourceState { fingerprint, worker, first_n: next_n, ..SourceState::default() };
            });
            let Shared { redis, runtime, .. } = &*self.shared;
            let written = runtime.block_on(redis.put_source_state(&self.config.id, &report.state()));
            return written.map(|()| false).map_err(broken);
        };
        let ends = u64::from(last.end);
        report.change(|state| {
            state.published = (last.n + 1).saturating_sub(state.first_n + ends);
            state.position = Some(last.position);
        });
        if source.info().live {
            return Ok(false);
        }
        if last.end && !self.config.source.repeat && self.has_nothing_more(report) {
            return Err(SessionEnd::Finished(None));
        }
        info!(camera = %self.config.id, position = last.position + 1, "continuing where the last producer stopped");
        source.skip_to(last.position + 1).map(|()| true).map_err(|error| failed(&error))
    }

    /// A file that was closed is read on only if more frames of it are wanted than before.
    fn has_nothing_more(&self, report: &Report) -> bool {
        self.config.source.max_frames.is_none_or(|most| report.state().published >= most)
    }

    /// Whether as many frames were published as wanted.
    fn is_enough(&self, report: &Report) -> bool {
        self.config.source.max_frames.is_some_and(|most| report.state().published >= most)
    }

    /// Closes the stream of a source that has ended.
    fn finish(&self, publisher: &mut Publisher, report: &mut Report, problem: Option<String>) -> SessionEnd {
        match publisher.close(report) {
            Outcome::Stopped => SessionEnd::Stopped,
            Outcome::Broken(error) => broken(error),
            Outcome::Written(_) | Outcome::Lost => SessionEnd::Finished(problem),
        }
    }

    /// Waits, visibly, until a processor has announced its model, where its input decides the analysed size; gives what
    /// to use when none does. None when stopped.
    fn wait_for_model(&self, report: &mut Report) -> Option<AnalysedSize> {
        let fallback = AnalysedSize::Fitted(FALLBACK_INPUT);
        if self.config.analysis.size.is_some() {
            return Some(fallback);
        }
        let began = Instant::now();
        while self.shared.lookout.model_input().is_none() {
            report
                .health(SourceHealth::Starting, "waiting for a processor to announce its model's input size");
            if self.wait(Some(LOOK_AGAIN)) {
                return None;
            }
            if began.elapsed() >= self.shared.config.model_wait {
                info!(camera = %self.config.id, input = %FALLBACK_INPUT, "no processor has announced a model: using a usual input");
                break;
            }
        }
        Some(fallback)
    }

    fn analysed_size(&self, fallback: AnalysedSize) -> AnalysedSize {
        match self.config.analysis.size {
            Some(size) => AnalysedSize::Fixed(size),
            None => self.shared.lookout.model_input().map_or(fallback, AnalysedSize::Fitted),
        }
    }

    /// Waits, for ever where no time is given; true when stopping was asked for.
    fn wait(&self, longest: Option<Duration>) -> bool {
        match longest {
            Some(longest) => self.stop.shutdown.wait_timeout(longest),
            None => {
                while !self.stop.shutdown.wait_timeout(Duration::from_secs(3600)) {}
                true
            }
        }
    }
}

/// A file's frame counts as captured when it is let go, as a camera would have seen it then: not when its packet was read, which a
/// decoder with several threads does some frames ahead.
fn let_go(captured: &mut Captured) {
    let (now, now_us) = (Instant::now(), wall_clock_us());
    captured.arrived = now.checked_sub(captured.decode).unwrap_or(now);
    captured.captured_at_us = now_us - i64::try_from(captured.decode.as_micros()).unwrap_or(0);
}

fn failed(error: &SourceError) -> SessionEnd {
    match error {
        SourceError::Stopped { .. } => SessionEnd::Stopped,
        error if error.retryable() => SessionEnd::Lost(error.to_string()),
        error => SessionEnd::Failed(error.to_string()),
    }
}

fn broken(error: StreamError) -> SessionEnd {
    match error {
        StreamError::Succeeded { .. } => SessionEnd::Succeeded,
        error => SessionEnd::Lost(error.to_string()),
    }
}
