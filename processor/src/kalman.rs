//! The motion model of a box: centre, width and height, each with its velocity.
//!
//! The state is the one of BoT-SORT (Aharon et al. 2022), (cx, cy, w, h) and velocities, with the noise of
//! SORT's descendants: standard deviations are a share of the box's size, for each frame interval that passes.
//! All noises are independent by component, so that the 8x8 covariance falls into four 2x2 blocks. The noises of x
//! and width are the same share of the same width, so their blocks are equal at all times, as those of y and height
//! are: two blocks are all that is kept.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

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

/// Covariance of a component and of another one with the same noise: variance of the position, covariance,
/// variance of the velocity. Kept as `f32`, so that a checkpoint is small and exact; computed in `f64`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Covariance([f32; 3]);

/// A box that moves: the filter's estimate of it, in source pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxFilter {
    /// Of x, y, width, height: pixels, and pixels per second.
    mean: [[f32; 2]; 4],
    /// Of x and width, of y and height.
    covariance: [Covariance; 2],
}

impl Serialize for BoxFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [[x, vx], [y, vy], [w, vw], [h, vh]] = self.mean;
        let [Covariance([a, b, c]), Covariance([d, e, f])] = self.covariance;
        crate::packed::serialize(&[x, vx, y, vy, w, vw, h, vh, a, b, c, d, e, f], serializer)
    }
}

impl<'de> Deserialize<'de> for BoxFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let numbers = crate::packed::deserialize_any_number(deserializer)?;
        match numbers[..] {
            [x, vx, y, vy, w, vw, h, vh, a, b, c, d, e, f] => Ok(Self {
                mean: [[x, vx], [y, vy], [w, vw], [h, vh]],
                covariance: [Covariance([a, b, c]), Covariance([d, e, f])],
            }),
            // The release before kept mean and covariance by component, the equal ones twice.
            [x, vx, a, b, c, y, vy, d, e, f, w, vw, _, _, _, h, vh, _, _, _] => Ok(Self {
                mean: [[x, vx], [y, vy], [w, vw], [h, vh]],
                covariance: [Covariance([a, b, c]), Covariance([d, e, f])],
            }),
            _ => Err(D::Error::custom(format!("{} numbers are no box filter", numbers.len()))),
        }
    }
}

impl Covariance {
    fn new(size: f64, interval_s: f64) -> Self {
        let position = FIRST_POSITION * POSITION * size;
        let velocity = FIRST_VELOCITY * VELOCITY * size / interval_s;
        Self([(position * position) as f32, 0.0, (velocity * velocity) as f32])
    }

    fn predict(&mut self, dt_s: f64, size: f64, interval_s: f64) {
        let [a, b, c] = self.0.map(f64::from);
        let intervals = dt_s / interval_s;
        let (position, velocity) = (POSITION * size, VELOCITY * size / interval_s);
        self.0 = [
            (a + 2.0 * dt_s * b + dt_s * dt_s * c + position * position * intervals) as f32,
            (b + dt_s * c) as f32,
            (c + velocity * velocity * intervals) as f32,
        ];
    }

    /// Takes in a measurement; returns the gains of position and velocity.
    fn update(&mut self, size: f64) -> [f64; 2] {
        let [a, b, c] = self.0.map(f64::from);
        let noise = POSITION * size;
        let innovation_variance = a + noise * noise;
        let gain = [a / innovation_variance, b / innovation_variance];
        let rest = noise * noise / innovation_variance;
        let (a, b, c) = (a * rest, b * rest, c - gain[1] * b);
        // Rounding must not make the correlation exceed 1.
        self.0 = [a as f32, b as f32, c.max(b * b / a * (1.0 + 1e-6)) as f32];
        gain
    }
}

impl BoxFilter {
    /// Starts at a box that was seen once: `xyxy` in source pixels, frames `interval_s` seconds apart.
    pub fn new(xyxy: [f32; 4], interval_s: f64) -> Self {
        let [x, y, width, height] = centre_and_size(xyxy);
        Self {
            mean: [x, y, width, height].map(|measured| [measured as f32, 0.0]),
            covariance: [width, height].map(|size| Covariance::new(size, interval_s)),
        }
    }

    /// Moves on by `dt_s` seconds, at frames `interval_s` apart. A box that is `lost` keeps its height: what it
    /// seemed to grow by while it was being hidden would carry it away.
    pub fn predict(&mut self, dt_s: f64, interval_s: f64, lost: bool) {
        if lost {
            self.mean[3][1] = 0.0;
        }
        let sizes = self.size();
        for (covariance, size) in self.covariance.iter_mut().zip(sizes) {
            covariance.predict(dt_s, size, interval_s);
        }
        for [position, velocity] in &mut self.mean {
            *position = (f64::from(*position) + dt_s * f64::from(*velocity)) as f32;
        }
        for [size, _] in &mut self.mean[2..] {
            *size = size.max(LEAST_SIZE as f32);
        }
    }

    /// Takes in the box that was seen.
    pub fn update(&mut self, xyxy: [f32; 4]) {
        let [width, height] = self.size();
        let [of_width, of_height] = &mut self.covariance;
        let gains = [of_width.update(width), of_height.update(height)];
        for (index, measured) in centre_and_size(xyxy).into_iter().enumerate() {
            let [position, velocity] = self.mean[index].map(f64::from);
            let [gain_position, gain_velocity] = gains[index % 2];
            let innovation = measured - position;
            self.mean[index] = [
                (position + gain_position * innovation) as f32,
                (velocity + gain_velocity * innovation) as f32,
            ];
        }
    }

    /// Goes on in a picture whose pixels go `[sx, sy]` times into these: all lengths become so many times as long.
    pub fn scale(&mut self, [sx, sy]: [f64; 2]) {
        for (mean, by) in self.mean.iter_mut().zip([sx, sy, sx, sy]) {
            *mean = mean.map(|value| (f64::from(value) * by) as f32);
        }
        for (Covariance(values), by) in self.covariance.iter_mut().zip([sx, sy]) {
            *values = values.map(|value| (f64::from(value) * by * by) as f32);
        }
    }

    /// The estimate: left, top, right, bottom in source pixels.
    pub fn xyxy(&self) -> [f32; 4] {
        let [x, y, width, height] = self.mean.map(|[position, _]| position);
        [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
    }

    /// How fast the centre moves, pixels a second.
    pub fn velocity(&self) -> [f64; 2] {
        [self.mean[0][1], self.mean[1][1]].map(f64::from)
    }

    /// As schema 2 had it: mean and covariance by component, the equal covariances twice.
    pub fn for_schema_2(&self) -> [f32; 20] {
        let mut numbers = [0.0; 20];
        let components = numbers.as_chunks_mut::<5>().0.iter_mut().zip(self.mean);
        for (index, (component, [position, velocity])) in components.enumerate() {
            let Covariance([a, b, c]) = self.covariance[index % 2];
            *component = [position, velocity, a, b, c];
        }
        numbers
    }

    /// Whether every number of it is one.
    pub fn is_finite(&self) -> bool {
        let covariances = self.covariance.iter().flat_map(|covariance| &covariance.0);
        self.mean.as_flattened().iter().chain(covariances).all(|value| value.is_finite())
    }

    /// Width and height, which the noises are shares of.
    fn size(&self) -> [f64; 2] {
        [self.mean[2][0], self.mean[3][0]].map(|size| f64::from(size).max(LEAST_SIZE))
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
                for Covariance([a, b, c]) in filter.covariance {
                    let (a, b, c) = (f64::from(a), f64::from(b), f64::from(c));
                    prop_assert!(a > 0.0 && c > 0.0 && a * c - b * b >= -1e-6 * a * c, "{a} {b} {c}");
                }
            }
        }
    }
}
