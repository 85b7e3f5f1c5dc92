//! A camera's configuration: TOML in files, JSON in Redis and over REST. The same words everywhere.

use std::{collections::BTreeMap, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

use crate::{CameraId, Size, SourceUri, is_readable_line};

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
    pub uri: SourceUri,
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
    /// Width of a pixel over its height in the picture as it is seen, for streams that are squeezed and do not say so, or
    /// say it wrongly: 2.0 for a recorder's half-wide picture. What the stream says where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel_aspect: Option<f32>,
    /// How pictures that the decoder marks as broken are treated.
    #[serde(default, skip_serializing_if = "Damaged::is_default")]
    pub damaged: Damaged,
}

impl SourceConfig {
    /// A source with every other key at its default.
    pub fn new(uri: impl Into<SourceUri>) -> Self {
        Self {
            uri: uri.into(),
            fps: None,
            pace: Pace::default(),
            repeat: false,
            every: one(),
            max_frames: None,
            pixel_aspect: None,
            damaged: Damaged::default(),
        }
    }
}

/// How pictures that the decoder marks as broken are treated.
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
    /// The picture that the region was drawn on. Where it is not given, the first one that is analysed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_drawn_on: Option<PictureShape>,
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
            region_drawn_on: None,
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
    /// frames over at least a second. Not written where it has its default: the release before does not know it.
    #[serde(skip_serializing_if = "is_true")]
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
    /// The picture whose pixels these are. Where it is not given, the first one that is analysed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn_on: Option<PictureShape>,
}

/// Size of a picture with the shape of its pixels. What was drawn on one is scaled to another of the same true shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureShape {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Width of a pixel over its height.
    #[serde(default = "square", skip_serializing_if = "is_square")]
    pub pixel_aspect: f32,
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
/// Most corners of a region: it is told to every client, and every foot point is looked for in it.
const MOST_CORNERS: usize = 100;
/// Most characters of a source's address.
const MOST_URI: usize = 4096;

/// Widths of a pixel over its height that cameras and recorders have.
pub const PIXEL_ASPECTS: RangeInclusive<f32> = 0.1..=10.0;
/// True aspect ratios that differ by no more than this share are one shape: sizes are whole, often even, numbers.
const SAME_SHAPE: f64 = 0.01;

fn one() -> u32 {
    1
}

fn is_true(value: &bool) -> bool {
    *value
}

fn square() -> f32 {
    1.0
}

fn is_square(pixel_aspect: &f32) -> bool {
    *pixel_aspect == 1.0
}

impl PictureShape {
    /// A picture of this size, with pixels of this width over their height.
    pub fn new(size: Size, pixel_aspect: f32) -> Self {
        Self { width: size.width, height: size.height, pixel_aspect }
    }

    /// Columns and rows.
    pub fn size(&self) -> Size {
        Size { width: self.width, height: self.height }
    }

    /// How often its pixels go into another picture's along x and y: a point at `[x, y]` here is at `[x * sx, y * sy]` there.
    /// None where the other has another true shape.
    pub fn scale_to(&self, other: &Self) -> Option<[f64; 2]> {
        let aspect =
            |shape: &Self| f64::from(shape.width) * f64::from(shape.pixel_aspect) / f64::from(shape.height);
        let ratio = aspect(other) / aspect(self);
        let same = ratio.max(1.0 / ratio) <= 1.0 + SAME_SHAPE;
        let per = |there: u32, here: u32| f64::from(there) / f64::from(here);
        same.then(|| [per(other.width, self.width), per(other.height, self.height)])
    }
}

/// As people say it: `704x288`, and `704x288 with pixels 0.55 times as wide as high`.
impl std::fmt::Display for PictureShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)?;
        if is_square(&self.pixel_aspect) {
            return Ok(());
        }
        write!(f, " with pixels {:.2} times as wide as high", self.pixel_aspect)
    }
}

impl CameraConfig {
    /// The name for people.
    pub fn display_name(&self) -> &str {
        if self.name.trim().is_empty() { self.id.as_str() } else { &self.name }
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
            is_readable_line(&self.name, MOST_NAME),
            format!("name is no line of at most {MOST_NAME} characters that can all be seen: type it anew"),
        );
        check(!self.source.uri.is_blank(), "source.uri is empty: give a path or an address".into());
        check(
            self.source.uri.is_line_of(MOST_URI),
            format!("source.uri is no line of at most {MOST_URI} characters: correct it"),
        );
        if let Some(fps) = self.source.fps {
            check(
                fps.is_finite() && fps > 0.0 && fps <= 1000.0,
                format!("source.fps is {fps}: use a rate above 0 and up to 1000"),
            );
        }
        if let Some(aspect) = self.source.pixel_aspect {
            check(
                PIXEL_ASPECTS.contains(&aspect),
                format!(
                    "source.pixel_aspect is {aspect}: use the width of a pixel over its height, 0.1 to 10"
                ),
            );
        }
        let drawn_on = [
            ("analysis.region_drawn_on", self.analysis.region_drawn_on),
            ("calibration.drawn_on", self.calibration.as_ref().and_then(|calibration| calibration.drawn_on)),
        ];
        for (name, shape) in drawn_on.into_iter().filter_map(|(name, shape)| Some((name, shape?))) {
            let fine = (1..=16_384).contains(&shape.width) && (1..=16_384).contains(&shape.height);
            check(fine, format!("{name} is {}x{}: use 1x1 to 16384x16384", shape.width, shape.height));
            let aspect = shape.pixel_aspect;
            check(
                PIXEL_ASPECTS.contains(&aspect),
                format!(
                    "{name}.pixel_aspect is {aspect}: use the width of a pixel over its height, 0.1 to 10"
                ),
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
            analysis.region.len() <= MOST_CORNERS,
            format!("analysis.region has {} points: use at most {MOST_CORNERS}", analysis.region.len()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(width: u32, height: u32, pixel_aspect: f32) -> PictureShape {
        PictureShape { width, height, pixel_aspect }
    }

    #[test]
    fn true_shapes_within_a_hundredth_are_the_same() {
        let vga = shape(640, 480, 1.0);
        for (other, scale) in [
            (shape(1280, 960, 1.0), Some([2.0, 2.0])),
            (shape(320, 240, 1.0), Some([0.5, 0.5])),
            // PAL, NTSC and half-wide pictures for the same screen.
            (shape(720, 576, 16.0 / 15.0), Some([1.125, 1.2])),
            (shape(720, 480, 8.0 / 9.0), Some([1.125, 1.0])),
            (shape(320, 480, 2.0), Some([0.5, 1.0])),
            (shape(640, 476, 1.0), Some([1.0, 476.0 / 480.0])),
            (shape(640, 474, 1.0), None),
            (shape(640, 360, 1.0), None),
            (shape(480, 640, 1.0), None),
            (shape(640, 480, 1.1), None),
        ] {
            assert_eq!(vga.scale_to(&other), scale, "{other}");
            assert_eq!(other.scale_to(&vga).is_some(), scale.is_some(), "{other}");
        }
    }

    #[test]
    fn picture_shapes_that_are_none_are_refused_by_name() {
        let config = |rest: &str| -> CameraConfig {
            let calibration = r#""world_from_image": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]"#;
            let text = format!(
                r#"{{"id": "a", "source": {{"uri": "x", "pixel_aspect": 2.0}}, "calibration": {{{calibration}, "drawn_on": {rest}}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(config(r#"{"width": 640, "height": 480}"#).problems(), Vec::<String>::new());
        let said = config(r#"{"width": 0, "height": 480, "pixel_aspect": 200.0}"#).problems();
        assert!(said[0].contains("calibration.drawn_on is 0x480"), "{said:?}");
        assert!(said[1].contains("calibration.drawn_on.pixel_aspect is 200"), "{said:?}");
        let mut squeezed = config(r#"{"width": 640, "height": 480}"#);
        squeezed.source.pixel_aspect = Some(0.0);
        assert!(squeezed.problems()[0].contains("source.pixel_aspect is 0"));
    }

    #[test]
    fn square_pixels_are_not_written() {
        let text = serde_json::to_string(&shape(640, 480, 1.0)).unwrap();
        assert_eq!(text, r#"{"width":640,"height":480}"#);
        assert_eq!(serde_json::from_str::<PictureShape>(&text).unwrap(), shape(640, 480, 1.0));
    }

    #[test]
    fn name_that_cannot_be_seen_or_a_region_of_too_many_corners_is_taken() {
        let text = r#"{ "id": "yard", "source": { "uri": "synthetic:road" } }"#;
        let mut camera: CameraConfig = serde_json::from_str(text).unwrap();
        camera.name = "  ".into();
        assert_eq!(camera.display_name(), "yard");
        camera.analysis.region = vec![[1.0, 2.0]; MOST_CORNERS];
        assert_eq!(camera.problems(), Vec::<String>::new());
        camera.name = "\u{202e}live".into();
        camera.analysis.region.push([1.0, 2.0]);
        let problems = camera.problems();
        assert!(
            problems[0].contains("can all be seen") && problems[1].contains("at most 100"),
            "{problems:?}"
        );
    }
}
