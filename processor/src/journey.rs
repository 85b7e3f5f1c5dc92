//! A frame's journey through the processor: which stage follows which, on which thread, and what passes between them.
//!
//! ```text
//! read ─1─► preprocess ─1─► infer ─1─► postprocess, track, speed, zones ─4─► commit
//! (async)   (thread)        (thread)   (thread)                              (async)
//! ```
//! The numbers are the capacities of the queues: while frame n is inferred, n+1 is preprocessed and n−1 is committed.
//! Frames of one camera stay in order because each stage is one thread. A frame that is not analysed (the end of a file,
//! a stale or malformed one) goes the same way, so that its result is committed in its turn.

use std::{
    sync::{Arc, mpsc as blocking},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use peregrine_proto::{FrameHeader, FrameId, LossReason, ResultStatus, Stage, StageTime};
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::{
    leased::{Finished, InHandGuard, LeasedCamera},
    model::{Detector, ModelInput, Postprocessor, Preprocessor, RawOutput, Session},
};

/// A frame in hand: what is known of it beside its picture.
pub(crate) struct Frame {
    pub(crate) camera: Arc<LeasedCamera>,
    pub(crate) id: FrameId,
    /// None where the header could not be read.
    pub(crate) header: Option<FrameHeader>,
    pub(crate) clock: StageClock,
    pub(crate) in_hand: InHandGuard,
}

/// Why a frame is committed without having been analysed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAnalysed {
    pub(crate) status: ResultStatus,
    pub(crate) reason: Option<LossReason>,
}

impl NotAnalysed {
    pub(crate) fn skipped(reason: LossReason) -> Self {
        Self { status: ResultStatus::Skipped, reason: Some(reason) }
    }
}

/// A frame with what its last stage made of its picture.
pub(crate) struct InHand<T> {
    pub(crate) frame: Frame,
    pub(crate) picture: Result<T, NotAnalysed>,
}

impl<T> InHand<T> {
    /// One stage: waits end, work happens, the clock notes both. Frames that are not analysed pass by.
    fn through<U>(
        mut self,
        stage: Stage,
        work: impl FnOnce(&Frame, T) -> Result<U, LossReason>,
    ) -> InHand<U> {
        self.frame.clock.lap(Stage::Wait);
        let frame = self.frame;
        let picture = self.picture.and_then(|picture| work(&frame, picture).map_err(NotAnalysed::skipped));
        let mut frame = frame;
        if picture.is_ok() {
            frame.clock.lap(stage);
        }
        InHand { frame, picture }
    }
}

/// The two ends of the journey.
pub(crate) struct Journey {
    /// Takes what was read.
    pub(crate) frames: mpsc::Sender<InHand<Bytes>>,
    /// Gives what is to be committed; ends when `frames` is dropped and everything in hand came out.
    pub(crate) finished: mpsc::Receiver<Finished>,
}

/// Starts the threads. Live frames older than `deadline` are skipped before inference.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn start(detector: Detector, worker: String, deadline: Duration) -> std::io::Result<Journey> {
    let (frames, from_read) = mpsc::channel(1);
    let (to_infer, from_preprocess) = blocking::sync_channel(1);
    let (to_analyse, from_infer) = blocking::sync_channel(1);
    let (to_commit, finished) = mpsc::channel(4);
    let (give_back, spare) = blocking::sync_channel(3);
    let Detector { preprocessor, session, postprocessor, .. } = detector;
    let spawn = |stage: Stage, work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(stage.as_str().into()).spawn(work).map(drop)
    };
    spawn(
        Stage::Preprocess,
        Box::new(move || preprocess(preprocessor, from_read, to_infer, &spare, deadline)),
    )?;
    spawn(Stage::Infer, Box::new(move || infer(session, &from_preprocess, &to_analyse, &give_back)))?;
    spawn(Stage::Postprocess, Box::new(move || analyse(postprocessor, &from_infer, &to_commit, &worker)))?;
    Ok(Journey { frames, finished })
}

/// Pixels to model input. Frames of a camera that was lost meanwhile are dropped: its next owner reads them again.
fn preprocess(
    preprocessor: Preprocessor,
    mut frames: mpsc::Receiver<InHand<Bytes>>,
    to_infer: blocking::SyncSender<InHand<ModelInput>>,
    spare: &blocking::Receiver<ModelInput>,
    deadline: Duration,
) {
    while let Some(in_hand) = frames.blocking_recv() {
        if in_hand.frame.camera.is_lost() {
            continue;
        }
        let prepared = in_hand.through(Stage::Preprocess, |frame, i420| {
            let header = frame.header.as_ref().ok_or(LossReason::Malformed)?;
            if !header.lossless && age(header) > deadline {
                return Err(LossReason::TooOld);
            }
            let mut input = spare.try_recv().unwrap_or_else(|_| preprocessor.new_input());
            preprocessor.run(header, &i420, &mut input).map_err(|problem| {
                warn!(camera = %frame.camera.id(), id = %frame.id, error = %problem, "malformed frame skipped");
                LossReason::Malformed
            })?;
            Ok(input)
        });
        if to_infer.send(prepared).is_err() {
            return;
        }
    }
}

/// Model input to model output.
fn infer(
    mut session: Session,
    frames: &blocking::Receiver<InHand<ModelInput>>,
    to_analyse: &blocking::SyncSender<InHand<RawOutput>>,
    give_back: &blocking::SyncSender<ModelInput>,
) {
    for in_hand in frames {
        if in_hand.frame.camera.is_lost() {
            continue;
        }
        let inferred = in_hand.through(Stage::Infer, |frame, input| {
            let output = session.run(&input);
            // A full shelf of spare inputs only means that this one's memory is freed.
            let _ = give_back.try_send(input);
            output.map_err(|problem| {
                error!(camera = %frame.camera.id(), id = %frame.id, error = %problem, "frame skipped");
                LossReason::InferenceFailed
            })
        });
        if to_analyse.send(inferred).is_err() {
            return;
        }
    }
}

/// Model output to detections, tracks, speeds and zones: in the camera's own state, in the order of its frames.
fn analyse(
    mut postprocessor: Postprocessor,
    frames: &blocking::Receiver<InHand<RawOutput>>,
    to_commit: &mpsc::Sender<Finished>,
    worker: &str,
) {
    for in_hand in frames {
        if in_hand.frame.camera.is_lost() {
            continue;
        }
        let detected = in_hand.through(Stage::Postprocess, |frame, output| {
            let header = frame.header.as_ref().ok_or(LossReason::Malformed)?;
            postprocessor.run(&output, &frame.camera.wanted(header.source)).map_err(|problem| {
                error!(camera = %frame.camera.id(), id = %frame.id, error = %problem, "frame skipped");
                LossReason::InferenceFailed
            })
        });
        let camera = Arc::clone(&detected.frame.camera);
        let Some(finished) = camera.finish(detected, worker) else { continue };
        if to_commit.blocking_send(finished).is_err() {
            return;
        }
    }
}

fn age(header: &FrameHeader) -> Duration {
    let captured = UNIX_EPOCH + Duration::from_micros(header.captured_at_us.try_into().unwrap_or(0));
    SystemTime::now().duration_since(captured).unwrap_or_default()
}

/// Notes what each stage of one frame took: consecutive laps of one monotonic clock, so that nothing goes unnamed.
pub(crate) struct StageClock {
    stages: Vec<StageTime>,
    last: Instant,
}

impl StageClock {
    /// Continues the producer's `stages`; the first lap counts from `since`.
    pub(crate) fn new(stages: Vec<StageTime>, since: Instant) -> Self {
        Self { stages, last: since }
    }

    /// Adds the time since the last lap to a stage.
    pub(crate) fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        let took = now.duration_since(self.last);
        self.last = now;
        self.add(stage, took);
    }

    /// Adds a time that was measured elsewhere.
    pub(crate) fn add(&mut self, stage: Stage, took: Duration) {
        let us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        match self.stages.iter_mut().find(|time| time.stage == stage) {
            Some(time) => time.us = time.us.saturating_add(us),
            None => self.stages.push(StageTime { stage, us }),
        }
    }

    /// What each stage took.
    pub(crate) fn into_stages(self) -> Vec<StageTime> {
        self.stages
    }
}
