//! The motion model of a box: centre, width and height, each with its velocity.
//!
//! The state is the one of BoT-SORT (Aharon et al. 2022), (cx, cy, w, h) and velocities, with the noise of
//! SORT's descendants: standard deviations are a share of the box's size, for each frame interval that passes.
//! All noises are independent by component, so that the 8x8 covariance falls into four 2x2 blocks, which are all
//! that is kept.

use serde::{Deserialize, Serialize};

/// Standard deviation of a position, as a share of the box's width or height: of a measurement, and of the
/// model in one frame interval.
const POSITION: f64 = 1.0 / 20.0;
/// Standard deviation of a velocity (per frame interval) in one frame interval, as a share of the box's size.
const VELOCITY: f64 = 1.0 / 160.0;
/// How much less is known of a track's first position than of a later measurement, and of its first velocity.
const FIRST_POSITION: f64 = 2.0;
const FIRST_VELOCITY: f64 = 10.0;
/// Boxes never get smaller than this in the model, pixels.
const LEAST_SIZE: f64 = 0.1;

/// One component with its velocity: mean and the covariance block. Kept as `f32`, so that a checkpoint is small
/// and exact; computed in `f64`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Component {
    /// Pixels, and pixels per second.
    mean: [f32; 2],
    /// Variance of the position, covariance, variance of the velocity.
    covariance: [f32; 3],
}

/// A box that moves: the filter's estimate of it, in source pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Checkpoint", into = "Checkpoint")]
pub struct BoxFilter([Component; 4]);

/// How a filter stands in a checkpoint: for each component its mean and its covariance.
#[derive(Serialize, Deserialize)]
struct Checkpoint(#[serde(with = "crate::packed")] [f32; 20]);

impl From<BoxFilter> for Checkpoint {
    fn from(BoxFilter(components): BoxFilter) -> Self {
        let numbers = components.map(|Component { mean: [x, v], covariance: [a, b, c] }| [x, v, a, b, c]);
        Self(std::array::from_fn(|index| numbers[index / 5][index % 5]))
    }
}

impl From<Checkpoint> for BoxFilter {
    fn from(Checkpoint(numbers): Checkpoint) -> Self {
        let (components, _) = numbers.as_chunks::<5>();
        Self(std::array::from_fn(|index| {
            let [x, v, a, b, c] = components[index];
            Component { mean: [x, v], covariance: [a, b, c] }
        }))
    }
}

impl Component {
    fn new(measured: f64, size: f64, interval_s: f64) -> Self {
        let position = FIRST_POSITION * POSITION * size;
        let velocity = FIRST_VELOCITY * VELOCITY * size / interval_s;
        Self {
            mean: [measured as f32, 0.0],
            covariance: [(position * position) as f32, 0.0, (velocity * velocity) as f32],
        }
    }

    fn predict(&mut self, dt_s: f64, size: f64, interval_s: f64) {
        let [x, v] = self.mean.map(f64::from);
        let [a, b, c] = self.covariance.map(f64::from);
        let intervals = dt_s / interval_s;
        let (position, velocity) = (POSITION * size, VELOCITY * size / interval_s);
        self.mean[0] = (x + dt_s * v) as f32;
        self.covariance = [
            (a + 2.0 * dt_s * b + dt_s * dt_s * c + position * position * intervals) as f32,
            (b + dt_s * c) as f32,
            (c + velocity * velocity * intervals) as f32,
        ];
    }

    fn update(&mut self, measured: f64, size: f64) {
        let [x, v] = self.mean.map(f64::from);
        let [a, b, c] = self.covariance.map(f64::from);
        let noise = POSITION * size;
        let innovation_variance = a + noise * noise;
        let (gain_x, gain_v) = (a / innovation_variance, b / innovation_variance);
        let innovation = measured - x;
        self.mean = [(x + gain_x * innovation) as f32, (v + gain_v * innovation) as f32];
        let rest = noise * noise / innovation_variance;
        let (a, b, c) = (a * rest, b * rest, c - gain_v * b);
        // Rounding must not make the correlation exceed 1.
        self.covariance = [a as f32, b as f32, c.max(b * b / a * (1.0 + 1e-6)) as f32];
    }
}

impl BoxFilter {
    /// Starts at a box that was seen once: `xyxy` in source pixels, frames `interval_s` seconds apart.
    pub fn new(xyxy: [f32; 4], interval_s: f64) -> Self {
        let [x, y, width, height] = centre_and_size(xyxy);
        let start = |(at, size)| Component::new(at, size, interval_s);
        Self([(x, width), (y, height), (width, width), (height, height)].map(start))
    }

    /// Moves on by `dt_s` seconds, at frames `interval_s` apart. A box that is `lost` keeps its height: what it
    /// seemed to grow by while it was being hidden would carry it away.
    pub fn predict(&mut self, dt_s: f64, interval_s: f64, lost: bool) {
        if lost {
            self.0[3].mean[1] = 0.0;
        }
        let sizes = self.sizes();
        for (component, size) in self.0.iter_mut().zip(sizes) {
            component.predict(dt_s, size, interval_s);
        }
        for component in &mut self.0[2..] {
            component.mean[0] = component.mean[0].max(LEAST_SIZE as f32);
        }
    }

    /// Takes in the box that was seen.
    pub fn update(&mut self, xyxy: [f32; 4]) {
        let sizes = self.sizes();
        for ((component, size), measured) in self.0.iter_mut().zip(sizes).zip(centre_and_size(xyxy)) {
            component.update(measured, size);
        }
    }

    /// The estimate: left, top, right, bottom in source pixels.
    pub fn xyxy(&self) -> [f32; 4] {
        let [x, y, width, height] = self.0.map(|component| component.mean[0]);
        [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
    }

    /// Whether every number of it is one.
    pub fn is_finite(&self) -> bool {
        self.0.iter().all(|component| {
            component.mean.iter().chain(&component.covariance).all(|value| value.is_finite())
        })
    }

    /// The size that a component's noise is a share of.
    fn sizes(&self) -> [f64; 4] {
        let size = |component: &Component| f64::from(component.mean[0]).max(LEAST_SIZE);
        let (width, height) = (size(&self.0[2]), size(&self.0[3]));
        [width, height, width, height]
    }
}

fn centre_and_size(xyxy: [f32; 4]) -> [f64; 4] {
    let [left, top, right, bottom] = xyxy.map(f64::from);
    [
        (left + right) / 2.0,
        (top + bottom) / 2.0,
        (right - left).max(LEAST_SIZE),
        (bottom - top).max(LEAST_SIZE),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        kalman: Case,
    }

    #[derive(Deserialize)]
    struct Case {
        interval_s: f64,
        steps: Vec<Step>,
        xyxy: Vec<[f32; 4]>,
    }

    #[derive(Deserialize)]
    struct Step {
        t: f64,
        xyxy: Option<[f32; 4]>,
    }

    /// The reference is a textbook filter with full matrices, see `tests/reference/motion.py`.
    #[test]
    fn filter_agrees_with_a_textbook_filter() {
        let Reference { kalman } =
            serde_json::from_str(include_str!("../tests/reference/motion.json")).unwrap();
        let mut filter = BoxFilter::new(kalman.steps[0].xyxy.unwrap(), kalman.interval_s);
        for (index, pair) in kalman.steps.windows(2).enumerate() {
            filter.predict(pair[1].t - pair[0].t, kalman.interval_s, false);
            if let Some(seen) = pair[1].xyxy {
                filter.update(seen);
            }
            for (found, expected) in filter.xyxy().into_iter().zip(kalman.xyxy[index + 1]) {
                assert!((found - expected).abs() < 1e-3, "step {index}: {found} instead of {expected}");
            }
        }
    }

    proptest! {
        #[test]
        fn covariance_stays_positive(
            steps in prop::collection::vec((0.0..5.0f64, prop::option::of(prop::array::uniform4(-1e4..1e4f32)), any::<bool>()), 1..80),
        ) {
            let mut filter = BoxFilter::new([0.0, 0.0, 30.0, 60.0], 0.04);
            for (dt, seen, lost) in steps {
                filter.predict(dt, 0.04, lost);
                if let Some([x, y, w, h]) = seen {
                    filter.update([x, y, x + w.abs(), y + h.abs()]);
                }
                prop_assert!(filter.is_finite());
                for Component { covariance: [a, b, c], .. } in filter.0 {
                    let (a, b, c) = (f64::from(a), f64::from(b), f64::from(c));
                    prop_assert!(a > 0.0 && c > 0.0 && a * c - b * b >= -1e-6 * a * c, "{a} {b} {c}");
                }
            }
        }
    }
}
