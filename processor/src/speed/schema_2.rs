//! Filters of checkpoints up to schema 2, which had one motion model: the new ones go on from where they were.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ACCELERATION, Covariance, GroundFilter, Model, SpeedEstimator, State};

/// One object's motion over ground.
#[derive(Deserialize)]
pub(super) struct Filter {
    /// Metres.
    position: [f64; 2],
    /// Metres per second.
    #[serde(with = "crate::packed")]
    velocity: [f32; 2],
    /// Upper triangle by rows, of position and velocity.
    #[serde(with = "crate::packed")]
    covariance: [f32; 10],
    #[serde(with = "crate::packed")]
    _innovation: [f32; 2],
    /// Learnt factor on the variance of a foot point.
    noise_factor: f32,
    _motion: f32,
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

impl Filter {
    /// Both models begin with what was known, and with either being right.
    fn go_on(&self, origin: [f64; 2]) -> GroundFilter {
        let mut state = State::zeros();
        let place = [self.position[0] - origin[0], self.position[1] - origin[1]];
        let known = place.into_iter().chain(self.velocity.map(f64::from));
        state.iter_mut().zip(known).for_each(|(slot, value)| *slot = value);
        let mut covariance = Covariance::zeros();
        let upper_triangle = (0..4).flat_map(|row| (row..4).map(move |column| (row, column)));
        for ((row, column), value) in upper_triangle.zip(self.covariance) {
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
