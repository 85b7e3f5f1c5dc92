//! Filters of checkpoints up to schema 2, which had one motion model: the new ones go on from where those were, and those from
//! where the likelier of the new models is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ACCELERATION, Covariance, GroundFilter, Model, SpeedEstimator, State};

/// The motion noise with which those filters began, m²/s³.
const MOTION: f32 = 0.5;
/// Where the numbers of position and velocity stand in the covariance.
const UPPER_TRIANGLE: [(usize, usize); 10] =
    [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3)];

/// All filters of a camera, as the release before reads them: in the only field of a struct.
#[derive(Serialize)]
pub(super) struct Filters {
    filters: BTreeMap<u32, Filter>,
}

/// One object's motion over ground.
#[derive(Serialize, Deserialize)]
pub(super) struct Filter {
    /// Metres.
    position: [f64; 2],
    /// Metres per second.
    #[serde(with = "crate::packed")]
    velocity: [f32; 2],
    /// Upper triangle by rows, of position and velocity.
    #[serde(with = "crate::packed")]
    covariance: [f32; 10],
    /// The mean of the last ones; forgotten here.
    #[serde(with = "crate::packed")]
    innovation: [f32; 2],
    /// Learnt factor on the variance of a foot point.
    noise_factor: f32,
    /// Learnt motion noise; forgotten here.
    motion: f32,
    first_us: i64,
    last_us: i64,
    seen: u16,
}

impl From<BTreeMap<u32, Filter>> for SpeedEstimator {
    fn from(filters: BTreeMap<u32, Filter>) -> Self {
        let Some(origin) = filters.values().next().map(|filter| filter.position) else {
            return Self::default();
        };
        Self {
            origin: Some(origin),
            last_us: filters.values().map(|filter| filter.last_us).max().unwrap_or_default(),
            filters: filters.iter().map(|(id, filter)| (*id, filter.go_on(origin))).collect(),
            ..Self::default()
        }
    }
}

impl Filters {
    pub(super) fn of(estimator: &SpeedEstimator) -> Self {
        let origin = estimator.origin.unwrap_or_default();
        let filter =
            |(id, filter): (&u32, &GroundFilter)| (*id, Filter::of(filter, origin, estimator.last_us));
        Self { filters: estimator.filters.iter().map(filter).collect() }
    }
}

impl Filter {
    fn of(filter: &GroundFilter, origin: [f64; 2], last_us: i64) -> Self {
        let model = &filter.models[usize::from(filter.steady < 0.5)];
        Self {
            position: model.position(origin),
            velocity: [model.state[2] as f32, model.state[3] as f32],
            covariance: UPPER_TRIANGLE.map(|place| model.covariance[place] as f32),
            innovation: [0.0; 2],
            noise_factor: filter.noise_factor as f32,
            motion: MOTION,
            first_us: last_us - (filter.age_s * 1e6) as i64,
            last_us,
            seen: filter.seen.into(),
        }
    }

    /// Both models begin with what was known, and with either being right.
    fn go_on(&self, origin: [f64; 2]) -> GroundFilter {
        let mut state = State::zeros();
        let place = [self.position[0] - origin[0], self.position[1] - origin[1]];
        let known = place.into_iter().chain(self.velocity.map(f64::from));
        state.iter_mut().zip(known).for_each(|(slot, value)| *slot = value);
        let mut covariance = Covariance::zeros();
        for ((row, column), value) in UPPER_TRIANGLE.into_iter().zip(self.covariance) {
            covariance[(row, column)] = f64::from(value);
            covariance[(column, row)] = f64::from(value);
        }
        let steady = Model { state, covariance };
        let mut manoeuvring = steady;
        for axis in 4..6 {
            manoeuvring.covariance[(axis, axis)] = ACCELERATION * ACCELERATION;
        }
        GroundFilter {
            models: [steady, manoeuvring],
            steady: 0.5,
            believed: 0.5,
            noise_factor: f64::from(self.noise_factor),
            age_s: self.last_us.saturating_sub(self.first_us).max(0) as f64 / 1e6,
            steady_s: 0.0,
            seen: u8::try_from(self.seen).unwrap_or(u8::MAX),
        }
        .rounded()
    }
}
