use serde_bytes::ByteBuf;

use crate::{
    CameraId, FrameId, Gap, Pause, Play, Playback, PlaybackSpeed, PlaybackStep, Seek, Size, StepMapMessage,
    StepMessage, Streams, SubscribeSteps, wire_enum, wire_struct, wire_union,
};

wire_struct! {
    /// Choose what to receive about a camera. A later one for the same camera replaces it.
    #[derive(Default)]
    pub struct Subscribe {
        /// The cameras; empty for all there are and will be.
        pub cameras: Vec<CameraId>,
        /// Send results.
        pub results: bool,
        /// Send pictures, this wide; none for no pictures. A camera's pictures have one width, the largest that anybody
        /// wants of it (and not more than the source's): who wants small ones may get large ones while others watch.
        pub preview_width: Option<u32>,
        /// Begin after this result instead of with the latest: to go on where a connection broke off. Only with one camera.
        #[serde(default)]
        pub resume_after: Option<FrameId>,
        /// At most so many results, and pictures, a second of each camera, 0.1 to 1000; none for all there are.
        #[serde(default)]
        pub max_rate: Option<f32>,
    }
}

wire_struct! {
    /// Receive nothing more about these cameras.
    pub struct Unsubscribe {
        /// The cameras; empty for all.
        pub cameras: Vec<CameraId>,
    }
}

wire_struct! {
    /// Measures the round trip and the offset of the clocks.
    #[derive(Copy)]
    pub struct Ping {
        /// The client's clock in microseconds; comes back unchanged.
        pub client_time_us: i64,
    }
}

wire_struct! {
    /// When a frame was painted, so that its last stages can be counted.
    pub struct Painted {
        /// The camera.
        pub camera: CameraId,
        /// The frame.
        pub id: FrameId,
        /// From `seen_at_us` of the result to decoded in the browser, microseconds: the gateway's relay is in it.
        pub deliver_us: u32,
        /// From decoded to painted, microseconds.
        pub paint_us: u32,
    }
}

wire_union! {
    /// From a client to the gateway, one per WebSocket message.
    pub enum ClientMessage {
        /// Choose what to receive.
        Subscribe(Subscribe) = "subscribe",
        /// Stop receiving.
        Unsubscribe(Unsubscribe) = "unsubscribe",
        /// Measure the connection.
        Ping(Ping) = "ping",
        /// Report a painted frame.
        Painted(Painted) = "painted",
        /// Stand still.
        Pause(Pause) = "pause",
        /// Be live.
        Play(Play) = "play",
        /// Go to a frame.
        Seek(Seek) = "seek",
        /// Go some frames on or back.
        Step(PlaybackStep) = "step",
        /// Play what is held.
        Speed(PlaybackSpeed) = "speed",
        /// Choose whose steps to receive.
        SubscribeSteps(SubscribeSteps) = "subscribe_steps",
    }
}

wire_enum! {
    /// How a camera is doing, in one word.
    pub enum CameraHealth {
        /// Opening its source for the first time.
        Starting = 0 "starting",
        /// Frames and results flow.
        Live = 1 "live",
        /// The source was lost; trying again.
        Reconnecting = 2 "reconnecting",
        /// Frames come, but no processor owns the camera.
        NoOwner = 3 "no_owner",
        /// No producer holds the camera.
        NoProducer = 4 "no_producer",
        /// The file has ended.
        Ended = 5 "ended",
        /// The source cannot be opened and trying again will not help, see `error`.
        Failed = 6 "failed",
    }
}

wire_struct! {
    /// What the gateway knows of a camera.
    pub struct CameraState {
        /// The camera.
        pub camera: CameraId,
        /// A name for people.
        pub name: String,
        /// How it is doing.
        pub health: CameraHealth,
        /// What is wrong, in a sentence, credentials masked.
        pub error: Option<String>,
        /// Size of the source picture.
        pub source: Option<Size>,
        /// Frames per second that the source gives.
        pub source_fps: f32,
        /// Frames published per second, lately.
        pub fps_in: f32,
        /// Results per second, lately.
        pub fps_out: f32,
        /// Frames waiting in the stream.
        pub backlog: u32,
        /// The worker that owns it.
        pub owner: Option<String>,
        /// The model that its results are of: `/api/models` has its class names. None while no processor has announced one.
        pub model: Option<String>,
        /// Region of interest, pixels of `source`; empty also where it was drawn on a picture of another shape.
        pub region: Vec<[f32; 2]>,
        /// Whether speeds are measured.
        pub calibrated: bool,
    }
}

wire_struct! {
    /// First message after connecting.
    pub struct Welcome {
        /// The schema version.
        pub schema: u16,
        /// The gateway's release.
        pub version: String,
        /// The gateway's clock, microseconds since the Unix epoch.
        pub server_time_us: i64,
    }
}

wire_struct! {
    /// All cameras; sent after connecting and whenever one changes, at most four times a second.
    pub struct Cameras {
        /// One entry a camera, sorted by id.
        pub cameras: Vec<CameraState>,
    }
}

wire_struct! {
    /// A result.
    pub struct ResultMessage {
        /// The camera.
        pub camera: CameraId,
        /// The frame.
        pub id: FrameId,
        /// When the gateway saw it committed, microseconds since the Unix epoch.
        pub seen_at_us: i64,
        /// An encoded `FrameResult`, as it stands in the stream or compact (see Encodings); in JSON the result itself.
        #[serde(with = "crate::readable::result")]
        pub result: ByteBuf,
    }
}

wire_struct! {
    /// A picture.
    pub struct Preview {
        /// The camera.
        pub camera: CameraId,
        /// The frame that it shows.
        pub id: FrameId,
        /// Its size in pixels.
        pub size: Size,
        /// JPEG; in JSON as base64.
        #[serde(with = "crate::readable::base64")]
        pub jpeg: ByteBuf,
        /// The decoder marked the picture as broken.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub damaged: bool,
    }
}

wire_struct! {
    /// Answer to a ping.
    #[derive(Copy)]
    pub struct Pong {
        /// The client's clock as it was sent.
        pub client_time_us: i64,
        /// The gateway's clock, microseconds since the Unix epoch.
        pub server_time_us: i64,
    }
}

wire_struct! {
    /// The client was too slow and misses messages.
    pub struct Missed {
        /// The camera, or the stream of steps.
        pub camera: CameraId,
        /// Messages dropped since the connection began.
        pub total: u64,
    }
}

wire_struct! {
    /// What the client did wrong, or why the connection ends.
    pub struct Problem {
        /// A sentence with the way out.
        pub message: String,
    }
}

wire_union! {
    /// From the gateway to a client, one per WebSocket message.
    pub enum ServerMessage {
        /// Greets.
        Welcome(Welcome) = "welcome",
        /// Lists the cameras.
        Cameras(Cameras) = "cameras",
        /// Brings a result.
        Result(ResultMessage) = "result",
        /// Brings a picture.
        Preview(Preview) = "preview",
        /// Answers a ping.
        Pong(Pong) = "pong",
        /// Tells of messages dropped for this client.
        Missed(Missed) = "missed",
        /// Tells what went wrong.
        Problem(Problem) = "problem",
        /// Tells where the client is in a camera's time.
        Playback(Playback) = "playback",
        /// Tells of results that are not held any more.
        Gap(Gap) = "gap",
        /// Lists the streams of steps.
        Streams(Streams) = "streams",
        /// Brings a step.
        Step(StepMessage) = "step",
        /// Brings a stream's map.
        StepMap(StepMapMessage) = "step_map",
    }
}
