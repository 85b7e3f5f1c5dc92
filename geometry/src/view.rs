//! The camera that a calibration implies: a mistyped length shows as a camera that cannot be.

use std::fmt;

use nalgebra::{Matrix2, Matrix3, Matrix3x4, Vector3};
use peregrine_proto::Size;

use crate::{Calibration, Homography, homography::points_named};

/// Height of the person that views are described with, metres.
pub const PERSON_M: f64 = 1.7;

/// Cameras hang between these heights, metres. The range is a hundredfold, so that lengths that are a hundred times
/// too long or too short never fit a camera within it.
const HEIGHTS_M: std::ops::RangeInclusive<f64> = 1.0..=100.0;
/// Horizontal angles of view from a telephoto to a very wide lens, degrees.
const ANGLES_DEG: std::ops::RangeInclusive<f64> = 8.0..=130.0;
/// Clicks that are a few pixels off stretch a small rectangle this much; a length that is wrong by more is noticed.
const MOST_STRETCH: f64 = 2.0;
/// Nothing is detected that is smaller, pixels.
const LEAST_PERSON_PX: f64 = 3.0;
/// A picture whose nearest ground is farther away is none of a street, metres.
const FARTHEST_M: f64 = 1000.0;

/// Focal lengths that are tried, in widths of the picture.
const FOCAL: std::ops::Range<f64> = 0.15..20.0;
const FOCAL_STEPS: u32 = 96;
/// Prior knowledge of focal lengths: their usual value in widths of the picture, and the logarithm of the
/// factor that they vary by.
const USUAL_FOCAL: f64 = 0.8;
const FOCAL_SPREAD: f64 = 0.8;
/// How much the logarithm of the stretch varies by clicks that are a pixel or two off.
const STRETCH_SPREAD: f64 = 0.12;
/// Places of the picture that are looked at, in each direction.
const SAMPLES: u32 = 25;

/// The camera that a calibration and a picture's size imply, if its pixels are square and it looks through the middle
/// of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Height of the camera above the ground, metres.
    pub camera_height_m: f64,
    /// How far below the horizon the camera looks, degrees; 90 is straight down.
    pub tilt_deg: f64,
    /// Horizontal angle of view, degrees.
    pub angle_deg: f64,
    /// By how much one direction of the ground is longer than the other than any camera could see it; 1 for none.
    pub stretch: f64,
    /// Nearest ground in the picture, metres from the point below the camera.
    pub nearest_m: f64,
    /// Farthest ground in the picture, likewise; none where the picture shows the horizon.
    pub farthest_m: Option<f64>,
    /// How tall a person of [`PERSON_M`] would be among the calibration's points, pixels.
    pub person_px: Option<f64>,
    /// Homogeneous metres (X, Y, height above the ground, 1) to homogeneous pixels, row by row.
    pub image_from_space: [[f64; 4]; 3],
    /// Properties that no usual camera has.
    pub doubts: Vec<Doubt>,
}

/// Something about a calibration that can hardly be right.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Doubt {
    /// All of the picture is beyond the horizon.
    #[error("no ground would be seen in the picture of {0}: check the calibration's points, or its matrix")]
    NoGround(Size),
    /// Metres above the ground.
    #[error(
        "the camera would be {} above the ground: check the unit and the decimal point of each length", Metres(*.0)
    )]
    Height(f64),
    /// See [`View::stretch`].
    #[error(
        "the lengths contradict the picture: one direction of the ground is {} times too long for the other; check each length, and the order of the points", figures(*.0)
    )]
    Stretch(f64),
    /// Degrees.
    #[error(
        "the camera would see an angle of {0:.0}°, which few lenses do: check whether one length is wrong"
    )]
    Angle(f64),
    /// Pixels.
    #[error(
        "a person of {PERSON_M} m would be {} pixels tall: check the unit and the decimal point of each length", figures(*.0)
    )]
    Person(f64),
    /// Metres.
    #[error("the nearest ground in the picture would be {} away: check the unit of each length", Metres(*.0))]
    Far(f64),
    /// Points, counted from 1.
    #[error(
        "outside the picture of {picture} is calibration {}: was it made for a picture of another size?",
        points_named(.points)
    )]
    Outside {
        /// Counted from 1.
        points: Vec<usize>,
        /// Whose size it is.
        picture: Size,
    },
}

impl Calibration {
    /// Doubts about the calibration in a picture of this size.
    pub fn doubts(&self, picture: Size) -> Vec<Doubt> {
        View::of(self, picture).map_or_else(|| vec![Doubt::NoGround(picture)], |view| view.doubts)
    }
}

impl View {
    /// None where the calibration sees no ground in a picture of this size.
    pub fn of(calibration: &Calibration, picture: Size) -> Option<Self> {
        let [width, height] = [f64::from(picture.width), f64::from(picture.height)];
        let homography = calibration.homography([width, height])?;
        let middle = Matrix3::new(1.0, 0.0, -width / 2.0, 0.0, 1.0, -height / 2.0, 0.0, 0.0, 1.0);
        let centred = middle * homography.image_from_world_matrix();
        let focal = focal_length(&centred, width)?;
        let lens = Matrix3::from_diagonal(&Vector3::new(focal, focal, 1.0));
        let seen = Matrix3::from_diagonal(&Vector3::new(1.0 / focal, 1.0 / focal, 1.0)) * centred;
        // Columns: the ground's axes and its origin as the camera sees them, all times one scale.
        let [x, y, origin] = [0, 1, 2].map(|column| seen.column(column).into_owned());
        let scale = x.cross(&y).norm().sqrt();
        let up = x.cross(&y).normalize();
        let up = if up.dot(&origin) < 0.0 { up } else { -up };
        let camera_height_m = -up.dot(&origin) / scale;
        let below = on_axes(&x, &y, &-(origin + up * (scale * camera_height_m)))?;

        let height_column = middle.try_inverse()? * lens * up * scale;
        let ground = homography.image_from_world_matrix();
        let space = Matrix3x4::from_columns(&[
            ground.column(0),
            ground.column(1),
            height_column.column(0),
            ground.column(2),
        ]);
        let person_px =
            calibration.place(picture).and_then(|foot| person(&space, foot, homography.ground(foot)?));
        let (nearest_m, farthest_m) = distances(&homography, below, [width, height])?;
        let mut view = Self {
            camera_height_m,
            tilt_deg: (-up.z).clamp(-1.0, 1.0).asin().to_degrees(),
            angle_deg: 2.0 * (width / 2.0 / focal).atan().to_degrees(),
            stretch: stretch(&centred, focal),
            nearest_m,
            farthest_m,
            person_px,
            image_from_space: std::array::from_fn(|row| std::array::from_fn(|column| space[(row, column)])),
            doubts: Vec::new(),
        };
        view.doubts = view.judge(calibration, picture);
        view.is_finite().then_some(view)
    }

    fn judge(&self, calibration: &Calibration, picture: Size) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        let mut check = |fine: bool, doubt: Doubt| {
            if !fine {
                doubts.push(doubt);
            }
        };
        check(HEIGHTS_M.contains(&self.camera_height_m), Doubt::Height(self.camera_height_m));
        check(self.stretch <= MOST_STRETCH, Doubt::Stretch(self.stretch));
        check(ANGLES_DEG.contains(&self.angle_deg), Doubt::Angle(self.angle_deg));
        if let Some(px) = self.person_px {
            check(px >= LEAST_PERSON_PX, Doubt::Person(px));
        }
        check(self.nearest_m <= FARTHEST_M, Doubt::Far(self.nearest_m));
        let points = calibration.points_outside(picture);
        check(points.is_empty(), Doubt::Outside { points, picture });
        doubts
    }

    fn is_finite(&self) -> bool {
        let numbers = [self.camera_height_m, self.tilt_deg, self.angle_deg, self.stretch, self.nearest_m];
        let more = self.farthest_m.iter().chain(&self.person_px).chain(self.image_from_space.as_flattened());
        numbers.iter().chain(more).all(|value| value.is_finite())
    }
}

/// The focal length in pixels that explains a map from the ground to centred pixels best: the ground's axes should be
/// at right angles and equally long (Zhang 2000, for one plane), and lenses are what they usually are. The second
/// decides where a picture has too little perspective to tell, as straight from above.
fn focal_length(centred: &Matrix3<f64>, width: f64) -> Option<f64> {
    let cost = |log_focal: f64| {
        let unusual = (log_focal - USUAL_FOCAL.ln()) / FOCAL_SPREAD;
        let stretched = stretch(centred, log_focal.exp() * width).ln() / STRETCH_SPREAD;
        unusual * unusual + stretched * stretched
    };
    let (least, most) = (FOCAL.start.ln(), FOCAL.end.ln());
    let step = (most - least) / f64::from(FOCAL_STEPS);
    let best = (0..=FOCAL_STEPS)
        .map(|n| least + step * f64::from(n))
        .min_by(|a, b| cost(*a).total_cmp(&cost(*b)))?;
    let (mut low, mut high) = ((best - step).max(least), (best + step).min(most));
    for _ in 0..40 {
        let third = (high - low) / 3.0;
        if cost(low + third) < cost(high - third) { high -= third } else { low += third }
    }
    let focal = ((low + high) / 2.0).exp();
    focal.is_finite().then_some(focal * width)
}

/// The ratio of the longest to the shortest that one metre of the ground is, in any direction, seen through a lens.
fn stretch(centred: &Matrix3<f64>, focal: f64) -> f64 {
    let axes = centred.fixed_columns::<2>(0);
    let lens = Matrix3::from_diagonal(&Vector3::new(1.0 / focal, 1.0 / focal, 1.0));
    let seen = lens * axes;
    let metric: Matrix2<f64> = seen.transpose() * seen;
    let [half_trace, determinant] = [metric.trace() / 2.0, metric.determinant()];
    let longest = half_trace + (half_trace * half_trace - determinant).max(0.0).sqrt();
    // The product of both is the determinant: the smaller one by subtraction would be rounding alone.
    longest / determinant.max(0.0).sqrt()
}

/// Where a vector in the plane of two others lies on them.
fn on_axes(x: &Vector3<f64>, y: &Vector3<f64>, at: &Vector3<f64>) -> Option<[f64; 2]> {
    let metric = Matrix2::new(x.dot(x), x.dot(y), x.dot(y), y.dot(y));
    let found = metric.try_inverse()? * nalgebra::Vector2::new(x.dot(at), y.dot(at));
    Some([found.x, found.y])
}

/// Pixels from a foot to the head above it.
fn person(space: &Matrix3x4<f64>, foot: [f64; 2], [x, y]: [f64; 2]) -> Option<f64> {
    let head = space * nalgebra::Vector4::new(x, y, PERSON_M, 1.0);
    (head.z > 0.0).then(|| (head.x / head.z - foot[0]).hypot(head.y / head.z - foot[1]))
}

/// The nearest and the farthest ground in a picture from a point of the ground. No farthest where some of the picture
/// shows none.
fn distances(
    homography: &Homography,
    below: [f64; 2],
    [width, height]: [f64; 2],
) -> Option<(f64, Option<f64>)> {
    let share = |n: u32| f64::from(n) / f64::from(SAMPLES - 1);
    let (mut nearest, mut farthest) = (f64::INFINITY, Some(0.0_f64));
    for row in 0..SAMPLES {
        for column in 0..SAMPLES {
            let ground = homography.ground([share(column) * width, share(row) * height]);
            let distance = ground.map(|[x, y]| (x - below[0]).hypot(y - below[1]));
            nearest = nearest.min(distance.unwrap_or(f64::INFINITY));
            farthest = farthest.zip(distance).map(|(farthest, distance)| farthest.max(distance));
        }
    }
    nearest.is_finite().then_some((nearest, farthest))
}

/// A length for people: 5.4 cm, 0.8 m, 265 m, 3.2 km.
struct Metres(f64);

impl fmt::Display for Metres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            metres if metres < 0.5 => write!(f, "{} cm", figures(metres * 100.0)),
            metres if metres < 1000.0 => write!(f, "{} m", figures(metres)),
            metres => write!(f, "{} km", figures(metres / 1000.0)),
        }
    }
}

/// Two figures at least.
fn figures(value: f64) -> String {
    match value {
        value if value < 0.1 => format!("{value:.3}"),
        value if value < 10.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use peregrine_proto::{CalibrationConfig, CalibrationPoint};

    use super::*;
    use crate::CalibrationError;

    const PICTURE: Size = Size { width: 1280, height: 720 };

    /// A pinhole camera, written out by hand: it stands `height` metres above the ground's origin, looks along Y and
    /// `tilt` degrees down, is turned by `roll` degrees about its axis, and has a focal length of `focal` pixels.
    #[derive(Debug, Clone, Copy)]
    struct Pinhole {
        height: f64,
        tilt: f64,
        roll: f64,
        focal: f64,
    }

    const USUAL: Pinhole = Pinhole { height: 6.0, tilt: 22.0, roll: 0.0, focal: 1000.0 };

    impl Pinhole {
        /// Where a point of space is seen, pixels; none behind the camera.
        fn image(self, [x, y, z]: [f64; 3]) -> Option<[f64; 2]> {
            let [sin, cos] = [self.tilt.to_radians().sin(), self.tilt.to_radians().cos()];
            let below = self.height - z;
            let depth = y * cos + below * sin;
            let down = below * cos - y * sin;
            let [turn_sin, turn_cos] = [self.roll.to_radians().sin(), self.roll.to_radians().cos()];
            let [across, down] = [turn_cos * x - turn_sin * down, turn_sin * x + turn_cos * down];
            (depth > 0.0).then(|| [640.0 + self.focal * across / depth, 360.0 + self.focal * down / depth])
        }

        /// How far ahead the ground is that the picture's middle column shows in a row, metres.
        fn ahead(self, row: f64) -> f64 {
            self.height / (self.tilt.to_radians() + ((row - 360.0) / self.focal).atan()).tan()
        }

        /// How far before the camera's plane the ground in a row is, metres.
        fn depth(self, row: f64) -> f64 {
            let tilt = self.tilt.to_radians();
            self.ahead(row) * tilt.cos() + self.height * tilt.sin()
        }

        /// Width and length of a rectangle on the ground that lies in the middle of the picture, metres.
        fn rectangle(self) -> [f64; 2] {
            [400.0 * self.depth(480.0) / self.focal, self.ahead(290.0) - self.ahead(480.0)]
        }

        /// The calibration by that rectangle, its sides told as so many times what they are.
        fn calibrated(self, factors: [f64; 2]) -> Result<Calibration, CalibrationError> {
            let (sides, near) = (self.rectangle(), self.ahead(480.0));
            let corners = [[-0.5, 0.0], [0.5, 0.0], [0.5, 1.0], [-0.5, 1.0]];
            let points = corners.map(|[x, y]| CalibrationPoint {
                image: self.image([x * sides[0], near + y * sides[1], 0.0]).unwrap(),
                // From another origin than the camera's.
                ground: [(x + 3.0) * sides[0] * factors[0], (y + 7.0) * sides[1] * factors[1]],
            });
            Calibration::new(&CalibrationConfig {
                points: points.into(),
                world_from_image: None,
                drawn_on: None,
            })
        }
    }

    /// Cameras as they hang: on a tripod, at a door, over a road, on a tower; with wide and with long lenses. Steeply from
    /// above, a long lens shows what a usual one shows from nearer: none of those.
    fn cameras() -> Vec<Pinhole> {
        let mut cameras = Vec::new();
        for height in [1.4, 2.5, 6.0, 14.0, 60.0] {
            for tilt in [12.0, 25.0, 45.0, 65.0] {
                for focal in [640.0, 1000.0, 2600.0] {
                    for roll in [0.0, 5.0] {
                        cameras.push(Pinhole { height, tilt, roll, focal });
                    }
                }
            }
        }
        cameras.retain(|camera| camera.tilt < 50.0 || camera.focal < 2000.0);
        cameras
    }

    fn view(camera: Pinhole, factors: [f64; 2]) -> View {
        View::of(&camera.calibrated(factors).unwrap(), PICTURE).unwrap()
    }

    #[track_caller]
    fn near(found: f64, expected: f64, share: f64) {
        assert!((found - expected).abs() <= share * expected.abs(), "{found} instead of {expected}");
    }

    #[test]
    fn known_cameras_are_found_without_doubts() {
        for camera in cameras() {
            let found = view(camera, [1.0, 1.0]);
            assert_eq!(found.doubts, [], "{camera:?}");
            // With little perspective, from above or through a long lens, the lens cannot be told from the height.
            let share = match camera {
                Pinhole { tilt: ..50.0, focal: ..2000.0, .. } => 0.05,
                Pinhole { tilt: ..50.0, .. } => 0.15,
                _ => 0.4,
            };
            near(found.camera_height_m, camera.height, share);
            near(found.angle_deg, 2.0 * (640.0 / camera.focal).atan().to_degrees(), share);
            assert!((found.tilt_deg - camera.tilt).abs() < 60.0 * share, "{camera:?}: {}", found.tilt_deg);
            assert!(found.stretch < 1.05, "{}", found.stretch);
        }
    }

    #[test]
    fn extent_and_person_are_those_of_the_camera() {
        let found = view(USUAL, [1.0, 1.0]);
        near(found.nearest_m, USUAL.ahead(720.0), 0.03);
        // The upper corners are farther away than the middle of the upper edge.
        near(found.farthest_m.unwrap(), USUAL.ahead(0.0).hypot(640.0 * USUAL.depth(0.0) / 1000.0), 0.05);
        let calibration = USUAL.calibrated([1.0, 1.0]).unwrap();
        let foot = calibration.place(PICTURE).unwrap();
        let ahead = USUAL.ahead(foot[1]);
        let head = USUAL.image([0.0, ahead, PERSON_M]).unwrap();
        near(found.person_px.unwrap(), foot[1] - head[1], 0.03);
        assert_eq!(view(Pinhole { tilt: 15.0, ..USUAL }, [1.0, 1.0]).farthest_m, None, "the horizon is seen");
    }

    #[test]
    fn heights_above_the_ground_are_seen_where_they_are() {
        let found = view(USUAL, [1.0, 1.0]);
        let [wide, long] = USUAL.rectangle();
        // Told coordinates count from another origin, see `calibrated`.
        let (x, ahead, z) = (1.2, 15.0, 1.9);
        let told = [x + 3.0 * wide, ahead - USUAL.ahead(480.0) + 7.0 * long, z, 1.0];
        let row = |n: usize| (0..4).map(|c| found.image_from_space[n][c] * told[c]).sum::<f64>();
        let at = USUAL.image([x, ahead, z]).unwrap();
        assert!((row(0) / row(2) - at[0]).hypot(row(1) / row(2) - at[1]) < 2.0);
    }

    #[test]
    fn lengths_that_are_a_hundredfold_off_are_doubted() {
        for camera in cameras() {
            for factors in
                [[100.0, 100.0], [0.01, 0.01], [100.0, 1.0], [1.0, 100.0], [0.01, 1.0], [1.0, 0.01]]
            {
                // Where one side is much too long, the points may count as one line.
                let Ok(calibration) = camera.calibrated(factors) else { continue };
                assert_ne!(calibration.doubts(PICTURE), [], "{camera:?}, {factors:?}");
            }
        }
    }

    #[test]
    fn doubts_name_what_would_be_and_what_to_check() {
        let said = |factors| -> Vec<String> {
            view(USUAL, factors).doubts.iter().map(ToString::to_string).collect()
        };
        assert!(
            said([100.0, 100.0])[0].starts_with("the camera would be 600 m above the ground: check the unit")
        );
        assert!(said([100.0, 100.0])[1].contains("a person of 1.7 m would be"));
        assert!(said([0.01, 0.01])[0].starts_with("the camera would be 6.0 cm above the ground"));
        assert!(said([1.0, 100.0]).concat().contains("times too long for the other"));
    }

    #[test]
    fn straight_down_is_judged_by_a_usual_lens() {
        // A metre is 100 pixels in every direction: with a usual lens the camera is some 10 m up.
        let matrix = |scale: f64| CalibrationConfig {
            points: Vec::new(),
            world_from_image: Some([[0.01 * scale, 0.0, 0.0], [0.0, -0.01 * scale, 0.0], [0.0, 0.0, 1.0]]),
            drawn_on: None,
        };
        let view = |scale| View::of(&Calibration::new(&matrix(scale)).unwrap(), PICTURE).unwrap();
        let found = view(1.0);
        assert_eq!(found.doubts, []);
        near(found.camera_height_m, 10.24, 0.01);
        near(found.tilt_deg, 90.0, 0.01);
        assert!(found.nearest_m < 0.5);
        assert!(!view(100.0).doubts.is_empty() && !view(0.01).doubts.is_empty());
    }

    #[test]
    fn points_of_another_picture_size_are_named() {
        let calibration = USUAL.calibrated([1.0, 1.0]).unwrap();
        let found = View::of(&calibration, Size { width: 640, height: 360 }).unwrap();
        let said: Vec<String> = found.doubts.iter().map(ToString::to_string).collect();
        assert!(said.concat().contains("outside the picture of 640x360 is calibration point"), "{said:?}");
    }

    /// OpenCV's documentation has this sequence; people have measured that its camera is about 7 m up.
    #[test]
    fn demo_is_without_doubts() {
        let image = [[150.0, 330.0], [640.0, 330.0], [700.0, 520.0], [60.0, 520.0]];
        let ground = [[-13.497, -4.257], [-9.496, -12.485], [-15.882, -15.616], [-19.747, -8.511]];
        let points = image.into_iter().zip(ground);
        let points = points.map(|(image, ground)| CalibrationPoint { image, ground }).collect();
        let config = CalibrationConfig { points, world_from_image: None, drawn_on: None };
        let found = View::of(&Calibration::new(&config).unwrap(), Size { width: 768, height: 576 }).unwrap();
        assert_eq!(found.doubts, []);
        near(found.camera_height_m, 7.0, 0.1);
    }
}
