//! Speed over ground: a filter for each track while it lasts, and one robust line through a track that is complete.
//!
//! A track is followed by two motion models at once, an interacting multiple model (Blom and Bar-Shalom 1988). The
//! steady one keeps its velocity; the manoeuvring one has an acceleration that comes and goes (Singer 1970). Which of
//! them is right shows in their innovations. The steady one speaks only where it has been right for long; the other
//! one's error is larger, and holds while an object brakes, accelerates or turns. Between the two, when steady motion
//! has just ended, nothing is told for some tenths of a second: the one is wrong already, and the other does not know
//! it yet.
//!
//! States are on the ground plane (metres, seconds), the measurement is the foot point in pixels: the middle of a
//! box's lower edge. The noise of a foot point is even in the picture and very uneven on the ground; the Jacobian of
//! the homography carries it there. Its size is learnt from the innovations, of each track and, for those that begin, of
//! all tracks together: so the standard error means something with any detector.

mod schema_2;

use std::collections::BTreeMap;

use nalgebra::{Matrix2, SMatrix, SVector, Vector2};
use peregrine_geometry::Homography;
use peregrine_proto::{Detection, Size, Speed, TrackState};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};

use crate::track::Tracked;

/// Nothing on a road is faster: 300 km/h, metres per second.
pub const FASTEST_MPS: f64 = 300.0 / 3.6;

/// Assumed standard deviation of a box's edge: a share of the box's width or height, at least a pixel.
const EDGE_NOISE: f64 = 0.02;
/// Bounds of the learnt factor on the variance of a foot point. Boxes in whole pixels hop: nearly half a pixel is the least.
const NOISE_FACTOR_BOUNDS: (f64, f64) = (0.2, 25.0);
/// How fast it is learnt, for each measurement: this, and faster at first.
const LEARNING: f64 = 0.02;
/// How fast all tracks' common factor follows that of each, for each measurement of a track that has had so many.
const LEARNING_FROM_TRACKS: f64 = 0.01;
const KNOWS_NOISE: u8 = 10;
/// What is known of a velocity before it was measured, metres per second.
const FIRST_VELOCITY: f64 = 15.0;
/// Squared Mahalanobis distance from which on a foot point counts less: 99% of the good ones are nearer.
const GATE: f64 = 9.21;
/// A filter does not begin where a foot point is known no better than this, metres.
const WORST_POSITION: f64 = 20.0;

/// The steady model's spectral density of white acceleration, m²/s³.
const STEADY_NOISE: f64 = 0.001;
/// The manoeuvring model's acceleration: standard deviation in m/s², and the time for which it lasts in seconds.
const ACCELERATION: f64 = 1.65;
const ACCELERATION_LASTS_S: f64 = 2.2;
/// For how long each of the two models is right, seconds.
const MODELS_LAST_S: [f64; 2] = [80.0, 50.0];
/// No model is ever out of the question.
const LEAST_PROBABILITY: f64 = 0.02;

/// The steady model speaks when it has been the likelier one for so long, seconds: sooner, a manoeuvre that follows
/// would be told as steady motion for too long …
const STEADY_FOR_S: f64 = 2.7;
/// … and while the two velocities are no further apart than so many standard errors of the manoeuvring one.
const MOST_APART: f64 = 2.0;
/// Nothing is told while the steady model is less likely by this than it was: its probability a moment ago counts, less
/// and less within this time, seconds. So a manoeuvre that begins is not told as what was before.
const LOST_BELIEF: f64 = 0.33;
const BELIEF_LASTS_S: f64 = 0.34;
/// The models are built for all kinds of motion; the errors that they make with cars at an intersection are these
/// shares of those that they expect (`bench speed`).
const ERROR_SHARE: [f64; 2] = [0.6, 0.77];
/// A manoeuvre may have begun unnoticed: the steady model's error is at least this share of the other's.
const UNNOTICED: f64 = 0.15;
/// What stands may have started since: the least error of a standing object, metres per second, less this much
/// of its speed.
const STANDING_ERROR: f64 = 0.36;
const STANDING_ERROR_FALLS: f64 = 0.37;
/// Grids that boxes of some detectors lie on, pixels, and the error of a speed for each metre of a grid's step, m/s.
/// A box on a grid stands for a while and then hops: no filter can tell the hop of a standing object from its start.
const GRIDS: [f64; 3] = [4.0, 2.0, 1.0];
const GRID_ERROR: f64 = 0.6;

/// A speed is reported after this many foot points over this much time, …
const LEAST_SEEN: u8 = 5;
const LEAST_TIME_S: f64 = 0.5;
/// … while its standard error is at most this share of it, or this much in metres per second.
const GOOD_SHARE: f64 = 0.041;
const GOOD_MPS: f64 = 0.415;
/// A box nearer to the picture's edge than this share of its size may be cut by it.
const EDGE: f64 = 0.005;

/// The speeds of all tracks of a camera.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpeedEstimator {
    /// Where the filters' positions count from, metres: they are near to it, so that an `f32` holds them.
    origin: Option<[f64; 2]>,
    last_us: i64,
    /// The factor on the variance of a foot point that all tracks together have learnt: new ones begin with it.
    noise_factor: f64,
    filters: BTreeMap<u32, GroundFilter>,
}

impl Default for SpeedEstimator {
    fn default() -> Self {
        Self { origin: None, last_us: 0, noise_factor: 1.0, filters: BTreeMap::new() }
    }
}

impl<'de> Deserialize<'de> for SpeedEstimator {
    /// The filters of checkpoints up to schema 2 were others: one field holds them all.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = SpeedEstimator;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("the speed filters of a camera")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<SpeedEstimator, A::Error> {
                if fields.size_hint() == Some(1) {
                    let filters: Option<BTreeMap<u32, schema_2::Filter>> = fields.next_element()?;
                    return Ok(filters.unwrap_or_default().into());
                }
                let missing = |index| A::Error::invalid_length(index, &self);
                Ok(SpeedEstimator {
                    origin: fields.next_element()?.ok_or_else(|| missing(0))?,
                    last_us: fields.next_element()?.ok_or_else(|| missing(1))?,
                    noise_factor: fields.next_element()?.ok_or_else(|| missing(2))?,
                    filters: fields.next_element()?.ok_or_else(|| missing(3))?,
                })
            }
        }
        deserializer.deserialize_seq(Fields)
    }
}

/// Where a track is on the ground and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OnGround {
    /// Metres; none where its foot point was never seen or lies beyond the horizon.
    pub position_m: Option<[f64; 2]>,
    /// None until it is known to be good.
    pub speed: Option<Speed>,
}

/// Position, velocity and acceleration.
type State = SVector<f64, 6>;
type Covariance = SMatrix<f64, 6, 6>;

/// One object's motion over ground.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Checkpoint", into = "Checkpoint")]
struct GroundFilter {
    /// By the steady model, whose acceleration is zero, and by the manoeuvring one.
    models: [Model; 2],
    /// The probability that the steady model is right.
    steady: f64,
    /// The same as it was believed lately: the greatest, which fades.
    believed: f64,
    /// Learnt factor on the variance of a foot point.
    noise_factor: f64,
    /// Since the first foot point, seconds.
    age_s: f64,
    /// For how long the steady model has been the likelier one, seconds.
    steady_s: f64,
    seen: u8,
}

/// What a model knows.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Model {
    state: State,
    covariance: Covariance,
}

/// A filter in a checkpoint: the states (4 and 6 numbers), `steady`, `noise_factor` and `age_s`; and in half precision the
/// Cholesky factors of the covariances, by which they stay positive, `believed` and `steady_s`.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    #[serde(with = "crate::packed")]
    numbers: [f32; 13],
    #[serde(with = "crate::packed::halves")]
    rough: [f32; 33],
    seen: u8,
}

/// A foot point in source pixels with its standard deviations.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Foot {
    point: Vector2<f64>,
    deviation: Vector2<f64>,
    /// The step of the grid that the box's edges lie on, pixels. 0 where they lie on none.
    grid: f64,
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
        let dt = media_time_us.saturating_sub(self.last_us).max(0) as f64 / 1e6;
        self.last_us = media_time_us;
        let mut before = std::mem::take(&mut self.filters);
        tracks
            .iter()
            .map(|track| {
                let seen = track.detection.and_then(|index| detections.get(index));
                let foot = seen.and_then(|detection| Foot::of(detection.xyxy, source));
                let mut filter = before.remove(&track.track_id);
                if let (Some(known), Some(origin)) = (filter, self.origin) {
                    filter = known.advance(dt, foot, homography, origin);
                }
                let filter = filter.or_else(|| self.begin(foot?, homography));
                let (Some(filter), Some(origin)) = (filter, self.origin) else { return OnGround::default() };
                if foot.is_some() && filter.seen >= KNOWS_NOISE {
                    self.noise_factor *= (filter.noise_factor / self.noise_factor).powf(LEARNING_FROM_TRACKS);
                }
                if track.state != TrackState::Removed {
                    self.filters.insert(track.track_id, filter);
                }
                OnGround {
                    position_m: Some(filter.models[filter.speaking()].position(origin)),
                    speed: filter.speed(foot.map_or(0.0, |foot| foot.grid_m(homography))),
                }
            })
            .collect()
    }

    /// The state as the release before reads it.
    pub(crate) fn state_for_schema_2(&self) -> impl Serialize {
        schema_2::Filters::of(self)
    }

    fn begin(&mut self, foot: Foot, homography: &Homography) -> Option<GroundFilter> {
        let position = homography.ground(foot.point.into())?;
        let origin = *self.origin.get_or_insert(position);
        GroundFilter::begin(foot, homography, position, origin, self.noise_factor)
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
        let edges = [right - left, bottom - top].map(|size| (EDGE_NOISE * size).max(1.0));
        // The middle between two edges is known better than one.
        let deviation = Vector2::new(edges[0] / std::f64::consts::SQRT_2, edges[1]);
        let on_grid = |step: &f64| xyxy.iter().all(|edge| f64::from(*edge) % step == 0.0);
        let grid = GRIDS.into_iter().find(on_grid).unwrap_or_default();
        whole.then(|| Self { point: Vector2::from(foot_point(xyxy)), deviation, grid })
    }

    /// The step of its grid on the ground, metres.
    fn grid_m(&self, homography: &Homography) -> f64 {
        let metres_by_pixel = homography.ground_by_image(self.point.into());
        metres_by_pixel.map_or(0.0, |metres| self.grid * metres.norm())
    }

    fn variance(&self) -> Matrix2<f64> {
        Matrix2::from_diagonal(&self.deviation.component_mul(&self.deviation))
    }
}

impl Model {
    fn position(&self, origin: [f64; 2]) -> [f64; 2] {
        [self.state[0] + origin[0], self.state[1] + origin[1]]
    }

    fn velocity(&self) -> Vector2<f64> {
        self.state.fixed_view::<2, 1>(2, 0).into_owned()
    }

    /// Standard error of the speed, metres per second. Near zero no direction is known, so the worst one counts.
    fn speed_error(&self) -> f64 {
        let covariance: Matrix2<f64> = self.covariance.fixed_view::<2, 2>(2, 2).into_owned();
        let worst = covariance.symmetric_eigenvalues().max();
        let velocity = self.velocity();
        let square = velocity.norm_squared();
        let variance = if square > worst { velocity.dot(&(covariance * velocity)) / square } else { worst };
        variance.max(0.0).sqrt()
    }

    /// Two models, each with a weight, as one normal distribution of the same mean and covariance.
    fn mixed([a, b]: &[Self; 2], weights: [f64; 2]) -> Self {
        let state = a.state * weights[0] + b.state * weights[1];
        let around = |model: &Self| {
            let off = model.state - state;
            model.covariance + off * off.transpose()
        };
        Self { state, covariance: around(a) * weights[0] + around(b) * weights[1] }
    }

    fn predict_steady(&mut self, dt: f64) {
        let (mut transition, mut noise) = (Covariance::identity(), Covariance::zeros());
        for axis in 0..2 {
            transition[(axis, axis + 2)] = dt;
            transition[(axis + 4, axis + 4)] = 0.0;
            noise[(axis, axis)] = STEADY_NOISE * dt.powi(3) / 3.0;
            noise[(axis, axis + 2)] = STEADY_NOISE * dt.powi(2) / 2.0;
            noise[(axis + 2, axis)] = STEADY_NOISE * dt.powi(2) / 2.0;
            noise[(axis + 2, axis + 2)] = STEADY_NOISE * dt;
        }
        self.predict(&transition, &noise);
    }

    /// Singer's transition is exact; its noise is that of a white jerk, which it is over steps that are short beside
    /// `ACCELERATION_LASTS_S`, and larger over long ones.
    fn predict_manoeuvring(&mut self, dt: f64) {
        let tau = ACCELERATION_LASTS_S;
        let kept = (-dt / tau).exp();
        let jerk = 2.0 * ACCELERATION * ACCELERATION / tau;
        let by_order = [
            [dt.powi(5) / 20.0, dt.powi(4) / 8.0, dt.powi(3) / 6.0],
            [dt.powi(4) / 8.0, dt.powi(3) / 3.0, dt.powi(2) / 2.0],
            [dt.powi(3) / 6.0, dt.powi(2) / 2.0, dt],
        ];
        let (mut transition, mut noise) = (Covariance::identity(), Covariance::zeros());
        for axis in 0..2 {
            transition[(axis, axis + 2)] = dt;
            transition[(axis, axis + 4)] = tau * (dt - tau * (1.0 - kept));
            transition[(axis + 2, axis + 4)] = tau * (1.0 - kept);
            transition[(axis + 4, axis + 4)] = kept;
            for (row, terms) in by_order.iter().enumerate() {
                for (column, term) in terms.iter().enumerate() {
                    noise[(axis + 2 * row, axis + 2 * column)] = jerk * term;
                }
            }
        }
        self.predict(&transition, &noise);
    }

    fn predict(&mut self, transition: &Covariance, noise: &Covariance) {
        self.state = transition * self.state;
        self.covariance = transition * self.covariance * transition.transpose() + noise;
    }
}

/// A foot point as a model sees it.
struct Seen {
    /// Pixels.
    innovation: Vector2<f64>,
    measures: SMatrix<f64, 2, 6>,
    /// Of the predicted foot point, pixels².
    expected: Matrix2<f64>,
}

impl Seen {
    /// None where the object is predicted to be out of the camera's sight.
    fn by(model: &Model, foot: Foot, homography: &Homography, origin: [f64; 2]) -> Option<Self> {
        let position = model.position(origin);
        let mut measures = SMatrix::<f64, 2, 6>::zeros();
        measures.fixed_view_mut::<2, 2>(0, 0).copy_from(&homography.image_by_ground(position)?);
        let innovation = foot.point - Vector2::from(homography.image(position)?);
        Some(Self { innovation, measures, expected: measures * model.covariance * measures.transpose() })
    }

    /// The squared Mahalanobis distance.
    fn distance(&self, noise: &Matrix2<f64>) -> Option<f64> {
        Some(self.innovation.dot(&(self.expected + noise).cholesky()?.solve(&self.innovation)))
    }

    /// Takes the foot point into the model; the logarithm of its likelihood. None where the numbers are exhausted.
    fn update(&self, model: &mut Model, noise: &Matrix2<f64>) -> Option<f64> {
        let expected = self.expected + noise;
        let gain = model.covariance * self.measures.transpose() * expected.cholesky()?.inverse();
        // Joseph's form: stays positive.
        let kept = Covariance::identity() - gain * self.measures;
        model.covariance = kept * model.covariance * kept.transpose() + gain * noise * gain.transpose();
        model.state += gain * self.innovation;
        Some(-0.5 * (self.distance(noise)? + expected.determinant().ln()))
    }
}

impl GroundFilter {
    fn begin(
        foot: Foot,
        homography: &Homography,
        position: [f64; 2],
        origin: [f64; 2],
        noise_factor: f64,
    ) -> Option<Self> {
        let metres_by_pixel = homography.ground_by_image(foot.point.into())?;
        let known = metres_by_pixel * (foot.variance() * noise_factor) * metres_by_pixel.transpose();
        let mut state = State::zeros();
        [state[0], state[1]] = [position[0] - origin[0], position[1] - origin[1]];
        let model = |acceleration: f64| {
            let mut covariance = Covariance::zeros();
            covariance.fixed_view_mut::<2, 2>(0, 0).copy_from(&known);
            for axis in 0..2 {
                covariance[(axis + 2, axis + 2)] = FIRST_VELOCITY * FIRST_VELOCITY;
                covariance[(axis + 4, axis + 4)] = acceleration * acceleration;
            }
            Model { state, covariance }
        };
        let models = [model(0.0), model(ACCELERATION)];
        let filter =
            Self { models, steady: 0.5, believed: 0.5, noise_factor, age_s: 0.0, steady_s: 0.0, seen: 1 };
        (known.trace().sqrt() <= WORST_POSITION).then(|| filter.rounded())
    }

    /// What a checkpoint holds of it, so that a restored filter goes on alike.
    fn rounded(self) -> Self {
        Self::from(Checkpoint::from(self))
    }

    /// The filter after some seconds and the foot point seen then. None where it makes no more sense.
    fn advance(
        mut self,
        dt: f64,
        foot: Option<Foot>,
        homography: &Homography,
        origin: [f64; 2],
    ) -> Option<Self> {
        self.age_s += dt;
        self.predict(dt);
        if let Some(foot) = foot {
            self.update(foot, homography, origin)?;
            self.seen = self.seen.saturating_add(1);
        }
        self.steady_s = if self.steady > 0.5 { self.steady_s + dt } else { 0.0 };
        self.believed = self.steady.max(self.believed * (-dt / BELIEF_LASTS_S).exp());
        let kept = self.rounded();
        let finite =
            |model: &Model| model.state.iter().chain(&model.covariance).all(|value| value.is_finite());
        (kept.models.iter().all(finite) && kept.steady.is_finite()).then_some(kept)
    }

    fn predict(&mut self, dt: f64) {
        let [stays, returns] = MODELS_LAST_S.map(|seconds| (-dt / seconds).exp());
        let (steady, other) = (self.steady, 1.0 - self.steady);
        // Each model goes on from where either was, as likely as it was and the change is.
        let to_steady = [stays * steady, (1.0 - returns) * other];
        let to_other = [(1.0 - stays) * steady, returns * other];
        let share = |[a, b]: [f64; 2]| [a / (a + b), b / (a + b)];
        self.steady = to_steady[0] + to_steady[1];
        self.models = [to_steady, to_other].map(|weights| Model::mixed(&self.models, share(weights)));
        self.models[0].predict_steady(dt);
        self.models[1].predict_manoeuvring(dt);
    }

    fn update(&mut self, foot: Foot, homography: &Homography, origin: [f64; 2]) -> Option<()> {
        let mut noise = foot.variance() * self.noise_factor;
        let seen = [0, 1].map(|index| Seen::by(&self.models[index], foot, homography, origin));
        let [Some(by_steady), Some(by_other)] = seen else { return None };
        let distances = [by_steady.distance(&noise)?, by_other.distance(&noise)?];
        let nearest = distances[0].min(distances[1]);
        if nearest > GATE {
            // An outlier pulls no harder than a point at the gate (Huber's weights).
            noise *= nearest / GATE;
        }
        let steady = by_steady.update(&mut self.models[0], &noise)?;
        let other = by_other.update(&mut self.models[1], &noise)?;
        let odds = self.steady / (1.0 - self.steady) * (steady - other).exp();
        self.steady = (1.0 / (1.0 + 1.0 / odds)).clamp(LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY);
        // The expected value of a squared distance is 2.
        let learning = LEARNING.max(1.0 / (f64::from(self.seen) + 4.0));
        let surprise = by_other.distance(&noise)? / 2.0 - 1.0;
        let (least, most) = NOISE_FACTOR_BOUNDS;
        self.noise_factor =
            (self.noise_factor * (learning * surprise.clamp(-1.0, 3.0)).exp()).clamp(least, most);
        Some(())
    }

    /// The model that speaks: 0 for the steady one, 1 for the manoeuvring one.
    fn speaking(&self) -> usize {
        let [steady, other] = &self.models;
        let apart = (steady.velocity() - other.velocity()).norm();
        usize::from(self.steady_s < STEADY_FOR_S || apart > MOST_APART * other.speed_error())
    }

    /// The speed, where it is known well: also the manoeuvring model must know it, or a manoeuvre would not show in time.
    /// `grid_m` is the step of the grid on the ground that the box lies on, metres.
    fn speed(&self, grid_m: f64) -> Option<Speed> {
        let velocity = self.models[self.speaking()].velocity();
        let speed = velocity.norm();
        let [steady, manoeuvring] = [0, 1].map(|index| ERROR_SHARE[index] * self.models[index].speed_error());
        let told = if self.speaking() == 0 { steady.max(UNNOTICED * manoeuvring) } else { manoeuvring };
        let least = STANDING_ERROR - STANDING_ERROR_FALLS * speed;
        let known = told.max(least);
        let lasted = self.age_s >= LEAST_TIME_S - 1e-6 && self.seen >= LEAST_SEEN;
        let good = known.max(manoeuvring) <= GOOD_MPS.max(GOOD_SHARE * speed) && speed <= FASTEST_MPS;
        let settled = self.believed - self.steady < LOST_BELIEF;
        (lasted && good && settled).then(|| Speed {
            speed_mps: speed as f32,
            std_error_mps: known.hypot(GRID_ERROR * grid_m) as f32,
            heading_rad: velocity.y.atan2(velocity.x) as f32,
        })
    }
}

/// How many numbers of a state each model has: the steady one knows no acceleration.
const KNOWN: [usize; 2] = [4, 6];

fn lower_triangle(size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..size).flat_map(|row| (0..=row).map(move |column| (row, column)))
}

impl From<GroundFilter> for Checkpoint {
    fn from(filter: GroundFilter) -> Self {
        let mut checkpoint = Self { numbers: [0.0; 13], rough: [0.0; 33], seen: filter.seen };
        let states =
            filter.models.iter().zip(KNOWN).flat_map(|(model, known)| model.state.iter().take(known));
        let rest = [filter.steady, filter.noise_factor, filter.age_s];
        for (slot, value) in checkpoint.numbers.iter_mut().zip(states.chain(&rest)) {
            *slot = *value as f32;
        }
        let factors = filter.models.iter().zip(KNOWN).flat_map(|(model, known)| {
            // Not positive any more: not a number, so that the filter ends.
            let factor = cholesky(&model.covariance, known).unwrap_or(Covariance::repeat(f64::NAN));
            lower_triangle(known).map(move |at| factor[at])
        });
        let rest = [filter.believed, filter.steady_s];
        for (slot, value) in checkpoint.rough.iter_mut().zip(factors.chain(rest)) {
            *slot = value as f32;
        }
        crate::packed::halves::round(&mut checkpoint.rough);
        checkpoint
    }
}

impl From<Checkpoint> for GroundFilter {
    fn from(Checkpoint { numbers, rough, seen }: Checkpoint) -> Self {
        let mut numbers = numbers.iter().map(|number| f64::from(*number));
        let mut rough = rough.iter().map(|number| f64::from(*number));
        let models = KNOWN.map(|known| {
            let mut model = Model { state: State::zeros(), covariance: Covariance::zeros() };
            for (slot, number) in model.state.iter_mut().take(known).zip(&mut numbers) {
                *slot = number;
            }
            let mut factor = Covariance::zeros();
            for (at, number) in lower_triangle(known).zip(&mut rough) {
                factor[at] = number;
            }
            model.covariance = factor * factor.transpose();
            model
        });
        let mut next = || numbers.next().unwrap_or_default();
        let mut next_rough = || rough.next().unwrap_or_default();
        Self {
            models,
            steady: next(),
            noise_factor: next(),
            age_s: next(),
            believed: next_rough(),
            steady_s: next_rough(),
            seen,
        }
    }
}

/// The lower triangular factor of the first `size` rows and columns.
fn cholesky(matrix: &Covariance, size: usize) -> Option<Covariance> {
    /// Half precision holds nothing smaller.
    const LEAST: f64 = 1e-4;
    let mut factor = Covariance::zeros();
    for (row, column) in lower_triangle(size) {
        let sum: f64 = (0..column).map(|k| factor[(row, k)] * factor[(column, k)]).sum();
        let rest = matrix[(row, column)] - sum;
        factor[(row, column)] =
            if row == column { rest.max(LEAST * LEAST).sqrt() } else { rest / factor[(column, column)] };
    }
    factor.iter().all(|value| value.is_finite()).then_some(factor)
}

#[cfg(test)]
mod tests {
    use peregrine_geometry::Calibration;
    use peregrine_proto::{CalibrationConfig, CalibrationPoint};
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
        follow_boxes(at, fps, frames, jitter_px, missing, |edge| edge)
    }

    /// The same with boxes whose edges are changed by `placed`.
    fn follow_boxes(
        at: impl Fn(f64) -> [f64; 2],
        fps: f64,
        frames: u32,
        jitter_px: f64,
        missing: f64,
        placed: impl Fn(f64) -> f64,
    ) -> Vec<(f64, Speed)> {
        let (homography, mut estimator, mut noise) = (homography(), SpeedEstimator::default(), Noise(3));
        let mut speeds = Vec::new();
        for frame in 0..frames {
            let time = f64::from(frame) / fps;
            let [x, y] = project(at(time));
            let (x, y) = (x + jitter_px * noise.normal(), y + jitter_px * noise.normal());
            let xyxy = [x - 30.0, y - 60.0, x + 30.0, y].map(|value| placed(value) as f32);
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
    fn speed_returns_within_a_second_after_braking_and_its_error_holds() {
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
        let after = |(time, _): &&(f64, Speed)| *time >= 5.0;
        let steady: Vec<&(f64, Speed)> = speeds.iter().filter(after).collect();
        let held = |(_, s): &&&(f64, Speed)| (s.speed_mps - 4.0).abs() <= 3.0 * s.std_error_mps;
        assert!(steady.len() > 70, "{} of 75", steady.len());
        assert!(steady.iter().filter(held).count() > 70);
    }

    #[test]
    fn error_of_boxes_on_a_grid_holds_while_an_object_stops_creeps_and_starts() {
        // 8 m/s towards the camera, braked with 3 m/s², six seconds of 5 cm/s, then started with 2 m/s².
        let (brakes, creeps, starts) = (1.5, 1.5 + 7.95 / 3.0, 1.5 + 7.95 / 3.0 + 6.0);
        let speed = |t: f64| match t {
            t if t < brakes => 8.0,
            t if t < creeps => 8.0 - 3.0 * (t - brakes),
            t if t < starts => 0.05,
            t => 0.05 + 2.0 * (t - starts),
        };
        let way =
            |t: f64| (0..(t * 1000.0) as u32).map(|ms| speed(f64::from(ms) / 1000.0) / 1000.0).sum::<f64>();
        let (mut told, mut wrong, mut frames) = (0, 0, 0);
        for (grid, begin) in
            [1.0, 2.0, 4.0].into_iter().flat_map(|grid| (44..68).map(move |begin| (grid, begin)))
        {
            let on_grid = |edge: f64| (edge / grid).round() * grid;
            let begin = f64::from(begin);
            let speeds = follow_boxes(|t| [1.0, begin - way(t)], 25.0, 300, 0.0, 0.0, on_grid);
            let is_wrong = |(time, s): &&(f64, Speed)| {
                (f64::from(s.speed_mps) - speed(*time)).abs() > 3.0 * f64::from(s.std_error_mps)
            };
            wrong += speeds.iter().filter(is_wrong).count();
            told += speeds.len();
            frames += 300;
        }
        assert!(told * 4 >= frames * 3, "{told} of {frames} frames have a speed");
        assert!(wrong * 50 <= told, "{wrong} of {told} speeds are off by more than three errors");
    }

    #[test]
    fn speeds_of_schema_2_begin_anew() {
        let packed = |numbers: &[f32]| {
            serde_bytes::ByteBuf::from(numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>())
        };
        // 10 m/s along the road, known within 0.2 m and 0.1 m/s.
        let covariance = [0.04, 0.0, 0.0, 0.0, 0.04, 0.0, 0.0, 0.01, 0.0, 0.01];
        let (velocity, innovation) = ([0.0, 10.0], [0.0; 2]);
        let filter = (
            [1.0_f64, 20.0],
            packed(&velocity),
            packed(&covariance),
            packed(&innovation),
            1.0_f32,
            0.5_f32,
            0_i64,
            2_000_000_i64,
            50_u16,
        );
        let old = rmp_serde::to_vec(&(BTreeMap::from([(7_u32, filter)]),)).unwrap();
        let mut estimator: SpeedEstimator = rmp_serde::from_slice(&old).unwrap();
        let [x, y] = project([1.0, 20.4]);
        let xyxy = [x - 30.0, y - 60.0, x + 30.0, y].map(|value| value as f32);
        let detection = Detection { xyxy, confidence: 0.9, class_id: 0 };
        let track = Tracked {
            track_id: 7,
            state: TrackState::Tracked,
            xyxy,
            confidence: 0.9,
            class_id: 0,
            class_share: 1.0,
            detection: Some(0),
        };
        let found = estimator.update(2_040_000, &[track], &[detection], PICTURE, &homography());
        let speed = found[0].speed.unwrap();
        assert!((speed.speed_mps - 10.0).abs() < 0.2 && speed.std_error_mps < 0.2, "{speed:?}");
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
        let sky = Foot { point: Vector2::new(640.0, 20.0), deviation: Vector2::repeat(1.0), grid: 0.0 };
        assert_eq!(SpeedEstimator::default().begin(sky, &homography()), None);
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
                for model in whole.filters.values().flat_map(|filter| filter.models) {
                    prop_assert!(model.covariance.symmetric_eigenvalues().min() > -1e-3);
                }
            }
        }
    }
}
