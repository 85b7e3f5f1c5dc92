//! A camera that this worker owns for now: its lease, what is wanted of its frames, and the state that moves with them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use peregrine_daemon::{
    Metric,
    metrics::{CameraSeries, Takeover},
};
use peregrine_proto::{CameraConfig, CameraId, FrameId, FrameResult, ResultStatus, SCHEMA, Size, Stage};
use peregrine_streams::{Grant, Intake, Lease, Losses, Seen, Waker};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::{
    camera_analysis::{Analysed, CameraAnalysis},
    drawn::{DrawnNews, DrawnThing},
    journey::{Detected, NotAnalysed, StageClock},
    model::Wanted,
    offload::Room,
};

/// Frames of a live camera in hand at once: the one that is inferred, and the next. More would only age.
const LIVE_IN_HAND: usize = 2;
/// Frames of a file in hand at once: one for each stage's thread and queue, so that none waits for another.
const FILE_IN_HAND: usize = 6;
/// Frames in detection that keep every thread of it busy: one is inferred, one waits, one is preprocessed.
const DETECTING: usize = 3;
/// While others help, so many more frames for each that they may have: those that wait for an earlier one to come back.
const WAITING_PER_OFFLOADED: usize = 2;

/// A camera from its acquisition to its release or loss. Acquired again, it is another one.
pub(crate) struct LeasedCamera {
    config: CameraConfig,
    lease: Lease,
    /// The last frame that was committed when the camera was taken, and what had been lost by then.
    starts_after: FrameId,
    lost_before: Losses,
    /// Until the first commit, where the camera was taken over.
    takeover: Mutex<Option<Takeover>>,
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
    /// Frames read and neither committed nor dropped.
    in_hand: AtomicUsize,
    /// Their ids, by their turns.
    waiting: Mutex<BTreeMap<u64, FrameId>>,
    /// Those of them that are detected here.
    detecting: AtomicUsize,
    /// How many may be in hand: one until the first commit has shown that the first frame does not kill.
    limit: AtomicUsize,
    /// The reader has left this camera out, because it had enough in hand.
    left_out: AtomicBool,
    /// Frames read so far.
    turns: AtomicU64,
    progress: Mutex<Progress>,
    _series: CameraSeries,
}

/// What each frame moves on.
struct Progress {
    analysis: CameraAnalysis,
    /// The last frame finished.
    id: FrameId,
    /// The turn of the next one.
    turn: u64,
    intake: Intake,
    source: Size,
}

/// A frame's place among its camera's frames in hand. Dropped wherever its journey ends, so that no path forgets to make
/// room for the next one.
pub(crate) struct Place {
    pub(crate) camera: Arc<LeasedCamera>,
    /// Frames are analysed in this order.
    turn: u64,
    /// Whether it is detected here, and not yet detected.
    detecting: bool,
    waker: Waker,
    load: Arc<Load>,
}

/// How many frames of its own cameras a worker has in hand: without any, it is idle.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_hand: AtomicUsize,
    idle: Notify,
}

impl Load {
    /// Waits until nothing is in hand.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.is_idle() {
                return;
            }
            idle.await;
        }
    }

    /// Whether nothing is in hand.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_hand.load(Ordering::SeqCst) == 0
    }
}

/// A frame that is ready to be committed.
pub(crate) struct Finished {
    pub(crate) place: Place,
    pub(crate) id: FrameId,
    /// The frame committed before it.
    pub(crate) after: FrameId,
    pub(crate) result: FrameResult,
    /// The account of frames after it.
    pub(crate) intake: Intake,
    /// The state of tracker and speeds after it.
    pub(crate) state: Vec<u8>,
    /// Tracks for which there was no room.
    pub(crate) crowded_out: u32,
    pub(crate) lossless: bool,
    /// The stages before `commit`.
    pub(crate) clock: StageClock,
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
        let Grant { lease, checkpoint, silent_for } = grant;
        let series = CameraSeries::hold(config.id.as_str());
        let mut analysis = CameraAnalysis::new(config, class_names)?;
        let residual = analysis.calibration_residuals_px().iter().copied().fold(0.0, f64::max);
        Metric::CalibrationResidual.gauge([config.id.as_str()]).set(residual);
        for what in DrawnThing::ALL {
            Metric::DrawnOff.gauge([config.id.as_str(), what.as_str()]).set(0.0);
        }
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
            lost_before: checkpoint.lost.clone(),
            takeover: Mutex::new(silent_for.map(|silent_for| Takeover::begin("processor", silent_for))),
            confidence: analysis.least_confidence(),
            classes: analysis.kept_classes().map(<[u16]>::to_vec),
            lease,
            lost: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            committed: AtomicBool::new(false),
            attention,
            in_hand: AtomicUsize::new(0),
            waiting: Mutex::default(),
            detecting: AtomicUsize::new(0),
            limit: AtomicUsize::new(1),
            left_out: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            progress: Mutex::new(Progress {
                intake: Intake::from_checkpoint(&checkpoint),
                analysis,
                id: checkpoint.id,
                turn: 0,
                source: Size { width: 0, height: 0 },
            }),
            _series: series,
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

    /// What was lost before the camera was taken.
    pub(crate) fn lost_before(&self) -> &Losses {
        &self.lost_before
    }

    /// The oldest frame in hand; none where nothing is in hand.
    pub(crate) fn oldest(&self) -> Option<FrameId> {
        self.waiting().first_key_value().map(|(_, id)| *id)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, FrameId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(takeover) = self.takeover.lock().unwrap_or_else(PoisonError::into_inner).take() {
            takeover.end();
        }
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
        self.in_hand.load(Ordering::SeqCst)
    }

    /// How many more frames may be read. With none, the next frame of this camera that makes room wakes the reader.
    pub(crate) fn allowance(&self, elsewhere: Room) -> usize {
        // Set first: room that is made after the look below must find it.
        self.left_out.store(true, Ordering::SeqCst);
        let limit = self.limit.load(Ordering::Relaxed);
        // Alone until it has shown that it does not kill.
        let Room { window, free } = if limit == 1 { Room { window: 0, free: 0 } } else { elsewhere };
        let room = (limit + (1 + WAITING_PER_OFFLOADED) * window).saturating_sub(self.in_hand());
        let detectable = limit.saturating_sub(self.detecting.load(Ordering::SeqCst)) + free;
        let allowance = room.min(detectable);
        if allowance > 0 {
            self.left_out.store(false, Ordering::SeqCst);
        }
        allowance
    }

    /// Whether as many frames are being detected here as should be: the next one is for others.
    pub(crate) fn is_hot(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit > 1 && self.detecting.load(Ordering::SeqCst) >= limit.min(DETECTING)
    }

    /// Takes the next frame in hand; `waker`'s reader may read another when it is done.
    pub(crate) fn take_in_hand(self: &Arc<Self>, id: FrameId, waker: &Waker, load: &Arc<Load>) -> Place {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        self.waiting().insert(turn, id);
        self.in_hand.fetch_add(1, Ordering::SeqCst);
        load.in_hand.fetch_add(1, Ordering::SeqCst);
        Place {
            camera: Arc::clone(self),
            turn,
            detecting: false,
            waker: waker.clone(),
            load: Arc::clone(load),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // A lock whose holder panicked is still a lock: the state is thrown away with the process.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the region or the calibration was switched off, or on again.
    fn tell(&self, news: &DrawnNews) {
        let camera = self.id();
        if news.is_warning() {
            warn!(%camera, "{news}");
        } else {
            info!(%camera, "{news}");
        }
        let off = Metric::DrawnOff.gauge([camera.as_str(), news.what.as_str()]);
        off.set(if news.is_warning() { 1.0 } else { 0.0 });
    }

    /// Which detections the camera wants.
    pub(crate) fn wanted(&self, source: Size) -> Wanted<'_> {
        let nms_iou = self.config.analysis.nms_iou;
        Wanted { confidence: self.confidence, nms_iou, classes: self.classes.as_deref(), source }
    }
}

impl Detected {
    /// The stages `track`, `speed` and `zones`: moves the camera's state on by one frame, and makes its result, both in this
    /// schema version.
    /// None for a frame of a producer that was succeeded: it is only counted, with the next frame's result.
    pub(crate) fn finish(self, worker: &str, schema: u16) -> Option<Finished> {
        let Self { place, mut frame, picture, doubts: mut notices } = self;
        let camera = Arc::clone(&place.camera);
        let mut progress = camera.progress();
        progress.turn = place.turn + 1;
        frame.clock.lap(Stage::Wait);
        let header = frame.header;
        if header.as_ref().map(|header| progress.intake.see(header)) == Some(Seen::StaleProducer) {
            warn!(camera = %camera.id(), id = %frame.id, "a frame of a producer that was succeeded: left out");
            return None;
        }
        let (status, reason) = match &picture {
            Ok(_) => (ResultStatus::Ok, None),
            Err(NotAnalysed { status, reason }) => (*status, *reason),
        };
        let seen = match (&header, picture) {
            (Some(header), Ok(detections)) => {
                if progress.source != header.source {
                    progress.source = header.source;
                    for doubt in progress.analysis.calibration_doubts(header.source) {
                        warn!(camera = %camera.id(), doubt, "the calibration can hardly be right");
                    }
                }
                let (time, jump) = (header.media_time_us, header.discontinuity);
                progress
                    .analysis
                    .update(time, jump, header.picture(), &detections, |stage| frame.clock.lap(stage))
            }
            _ => Analysed {
                track_epoch: progress.analysis.track_epoch(),
                detections: Vec::new(),
                tracks: Vec::new(),
                notices: Vec::new(),
                crowded_out: 0,
                news: Vec::new(),
            },
        };
        notices.extend(&seen.notices);
        if header.as_ref().is_some_and(|h| h.damaged) {
            notices.push(progress.analysis.damaged_notice());
        }
        seen.news.iter().for_each(|news| camera.tell(news));
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
            stages: frame.clock.stages(),
            worker: worker.to_owned(),
            lost: progress.intake.lost.to_vec(),
            notices,
        }
        .for_schema(schema);
        Some(Finished {
            id: frame.id,
            after: std::mem::replace(&mut progress.id, frame.id),
            result,
            intake: progress.intake.clone(),
            state: progress.analysis.state_for(schema),
            crowded_out: seen.crowded_out,
            lossless: header.is_some_and(|h| h.lossless),
            clock: frame.clock,
            place,
        })
    }
}

impl Place {
    /// The frame is going to be detected here.
    pub(crate) fn detect_here(&mut self) {
        if !std::mem::replace(&mut self.detecting, true) {
            self.camera.detecting.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Its detections are known.
    pub(crate) fn detected(&mut self) {
        if std::mem::take(&mut self.detecting) {
            self.camera.detecting.fetch_sub(1, Ordering::SeqCst);
        }
        self.wake_reader();
    }

    /// Whether all earlier frames of its camera are analysed.
    pub(crate) fn is_next(&self) -> bool {
        self.camera.progress().turn == self.turn
    }

    /// Waking costs two round trips: only a reader that has left this camera out need be told.
    fn wake_reader(&self) {
        if self.camera.left_out.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.detecting {
            self.camera.detecting.fetch_sub(1, Ordering::SeqCst);
        }
        self.camera.waiting().remove(&self.turn);
        self.camera.in_hand.fetch_sub(1, Ordering::SeqCst);
        if self.load.in_hand.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.load.idle.notify_waiters();
        }
        self.wake_reader();
    }
}
