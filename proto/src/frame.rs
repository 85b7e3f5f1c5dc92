use crate::{PIXEL_ASPECTS, PictureShape, SCHEMA, Stage, StageTime, wire_enum, wire_struct};

wire_struct! {
    /// A size in pixels.
    #[derive(Eq, Copy)]
    pub struct Size {
        /// Columns.
        pub width: u32,
        /// Rows.
        pub height: u32,
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

wire_enum! {
    /// How a frame's bytes are laid out.
    pub enum PixelFormat {
        /// Planar YUV 4:2:0, even dimensions, rows without padding: Y (w·h), then U and V (w/2·h/2 each).
        I420 = 0 "i420",
    }
}

wire_enum! {
    /// Which luma coefficients the YUV values were made with.
    pub enum ColourMatrix {
        /// ITU-R BT.601 (standard definition).
        Bt601 = 0 "bt601",
        /// ITU-R BT.709 (high definition).
        Bt709 = 1 "bt709",
        /// ITU-R BT.2020.
        Bt2020 = 2 "bt2020",
    }
}

wire_enum! {
    /// Which values stand for black and white.
    pub enum ColourRange {
        /// Y 16 to 235, U and V 16 to 240.
        Limited = 0 "limited",
        /// 0 to 255.
        Full = 1 "full",
    }
}

wire_struct! {
    /// How to turn YUV into RGB.
    #[derive(Eq, Copy)]
    pub struct Colour {
        /// The luma coefficients.
        pub matrix: ColourMatrix,
        /// The range of values.
        pub range: ColourRange,
    }
}

wire_enum! {
    /// Why a frame ended without being processed.
    pub enum LossReason {
        /// The live queue was full: the oldest went.
        QueueFull = 0 "queue_full",
        /// Redis refused the frame because its memory is full.
        RedisFull = 1 "redis_full",
        /// Redis could not be reached.
        RedisUnreachable = 2 "redis_unreachable",
        /// The frame came from a producer that has since been succeeded.
        StaleProducer = 3 "stale_producer",
        /// The decoder could not make a picture of the packet.
        Undecodable = 4 "undecodable",
        /// Left out on purpose: every Nth frame is wanted.
        NotWanted = 5 "not_wanted",
        /// A live frame was older than its deadline before inference.
        TooOld = 6 "too_old",
        /// The frame's header or pixels made no sense.
        Malformed = 7 "malformed",
        /// Three attempts at this frame killed their worker.
        Poison = 8 "poison",
        /// Inference failed on this frame.
        InferenceFailed = 9 "inference_failed",
        /// The decoder marked the picture as broken.
        Damaged = 10 "damaged",
        /// Nothing moved, so the model was not asked. Reserved: no release writes it yet.
        Quiet = 11 "quiet",
    }
}

wire_struct! {
    /// How many frames were lost for a reason, counted since the camera's counter began.
    #[derive(Eq, Copy)]
    pub struct LossCount {
        /// Why.
        pub reason: LossReason,
        /// How many.
        pub count: u64,
    }
}

wire_struct! {
    /// What travels with each frame's pixels.
    pub struct FrameHeader {
        /// The schema version, see `SCHEMA`.
        pub schema: u16,
        /// Counts the frames given to the stream; never restarts, so a gap is a loss.
        pub n: u64,
        /// The producer's lease epoch: a smaller one than seen before is a producer that was succeeded.
        pub inc: u64,
        /// Index of the frame in its source, from 0; starts again when a file loops.
        pub position: u64,
        /// Drives tracking and speed: presentation time for files; for live sources the wall clock of the first frame, then
        /// as far apart as presentation times say, or capture wall time where they have none. Microseconds.
        pub media_time_us: i64,
        /// Wall clock at capture, microseconds since the Unix epoch.
        pub captured_at_us: i64,
        /// Width and height of the source picture after rotation; results are in its pixels.
        pub source: Size,
        /// Width and height of the pixels that travel here.
        pub analysed: Size,
        /// Source pixels per analysed pixel along x and y.
        pub scale: [f64; 2],
        /// Width of a source pixel over its height.
        pub pixel_aspect: f32,
        /// Clockwise degrees by which the picture was already turned: 0, 90, 180 or 270.
        pub rotation: u16,
        /// Layout of the bytes.
        pub format: PixelFormat,
        /// YUV matrix and range.
        pub colour: Colour,
        /// The media time does not continue the last frame's (loop, seek, reconnect after a gap): trackers start anew.
        pub discontinuity: bool,
        /// Closes a file: there is no picture, and none follows.
        pub end: bool,
        /// A file or images: waits instead of dropping, and is never skipped for its age.
        pub lossless: bool,
        /// Frames lost before publishing, cumulative.
        pub lost: Vec<LossCount>,
        /// What this frame's stages took so far.
        pub stages: Vec<StageTime>,
        /// The decoder marked the picture as broken, and the camera's configuration keeps such pictures.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub damaged: bool,
    }
}

impl FrameHeader {
    /// Of a picture as most are: square pixels, not turned, BT.601 in the limited range, the `source` scaled to `analysed`. Nothing is
    /// counted, timed or lost yet.
    pub fn of_picture(source: Size, analysed: Size) -> Self {
        let per = |source: u32, analysed: u32| f64::from(source.max(1)) / f64::from(analysed.max(1));
        Self {
            schema: SCHEMA,
            n: 0,
            inc: 0,
            position: 0,
            media_time_us: 0,
            captured_at_us: 0,
            source,
            analysed,
            scale: [per(source.width, analysed.width), per(source.height, analysed.height)],
            pixel_aspect: 1.0,
            rotation: 0,
            format: PixelFormat::I420,
            colour: Colour { matrix: ColourMatrix::Bt601, range: ColourRange::Limited },
            discontinuity: false,
            end: false,
            lossless: false,
            lost: Vec::new(),
            stages: Vec::new(),
            damaged: false,
        }
    }

    /// The source picture's size and the shape of its pixels; pixels that no camera has count as square.
    pub fn picture(&self) -> PictureShape {
        let plausible = PIXEL_ASPECTS.contains(&self.pixel_aspect);
        PictureShape::new(self.source, if plausible { self.pixel_aspect } else { 1.0 })
    }

    /// The bytes that the pixels must have.
    pub fn data_len(&self) -> usize {
        let (w, h) = (self.analysed.width as usize, self.analysed.height as usize);
        if self.end { 0 } else { w * h + 2 * w.div_ceil(2) * h.div_ceil(2) }
    }

    /// Notes what a stage took, beside what it took before.
    pub fn stamp(&mut self, stage: Stage, took: std::time::Duration) {
        StageTime::note(&mut self.stages, stage, took);
    }
}
