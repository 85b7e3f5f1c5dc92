//! A frame's journey through the processor: which stage follows which, on which thread, and what passes between them.
//!
//! ```text
//! read ─1─► preprocess ─b─► infer ─1─► postprocess, in turn: track, speed, zones ─4─► commit
//! (async)   (thread)        (thread)   (thread)                                       (async)
//! ```
//! The numbers are the capacities of the queues, b the frames in one call of the model: while frame n is inferred, n+1 is
//! preprocessed and n−1 is committed. Detection depends on one frame alone and may also happen elsewhere (see
//! [`crate::offload`]); tracking is done in the order of the camera's frames, so a frame that was detected early waits for its turn.
//! A frame that is not analysed (the end of a file, a stale or malformed one) goes the same way, so that its result is
//! committed in its turn; a frame of another worker goes as far as postprocess and then back as an answer.

use std::{
    sync::mpsc as blocking,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use peregrine_daemon::{Metric, metrics::Histogram};
use peregrine_proto::{
    CameraId, Detection, FrameHeader, FrameId, LossReason, Notice, ResultStatus, Size, Stage, StageTime,
};
use peregrine_streams::Redis;
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::{
    help::Asked,
    leased::{Finished, Place},
    model::{
        Batching, Detector, InferError, ModelInput, Postprocessor, Preprocessor, RawOutput, Session, Wanted,
    },
};

/// A frame in hand, with what its last stage made of its picture.
pub(crate) struct InHand<T> {
    pub(crate) whose: Whose,
    pub(crate) frame: Frame,
    pub(crate) picture: Result<T, NotAnalysed>,
}

/// What is known of a frame beside its picture.
pub(crate) struct Frame {
    pub(crate) id: FrameId,
    /// None where the header could not be read.
    pub(crate) header: Option<FrameHeader>,
    pub(crate) clock: StageClock,
}

/// For whom a frame is detected.
pub(crate) enum Whose {
    /// For a camera that this worker owns.
    Ours(Place),
    /// For another worker, which waits for the answer.
    Asked(Asked),
}

/// Why a frame is committed without having been analysed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAnalysed {
    pub(crate) status: ResultStatus,
    pub(crate) reason: Option<LossReason>,
}

/// A frame that has been through the model.
pub(crate) enum Inferred {
    /// Here: what the model gave.
    Here(RawOutput),
    /// By another worker, which has done the postprocessing as well.
    Elsewhere(Vec<Detection>),
}

/// A frame of ours with its detections.
pub(crate) struct Detected {
    pub(crate) place: Place,
    pub(crate) frame: Frame,
    pub(crate) picture: Result<Vec<Detection>, NotAnalysed>,
    /// Doubts about the model.
    pub(crate) doubts: Vec<Notice>,
}

impl NotAnalysed {
    pub(crate) fn skipped(reason: LossReason) -> Self {
        Self { status: ResultStatus::Skipped, reason: Some(reason) }
    }
}

impl Whose {
    fn camera(&self) -> &CameraId {
        match self {
            Self::Ours(place) => place.camera.id(),
            Self::Asked(asked) => &asked.camera,
        }
    }

    /// Whether nobody can use a result of this frame any more: its camera's next owner reads it again.
    fn is_lost(&self) -> bool {
        match self {
            Self::Ours(place) => place.camera.is_lost(),
            Self::Asked(asked) => asked.is_given_up(),
        }
    }

    fn wanted(&self, source: Size) -> Wanted<'_> {
        match self {
            Self::Ours(place) => place.camera.wanted(source),
            Self::Asked(asked) => asked.wanted(source),
        }
    }
}

impl<T> InHand<T> {
    /// One stage: waits end, work happens, the clock notes both. Frames that are not analysed pass by.
    fn through<U>(
        self,
        stage: Stage,
        work: impl FnOnce(&Whose, &Frame, T) -> Result<U, LossReason>,
    ) -> InHand<U> {
        self.waited().done(stage, work)
    }

    /// A wait ends.
    fn waited(mut self) -> Self {
        self.frame.clock.lap(Stage::Wait);
        self
    }

    /// Work ends that began with the last lap of the clock.
    fn done<U>(
        self,
        stage: Stage,
        work: impl FnOnce(&Whose, &Frame, T) -> Result<U, LossReason>,
    ) -> InHand<U> {
        let Self { whose, mut frame, picture } = self;
        let picture = picture.and_then(|picture| work(&whose, &frame, picture).map_err(NotAnalysed::skipped));
        if picture.is_ok() {
            frame.clock.lap(stage);
        }
        InHand { whose, frame, picture }
    }
}

impl InHand<Bytes> {
    /// The frame is going to be detected here, and counts as such for its camera.
    pub(crate) fn detect_here(mut self) -> Self {
        if let Whose::Ours(place) = &mut self.whose {
            place.detect_here();
        }
        self
    }
}

/// The ends of the journey.
pub(crate) struct Journey {
    /// Takes what was read.
    pub(crate) frames: mpsc::Sender<InHand<Bytes>>,
    /// Takes what was detected elsewhere.
    pub(crate) inferred: mpsc::Sender<InHand<Inferred>>,
    /// Gives what is to be committed; ends when the others are dropped and everything in hand came out.
    pub(crate) finished: mpsc::Receiver<Finished>,
}

/// Starts the threads. Live frames older than `deadline` are skipped before inference.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn start(
    detector: Detector,
    redis: Redis,
    worker: String,
    deadline: Duration,
) -> std::io::Result<Journey> {
    let Detector { preprocessor, session, postprocessor, .. } = detector;
    let batch = session.batching().frames;
    let (frames, from_read) = mpsc::channel(1);
    let (to_infer, from_preprocess) = blocking::sync_channel(batch);
    let (inferred, from_infer) = mpsc::channel(batch);
    let (to_commit, finished) = mpsc::channel(4);
    // One input is filled, the others wait or are inferred. Made now, so that memory does not grow when the first burst comes.
    let (give_back, spare) = blocking::sync_channel(2 * batch + 1);
    while give_back.try_send(preprocessor.new_input()).is_ok() {}
    let to_analyse = inferred.clone();
    let spawn = |stage: Stage, work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(stage.as_str().into()).spawn(work).map(drop)
    };
    let clock = redis.clone();
    let is_stale = move |header: &FrameHeader| clock.since(header.captured_at_us) > deadline;
    let preprocess = move || preprocess(preprocessor, from_read, to_infer, &spare, is_stale);
    spawn(Stage::Preprocess, Box::new(preprocess))?;
    spawn(Stage::Infer, Box::new(move || infer(session, &from_preprocess, &to_analyse, &give_back)))?;
    let analyse = move || analyse(postprocessor, from_infer, &to_commit, &redis, &worker);
    spawn(Stage::Postprocess, Box::new(analyse))?;
    Ok(Journey { frames, inferred, finished })
}

/// Pixels to model input.
fn preprocess(
    preprocessor: Preprocessor,
    mut frames: mpsc::Receiver<InHand<Bytes>>,
    to_infer: blocking::SyncSender<InHand<ModelInput>>,
    spare: &blocking::Receiver<ModelInput>,
    is_stale: impl Fn(&FrameHeader) -> bool,
) {
    while let Some(in_hand) = frames.blocking_recv() {
        if in_hand.whose.is_lost() {
            continue;
        }
        let prepared = in_hand.through(Stage::Preprocess, |whose, frame, i420| {
            let header = frame.header.as_ref().ok_or(LossReason::Malformed)?;
            if !header.lossless && is_stale(header) {
                return Err(LossReason::TooOld);
            }
            let mut input = spare.try_recv().unwrap_or_else(|_| preprocessor.new_input());
            preprocessor.run(header, &i420, &mut input).map_err(|problem| {
                warn!(camera = %whose.camera(), id = %frame.id, error = %problem, "malformed frame skipped");
                LossReason::Malformed
            })?;
            Ok(input)
        });
        if to_infer.send(prepared).is_err() {
            return;
        }
    }
}

/// Model input to model output, several frames in one call where that is faster.
fn infer(
    mut session: Session,
    frames: &blocking::Receiver<InHand<ModelInput>>,
    to_analyse: &mpsc::Sender<InHand<Inferred>>,
    give_back: &blocking::SyncSender<ModelInput>,
) {
    let sizes = Metric::BatchSize.histogram([]);
    let mut last_camera = None;
    while let Some(batch) = gather(frames, session.batching(), &mut last_camera) {
        for inferred in infer_together(&mut session, batch, give_back, &sizes) {
            if to_analyse.blocking_send(inferred).is_err() {
                return;
            }
        }
    }
}

/// The next frames for one call of the model; none at the end. What is there already goes along; more is waited for only
/// while several cameras send: the next frame of a single one is a frame interval away.
fn gather(
    frames: &blocking::Receiver<InHand<ModelInput>>,
    Batching { frames: most, wait }: Batching,
    last_camera: &mut Option<CameraId>,
) -> Option<Vec<InHand<ModelInput>>> {
    let first = frames.recv().ok()?;
    let camera = first.whose.camera().clone();
    let several = last_camera.as_ref().is_some_and(|last| *last != camera);
    *last_camera = Some(camera);
    let until = Instant::now() + if several { wait } else { Duration::ZERO };
    let mut batch = vec![first];
    while batch.len() < most
        && let Ok(next) = frames.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        *last_camera = Some(next.whose.camera().clone());
        batch.push(next);
    }
    Some(batch)
}

fn infer_together(
    session: &mut Session,
    batch: Vec<InHand<ModelInput>>,
    give_back: &blocking::SyncSender<ModelInput>,
    sizes: &Histogram,
) -> Vec<InHand<Inferred>> {
    let (lost, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(|in_hand| in_hand.whose.is_lost());
    // A full shelf of spare inputs only means that this one's memory is freed.
    lost.into_iter().flat_map(|in_hand| in_hand.picture).for_each(|input| drop(give_back.try_send(input)));
    let batch: Vec<InHand<ModelInput>> = batch.into_iter().map(InHand::waited).collect();
    let inputs: Vec<&ModelInput> = batch.iter().filter_map(|in_hand| in_hand.picture.as_ref().ok()).collect();
    let outputs: Result<Vec<RawOutput>, InferError> = match inputs.len() {
        0 => Ok(Vec::new()),
        frames => {
            sizes.observe(frames as f64);
            session.run_batch(&inputs)
        }
    };
    if let Err(problem) = &outputs {
        let cameras: Vec<&CameraId> = batch.iter().map(|in_hand| in_hand.whose.camera()).collect();
        error!(?cameras, error = %problem, "frames skipped");
    }
    let mut outputs = outputs.into_iter().flatten();
    let inferred = |in_hand: InHand<ModelInput>| {
        in_hand.done(Stage::Infer, |_, _, input| {
            let _ = give_back.try_send(input);
            outputs.next().map(Inferred::Here).ok_or(LossReason::InferenceFailed)
        })
    };
    batch.into_iter().map(inferred).collect()
}

/// Model output to detections; then, in the order of each camera's frames, to tracks, speeds and zones in its state.
fn analyse(
    mut postprocessor: Postprocessor,
    mut frames: mpsc::Receiver<InHand<Inferred>>,
    to_commit: &mpsc::Sender<Finished>,
    redis: &Redis,
    worker: &str,
) {
    // Few: no more than one worker has in hand of its cameras.
    let mut early: Vec<Detected> = Vec::new();
    while let Some(in_hand) = frames.blocking_recv() {
        if in_hand.whose.is_lost() {
            continue;
        }
        let InHand { whose, frame, picture } = detect(&mut postprocessor, in_hand);
        let mut place = match whose {
            Whose::Ours(place) => place,
            Whose::Asked(asked) => {
                asked.answer(picture.ok(), frame.clock.own_stages());
                continue;
            }
        };
        place.detected();
        early.push(Detected { place, frame, picture, doubts: postprocessor.doubts().to_vec() });
        early.retain(|detected| !detected.place.camera.is_lost());
        while let Some(next) = early.iter().position(|detected| detected.place.is_next()) {
            let Some(finished) = early.swap_remove(next).finish(worker, redis.schema()) else {
                continue;
            };
            if to_commit.blocking_send(finished).is_err() {
                return;
            }
        }
    }
}

fn detect(postprocessor: &mut Postprocessor, in_hand: InHand<Inferred>) -> InHand<Vec<Detection>> {
    let InHand { whose, frame, picture } = in_hand;
    match picture {
        Err(not_analysed) => InHand { whose, frame, picture: Err(not_analysed) },
        Ok(Inferred::Elsewhere(detections)) => InHand { whose, frame, picture: Ok(detections) },
        Ok(Inferred::Here(output)) => {
            let in_hand = InHand { whose, frame, picture: Ok(output) };
            in_hand.through(Stage::Postprocess, |whose, frame, output| {
                let header = frame.header.as_ref().ok_or(LossReason::Malformed)?;
                postprocessor.run(&output, &whose.wanted(header.source)).map_err(|problem| {
                    error!(camera = %whose.camera(), id = %frame.id, error = %problem, "frame skipped");
                    LossReason::InferenceFailed
                })
            })
        }
    }
}

/// Notes what each stage of one frame took: consecutive laps of one monotonic clock, so that nothing goes unnamed.
pub(crate) struct StageClock {
    /// Of those who had the frame before.
    before: Vec<StageTime>,
    /// Ours, one after the other.
    laps: Vec<(Stage, Duration)>,
    last: Instant,
}

impl StageClock {
    /// Continues the producer's stages; the first lap counts from `since`.
    pub(crate) fn new(before: Vec<StageTime>, since: Instant) -> Self {
        // Without an offer of help, no frame has more.
        Self { before, laps: Vec::with_capacity(14), last: since }
    }

    /// Adds the time since the last lap to a stage.
    pub(crate) fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        let took = now.duration_since(self.last);
        self.last = now;
        self.add(stage, took);
    }

    /// Adds the time since the last lap: what others did in it, and the rest as waiting.
    pub(crate) fn lap_elsewhere(&mut self, stages: &[StageTime]) {
        let now = Instant::now();
        let worked = stages.iter().map(StageTime::took).sum();
        stages.iter().for_each(|time| self.add(time.stage, time.took()));
        self.add(Stage::Wait, now.duration_since(self.last).saturating_sub(worked));
        self.last = now;
    }

    /// Adds a time that was measured elsewhere.
    pub(crate) fn add(&mut self, stage: Stage, took: Duration) {
        self.laps.push((stage, took));
    }

    /// When the last lap ended.
    pub(crate) fn last(&self) -> Instant {
        self.last
    }

    /// What was noted here, one after the other: a stage may come more than once.
    pub(crate) fn laps(&self) -> &[(Stage, Duration)] {
        &self.laps
    }

    /// What each stage took here.
    pub(crate) fn own_stages(&self) -> Vec<StageTime> {
        self.noted(Vec::with_capacity(10))
    }

    /// What each stage took, from the frame's beginning.
    pub(crate) fn stages(&self) -> Vec<StageTime> {
        self.noted(self.before.clone())
    }

    fn noted(&self, mut stages: Vec<StageTime>) -> Vec<StageTime> {
        self.laps.iter().for_each(|(stage, took)| StageTime::note(&mut stages, *stage, *took));
        stages
    }
}
