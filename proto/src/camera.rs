//! A camera's configuration: TOML in files, JSON in Redis and over REST. The same words everywhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{CameraId, Size};

/// Everything that can be set for one camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    /// The camera's id.
    pub id: CameraId,
    /// A name for people; the id where it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where frames come from.
    pub source: SourceConfig,
    /// What is analysed.
    #[serde(default)]
    pub analysis: AnalysisConfig,
    /// Image to ground; none for no speeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationConfig>,
}

/// Where frames come from and how fast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// A path or address: `clip.mp4`, `rtsp://host/path`, `v4l2:/dev/video0`, `opencv:<capture or pipeline>`,
    /// `images:<folder>`, `synthetic:<scene>`.
    pub uri: String,
    /// The true frame rate, where the file's header lies; frame times are then index / fps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// How fast a file is read.
    #[serde(default)]
    pub pace: Pace,
    /// Start a file again at its end.
    #[serde(default, rename = "loop")]
    pub repeat: bool,
    /// Take every Nth frame.
    #[serde(default = "one")]
    pub every: u32,
    /// Stop after so many published frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_frames: Option<u64>,
    /// What becomes of pictures that the decoder marks as broken.
    #[serde(default, skip_serializing_if = "Damaged::is_default")]
    pub damaged: Damaged,
}

/// What becomes of pictures that the decoder marks as broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damaged {
    /// They are counted and not analysed, unless too few pictures would be left.
    #[default]
    Drop,
    /// They are analysed like any other.
    Keep,
}

impl Damaged {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How fast a file is read; live sources come at their own pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// At the rate of its frames.
    #[default]
    Realtime,
    /// As fast as the stream has room.
    Fast,
}

/// What is analysed, and what counts as an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnalysisConfig {
    /// Size of the analysed picture; fitted to the model's input where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Class names to keep; all where empty.
    pub classes: Vec<String>,
    /// Detections below this score are not reported (the tracker still sees those above `track.low_threshold`).
    pub confidence: f32,
    /// Boxes of one class that overlap more than this (intersection over union) are one object; and those of several
    /// classes of a group are one object for the tracker.
    pub nms_iou: f32,
    /// Groups of class names, by a name for each group: an object keeps its track while it is seen as any class of its
    /// group. Classes in none are groups of their own. Vehicles, two-wheelers and people where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeMap<String, Vec<String>>>,
    /// Polygon in source pixels; tracks say whether their foot point lies in it. Empty for the whole picture.
    pub region: Vec<[f32; 2]>,
    /// The tracker's thresholds.
    pub track: TrackConfig,
}

impl Default for AnalysisConfig {
    fn default() -> Self {
        Self {
            size: None,
            classes: Vec::new(),
            confidence: 0.35,
            nms_iou: 0.5,
            groups: None,
            region: Vec::new(),
            track: TrackConfig::default(),
        }
    }
}

/// ByteTrack's thresholds, with the names the field gives them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrackConfig {
    /// Detections from this score on are matched first.
    pub high_threshold: f32,
    /// Detections from this score on may continue a track that found no match.
    pub low_threshold: f32,
    /// An unmatched detection starts a track from this score on.
    pub track_activation_threshold: f32,
    /// Least similarity (fused intersection over union) for a match in the first association.
    pub minimum_matching_threshold: f32,
    /// A lost track is kept for this long, seconds of media time.
    pub lost_track_buffer_s: f32,
    /// Most tracks kept at once; the oldest lost ones go first.
    pub max_tracks: u32,
    /// Whether an object starts a track, too, that is seen from `analysis.confidence` on in at least five consecutive
    /// frames over at least a second.
    pub doubtful: bool,
}

impl Default for TrackConfig {
    fn default() -> Self {
        Self {
            high_threshold: 0.6,
            low_threshold: 0.1,
            track_activation_threshold: 0.6,
            minimum_matching_threshold: 0.2,
            lost_track_buffer_s: 1.0,
            max_tracks: 256,
            doubtful: true,
        }
    }
}

/// How image pixels map to ground metres: either points or a matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationConfig {
    /// Four or more points of the ground.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<CalibrationPoint>,
    /// Or the homography itself, row by row, source pixels (homogeneous) to metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world_from_image: Option<[[f64; 3]; 3]>,
}

/// A point of the ground, in the picture and in the world.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationPoint {
    /// Column and row in source pixels; pixel centres are at half-integers.
    pub image: [f64; 2],
    /// Metres on the ground plane.
    pub ground: [f64; 2],
}

/// Most characters of a name: it stands on a tile of the wall.
const MOST_NAME: usize = 120;
/// Most characters of a source's address.
const MOST_URI: usize = 4096;

fn one() -> u32 {
    1
}

impl CameraConfig {
    /// The name for people.
    pub fn display_name(&self) -> &str {
        if self.name.is_empty() { self.id.as_str() } else { &self.name }
    }

    /// Everything wrong with the values that can be said without opening anything, each as a sentence with the way out.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |fine: bool, text: String| {
            if !fine {
                problems.push(format!("camera {}: {text}", self.id));
            }
        };
        let unit = |value: f32| (0.0..=1.0).contains(&value);
        check(
            self.name.chars().count() <= MOST_NAME && !self.name.chars().any(char::is_control),
            format!("name is no line of at most {MOST_NAME} characters: shorten it"),
        );
        check(!self.source.uri.trim().is_empty(), "source.uri is empty: give a path or an address".into());
        check(
            self.source.uri.chars().count() <= MOST_URI && !self.source.uri.chars().any(char::is_control),
            format!("source.uri is no line of at most {MOST_URI} characters: correct it"),
        );
        if let Some(fps) = self.source.fps {
            check(
                fps.is_finite() && fps > 0.0 && fps <= 1000.0,
                format!("source.fps is {fps}: use a rate above 0 and up to 1000"),
            );
        }
        check(
            self.source.every >= 1,
            "source.every is 0: use 1 for every frame, 2 for every second one".into(),
        );
        let analysis = &self.analysis;
        if let Some(size) = analysis.size {
            let fine = (16..=8192).contains(&size.width) && (16..=8192).contains(&size.height);
            check(fine, format!("analysis.size is {size}: use 16x16 to 8192x8192"));
        }
        let track = analysis.track;
        for (name, value) in [
            ("analysis.confidence", analysis.confidence),
            ("analysis.nms_iou", analysis.nms_iou),
            ("analysis.track.high_threshold", track.high_threshold),
            ("analysis.track.low_threshold", track.low_threshold),
            ("analysis.track.track_activation_threshold", track.track_activation_threshold),
            ("analysis.track.minimum_matching_threshold", track.minimum_matching_threshold),
        ] {
            check(unit(value), format!("{name} is {value}: use 0 to 1"));
        }
        check(
            track.low_threshold <= track.high_threshold,
            "analysis.track.low_threshold is above high_threshold".into(),
        );
        let buffer = track.lost_track_buffer_s;
        check(
            (0.0..=600.0).contains(&buffer),
            format!("analysis.track.lost_track_buffer_s is {buffer}: use 0 to 600"),
        );
        check(
            (1..=256).contains(&track.max_tracks),
            format!("analysis.track.max_tracks is {}: use 1 to 256", track.max_tracks),
        );
        check(
            analysis.region.is_empty() || analysis.region.len() >= 3,
            format!("analysis.region has {} points: a polygon needs at least three", analysis.region.len()),
        );
        check(
            analysis.region.iter().flatten().all(|v| v.is_finite()),
            "analysis.region has a value that is no number".into(),
        );
        let mut grouped: Vec<String> = Vec::new();
        for name in analysis.groups.iter().flat_map(BTreeMap::values).flatten() {
            let name = name.trim().to_lowercase();
            check(
                !grouped.contains(&name),
                format!("analysis.groups has the class `{name}` twice: keep it in one group"),
            );
            grouped.push(name);
        }
        if let Some(calibration) = &self.calibration {
            match (&calibration.world_from_image, calibration.points.len()) {
                (Some(_), 0) | (None, 4..) => {}
                (Some(_), _) => {
                    check(false, "calibration has both points and world_from_image: keep one".into())
                }
                (None, n) => check(
                    false,
                    format!("calibration has {n} points: at least four are needed, or world_from_image"),
                ),
            }
        }
        problems
    }
}
