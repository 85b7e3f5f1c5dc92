//! Speed over ground: a filter for each track while it lasts, and one robust line through a track that is complete.
//!
//! The filter is an extended Kalman filter. Its state is on the ground plane (position and velocity, metres), its
//! measurement is the foot point in pixels: the middle of a box's lower edge. The noise of a foot point is even in
//! the picture and very uneven on the ground; the Jacobian of the homography carries it there. What the noises are,
//! it learns from its own innovations: consecutive ones of an optimal filter are unrelated (Mehra 1970). Where they
//! point the same way, the object turns or brakes and the motion noise rises; by how much they differ from one
//! another, the measurement noise is scaled. So the standard error means something with any detector.

use std::collections::BTreeMap;

use nalgebra::{Matrix2, Matrix2x4, Matrix4, Vector2, Vector4};
use peregrine_geometry::Homography;
use peregrine_proto::{Detection, Size, Speed};
use serde::{Deserialize, Serialize};

use crate::track::Tracked;

/// Nothing on a road is faster: 300 km/h, metres per second.
pub const FASTEST_MPS: f64 = 300.0 / 3.6;

/// Assumed standard deviation of a foot point: a share of the box's width and height, at least a pixel.
const FOOT_NOISE: f64 = 0.02;
/// What is known of a velocity before it was measured, metres per second.
const FIRST_VELOCITY: f64 = 15.0;
/// Squared Mahalanobis distance from which on a foot point counts less: 99% of the good ones are nearer.
const GATE: f64 = 9.21;
/// Motion noise, the spectral density of white acceleration in m²/s³: at first, and its bounds.
const MOTION: f64 = 0.5;
const MOTION_BOUNDS: (f64, f64) = (0.001, 25.0);
/// Bounds of the factor on the variance of a foot point.
const NOISE_FACTOR_BOUNDS: (f64, f64) = (0.01, 25.0);
/// How fast both are learnt, for each measurement, and the weight of the newest innovation in their mean.
const LEARNING: f64 = 0.1;
const MEMORY: f64 = 0.2;
/// The variance of the mean of unrelated innovations.
const MEAN_VARIANCE: f64 = MEMORY / (2.0 - MEMORY);
/// A filter does not begin where a foot point is known no better than this, metres.
const WORST_POSITION: f64 = 20.0;
/// A speed is reported after this many foot points over this much time, …
const LEAST_SEEN: u16 = 5;
const LEAST_TIME_US: i64 = 500_000;
/// … while its standard error is at most this share of it, or this much in metres per second.
const GOOD_SHARE: f64 = 0.04;
const GOOD_MPS: f64 = 0.3;
/// … and while its innovations do not stray: not while it brakes or turns faster than the filter has learnt to follow.
/// By chance alone the trend is above this in 5% of all frames.
const STRAYING: f64 = 3.0;
/// A box nearer to the picture's edge than this share of its size may be cut by it.
const EDGE: f64 = 0.005;

/// The speeds of all tracks of a camera.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SpeedEstimator {
    filters: BTreeMap<u32, GroundFilter>,
}

/// Where a track is on the ground and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OnGround {
    /// Metres; none where its foot point was never seen or lies beyond the horizon.
    pub position_m: Option<[f64; 2]>,
    /// None until it is known to be good.
    pub speed: Option<Speed>,
}

/// One object's motion over ground.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct GroundFilter {
    /// Metres.
    position: [f64; 2],
    /// Metres per second.
    #[serde(with = "crate::packed")]
    velocity: [f32; 2],
    /// Upper triangle by rows, of position and velocity.
    #[serde(with = "crate::packed")]
    covariance: [f32; 10],
    /// The mean of the last normalised ones, the newest counting most.
    #[serde(with = "crate::packed")]
    innovation: [f32; 2],
    /// Learnt factor on the variance of a foot point.
    noise_factor: f32,
    /// Learnt spectral density of the acceleration, m²/s³.
    motion: f32,
    first_us: i64,
    last_us: i64,
    seen: u16,
}

/// A foot point in source pixels with its standard deviations.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Foot {
    point: Vector2<f64>,
    deviation: Vector2<f64>,
}

impl SpeedEstimator {
    /// Takes in the tracks after a frame; the answer has one entry for each. `detections` are those that
    /// `Tracked::detection` points into, `source` is the picture's size. Tracks that are not there are forgotten.
    pub fn update(
        &mut self,
        media_time_us: i64,
        tracks: &[Tracked],
        detections: &[Detection],
        source: Size,
        homography: &Homography,
    ) -> Vec<OnGround> {
        let mut before = std::mem::take(&mut self.filters);
        tracks
            .iter()
            .map(|track| {
                let seen = track.detection.and_then(|index| detections.get(index));
                let foot = seen.and_then(|detection| Foot::of(detection.xyxy, source));
                let filter = match before.remove(&track.track_id) {
                    Some(mut filter) => filter.advance(media_time_us, foot, homography).then_some(filter),
                    None => None,
                };
                let filter = filter.or_else(|| GroundFilter::begin(media_time_us, foot?, homography));
                let Some(filter) = filter else { return OnGround::default() };
                if track.state != peregrine_proto::TrackState::Removed {
                    self.filters.insert(track.track_id, filter);
                }
                OnGround { position_m: Some(filter.position), speed: filter.speed() }
            })
            .collect()
    }
}

/// The point where an object stands: the middle of its box's lower edge.
pub fn foot_point(xyxy: [f32; 4]) -> [f64; 2] {
    let [left, _, right, bottom] = xyxy.map(f64::from);
    [(left + right) / 2.0, bottom]
}

impl Foot {
    /// The foot point of a box. None where the picture's edge may hide it.
    fn of(xyxy: [f32; 4], source: Size) -> Option<Self> {
        let [left, top, right, bottom] = xyxy.map(f64::from);
        let (width, height) = (f64::from(source.width), f64::from(source.height));
        let (beside, below) = (1.0_f64.max(EDGE * width), 1.0_f64.max(EDGE * height));
        let whole = left >= beside && right <= width - beside && bottom <= height - below;
        let deviation =
            Vector2::new(FOOT_NOISE * (right - left), FOOT_NOISE * (bottom - top)).map(|d| d.max(1.0));
        whole.then(|| Self { point: Vector2::from(foot_point(xyxy)), deviation })
    }
}

impl GroundFilter {
    fn begin(media_time_us: i64, foot: Foot, homography: &Homography) -> Option<Self> {
        let position = homography.ground(foot.point.into())?;
        let metres_by_pixel = homography.ground_by_image(foot.point.into())?;
        let mut covariance = Matrix4::from_diagonal(&Vector4::repeat(FIRST_VELOCITY * FIRST_VELOCITY));
        let known = metres_by_pixel * foot.variance() * metres_by_pixel.transpose();
        covariance.fixed_view_mut::<2, 2>(0, 0).copy_from(&known);
        let mut filter = Self {
            position,
            velocity: [0.0; 2],
            covariance: [0.0; 10],
            innovation: [0.0; 2],
            noise_factor: 1.0,
            motion: MOTION as f32,
            first_us: media_time_us,
            last_us: media_time_us,
            seen: 1,
        };
        filter.set_covariance(&covariance);
        (known.trace().sqrt() <= WORST_POSITION).then_some(filter)
    }

    /// Moves on to a time and takes in the foot point seen then. False where the filter makes no more sense.
    fn advance(&mut self, media_time_us: i64, foot: Option<Foot>, homography: &Homography) -> bool {
        self.predict(media_time_us);
        if let Some(foot) = foot {
            if self.update(foot, homography).is_none() {
                return false;
            }
            self.seen = self.seen.saturating_add(1);
        }
        self.position.iter().all(|v| v.is_finite())
            && self.velocity.iter().chain(&self.covariance).chain(&self.innovation).all(|v| v.is_finite())
    }

    fn predict(&mut self, media_time_us: i64) {
        let dt = media_time_us.saturating_sub(self.last_us).max(0) as f64 / 1e6;
        self.last_us = media_time_us;
        let mut transition = Matrix4::identity();
        let mut noise = Matrix4::zeros();
        let motion = f64::from(self.motion);
        for axis in 0..2 {
            transition[(axis, axis + 2)] = dt;
            noise[(axis, axis)] = motion * dt.powi(3) / 3.0;
            noise[(axis, axis + 2)] = motion * dt.powi(2) / 2.0;
            noise[(axis + 2, axis)] = motion * dt.powi(2) / 2.0;
            noise[(axis + 2, axis + 2)] = motion * dt;
        }
        let state = transition * self.state();
        self.set_state(state);
        self.set_covariance(&(transition * self.covariance() * transition.transpose() + noise));
    }

    /// None where the object is predicted to be out of the camera's sight, or the numbers are exhausted.
    fn update(&mut self, foot: Foot, homography: &Homography) -> Option<()> {
        let pixels_by_metre = homography.image_by_ground(self.position)?;
        let innovation = foot.point - Vector2::from(homography.image(self.position)?);
        let mut measures = Matrix2x4::zeros();
        measures.fixed_view_mut::<2, 2>(0, 0).copy_from(&pixels_by_metre);
        let covariance = self.covariance();
        let expected = measures * covariance * measures.transpose();
        let mut noise = foot.variance() * f64::from(self.noise_factor);
        let distance = innovation.dot(&((expected + noise).cholesky()?.solve(&innovation)));
        if distance > GATE {
            // An outlier pulls no harder than a point at the gate (Huber's weights).
            noise *= distance / GATE;
        }
        let cholesky = (expected + noise).cholesky()?;
        let gain = covariance * measures.transpose() * cholesky.inverse();
        // Joseph's form: stays positive.
        let kept = Matrix4::identity() - gain * measures;
        self.set_covariance(&(kept * covariance * kept.transpose() + gain * noise * gain.transpose()));
        self.set_state(self.state() + gain * innovation);
        self.learn(cholesky.l().try_inverse()? * innovation);
        Some(())
    }

    /// Learns the noises from an innovation, normalised so that its covariance should be the identity. How far it is
    /// from the mean of the last ones scales the measurement noise; how far that mean is from zero, the motion noise.
    fn learn(&mut self, innovation: Vector2<f64>) {
        let mean = Vector2::from(self.innovation.map(f64::from));
        let scatter = (innovation - mean).norm_squared() / (2.0 * (1.0 + MEAN_VARIANCE));
        let mean = mean.lerp(&innovation, MEMORY);
        self.innovation = [mean.x as f32, mean.y as f32];
        let scaled = |value: f32, by: f64, (least, most): (f64, f64)| {
            (f64::from(value) * (LEARNING * by.clamp(-1.0, 3.0)).exp()).clamp(least, most) as f32
        };
        self.noise_factor = scaled(self.noise_factor, scatter - 1.0, NOISE_FACTOR_BOUNDS);
        self.motion = scaled(self.motion, trend(mean) - 1.0, MOTION_BOUNDS);
    }

    /// The speed, where it is known well. A velocity that is shorter than its uncertainty is none; well above it,
    /// its length stands. So what stands still has a speed near zero.
    fn speed(&self) -> Option<Speed> {
        let velocity = Vector2::from(self.velocity.map(f64::from));
        let covariance: Matrix2<f64> = self.covariance().fixed_view::<2, 2>(2, 2).into_owned();
        let length = velocity.norm();
        let along = if length > 0.0 {
            (velocity / length).dot(&(covariance * (velocity / length)))
        } else {
            f64::MAX
        };
        let uncertainty = if length > 0.0 { covariance.trace() / (length * length) } else { f64::MAX };
        let speed = length * (1.0 - uncertainty * uncertainty).max(0.0).sqrt();
        // Near zero no direction is known, so the worst one counts.
        let worst = covariance.symmetric_eigenvalues().max();
        let std_error = if speed * speed > worst { along } else { worst }.max(0.0).sqrt();
        let lasted = self.last_us.saturating_sub(self.first_us) >= LEAST_TIME_US && self.seen >= LEAST_SEEN;
        let good = std_error <= GOOD_MPS.max(GOOD_SHARE * speed) && speed <= FASTEST_MPS;
        let settled = trend(Vector2::from(self.innovation.map(f64::from))) < STRAYING;
        (lasted && good && settled).then(|| Speed {
            speed_mps: speed as f32,
            std_error_mps: std_error as f32,
            heading_rad: velocity.y.atan2(velocity.x) as f32,
        })
    }

    fn state(&self) -> Vector4<f64> {
        Vector4::new(
            self.position[0],
            self.position[1],
            f64::from(self.velocity[0]),
            f64::from(self.velocity[1]),
        )
    }

    fn set_state(&mut self, state: Vector4<f64>) {
        self.position = [state[0], state[1]];
        self.velocity = [state[2] as f32, state[3] as f32];
    }

    fn covariance(&self) -> Matrix4<f64> {
        let mut matrix = Matrix4::zeros();
        for ((row, column), value) in upper_triangle().zip(&self.covariance) {
            matrix[(row, column)] = f64::from(*value);
            matrix[(column, row)] = f64::from(*value);
        }
        matrix
    }

    fn set_covariance(&mut self, matrix: &Matrix4<f64>) {
        for ((row, column), value) in upper_triangle().zip(&mut self.covariance) {
            *value = matrix[(row, column)] as f32;
        }
    }
}

impl Foot {
    fn variance(&self) -> Matrix2<f64> {
        Matrix2::from_diagonal(&self.deviation.component_mul(&self.deviation))
    }
}

/// How far the mean of the last normalised innovations is from zero: 1 on average where they are unrelated.
fn trend(mean: Vector2<f64>) -> f64 {
    mean.norm_squared() / (2.0 * MEAN_VARIANCE)
}

fn upper_triangle() -> impl Iterator<Item = (usize, usize)> {
    (0..4).flat_map(|row| (row..4).map(move |column| (row, column)))
}

#[cfg(test)]
mod tests {
    use peregrine_geometry::Calibration;
    use peregrine_proto::{CalibrationConfig, CalibrationPoint, TrackState};
    use proptest::prelude::*;

    use super::*;

    const PICTURE: Size = Size { width: 1280, height: 720 };

    /// A camera 8 m above the ground that looks along +Y, 18° down, with a focal length of 900 pixels.
    fn project([x, y]: [f64; 2]) -> [f64; 2] {
        let (sin, cos) = 18.0_f64.to_radians().sin_cos();
        let (forward, down) = (y * cos + 8.0 * sin, 8.0 * cos - y * sin);
        [640.0 + 900.0 * x / forward, 360.0 + 900.0 * down / forward]
    }

    fn homography() -> Homography {
        let ground = [[-6.0, 12.0], [6.0, 12.0], [6.0, 50.0], [-6.0, 50.0]];
        let points = ground.map(|ground| CalibrationPoint { image: project(ground), ground });
        let config = CalibrationConfig { points: points.into(), world_from_image: None, drawn_on: None };
        Calibration::new(&config).unwrap().homography([1280.0, 720.0]).unwrap()
    }

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

    /// Follows one object whose position is `at(t)`; returns its speeds by time, where one is reported.
    fn follow(
        at: impl Fn(f64) -> [f64; 2],
        fps: f64,
        frames: u32,
        jitter_px: f64,
        missing: f64,
    ) -> Vec<(f64, Speed)> {
        let (homography, mut estimator, mut noise) = (homography(), SpeedEstimator::default(), Noise(3));
        let mut speeds = Vec::new();
        for frame in 0..frames {
            let time = f64::from(frame) / fps;
            let [x, y] = project(at(time));
            let (x, y) = (x + jitter_px * noise.normal(), y + jitter_px * noise.normal());
            let xyxy = [x - 30.0, y - 60.0, x + 30.0, y].map(|value| value as f32);
            let detection = Detection { xyxy, confidence: 0.9, class_id: 0 };
            let seen = noise.uniform() >= missing;
            let track = Tracked {
                track_id: 1,
                state: if seen { TrackState::Tracked } else { TrackState::Lost },
                xyxy,
                confidence: 0.9,
                class_id: 0,
                class_share: 1.0,
                detection: seen.then_some(0),
            };
            let found = estimator.update((time * 1e6) as i64, &[track], &[detection], PICTURE, &homography);
            speeds.extend(found[0].speed.map(|speed| (time, speed)));
        }
        speeds
    }

    fn median_error(speeds: &[(f64, Speed)], truth: f64) -> f64 {
        let mut errors: Vec<f64> =
            speeds.iter().map(|(_, s)| (f64::from(s.speed_mps) - truth).abs() / truth).collect();
        errors.sort_by(f64::total_cmp);
        errors[errors.len() / 2]
    }

    #[test]
    fn exact_foot_points_give_the_exact_speed_and_heading() {
        let speeds = follow(|t| [2.0, 12.0 + 15.0 * t], 25.0, 75, 0.0, 0.0);
        assert!(speeds.len() > 40, "{}", speeds.len());
        assert!(median_error(&speeds, 15.0) < 1e-3);
        let heading = speeds.last().unwrap().1.heading_rad;
        assert!((heading - std::f32::consts::FRAC_PI_2).abs() < 1e-3, "{heading}");
    }

    #[test]
    fn jittered_and_missing_foot_points_give_the_speed_within_three_percent() {
        let speeds = follow(|t| [-3.0, 14.0 + 12.0 * t], 25.0, 100, 2.0, 0.1);
        assert!(median_error(&speeds, 12.0) < 0.03);
        let outside = |(_, s): &&(f64, Speed)| (s.speed_mps - 12.0).abs() > 3.0 * s.std_error_mps;
        assert!(
            speeds.iter().filter(outside).count() * 20 <= speeds.len(),
            "the standard error is too small"
        );
    }

    #[test]
    fn same_motion_at_other_frame_rates_has_the_same_speed() {
        for fps in [7.0, 50.0] {
            let speeds = follow(|t| [1.0, 14.0 + 8.0 * t], fps, (4.0 * fps) as u32, 1.0, 0.0);
            assert!(median_error(&speeds, 8.0) < 0.03, "{fps}");
        }
    }

    #[test]
    fn standing_object_has_no_speed_but_a_standard_error() {
        let speeds = follow(|_| [1.0, 20.0], 25.0, 250, 2.0, 0.0);
        let (_, last) = speeds.last().unwrap();
        assert!(last.speed_mps < 0.15 && last.speed_mps <= 2.0 * last.std_error_mps, "{last:?}");
        assert!(last.std_error_mps > 0.01, "{last:?}");
    }

    #[test]
    fn braking_is_shown_too_late_or_never() {
        // 10 m/s, then in two seconds down to 4, then steady again.
        let speed = |t: f64| 10.0 - 3.0 * (t - 2.0).clamp(0.0, 2.0);
        let way = |t: f64| {
            let braking = (t - 2.0).clamp(0.0, 2.0);
            10.0 * t.min(2.0) + 10.0 * braking - 1.5 * braking.powi(2) + 4.0 * (t - 4.0).max(0.0)
        };
        let speeds = follow(|t| [0.0, 14.0 + way(t)], 25.0, 200, 0.5, 0.0);
        for (time, shown) in &speeds {
            let error = (f64::from(shown.speed_mps) - speed(*time)).abs();
            assert!(error < 1.0, "{shown:?} at {time} is wrong by {error}");
        }
        let (time, last) = speeds.last().unwrap();
        let error = (f64::from(last.speed_mps) - 4.0).abs();
        assert!(*time > 7.0 && error < 3.0 * f64::from(last.std_error_mps), "{last:?} at {time}");
    }

    #[test]
    fn no_speed_before_half_a_second_or_five_sightings() {
        let first = |fps: f64| follow(|t| [2.0, 12.0 + 5.0 * t], fps, 60, 0.0, 0.0)[0].0;
        assert!(first(50.0) >= 0.5);
        assert!(first(4.0) >= 1.0);
    }

    #[test]
    fn foot_point_cut_by_the_edge_or_beyond_the_horizon_is_not_used() {
        let cut = |xyxy| Foot::of(xyxy, PICTURE).is_none();
        assert!(
            cut([100.0, 500.0, 200.0, 719.0])
                && cut([0.0, 100.0, 90.0, 300.0])
                && cut([1200.0, 100.0, 1279.0, 300.0])
        );
        assert!(!cut([100.0, 0.0, 200.0, 300.0]));
        let sky = Foot { point: Vector2::new(640.0, 20.0), deviation: Vector2::repeat(1.0) };
        assert_eq!(GroundFilter::begin(0, sky, &homography()), None);
    }

    #[test]
    fn nothing_is_faster_than_300_kmh() {
        assert_eq!(follow(|t| [0.0, 12.0 + 100.0 * t], 100.0, 70, 0.0, 0.0), []);
    }

    proptest! {
        #[test]
        fn any_boxes_give_plausible_speeds_and_a_restore_changes_nothing(
            steps in prop::collection::vec((0..400_000i64, prop::option::weighted(0.8, (0.0..1280.0f32, 0.0..760.0f32, 1.0..200.0f32))), 1..80),
        ) {
            let homography = homography();
            let (mut whole, mut restored) = (SpeedEstimator::default(), SpeedEstimator::default());
            let mut time = 0;
            for (step, foot) in steps {
                time += step;
                let (x, y, size) = foot.unwrap_or((0.0, 0.0, 1.0));
                let xyxy = [x - size, y - size, x + size, y];
                let detection = Detection { xyxy, confidence: 0.9, class_id: 0 };
                let detected = foot.map(|_| 0);
                let track = Tracked { track_id: 7, state: TrackState::Tracked, xyxy, confidence: 0.9, class_id: 0, class_share: 1.0, detection: detected };
                let found = whole.update(time, &[track], &[detection], PICTURE, &homography);
                restored = rmp_serde::from_slice(&rmp_serde::to_vec(&restored).unwrap()).unwrap();
                prop_assert_eq!(&found, &restored.update(time, &[track], &[detection], PICTURE, &homography));
                prop_assert_eq!(&whole, &restored);
                if let Some(speed) = found[0].speed {
                    prop_assert!((0.0..=FASTEST_MPS as f32).contains(&speed.speed_mps));
                    prop_assert!(speed.std_error_mps > 0.0 && speed.std_error_mps.is_finite());
                }
                for filter in whole.filters.values() {
                    prop_assert!(filter.covariance().symmetric_eigenvalues().min() > -1e-3);
                }
            }
        }
    }
}
