use std::time::Duration;

use crate::{wire_enum, wire_struct};

wire_enum! {
    /// The stages of a frame's journey: one name each, in code, metrics, spans, docs and the dashboard.
    pub enum Stage {
        /// Waiting for the source to have the next frame.
        Capture = 0 "capture",
        /// Packet to picture.
        Decode = 1 "decode",
        /// Held in the producer: in the decoder for the frames that are shown before it (B-frames), for the camera's thread, or
        /// for Redis to have answered the last frame.
        Hold = 2 "hold",
        /// Source size to analysis size.
        Resize = 3 "resize",
        /// A lossless source waits for the stream to have room.
        Credit = 4 "credit",
        /// Writing the frame into its stream.
        Publish = 5 "publish",
        /// Lying in the stream until a processor takes it.
        Queue = 6 "queue",
        /// From the reader's wake-up to the decoded header.
        Read = 7 "read",
        /// Waiting for a batch or for a worker thread.
        Wait = 8 "wait",
        /// I420 to the model's letterboxed planar input.
        Preprocess = 9 "preprocess",
        /// The model.
        Infer = 10 "infer",
        /// The model's output to boxes, and non-maximum suppression.
        Postprocess = 11 "postprocess",
        /// Boxes to tracks.
        Track = 12 "track",
        /// Tracks to speeds.
        Speed = 13 "speed",
        /// Tracks to zones and regions.
        Zones = 14 "zones",
        /// Result, checkpoint and progress written in one script.
        Commit = 15 "commit",
        /// From the commit seen by the gateway to the bytes written to the client.
        Relay = 16 "relay",
        /// From there to decoded in the browser.
        Deliver = 17 "deliver",
        /// From there to painted.
        Paint = 18 "paint",
    }
}

wire_struct! {
    /// How long a stage took for one frame.
    #[derive(Eq, Copy)]
    pub struct StageTime {
        /// Which stage.
        pub stage: Stage,
        /// Microseconds by a monotonic clock.
        pub us: u32,
    }
}

impl StageTime {
    /// Adds a duration to its stage's, at the end where the stage was not there yet.
    pub fn note(stages: &mut Vec<Self>, stage: Stage, took: Duration) {
        let us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        match stages.iter_mut().find(|time| time.stage == stage) {
            Some(time) => time.us = time.us.saturating_add(us),
            None => stages.push(Self { stage, us }),
        }
    }

    /// As a duration.
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.us.into())
    }
}
