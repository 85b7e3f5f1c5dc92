//! Tracking and speed against the synthetic scene, whose positions and speeds are exactly known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use peregrine_media::synthetic::{Scene, SceneConfig, TruthObject};
use peregrine_processor::camera_analysis::CameraAnalysis;
use peregrine_proto::{CameraConfig, Detection, PictureShape, TrackState};

const CLASSES: [&str; 4] = ["person", "car", "bus", "truck"];

/// Deterministic noise: normal enough, standard deviation 1.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// What came out of a scene's 20 seconds.
struct Outcome {
    /// Of all speeds reported for objects that move, falling within 0 to 1.
    median_relative_error: f64,
    reported: usize,
    objects: usize,
    /// Objects that were followed under more than one id.
    changed_ids: Vec<u64>,
    /// Share of the reported speeds within two standard errors of the truth.
    within_two_errors: f64,
}

fn run(seed: u64, jitter_px: f64, missing: f64) -> Outcome {
    let scene = Scene::new(SceneConfig { seed, frames: 500, ..SceneConfig::default() }).unwrap();
    let text = "id = \"scene\"\n[source]\nuri = \"synthetic:road\"\n";
    let mut config: CameraConfig = toml::from_str(text).unwrap();
    config.calibration = Some(scene.calibration());
    let mut analysis = CameraAnalysis::new(&config, &CLASSES.map(str::to_owned)).unwrap();
    let mut noise = Noise(seed);
    let (mut errors, mut within) = (Vec::new(), 0);
    let mut ids: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for frame in 0..500 {
        let truth = scene.truth(frame);
        let mut objects: Vec<&TruthObject> = Vec::new();
        let mut detections: Vec<Detection> = Vec::new();
        for object in &truth.objects {
            let jittered = object.xyxy.map(|value| (value + jitter_px * noise.normal()) as f32);
            if noise.uniform() < missing {
                continue;
            }
            let class_id = CLASSES.iter().position(|name| *name == object.class).unwrap() as u16;
            // Falling, so that the reported detections stand in this order.
            let confidence = 0.95 - 0.001 * objects.len() as f32;
            objects.push(object);
            detections.push(Detection { xyxy: jittered, confidence, class_id });
        }
        let picture = PictureShape::new(scene.config().size, 1.0);
        let analysed = analysis.update(truth.media_time_us, false, picture, &detections, |_| {});
        for track in analysed.tracks.iter().filter(|track| track.state == TrackState::Tracked) {
            let object = objects[usize::from(track.detection.unwrap())];
            let known = ids.entry(object.id).or_default();
            if !known.contains(&track.track_id) {
                known.push(track.track_id);
            }
            if let Some(speed) = track.speed.filter(|_| object.speed_mps > 0.5) {
                let error = (f64::from(speed.speed_mps) - object.speed_mps).abs();
                errors.push(error / object.speed_mps);
                within += usize::from(error <= 2.0 * f64::from(speed.std_error_mps));
            }
        }
    }
    errors.sort_by(f64::total_cmp);
    Outcome {
        median_relative_error: errors[errors.len() / 2],
        reported: errors.len(),
        objects: ids.len(),
        changed_ids: ids.into_iter().filter(|(_, ids)| ids.len() > 1).map(|(id, _)| id).collect(),
        within_two_errors: within as f64 / errors.len() as f64,
    }
}

#[test]
fn perfect_detections_have_exact_speeds_and_no_track_changes_its_id() {
    for seed in 1..=12 {
        let outcome = run(seed, 0.0, 0.0);
        assert!(outcome.objects > 8 && outcome.reported > 1000, "seed {seed}: {} speeds", outcome.reported);
        assert!(outcome.median_relative_error < 0.01, "seed {seed}: {}", outcome.median_relative_error);
        assert!(outcome.changed_ids.is_empty(), "seed {seed}: {:?}", outcome.changed_ids);
    }
}

#[test]
fn jittered_and_missing_detections_have_speeds_within_three_percent() {
    for seed in 1..=12 {
        let outcome = run(seed, 2.0, 0.1);
        assert!(outcome.reported > 500, "seed {seed}: {} speeds", outcome.reported);
        assert!(outcome.median_relative_error < 0.03, "seed {seed}: {}", outcome.median_relative_error);
        assert!(
            outcome.within_two_errors > 0.9,
            "seed {seed}: {} within two errors",
            outcome.within_two_errors
        );
    }
}
