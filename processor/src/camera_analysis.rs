//! One camera's analysis: detections of a frame in, tracks with speeds and regions out. Its whole state is here,
//! reads no clock and does no I/O, so that a recorded stream replays to the same bytes.

use std::collections::BTreeSet;

use peregrine_proto::{CameraConfig, Detection, Size, Stage, Track, TrackState};
use serde::{Deserialize, Serialize};

use crate::{
    homography::Calibration,
    region::Region,
    speed::{OnGround, SpeedEstimator, foot_point},
    track::{Tracked, Tracker, Tracks},
};

/// The tracker, the speed filters and the region of one camera.
#[derive(Debug, Clone)]
pub struct CameraAnalysis {
    tracker: Tracker,
    speeds: SpeedEstimator,
    calibration: Option<Calibration>,
    region: Region,
    /// Ids of the kept classes; none for all.
    classes: Option<Vec<u16>>,
    confidence: f32,
    least_confidence: f32,
}

/// What came out of one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysed {
    /// Raised whenever the tracker starts anew; a track id is unique within it.
    pub track_epoch: u32,
    /// The detections to report: kept classes from `analysis.confidence` on, sorted by falling confidence.
    pub detections: Vec<Detection>,
    /// The tracks after this frame; `Track::detection` is an index into `detections`.
    pub tracks: Vec<Track>,
    /// Tracks given up early, or not begun, because there were `max_tracks` already.
    pub crowded_out: u32,
}

/// Why a checkpoint could not be taken up; the camera then starts anew.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bytes are no state of this release.
    #[error("the tracker's checkpoint cannot be read ({0}): the camera's tracks start anew")]
    Malformed(String),
}

/// A checkpoint, written and read as MessagePack.
#[derive(Serialize, Deserialize)]
struct Checkpoint<T, S, C> {
    tracker: T,
    speeds: S,
    /// What the speeds were measured with: with another calibration they are worth nothing.
    calibration: C,
}

impl CameraAnalysis {
    /// Largest state in bytes that [`Self::state`] ever returns: `analysis.track.max_tracks` is bounded so that it
    /// cannot grow larger.
    pub const MAX_STATE_BYTES: usize = 64 * 1024;

    /// Prepares the analysis of a camera. `class_names` are the model's, by class id.
    ///
    /// # Errors
    /// Everything wrong with the configuration, each as a sentence with the way out: unknown class names,
    /// a calibration that cannot be used, values out of bounds.
    pub fn new(config: &CameraConfig, class_names: &[String]) -> Result<Self, Vec<String>> {
        let mut problems = config.problems();
        let analysis = &config.analysis;
        let mut classes = Vec::new();
        for name in &analysis.classes {
            match class_names.iter().position(|known| known.eq_ignore_ascii_case(name.trim())) {
                Some(id) => classes.extend(u16::try_from(id)),
                None => problems.push(format!("camera {}: {}", config.id, unknown_class(name, class_names))),
            }
        }
        classes.sort_unstable();
        classes.dedup();
        let calibration = config.calibration.as_ref().map(Calibration::new).transpose();
        let calibration = calibration.unwrap_or_else(|error| {
            // How many points there must be is among what `problems` says already.
            let text = format!("camera {}: {error}", config.id);
            if problems.iter().all(|problem| !problem.contains("calibration has")) {
                problems.push(text);
            }
            None
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            tracker: Tracker::new(analysis.track),
            speeds: SpeedEstimator::default(),
            calibration,
            region: Region::new(&analysis.region),
            classes: (!analysis.classes.is_empty()).then_some(classes),
            confidence: analysis.confidence,
            least_confidence: analysis.confidence.min(analysis.track.low_threshold),
        })
    }

    /// Continues from a checkpoint that [`Self::state`] wrote. Where the calibration has changed since, the tracks go
    /// on and their speeds are measured anew.
    ///
    /// # Errors
    /// When the bytes are no such state; nothing has changed then.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        let malformed = |error: &dyn std::fmt::Display| RestoreError::Malformed(error.to_string());
        let mut reader = rmp_serde::Deserializer::new(state);
        reader.set_max_depth(16);
        let checkpoint: Checkpoint<_, SpeedEstimator, Option<CalibrationPrint>> =
            Deserialize::deserialize(&mut reader).map_err(|error| malformed(&error))?;
        if !reader.get_ref().is_empty() {
            return Err(malformed(&"bytes follow it"));
        }
        self.tracker.restore(checkpoint.tracker);
        self.speeds = if checkpoint.calibration == self.calibration_print() {
            checkpoint.speeds
        } else {
            SpeedEstimator::default()
        };
        Ok(())
    }

    /// The state after the last frame, at most [`Self::MAX_STATE_BYTES`]. Restoring it continues bit for bit.
    pub fn state(&self) -> Vec<u8> {
        let checkpoint = Checkpoint {
            tracker: self.tracker.state(),
            speeds: &self.speeds,
            calibration: self.calibration_print(),
        };
        // Writing these types into memory cannot fail.
        rmp_serde::to_vec(&checkpoint).unwrap_or_default()
    }

    /// The raised epoch of a camera whose checkpoint was lost: track ids of earlier epochs may repeat after it.
    pub fn start_epoch(&mut self, track_epoch: u32) {
        self.tracker.restart(track_epoch);
        self.speeds = SpeedEstimator::default();
    }

    /// The epoch of the tracks, see `FrameResult::track_epoch`.
    pub fn track_epoch(&self) -> u32 {
        self.tracker.epoch()
    }

    /// Detections below this score have no use here: the threshold for the detector's postprocessing.
    pub fn least_confidence(&self) -> f32 {
        self.least_confidence
    }

    /// Ids of the classes that the camera keeps, rising; none for all.
    pub fn kept_classes(&self) -> Option<&[u16]> {
        self.classes.as_deref()
    }

    /// Distance in pixels between each calibration point and the picture of its ground position: how well the points
    /// agree. Empty without points.
    pub fn calibration_residuals_px(&self) -> &[f64] {
        self.calibration.as_ref().map_or(&[], Calibration::residuals_px)
    }

    /// Takes in the next frame. `detections` are all of the detector's above [`Self::least_confidence`], in
    /// source pixels; `source` is the size of the picture. `stage_done` is called after `track`, `speed` and `zones`:
    /// the caller reads the clock, never this code. A `discontinuity` (loop, seek, reconnect) starts a new epoch.
    pub fn update(
        &mut self,
        media_time_us: i64,
        discontinuity: bool,
        source: Size,
        detections: &[Detection],
        mut stage_done: impl FnMut(Stage),
    ) -> Analysed {
        if discontinuity && self.tracker.has_begun() {
            self.tracker.restart(0);
        }
        let kept = |detection: &&Detection| {
            self.classes.as_ref().is_none_or(|classes| classes.contains(&detection.class_id))
        };
        let mut detections: Vec<Detection> = detections
            .iter()
            .filter(kept)
            .filter(|d| d.confidence >= self.least_confidence)
            .copied()
            .collect();
        detections.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        let Tracks { tracks, crowded_out } = self.tracker.update(media_time_us, &detections);
        stage_done(Stage::Track);

        let picture = [f64::from(source.width), f64::from(source.height)];
        let homography = self.calibration.as_ref().and_then(|calibration| calibration.homography(picture));
        let on_ground = match &homography {
            Some(homography) => self.speeds.update(media_time_us, &tracks, &detections, source, homography),
            None => vec![OnGround::default(); tracks.len()],
        };
        stage_done(Stage::Speed);

        // Sorted by confidence, so that those to report come first and keep their index.
        let reported = detections.partition_point(|detection| detection.confidence >= self.confidence);
        detections.truncate(reported);
        let tracks = tracks
            .iter()
            .zip(on_ground)
            .map(|(track, on_ground)| self.report(track, on_ground, reported))
            .collect();
        stage_done(Stage::Zones);
        Analysed { track_epoch: self.tracker.epoch(), detections, tracks, crowded_out }
    }

    fn report(&self, track: &Tracked, on_ground: OnGround, reported: usize) -> Track {
        Track {
            track_id: track.track_id,
            state: track.state,
            xyxy: track.xyxy,
            confidence: track.confidence,
            class_id: track.class_id,
            detection: track
                .detection
                .filter(|&index| index < reported)
                .and_then(|index| u16::try_from(index).ok()),
            ground_m: on_ground.position_m.map(|position| position.map(|metres| metres as f32)),
            speed: on_ground.speed.filter(|_| track.state != TrackState::Removed),
            in_region: self.region.contains(foot_point(track.xyxy)),
        }
    }

    fn calibration_print(&self) -> Option<CalibrationPrint> {
        self.calibration.as_ref().map(Calibration::world_from_image)
    }
}

/// Tells calibrations apart.
type CalibrationPrint = [[f64; 3]; 3];

/// Says that a class is unknown, and which known ones look like it.
fn unknown_class(name: &str, known: &[String]) -> String {
    let mut by_distance: Vec<(f64, &String)> = known
        .iter()
        .map(|other| (strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase()), other))
        .collect();
    by_distance.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let near: BTreeSet<String> = by_distance
        .iter()
        .filter(|(likeness, _)| *likeness > 0.75)
        .take(3)
        .map(|(_, name)| format!("`{name}`"))
        .collect();
    let near: Vec<String> = near.into_iter().collect();
    if !near.is_empty() {
        return format!("the model has no class `{name}`: did you mean {}?", near.join(" or "));
    }
    let some: Vec<&str> = known.iter().take(5).map(String::as_str).collect();
    match known.len() {
        0 => format!("the model names no classes, so `{name}` cannot be kept: leave analysis.classes empty"),
        n => format!(
            "the model has no class `{name}`; it has {n}: {}{}",
            some.join(", "),
            if n > 5 { ", …" } else { "" }
        ),
    }
}
