//! A camera that this worker owns for now: its lease, what is wanted of its frames, and the state that moves with them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use peregrine_proto::{CameraConfig, CameraId, Detection, FrameId, FrameResult, ResultStatus, SCHEMA, Size};
use peregrine_streams::{Grant, Intake, Lease, Seen, Waker};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::{
    camera_analysis::{Analysed, CameraAnalysis},
    journey::{InHand, NotAnalysed},
    model::Wanted,
};

/// Frames of a live camera in hand at once: the one that is inferred, and the next. More would only age.
const LIVE_IN_HAND: usize = 2;
/// Frames of a file in hand at once: one for each stage's thread and queue, so that none waits for another.
const FILE_IN_HAND: usize = 6;

/// A camera from its acquisition to its release or loss. Acquired again, it is another one.
pub(crate) struct LeasedCamera {
    config: CameraConfig,
    lease: Lease,
    /// The last frame that was committed when the camera was taken.
    starts_after: FrameId,
    confidence: f32,
    classes: Option<Vec<u16>>,
    /// Set when the lease went: whatever of this camera is still in hand is worthless.
    lost: AtomicBool,
    /// Set when another worker asked for the camera.
    wanted: AtomicBool,
    /// Set by each commit, which extends the lease.
    committed: AtomicBool,
    /// Told when `lost` or `wanted` is set.
    attention: Arc<Notify>,
    in_hand: AtomicUsize,
    /// How many may be in hand: one until the first commit has shown that the first frame does not kill.
    limit: AtomicUsize,
    progress: Mutex<Progress>,
}

/// What each frame moves on.
struct Progress {
    analysis: CameraAnalysis,
    /// The last frame finished.
    id: FrameId,
    intake: Intake,
    source: Size,
}

/// A frame that is ready to be committed.
pub(crate) struct Finished {
    pub(crate) camera: Arc<LeasedCamera>,
    pub(crate) id: FrameId,
    /// The frame committed before it.
    pub(crate) after: FrameId,
    pub(crate) result: FrameResult,
    /// The account of frames after it.
    pub(crate) intake: Intake,
    /// The state of tracker and speeds after it.
    pub(crate) state: Vec<u8>,
    pub(crate) lossless: bool,
    /// When the last stage before `commit` ended.
    pub(crate) since: Instant,
    pub(crate) _in_hand: InHandGuard,
}

impl LeasedCamera {
    /// Takes a camera up where its checkpoint left it.
    ///
    /// # Errors
    /// Everything wrong with its configuration, as sentences.
    pub(crate) fn new(
        config: &CameraConfig,
        class_names: &[String],
        grant: Grant,
        attention: Arc<Notify>,
    ) -> Result<Self, Vec<String>> {
        let Grant { lease, checkpoint } = grant;
        let mut analysis = CameraAnalysis::new(config, class_names)?;
        let restored = match checkpoint.state.is_empty() {
            true => false,
            false => analysis
                .restore(&checkpoint.state)
                .inspect_err(|error| warn!(camera = %config.id, %error))
                .is_ok(),
        };
        if !restored && lease.epoch > 1 {
            info!(camera = %config.id, "no state of earlier frames: tracks start anew");
            analysis.start_epoch(u32::try_from(lease.epoch).unwrap_or(u32::MAX));
        }
        Ok(Self {
            config: config.clone(),
            starts_after: checkpoint.id,
            confidence: analysis.least_confidence(),
            classes: analysis.kept_classes().map(<[u16]>::to_vec),
            lease,
            lost: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            committed: AtomicBool::new(false),
            attention,
            in_hand: AtomicUsize::new(0),
            limit: AtomicUsize::new(1),
            progress: Mutex::new(Progress {
                intake: Intake::from_checkpoint(&checkpoint),
                analysis,
                id: checkpoint.id,
                source: Size { width: 0, height: 0 },
            }),
        })
    }

    pub(crate) fn id(&self) -> &CameraId {
        &self.config.id
    }

    pub(crate) fn config(&self) -> &CameraConfig {
        &self.config
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(crate) fn starts_after(&self) -> FrameId {
        self.starts_after
    }

    /// Whether somebody else owns the camera by now, or will.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Everything of this camera that is still in hand is to be dropped, and the camera taken again or left.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.attention.notify_one();
    }

    /// Notes a commit, which extended the lease, and whether another worker asks for the camera.
    pub(crate) fn note_commit(&self, lossless: bool, wanted: bool) {
        // The first frame did not kill its worker: from now on frames may overlap.
        self.limit.store(if lossless { FILE_IN_HAND } else { LIVE_IN_HAND }, Ordering::Relaxed);
        self.committed.store(true, Ordering::Relaxed);
        if wanted {
            self.wanted.store(true, Ordering::Relaxed);
            self.attention.notify_one();
        }
    }

    /// Whether there was a commit since the last call.
    pub(crate) fn take_committed(&self) -> bool {
        self.committed.swap(false, Ordering::Relaxed)
    }

    /// Whether another worker asked for the camera since the last call.
    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    /// How many frames were read and neither committed nor dropped.
    pub(crate) fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::Acquire)
    }

    /// How many more frames may be read.
    pub(crate) fn allowance(&self) -> usize {
        let limit = self.limit.load(Ordering::Relaxed);
        limit.saturating_sub(self.in_hand())
    }

    /// Counts a frame as in hand until the guard is dropped; `waker`'s reader may then read the next.
    pub(crate) fn take_in_hand(self: &Arc<Self>, waker: &Waker) -> InHandGuard {
        self.in_hand.fetch_add(1, Ordering::AcqRel);
        InHandGuard { camera: Arc::clone(self), waker: waker.clone() }
    }

    /// Which detections the camera wants.
    pub(crate) fn wanted(&self, source: Size) -> Wanted<'_> {
        let nms_iou = self.config.analysis.nms_iou;
        Wanted { confidence: self.confidence, nms_iou, classes: self.classes.as_deref(), source }
    }

    /// The stages `track`, `speed` and `zones`: moves the camera's state on by one frame, and makes its result.
    /// None for a frame of a producer that was succeeded: it is only counted, with the next frame's result.
    pub(crate) fn finish(self: &Arc<Self>, done: InHand<Vec<Detection>>, worker: &str) -> Option<Finished> {
        let InHand { mut frame, picture } = done;
        // A lock whose holder panicked is still a lock: the state is thrown away with the process.
        let mut progress: MutexGuard<'_, Progress> =
            self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let header = frame.header;
        if header.as_ref().map(|header| progress.intake.see(header)) == Some(Seen::StaleProducer) {
            warn!(camera = %self.id(), id = %frame.id, "a frame of a producer that was succeeded: left out");
            return None;
        }
        let (status, reason) = match &picture {
            Ok(_) => (ResultStatus::Ok, None),
            Err(NotAnalysed { status, reason }) => (*status, *reason),
        };
        let seen = match (&header, picture) {
            (Some(header), Ok(detections)) => {
                progress.source = header.source;
                let (time, jump) = (header.media_time_us, header.discontinuity);
                progress
                    .analysis
                    .update(time, jump, header.source, &detections, |stage| frame.clock.lap(stage))
            }
            _ => Analysed {
                track_epoch: progress.analysis.track_epoch(),
                detections: Vec::new(),
                tracks: Vec::new(),
                crowded_out: 0,
            },
        };
        let result = FrameResult {
            schema: SCHEMA,
            n: header.as_ref().map_or(progress.intake.n, |h| h.n),
            inc: header.as_ref().map_or(progress.intake.inc, |h| h.inc),
            position: header.as_ref().map_or(0, |h| h.position),
            media_time_us: header.as_ref().map_or(0, |h| h.media_time_us),
            captured_at_us: header.as_ref().map_or(0, |h| h.captured_at_us),
            status,
            reason,
            source: progress.source,
            track_epoch: seen.track_epoch,
            detections: seen.detections,
            tracks: seen.tracks,
            stages: frame.clock.into_stages(),
            worker: worker.to_owned(),
            lost: progress.intake.lost.to_vec(),
        };
        Some(Finished {
            camera: Arc::clone(self),
            id: frame.id,
            after: std::mem::replace(&mut progress.id, frame.id),
            result,
            intake: progress.intake.clone(),
            state: progress.analysis.state(),
            lossless: header.is_some_and(|h| h.lossless),
            since: Instant::now(),
            _in_hand: frame.in_hand,
        })
    }
}

/// A frame in hand. Dropped wherever its journey ends, so that no path forgets to make room for the next one.
pub(crate) struct InHandGuard {
    camera: Arc<LeasedCamera>,
    waker: Waker,
}

impl Drop for InHandGuard {
    fn drop(&mut self) {
        let before = self.camera.in_hand.fetch_sub(1, Ordering::AcqRel);
        // Only a reader that has left this camera out need be told; waking one that waits for it costs two round trips.
        if before >= self.camera.limit.load(Ordering::Relaxed) {
            self.waker.wake();
        }
    }
}
