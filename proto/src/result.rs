use crate::{LossCount, LossReason, Size, StageTime, wire_enum, wire_struct};

wire_enum! {
    /// In which of its ends a published frame ended.
    pub enum ResultStatus {
        /// Analysed.
        Ok = 0 "ok",
        /// Left out before inference, see `reason`.
        Skipped = 1 "skipped",
        /// Given up after it killed its worker three times.
        Poison = 2 "poison",
        /// The source ended: there was no picture.
        End = 3 "end",
        /// Not analysed because nothing moved; its tracks are predictions. Reserved: no release writes it yet.
        Predicted = 4 "predicted",
    }
}

wire_enum! {
    /// Where a track is in its life.
    pub enum TrackState {
        /// Seen for the first time, not yet confirmed.
        New = 0 "new",
        /// Seen in this frame.
        Tracked = 1 "tracked",
        /// Not seen in this frame; its box is a prediction.
        Lost = 2 "lost",
        /// Given up; this is its last mention.
        Removed = 3 "removed",
    }
}

wire_enum! {
    /// What people should know about a result: each is a sentence on the page.
    pub enum Notice {
        /// The region was drawn on a picture of another shape: it is switched off.
        RegionOff = 0 "region_off",
        /// The calibration was made on a picture of another shape: there are no speeds and no points on the ground.
        CalibrationOff = 1 "calibration_off",
        /// The model gives scores outside 0 to 1.
        ScoresOutOfRange = 2 "scores_out_of_range",
        /// Most of the model's boxes are smaller than a pixel.
        BoxesUnderAPixel = 3 "boxes_under_a_pixel",
        /// Most of the model's boxes lie far outside the picture.
        BoxesOutside = 4 "boxes_outside",
        /// The model gives class numbers that are not whole.
        ClassesNotWhole = 5 "classes_not_whole",
        /// Several of the model's outputs fit equally well.
        OutputsAmbiguous = 6 "outputs_ambiguous",
        /// Objects are seen, but their scores are too low to start a track.
        Doubtful = 7 "doubtful",
        /// The picture is broken and was analysed all the same, as the camera's configuration says.
        DamagedKept = 8 "damaged_kept",
        /// So many pictures are broken that all of them are analysed.
        DamageAnalysed = 9 "damage_analysed",
    }
}

wire_struct! {
    /// What the detector saw.
    #[derive(Copy)]
    pub struct Detection {
        /// Left, top, right, bottom in source pixels.
        pub xyxy: [f32; 4],
        /// Score, 0 to 1.
        pub confidence: f32,
        /// Index into the model's class names.
        pub class_id: u16,
    }
}

wire_struct! {
    /// Speed over ground with its uncertainty; absent until it is known to be good.
    #[derive(Copy)]
    pub struct Speed {
        /// Metres per second.
        pub speed_mps: f32,
        /// One standard error of it, metres per second.
        pub std_error_mps: f32,
        /// Direction of motion on the ground plane, radians from +X towards +Y.
        pub heading_rad: f32,
    }
}

wire_struct! {
    /// An object followed over frames.
    #[derive(Copy)]
    pub struct Track {
        /// Unique within the track epoch.
        pub track_id: u32,
        /// Where the track is in its life.
        pub state: TrackState,
        /// Left, top, right, bottom in source pixels: the filter's estimate.
        pub xyxy: [f32; 4],
        /// Score of the detection that was matched last.
        pub confidence: f32,
        /// Index into the model's class names.
        pub class_id: u16,
        /// Index into `detections` of the one matched in this frame.
        pub detection: Option<u16>,
        /// Foot point on the ground plane in metres, where the camera is calibrated for the picture.
        pub ground_m: Option<[f32; 2]>,
        /// Speed, once known.
        pub speed: Option<Speed>,
        /// Whether the foot point lies in the camera's region (always true without one, and while it is off because it was drawn on
        /// a picture of another shape).
        pub in_region: bool,
        /// Share of the track's sightings that had this class, 0 to 1; none where nobody counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub class_share: Option<f32>,
    }
}

wire_struct! {
    /// Everything known about one frame. Its id in the stream is the frame's.
    pub struct FrameResult {
        /// The schema version, see `SCHEMA`.
        pub schema: u16,
        /// The frame's `n`.
        pub n: u64,
        /// The frame's `inc`.
        pub inc: u64,
        /// Index of the frame in its source.
        pub position: u64,
        /// The frame's media time, microseconds.
        pub media_time_us: i64,
        /// Wall clock at capture, microseconds since the Unix epoch.
        pub captured_at_us: i64,
        /// How the frame ended.
        pub status: ResultStatus,
        /// Why, where it was not analysed.
        pub reason: Option<LossReason>,
        /// Size of the source picture: the space of all boxes.
        pub source: Size,
        /// Raised whenever the tracker starts anew; a track id is unique within it.
        pub track_epoch: u32,
        /// What was detected, sorted by falling confidence.
        pub detections: Vec<Detection>,
        /// The tracks after this frame.
        pub tracks: Vec<Track>,
        /// What the stages took, from capture to zones.
        pub stages: Vec<StageTime>,
        /// The worker that analysed it, without its nonce.
        pub worker: String,
        /// Frames of this camera that never came, cumulative: gaps in `n`, as the consumer of the stream counts them.
        pub lost: Vec<LossCount>,
        /// What people should know about this result.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub notices: Vec<Notice>,
    }
}
