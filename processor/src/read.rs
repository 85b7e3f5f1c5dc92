//! `read`: batches of frames of all leased cameras, over one blocking connection, into the journey.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use peregrine_daemon::Shutdown;
use peregrine_proto::{CameraId, FrameHeader, FrameId, LossReason, ResultStatus, Stage};
use peregrine_streams::{Arrival, Attempt, FrameReader, Redis, Waker};
use tokio::sync::mpsc;
use tracing::warn;

use crate::{
    journey::{Frame, InHand, NotAnalysed, StageClock, Whose},
    leased::{LeasedCamera, Load},
    offload::Offload,
    run::Progress,
};

/// Reads until shutdown. Taken cameras come through `taken`; those that are lost leave by themselves.
pub(crate) struct Reader {
    pub(crate) redis: Redis,
    pub(crate) frames: FrameReader,
    pub(crate) taken: mpsc::Receiver<Arc<LeasedCamera>>,
    pub(crate) journey: mpsc::Sender<InHand<Bytes>>,
    pub(crate) offload: Arc<Offload>,
    pub(crate) load: Arc<Load>,
    pub(crate) block: Duration,
    pub(crate) progress: Arc<Progress>,
    pub(crate) shutdown: Shutdown,
}

/// A camera that is read.
struct Followed {
    camera: Arc<LeasedCamera>,
    /// Whether its first frame under this lease is on its way.
    begun: bool,
}

impl Reader {
    pub(crate) async fn run(mut self) {
        let mut followed: HashMap<CameraId, Followed> = HashMap::new();
        let waker = self.frames.waker();
        while !self.shutdown.is_requested() {
            let elsewhere = self.offload.room();
            while let Ok(camera) = self.taken.try_recv() {
                self.frames.follow(camera.id(), camera.starts_after(), camera.allowance(elsewhere));
                followed.insert(camera.id().clone(), Followed { camera, begun: false });
            }
            followed.retain(|id, Followed { camera, .. }| {
                if camera.is_lost() {
                    self.frames.unfollow(id);
                } else {
                    self.frames.allow(id, camera.allowance(elsewhere));
                }
                !camera.is_lost()
            });
            let arrivals = tokio::select! {
                arrivals = self.frames.read(self.block) => arrivals,
                () = self.shutdown.requested() => return,
            };
            let woke = Instant::now();
            match arrivals {
                Ok(arrivals) => {
                    if followed.values().all(|followed| followed.camera.in_hand() == 0) {
                        self.progress.note();
                    }
                    for arrival in arrivals {
                        // What was read and not begun is read again by the camera's next owner, sooner than it could be done here.
                        if self.shutdown.is_requested() {
                            return;
                        }
                        if !self.send(&mut followed, arrival, woke, &waker).await {
                            return;
                        }
                    }
                }
                Err(error) => warn!(%error, "frames cannot be read: trying again"),
            }
        }
    }

    /// Puts what arrived on its way. False when the journey has ended.
    async fn send(
        &self,
        followed: &mut HashMap<CameraId, Followed>,
        arrival: Arrival,
        woke: Instant,
        waker: &Waker,
    ) -> bool {
        let (id, frame_id, header, mut picture) = match arrival {
            Arrival::Frame(frame) => {
                let end = NotAnalysed { status: ResultStatus::End, reason: None };
                let picture = if frame.header.end { Err(end) } else { Ok(frame.data) };
                (frame.camera, frame.id, Some(frame.header), picture)
            }
            Arrival::Malformed { camera, id, header, why } => {
                warn!(%camera, %id, why, "an entry of the frame stream is no frame: skipped");
                (camera, id, header, Err(NotAnalysed::skipped(LossReason::Malformed)))
            }
            Arrival::Recreated { camera } => {
                warn!(%camera, "the frame stream was made anew: taking the camera again");
                followed.get(&camera).inspect(|followed| followed.camera.lose());
                return true;
            }
        };
        let Some(Followed { camera, begun }) = followed.get_mut(&id).filter(|f| !f.camera.is_lost()) else {
            return true;
        };
        let camera = Arc::clone(camera);
        let mut clock = StageClock::new(header.as_ref().map(|h| h.stages.clone()).unwrap_or_default(), woke);
        if let Some(header) = &header {
            clock.add(Stage::Queue, queued(header, self.redis.since(header.captured_at_us), woke));
        }
        // What came with it was sent on first.
        clock.lap(Stage::Wait);
        let first = !std::mem::replace(begun, true);
        let mut alone = false;
        if first {
            match self.begin(&camera, frame_id).await {
                Attempt::Begin { attempt } => alone = attempt > 1,
                Attempt::Poison => {
                    warn!(camera = %id, id = %frame_id, "this frame ended its worker three times: given up");
                    picture =
                        Err(NotAnalysed { status: ResultStatus::Poison, reason: Some(LossReason::Poison) });
                }
                Attempt::Fenced => {
                    camera.lose();
                    return true;
                }
            }
        }
        if alone {
            warn!(camera = %id, id = %frame_id, "this frame was begun before and not finished: taking it alone");
            nothing_in_hand(followed).await;
        }
        clock.lap(Stage::Read);
        let place = camera.take_in_hand(frame_id, waker, &self.load);
        let frame = Frame { id: frame_id, header, clock };
        let in_hand = InHand { whose: Whose::Ours(place), frame, picture };
        let ours = if camera.is_hot() { self.offload.ask(in_hand).await } else { Some(in_hand) };
        let sent = match ours {
            Some(in_hand) => self.journey.send(in_hand.detect_here()).await.is_ok(),
            None => true,
        };
        if alone {
            nothing_in_hand(followed).await;
        }
        sent
    }

    /// Notes that the first frame under a lease is begun, so that a frame which kills its workers is found out.
    async fn begin(&self, camera: &LeasedCamera, id: FrameId) -> Attempt {
        loop {
            match self.redis.begin_attempt(camera.lease(), id).await {
                Ok(attempt) => return attempt,
                Err(error) if error.is_transient() && !self.shutdown.is_requested() => {
                    warn!(camera = %camera.id(), %error, "the first frame cannot be begun: trying again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => {
                    warn!(camera = %camera.id(), %error, "the first frame cannot be begun: giving the camera up");
                    return Attempt::Fenced;
                }
            }
        }
    }
}

/// Waits until every frame that was read is committed or dropped, so that only the next one can be to blame.
async fn nothing_in_hand(followed: &HashMap<CameraId, Followed>) {
    while followed.values().any(|followed| followed.camera.in_hand() > 0) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What lies between capture and this read and was not spent in a stage of the producer, of a frame of this age.
fn queued(header: &FrameHeader, age: Duration, woke: Instant) -> Duration {
    let stages =
        header.stages.iter().filter(|time| time.stage != Stage::Capture).map(|time| u64::from(time.us));
    age.saturating_sub(woke.elapsed()).saturating_sub(Duration::from_micros(stages.sum()))
}
