//! Help: an idle worker detects frames of cameras whose owner cannot keep up. The other side is [`crate::offload`].

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use peregrine_daemon::{Metric, Shutdown};
use peregrine_proto::{CameraId, DetectAnswer, DetectRequest, Detection, Size, Stage, StageTime};
use peregrine_streams::Redis;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use crate::{
    journey::{Frame, InHand, StageClock, Whose},
    leased::Load,
    model::Wanted,
};

/// Detects for others while this worker itself has nothing to do.
pub(crate) struct Helper {
    pub(crate) redis: Redis,
    /// The model that runs here.
    pub(crate) model: String,
    pub(crate) worker: String,
    pub(crate) load: Arc<Load>,
    pub(crate) journey: mpsc::Sender<InHand<Bytes>>,
    pub(crate) shutdown: Shutdown,
}

/// A frame that another worker asked for, on its way through this one.
pub(crate) struct Asked {
    pub(crate) camera: CameraId,
    confidence: f32,
    nms_iou: f32,
    classes: Option<Vec<u16>>,
    answer: oneshot::Sender<(Option<Vec<Detection>>, Vec<StageTime>)>,
}

impl Asked {
    pub(crate) fn wanted(&self, source: Size) -> Wanted<'_> {
        let Self { confidence, nms_iou, classes, .. } = self;
        Wanted { confidence: *confidence, nms_iou: *nms_iou, classes: classes.as_deref(), source }
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }

    /// The end of its way: what was detected, none where that failed.
    pub(crate) fn answer(self, detections: Option<Vec<Detection>>, stages: Vec<StageTime>) {
        // Nobody waits: the worker is shutting down.
        let _ = self.answer.send((detections, stages));
    }
}

impl Helper {
    /// Takes one request at a time, and only when nothing else is in hand. Runs until shutdown.
    pub(crate) async fn run(self) {
        let mut requests = self.redis.detect_requests(&self.model);
        while !self.shutdown.is_requested() {
            let request = tokio::select! {
                request = async {
                    self.load.idle().await;
                    requests.next().await
                } => request,
                // What is popped at this very moment is not answered, and detected where it came from.
                () = self.shutdown.requested() => return,
            };
            match request {
                Ok(Some(request)) if self.load.is_idle() => self.detect(request).await,
                // Frames of our own came while it was waited for; it may even be one of them.
                Ok(Some(request)) => self.leave(&request).await,
                Ok(None) => {}
                Err(error) => warn!(%error, "cannot look who needs help: trying again"),
            }
        }
    }

    /// Leaves a request to other workers.
    async fn leave(&self, request: &DetectRequest) {
        if let Err(error) = self.redis.ask_to_detect(&self.model, request).await {
            debug!(camera = %request.camera, %error, "a request was not left to other workers");
        }
    }

    async fn detect(&self, request: DetectRequest) {
        let taken = Instant::now();
        let DetectRequest { camera, id, confidence, nms_iou, classes, ticket, answer_to, .. } = request;
        let frame = self.redis.frame(&camera, id).await;
        let frame = frame.inspect_err(|error| debug!(%camera, %error, "frame not fetched")).ok().flatten();
        let (detections, stages) = match frame {
            // It was trimmed, or is committed by now.
            None => (None, Vec::new()),
            Some(frame) => {
                // The stages before are known to whoever asked.
                let mut clock = StageClock::new(Vec::new(), taken);
                clock.lap(Stage::Read);
                let (answer, answered) = oneshot::channel();
                let in_hand = InHand {
                    whose: Whose::Asked(Asked {
                        camera: camera.clone(),
                        confidence,
                        nms_iou,
                        classes,
                        answer,
                    }),
                    frame: Frame { id, header: Some(frame.header), clock },
                    picture: Ok(frame.data),
                };
                if self.journey.send(in_hand).await.is_err() {
                    return;
                }
                answered.await.unwrap_or_default()
            }
        };
        let outcome = if detections.is_some() { "detected" } else { "gone" };
        Metric::HelpedFrames.counter([outcome]).inc();
        let answer = DetectAnswer {
            schema: self.redis.schema(),
            ticket,
            detections,
            stages,
            worker: self.worker.clone(),
        };
        if let Err(error) = self.redis.answer_detect(&answer_to, &answer).await {
            debug!(%camera, %error, "detected for another worker, and not answered");
        }
    }
}
