use crate::{CameraId, Detection, FrameId, StageTime, wire_struct};

wire_struct! {
    /// Asks any idle worker with the same model to detect a frame of a camera whose owner cannot keep up. The frame
    /// itself lies in the camera's stream. Detection depends on nothing else, so it may be done twice, or never: the
    /// owner then does it itself.
    pub struct DetectRequest {
        /// Schema version, see `SCHEMA`.
        pub schema: u16,
        /// Whose frame.
        pub camera: CameraId,
        /// The frame.
        pub id: FrameId,
        /// Least score of a detection that is wanted.
        pub confidence: f32,
        /// Boxes of one class that overlap more than this (intersection over union) are one object.
        pub nms_iou: f32,
        /// Class ids to keep, rising; absent for all.
        pub classes: Option<Vec<u16>>,
        /// Names the request in its answer; the owner never uses one twice.
        pub ticket: u64,
        /// The worker that asks.
        pub answer_to: String,
    }
}

wire_struct! {
    /// What came of a `DetectRequest`.
    pub struct DetectAnswer {
        /// Schema version, see `SCHEMA`.
        pub schema: u16,
        /// The request's.
        pub ticket: u64,
        /// What was detected, in source pixels, sorted by falling confidence; absent where the frame was gone or could
        /// not be detected.
        pub detections: Option<Vec<Detection>>,
        /// How long the stages took that the worker did.
        pub stages: Vec<StageTime>,
        /// The worker that did it.
        pub worker: String,
    }
}
