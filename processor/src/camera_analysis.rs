//! One camera's analysis: detections of a frame in, tracks with speeds and regions out. Its whole state is here,
//! reads no clock and does no I/O, so that a recorded stream replays to the same bytes.

use std::collections::BTreeSet;

use peregrine_geometry::Calibration;
use peregrine_proto::{
    CameraConfig, Damaged, Detection, Notice, PictureShape, Size, Stage, Track, TrackState,
};
use serde::{Deserialize, Serialize};

use crate::{
    class_groups::{ClassGroups, class_id},
    drawn::{Change, Drawn, DrawnNews, Memory},
    speed::{OnGround, SpeedEstimator, foot_point},
    track::{Tracked, Tracker, Tracks},
};

/// The tracker and the speed filters of one camera, and what was drawn on its picture.
#[derive(Debug, Clone)]
pub struct CameraAnalysis {
    tracker: Tracker,
    speeds: SpeedEstimator,
    drawn: Drawn,
    /// Size of the picture that the calibration says it is for.
    drawn_on: Option<Size>,
    /// Ids of the kept classes; none for all.
    classes: Option<Vec<u16>>,
    confidence: f32,
    least_confidence: f32,
    damaged: Notice,
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
    /// Notices for people about this frame.
    pub notices: Vec<Notice>,
    /// Tracks given up early, or not begun, because there were `max_tracks` already.
    pub crowded_out: u32,
    /// News to be logged once: the region or the calibration was switched off, or on again.
    pub news: Vec<DrawnNews>,
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
struct Checkpoint<T, S, C, D: Default> {
    tracker: T,
    speeds: S,
    /// What the speeds were measured with: with another calibration they are worth nothing.
    calibration: C,
    /// The pictures that were seen and drawn on. Missing in checkpoints of older releases.
    #[serde(default)]
    drawn: D,
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
            match class_id(name, class_names) {
                Some(id) => classes.extend(u16::try_from(id)),
                None => problems.push(format!("camera {}: {}", config.id, unknown_class(name, class_names))),
            }
        }
        let groups = match &analysis.groups {
            Some(groups) => ClassGroups::named(groups, class_names),
            None => Ok(ClassGroups::default_of(class_names)),
        };
        let groups = groups.unwrap_or_else(|unknown| {
            let said = |name: &String| {
                format!("camera {}: analysis.groups: {}", config.id, unknown_class(name, class_names))
            };
            problems.extend(unknown.iter().map(said));
            ClassGroups::default()
        });
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
            tracker: Tracker::new(analysis, groups),
            speeds: SpeedEstimator::default(),
            drawn_on: config
                .calibration
                .as_ref()
                .and_then(|calibration| calibration.drawn_on)
                .map(|shape| shape.size()),
            drawn: Drawn::new(config, calibration),
            classes: (!analysis.classes.is_empty()).then_some(classes),
            confidence: analysis.confidence,
            least_confidence: analysis.confidence.min(analysis.track.low_threshold),
            damaged: match config.source.damaged {
                Damaged::Keep => Notice::DamagedKept,
                Damaged::Drop => Notice::DamageAnalysed,
            },
        })
    }

    /// Why a damaged picture of this camera is analysed.
    pub fn damaged_notice(&self) -> Notice {
        self.damaged
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
        let checkpoint: Checkpoint<_, SpeedEstimator, Option<CalibrationPrint>, Memory> =
            Deserialize::deserialize(&mut reader).map_err(|error| malformed(&error))?;
        if !reader.get_ref().is_empty() {
            return Err(malformed(&"bytes follow it"));
        }
        self.tracker.restore(checkpoint.tracker);
        let same = checkpoint.calibration == self.calibration_print();
        let speeds_hold = self.drawn.recall(checkpoint.drawn, same);
        self.speeds = if speeds_hold { checkpoint.speeds } else { SpeedEstimator::default() };
        Ok(())
    }

    /// The state after the last frame, at most [`Self::MAX_STATE_BYTES`]. Restoring it continues bit for bit.
    pub fn state(&self) -> Vec<u8> {
        let checkpoint = Checkpoint {
            tracker: self.tracker.state(),
            speeds: &self.speeds,
            calibration: self.calibration_print(),
            drawn: *self.drawn.memory(),
        };
        // Writing these types into memory cannot fail.
        rmp_serde::to_vec(&checkpoint).unwrap_or_default()
    }

    /// The state as readers of this schema version read it. In that of an older one, tracks keep their ids and speeds, and some
    /// of what was seen of them is forgotten.
    pub fn state_for(&self, schema: u16) -> Vec<u8> {
        if schema >= 3 {
            return self.state();
        }
        let speeds = self.speeds.state_for_schema_2();
        let checkpoint = (self.tracker.state_for_schema_2(), speeds, self.calibration_print());
        // As above.
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
        self.drawn.calibration().map_or(&[], Calibration::residuals_px)
    }

    /// Doubts about the calibration, a sentence each; it is used all the same. `picture` is the one that
    /// it is for where the configuration does not say it.
    pub fn calibration_doubts(&self, picture: Size) -> Vec<String> {
        let picture = self.drawn_on.unwrap_or(picture);
        let doubts = self.drawn.calibration().into_iter().flat_map(|calibration| calibration.doubts(picture));
        doubts.map(|doubt| doubt.to_string()).collect()
    }

    /// Takes in the next frame. `detections` are all of the detector's above [`Self::least_confidence`], in
    /// source pixels; `picture` is what the source gives now. `stage_done` is called after `track`, `speed` and `zones`:
    /// the caller reads the clock, never this code. A `discontinuity` (loop, seek, reconnect) starts a new epoch, and so does
    /// a picture of another shape; with another size of the same shape the tracks go on in its pixels.
    pub fn update(
        &mut self,
        media_time_us: i64,
        discontinuity: bool,
        picture: PictureShape,
        detections: &[Detection],
        mut stage_done: impl FnMut(Stage),
    ) -> Analysed {
        let mut news = Vec::new();
        let change = self.drawn.see(picture, &mut news);
        if (discontinuity || change == Change::Other) && self.tracker.has_begun() {
            self.tracker.restart(0);
        } else if let Change::Scaled(scale) = change {
            self.tracker.scale(scale);
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
        let source = picture.size();
        let Tracks { tracks, crowded_out, doubtful, .. } =
            self.tracker.update(media_time_us, Some(source), &detections);
        stage_done(Stage::Track);

        let on_ground = match self.drawn.homography() {
            Some(homography) => self.speeds.update(media_time_us, &tracks, &detections, source, homography),
            None => {
                self.speeds = SpeedEstimator::default();
                vec![OnGround::default(); tracks.len()]
            }
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
        let doubtful = doubtful.then_some(Notice::Doubtful);
        let notices = self.drawn.notices().into_iter().chain(doubtful).collect();
        Analysed { track_epoch: self.tracker.epoch(), detections, tracks, notices, crowded_out, news }
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
            in_region: self.drawn.in_region(foot_point(track.xyxy)),
            class_share: Some(track.class_share),
        }
    }

    fn calibration_print(&self) -> Option<CalibrationPrint> {
        self.drawn.calibration().map(Calibration::world_from_image)
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
        0 => format!("the model names no classes, so `{name}` is none of them: leave the key out"),
        n => format!(
            "the model has no class `{name}`; it has {n}: {}{}",
            some.join(", "),
            if n > 5 { ", …" } else { "" }
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOURCE: PictureShape = PictureShape { width: 768, height: 576, pixel_aspect: 1.0 };
    const SIZE: Size = Size { width: 768, height: 576 };

    fn names() -> Vec<String> {
        ["person", "bicycle", "car", "motorcycle", "bus", "truck"].map(str::to_owned).into()
    }

    fn config(toml_rest: &str) -> CameraConfig {
        let text = format!("id = \"gate\"\n[source]\nuri = \"clip.mp4\"\n{toml_rest}");
        toml::from_str(&text).unwrap()
    }

    const CALIBRATED: &str = "[calibration]\npoints = [
        { image = [150, 330], ground = [-13.497, -4.257] }, { image = [640, 330], ground = [-9.496, -12.485] },
        { image = [700, 520], ground = [-15.882, -15.616] }, { image = [60, 520], ground = [-19.747, -8.511] }]\n";

    fn person_at(x: f32, y: f32, confidence: f32) -> Detection {
        Detection { xyxy: [x - 15.0, y - 80.0, x + 15.0, y], confidence, class_id: 0 }
    }

    fn update(analysis: &mut CameraAnalysis, frame: i64, detections: &[Detection]) -> Analysed {
        analysis.update(frame * 142_857, false, SOURCE, detections, |_| {})
    }

    #[test]
    fn unknown_class_is_refused_with_the_near_ones() {
        let said =
            CameraAnalysis::new(&config("[analysis]\nclasses = [\"persn\", \"car\", \"zebra\"]"), &names())
                .unwrap_err();
        assert_eq!(said[0], "camera gate: the model has no class `persn`: did you mean `person`?");
        assert!(
            said[1].contains("no class `zebra`; it has 6: person, bicycle, car, motorcycle, bus, …"),
            "{said:?}"
        );
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn calibration_with_centimetres_is_doubted() {
        let analysis = CameraAnalysis::new(&config(CALIBRATED), &names()).unwrap();
        assert!(analysis.calibration_doubts(SIZE).is_empty());
        let hundredfold = CALIBRATED
            .replace("-13.497, -4.257", "-1349.7, -425.7")
            .replace("-9.496, -12.485", "-949.6, -1248.5");
        let hundredfold = hundredfold
            .replace("-15.882, -15.616", "-1588.2, -1561.6")
            .replace("-19.747, -8.511", "-1974.7, -851.1");
        let doubts = CameraAnalysis::new(&config(&hundredfold), &names()).unwrap().calibration_doubts(SIZE);
        assert!(
            doubts[0].starts_with("the camera would be 7") && doubts[0].contains("above the ground"),
            "{doubts:?}"
        );
    }

    #[test]
    fn unusable_calibration_is_refused_with_what_else_is_wrong() {
        let collinear = CALIBRATED.replace("[640, 330]", "[340, 460]").replace("[700, 520]", "[245, 395]");
        let said = CameraAnalysis::new(&config(&format!("[analysis]\nnms_iou = 3.0\n{collinear}")), &names())
            .unwrap_err();
        assert!(said.iter().any(|text| text.contains("nms_iou")), "{said:?}");
        assert!(
            said.iter()
                .any(|text| text.starts_with("camera gate: calibration points") && text.contains("one line")),
            "{said:?}"
        );
    }

    #[test]
    fn detection_index_points_at_the_reported_detection_or_nowhere() {
        let mut analysis =
            CameraAnalysis::new(&config("[analysis]\nclasses = [\"person\"]"), &names()).unwrap();
        let car = Detection { class_id: 2, ..person_at(600.0, 500.0, 0.99) };
        let mut found =
            update(&mut analysis, 0, &[person_at(100.0, 300.0, 0.7), car, person_at(300.0, 300.0, 0.9)]);
        assert_eq!(found.detections.iter().map(|d| d.confidence).collect::<Vec<_>>(), [0.9, 0.7]);
        for track in &found.tracks {
            let detection = found.detections[usize::from(track.detection.unwrap())];
            assert_eq!(detection.xyxy, track.xyxy);
        }
        // Between `low_threshold` and `analysis.confidence`: continues its track, but is not reported.
        found = update(&mut analysis, 1, &[person_at(100.0, 300.0, 0.2), person_at(300.0, 300.0, 0.9)]);
        assert_eq!(found.detections.len(), 1);
        let (detections, states): (Vec<_>, Vec<_>) =
            found.tracks.iter().map(|t| (t.detection, t.state)).unzip();
        assert_eq!(states, [TrackState::Tracked; 2]);
        assert_eq!(detections, [Some(0), None]);
    }

    #[test]
    fn walking_person_has_a_walking_speed() {
        let mut analysis = CameraAnalysis::new(&config(CALIBRATED), &names()).unwrap();
        let homography = analysis.drawn.calibration().unwrap().homography([768.0, 576.0]).unwrap();
        let mut last = None;
        for frame in 0..40 {
            // 1.2 m/s along the ground's X axis.
            let [x, y] = homography.image([-16.0 + 1.2 * frame as f64 / 7.0, -10.0]).unwrap();
            last = update(&mut analysis, frame, &[person_at(x as f32, y as f32, 0.9)]).tracks[0].speed;
        }
        let speed = last.unwrap();
        assert!((speed.speed_mps - 1.2).abs() < 0.02 && speed.heading_rad.abs() < 0.05, "{speed:?}");
    }

    #[test]
    fn discontinuity_starts_an_epoch_but_not_on_the_first_frame() {
        let mut analysis = CameraAnalysis::new(&config(""), &names()).unwrap();
        let people = [person_at(100.0, 300.0, 0.9)];
        assert_eq!(analysis.update(0, true, SOURCE, &people, |_| {}).track_epoch, 0);
        let again = analysis.update(0, true, SOURCE, &people, |_| {});
        assert_eq!((again.track_epoch, again.tracks[0].track_id), (1, 2));
    }

    #[test]
    fn stages_are_reported_in_order() {
        let mut analysis = CameraAnalysis::new(&config(""), &names()).unwrap();
        let mut stages = Vec::new();
        analysis.update(0, false, SOURCE, &[], |stage| stages.push(stage));
        assert_eq!(stages, [Stage::Track, Stage::Speed, Stage::Zones]);
    }

    #[test]
    fn state_of_256_tracks_or_doubtful_objects_leaves_8_kib_of_the_checkpoint() {
        for confidence in [0.912_345, 0.5] {
            let mut analysis = CameraAnalysis::new(&config(CALIBRATED), &names()).unwrap();
            let base = i64::MAX / 4;
            // The longest encodings: large ids and times, several classes.
            analysis.tracker.restart(u32::MAX - 7);
            for frame in 0..24_i64 {
                let crowd: Vec<Detection> = (0..300)
                    .map(|k| {
                        ((k % 30) as f32 * 24.0 + 30.0 + 0.3 * frame as f32, (k / 30) as f32 * 20.0 + 330.0)
                    })
                    .map(|(x, y)| Detection {
                        xyxy: [x - 9.0, y - 18.0, x + 9.0, y],
                        confidence,
                        class_id: [2, 4, 5][frame as usize % 3],
                    })
                    .collect();
                analysis.update(base + frame * 40_000, false, SOURCE, &crowd, |_| {});
            }
            let state = analysis.state();
            let ids_could_be_longer = 2 * 4 * 256;
            assert!(state.len() > 45_000, "{} bytes: is the tracker full?", state.len());
            assert!(
                state.len() + ids_could_be_longer <= CameraAnalysis::MAX_STATE_BYTES - 8 * 1024,
                "{} bytes",
                state.len()
            );
            // The release before promised no more than to fit.
            let before = analysis.state_for(2).len();
            assert!(before + ids_could_be_longer <= CameraAnalysis::MAX_STATE_BYTES, "{before} bytes");
        }
    }

    #[test]
    fn unknown_or_repeated_names_in_groups_are_refused() {
        let said = |groups: &str| {
            CameraAnalysis::new(&config(&format!("[analysis.groups]\n{groups}")), &names()).unwrap_err()
        };
        assert_eq!(
            said("goods = [\"trck\", \"bus\"]"),
            ["camera gate: analysis.groups: the model has no class `trck`: did you mean `truck`?"]
        );
        assert_eq!(
            said("goods = [\"truck\", \"bus\"]\nroad = [\"Bus\"]"),
            ["camera gate: analysis.groups has the class `bus` twice: keep it in one group"]
        );
    }

    #[test]
    fn object_of_two_classes_is_one_track_where_they_are_a_group_and_both_detections_stay() {
        for (groups, expected) in
            [("", 1), ("[analysis.groups]\n", 2), ("[analysis.groups]\ngoods = [\"car\", \"truck\"]", 1)]
        {
            let mut analysis = CameraAnalysis::new(&config(groups), &names()).unwrap();
            let both = [(0.8, 2), (0.7, 5)]
                .map(|(confidence, class_id)| Detection { class_id, ..person_at(300.0, 300.0, confidence) });
            for frame in 0..5 {
                let found = update(&mut analysis, frame, &both);
                assert_eq!((found.detections.len(), found.tracks.len()), (2, expected), "{groups}");
                assert_eq!((found.tracks[0].class_id, found.tracks[0].class_share), (2, Some(1.0)));
            }
        }
    }

    #[test]
    fn doubtful_objects_without_a_track_are_said() {
        let mut analysis =
            CameraAnalysis::new(&config("[analysis.track]\ndoubtful = false"), &names()).unwrap();
        let found: Vec<Vec<Notice>> = (0..12)
            .map(|frame| update(&mut analysis, frame, &[person_at(300.0, 300.0, 0.5)]).notices)
            .collect();
        assert_eq!((&found[3], &found[11]), (&vec![], &vec![Notice::Doubtful]));
    }

    #[test]
    fn changed_calibration_measures_speeds_anew_and_keeps_the_tracks() {
        let mut analysis = CameraAnalysis::new(&config(CALIBRATED), &names()).unwrap();
        for frame in 0..20 {
            update(&mut analysis, frame, &[person_at(300.0 + frame as f32, 400.0, 0.9)]);
        }
        let state = analysis.state();
        let mut other =
            CameraAnalysis::new(&config(&CALIBRATED.replace("-13.497", "-12.0")), &names()).unwrap();
        other.restore(&state).unwrap();
        let found = update(&mut other, 20, &[person_at(320.0, 400.0, 0.9)]);
        assert_eq!((found.tracks[0].track_id, found.tracks[0].speed), (1, None));
        let mut same = CameraAnalysis::new(&config(CALIBRATED), &names()).unwrap();
        same.restore(&state).unwrap();
        assert!(update(&mut same, 20, &[person_at(320.0, 400.0, 0.9)]).tracks[0].speed.is_some());
    }

    const DRAWN_ON: &str = "drawn_on = { width = 768, height = 576 }\n";
    const REGION: &str = "[analysis]\nregion = [[0, 300], [400, 300], [400, 576], [0, 576]]\n";

    fn shape(width: u32, height: u32, pixel_aspect: f32) -> PictureShape {
        PictureShape { width, height, pixel_aspect }
    }

    /// A person who walks 1.2 m/s along the ground's X axis, seen in pictures of any size.
    struct Walk {
        analysis: CameraAnalysis,
        homography: peregrine_geometry::Homography,
        frame: i64,
    }

    impl Walk {
        fn new(toml: &str) -> Self {
            let config = config(toml);
            let calibration = Calibration::new(config.calibration.as_ref().unwrap()).unwrap();
            let homography = calibration.homography([768.0, 576.0]).unwrap();
            Self { analysis: CameraAnalysis::new(&config, &names()).unwrap(), homography, frame: 0 }
        }

        /// The next frames; the last one's result, and the news of all.
        fn see(&mut self, frames: u32, picture: PictureShape) -> (Analysed, Vec<String>) {
            let [sx, sy] = [picture.width as f32 / 768.0, picture.height as f32 / 576.0];
            let mut news = Vec::new();
            let mut last = None;
            for _ in 0..frames {
                let [x, y] = self.homography.image([-18.0 + 1.2 * self.frame as f64 / 7.0, -10.0]).unwrap();
                let seen = person_at(x as f32, y as f32, 0.9);
                let [l, t, r, b] = seen.xyxy;
                let seen = Detection { xyxy: [l * sx, t * sy, r * sx, b * sy], ..seen };
                let found = self.analysis.update(self.frame * 142_857, false, picture, &[seen], |_| {});
                news.extend(found.news.iter().map(ToString::to_string));
                last = Some(found);
                self.frame += 1;
            }
            (last.unwrap(), news)
        }
    }

    #[test]
    fn another_size_of_the_same_shape_changes_ids_or_speeds() {
        let matrix = {
            let calibration = Calibration::new(config(CALIBRATED).calibration.as_ref().unwrap()).unwrap();
            format!("[calibration]\nworld_from_image = {:?}\n", calibration.world_from_image())
        };
        for calibrated in [CALIBRATED, &matrix] {
            let mut walk = Walk::new(&format!("{REGION}{calibrated}{DRAWN_ON}"));
            let (found, _) = walk.see(15, SOURCE);
            assert!(found.tracks[0].in_region);
            for picture in [shape(1536, 1152, 1.0), shape(384, 288, 1.0), shape(384, 576, 2.0), SOURCE] {
                let (found, news) = walk.see(4, picture);
                let track = found.tracks[0];
                assert_eq!((found.track_epoch, track.track_id, news), (0, 1, Vec::new()), "{picture}");
                let speed = track.speed.unwrap();
                assert!((speed.speed_mps - 1.2).abs() < 0.02, "{picture}: {speed:?}");
                let [x, y] = track.ground_m.unwrap();
                let at = -18.0 + 1.2 * (walk.frame - 1) as f32 / 7.0;
                assert!((x - at).abs() < 0.05 && (y + 10.0).abs() < 0.05, "{picture}: {x} {y}");
                let right = track.xyxy[0] + track.xyxy[2] > 800.0 * picture.width as f32 / 768.0;
                assert_eq!(track.in_region, !right, "{picture}");
            }
        }
    }

    #[test]
    fn another_shape_has_speeds_or_is_not_told_once() {
        let toml =
            format!("{REGION}region_drawn_on = {{ width = 768, height = 576 }}\n{CALIBRATED}{DRAWN_ON}");
        let mut walk = Walk::new(&toml);
        walk.see(15, SOURCE);
        for other in [shape(768, 432, 1.0), shape(576, 768, 1.0), shape(768, 576, 2.0)] {
            let (found, news) = walk.see(15, other);
            let track = found.tracks[0];
            assert_eq!((track.speed, track.ground_m, track.in_region), (None, None, true), "{other}");
            assert_eq!(track.state, TrackState::Tracked);
            assert_eq!(found.notices, [Notice::RegionOff, Notice::CalibrationOff]);
            assert_eq!(news.len(), 2, "{news:?}");
            let said = format!("it was drawn on 768x576, and the picture now has another shape, {other};");
            assert!(news[0].starts_with("the region is off") && news[0].contains(&said), "{news:?}");
            assert!(news[1].starts_with("the calibration is off") && news[1].contains(&said), "{news:?}");
        }
        let (found, news) = walk.see(15, shape(1536, 1152, 1.0));
        assert_eq!(news[0], "the region fits the picture again, 1536x1152");
        assert_eq!(news[1], "the calibration fits the picture again, 1536x1152");
        assert_eq!((found.track_epoch, found.notices), (4, Vec::new()));
        assert!((found.tracks[0].speed.unwrap().speed_mps - 1.2).abs() < 0.02);
    }

    #[test]
    fn drawn_without_a_size_is_not_of_the_first_picture_for_good() {
        let mut walk = Walk::new(&format!("{REGION}{CALIBRATED}"));
        let (_, news) = walk.see(15, SOURCE);
        assert_eq!(news.len(), 2, "{news:?}");
        assert!(
            news[0].contains("region does not say what picture it was drawn on: taken to be one of 768x576")
        );
        // Another processor goes on with the same camera.
        let state = walk.analysis.state();
        walk.analysis = CameraAnalysis::new(&config(&format!("{REGION}{CALIBRATED}")), &names()).unwrap();
        walk.analysis.restore(&state).unwrap();
        let (found, news) = walk.see(1, shape(1536, 1152, 1.0));
        assert_eq!((found.track_epoch, news), (0, Vec::new()));
        assert!((found.tracks[0].speed.unwrap().speed_mps - 1.2).abs() < 0.02);
        assert_eq!(walk.see(1, shape(640, 360, 1.0)).0.tracks[0].speed, None);
        // Drawn anew: of the picture of now.
        let state = walk.analysis.state();
        let anew = REGION.replace("400", "401");
        walk.analysis = CameraAnalysis::new(&config(&format!("{anew}{CALIBRATED}")), &names()).unwrap();
        walk.analysis.restore(&state).unwrap();
        let (_, news) = walk.see(1, shape(640, 360, 1.0));
        assert!(news[0].contains("taken to be one of 640x360") && news[1].contains("is off"), "{news:?}");
    }

    #[test]
    fn size_that_contradicts_the_calibration_is_taken_for_its_own() {
        let mut walk = Walk::new(CALIBRATED);
        let (found, news) = walk.see(15, shape(384, 288, 1.0));
        assert_eq!((found.tracks[0].speed, found.tracks[0].ground_m), (None, None));
        assert!(news[0].contains("seems to be drawn on one of another size than 384x288"), "{news:?}");
        let (found, news) = walk.see(15, SOURCE);
        assert!(news[0].contains("taken to be one of 768x576"), "{news:?}");
        assert!((found.tracks[0].speed.unwrap().speed_mps - 1.2).abs() < 0.02);
        let mut walk = Walk::new(&format!("{CALIBRATED}drawn_on = {{ width = 384, height = 288 }}\n"));
        assert!(walk.see(15, shape(384, 288, 1.0)).1.is_empty(), "whoever says it knows it");
    }

    #[test]
    fn checkpoint_of_a_release_that_knew_no_sizes_loses_its_tracks() {
        let mut walk = Walk::new(CALIBRATED);
        walk.see(15, SOURCE);
        let tracker = walk.analysis.tracker.state();
        let old = (tracker, &walk.analysis.speeds, walk.analysis.calibration_print());
        let old = rmp_serde::to_vec(&old).unwrap();
        walk.analysis = CameraAnalysis::new(&config(CALIBRATED), &names()).unwrap();
        walk.analysis.restore(&old).unwrap();
        let (found, news) = walk.see(1, SOURCE);
        assert_eq!((found.track_epoch, found.tracks[0].track_id, news.len()), (0, 1, 1));
        assert!(found.tracks[0].speed.is_some());
    }

    proptest! {
        #[test]
        fn restore_after_every_frame_gives_the_same_bits(
            walks in prop::collection::vec((20.0..740.0f32, 300.0..560.0f32, -4.0..4.0f32, 0.1..1.0f32), 1..8),
            missed in prop::collection::vec(0..8usize, 30),
        ) {
            let config = config(CALIBRATED);
            let (mut whole, mut restored) = (CameraAnalysis::new(&config, &names()).unwrap(), CameraAnalysis::new(&config, &names()).unwrap());
            for (frame, missed) in missed.into_iter().enumerate() {
                let people: Vec<Detection> = walks.iter().enumerate().filter(|(index, _)| *index != missed)
                    .map(|(_, (x, y, v, confidence))| person_at(x + v * frame as f32, *y, *confidence)).collect();
                let state = restored.state();
                restored = CameraAnalysis::new(&config, &names()).unwrap();
                restored.restore(&state).unwrap();
                prop_assert_eq!(update(&mut whole, frame as i64, &people), update(&mut restored, frame as i64, &people));
                prop_assert_eq!(whole.state(), restored.state());
            }
        }

        #[test]
        fn any_bytes_restore_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..400usize, byte: u8) {
            let mut analysis = CameraAnalysis::new(&config(CALIBRATED), &names()).unwrap();
            let _ = analysis.restore(&bytes);
            // A real state with one byte changed.
            let mut real = CameraAnalysis::new(&config(CALIBRATED), &names()).unwrap();
            for frame in 0..3 {
                update(&mut real, frame, &[person_at(300.0, 400.0, 0.9)]);
            }
            let mut state = real.state();
            let at = at % state.len();
            state[at] = byte;
            if analysis.restore(&state).is_ok() {
                for frame in 3..6 {
                    update(&mut analysis, frame, &[person_at(300.0, 400.0, 0.9)]);
                }
            }
        }
    }
}
