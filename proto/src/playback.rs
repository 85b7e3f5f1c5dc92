use crate::{CameraId, FrameId, wire_enum, wire_struct};

wire_struct! {
    /// Stand still: the frame that was sent last stays the position.
    pub struct Pause {
        /// Comes back in the answer.
        pub request_id: u32,
        /// The camera.
        pub camera: CameraId,
    }
}

wire_struct! {
    /// Be live again: the latest frame, then every new one. Of a camera that is live, this only asks what is held.
    pub struct Play {
        /// Comes back in the answer.
        pub request_id: u32,
        /// The camera.
        pub camera: CameraId,
    }
}

wire_struct! {
    /// Go to a frame that the stream still holds. Whoever plays goes on from there; everybody else stands still on it.
    pub struct Seek {
        /// Comes back in the answer.
        pub request_id: u32,
        /// The camera.
        pub camera: CameraId,
        /// The frame.
        pub to: FrameId,
        /// Take the nearest frame there is: `<milliseconds of the wall clock>-0` then names a moment.
        pub nearest: bool,
    }
}

wire_struct! {
    /// Go some frames on, or back, and stand still.
    pub struct PlaybackStep {
        /// Comes back in the answer.
        pub request_id: u32,
        /// The camera.
        pub camera: CameraId,
        /// How many, -100 to 100; where there are fewer, to the last of them.
        pub frames: i32,
    }
}

wire_struct! {
    /// Play on from the position, until what is live is reached.
    pub struct PlaybackSpeed {
        /// Comes back in the answer.
        pub request_id: u32,
        /// The camera.
        pub camera: CameraId,
        /// Times as fast as it happened, 0.1 to 16.
        pub speed: f32,
    }
}

wire_enum! {
    /// What a client sees of a camera's time.
    pub enum PlaybackState {
        /// What happens now.
        Live = 0 "live",
        /// One frame, standing still.
        Paused = 1 "paused",
        /// What happened before, moving on.
        Playing = 2 "playing",
        /// As `playing`, but what is to come is not here yet, or the client does not take it.
        Buffering = 3 "buffering",
        /// The last frame of a source that has ended.
        Ended = 4 "ended",
    }
}

wire_struct! {
    /// Where a client is in a camera's time: the answer to a request, and told whenever it changes by itself.
    pub struct Playback {
        /// Of the request that this answers; none where it changed by itself.
        pub request_id: Option<u32>,
        /// The camera.
        pub camera: CameraId,
        /// Rises with each jump. What follows this message belongs to the jump, and nothing from before it comes any more.
        pub seek_epoch: u32,
        /// What is seen now.
        pub state: PlaybackState,
        /// Times as fast as it happened; 1 where nothing is played.
        pub speed: f32,
        /// The position: the frame that comes next after a jump, the one that was sent last otherwise. None while live.
        pub at: Option<FrameId>,
        /// Oldest frame that the stream holds.
        pub first: Option<FrameId>,
        /// Newest frame that the stream holds.
        pub last: Option<FrameId>,
        /// After a jump: the picture of the frame is held and comes too.
        pub has_picture: bool,
        /// Why the request was not obeyed: then nothing has changed.
        pub problem: Option<String>,
    }
}

wire_struct! {
    /// Results between two frames are missing: what was asked for is not held any more, or there never were any.
    pub struct Gap {
        /// The camera.
        pub camera: CameraId,
        /// The last frame before the gap, as the client named it or was sent it.
        pub after: FrameId,
        /// The first frame behind it; none where nothing is held: what comes next is live.
        pub first: Option<FrameId>,
    }
}
