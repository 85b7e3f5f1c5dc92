//! The speed of a track that is complete: one straight line through all of it.
//!
//! Positions on the ground against time, fitted by Huber's M-estimator (Huber 1964) from the median of all pairwise
//! slopes (Theil 1950, Sen 1968): nearly as good as least squares where the noise is normal, and little moved by
//! points that are plainly wrong, such as a position that a tracker repeats after the object has left.
//!
//! All points count alike, near or far, although the far ones are noisier. What is left of the error is not noise
//! but the calibration, whose scale is off by some percent, differently in each part of the picture: leaning on the
//! part that is seen best would lean on its error too.
//!
//! Few points say nothing of their own noise: three of them lie on a line by chance now and then. So a short track is
//! fitted by plain least squares, and its error follows from the noise that all tracks together show ([`PointNoise`]).

use nalgebra::{Matrix2, Vector2};

/// Residuals beyond so many standard deviations pull no harder (Huber's constant for 95% efficiency).
const HUBER: f64 = 1.345;
/// The median absolute deviation of a normal distribution with standard deviation 1.
const NORMAL_MAD: f64 = 0.6745;
/// Two points fit every line.
const LEAST_POINTS: usize = 3;
/// From so many points on a track shows its own noise.
const MANY_POINTS: usize = 9;
/// The noise is known from so many degrees of freedom on: with fewer, more than 2% of errors are beyond three standard
/// errors (Student's t).
const LEAST_FREEDOM: usize = 12;
/// So many points of a longer track, evenly spread, are enough to begin from.
const MOST_PAIRED: usize = 400;

/// A speed with its standard error, metres per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineSpeed {
    /// Metres per second.
    pub speed_mps: f64,
    /// One standard error; residuals that follow each other are counted as fewer.
    pub std_error_mps: f64,
}

/// The noise of single points, as their distances from straight lines through few of them show it. Both axes apart.
#[derive(Debug, Clone, Copy, Default)]
pub struct PointNoise {
    squares: [f64; 2],
    freedom: usize,
}

impl PointNoise {
    /// Takes in a track: time in seconds and position, in whatever unit, by rising time.
    pub fn add(&mut self, track: &[(f64, [f64; 2])]) {
        for points in track.chunks(MANY_POINTS - 1).filter(|points| points.len() >= LEAST_POINTS) {
            let residuals = [0, 1].map(|axis| {
                let along: Vec<(f64, f64)> = points.iter().map(|(time, at)| (*time, at[axis])).collect();
                let (offset, slope) = weighted_line(&along, &vec![1.0; along.len()])?;
                Some(along.iter().map(|(time, at)| (at - offset - slope * time).powi(2)).sum::<f64>())
            });
            if let [Some(x), Some(y)] = residuals {
                self.squares = [self.squares[0] + x, self.squares[1] + y];
                self.freedom += points.len() - 2;
            }
        }
    }

    /// The covariance of a point, in the unit's square. None where too little was seen.
    pub fn covariance(&self) -> Option<Matrix2<f64>> {
        let variance = self.squares.map(|squares| squares / self.freedom as f64);
        let known = self.freedom >= LEAST_FREEDOM && variance.iter().all(|v| v.is_finite() && *v > 0.0);
        known.then(|| Matrix2::from_diagonal(&variance.into()))
    }
}

/// The speed of a straight motion: `points` of time in seconds and position on the ground in metres, by rising time;
/// `noise` is the covariance of such a point, metres², where it is known. None for fewer than three points or none of any
/// duration, and for fewer than nine of unknown noise.
pub fn line_speed(points: &[(f64, [f64; 2])], noise: Option<&Matrix2<f64>>) -> Option<LineSpeed> {
    let n = points.len();
    if n < LEAST_POINTS || points.iter().any(|(t, p)| !t.is_finite() || !p.iter().all(|v| v.is_finite())) {
        return None;
    }
    if n < MANY_POINTS {
        return short_line_speed(points, noise?);
    }
    let direction = {
        let velocity =
            [0, 1].map(|axis| median_slope(points.iter().map(|(time, point)| (*time, point[axis]))));
        let [vx, vy] = [velocity[0]?, velocity[1]?];
        let length = vx.hypot(vy);
        if length > 0.0 { [vx / length, vy / length] } else { [1.0, 0.0] }
    };
    let middle = points.iter().map(|(time, _)| time).sum::<f64>() / n as f64;
    let along: Vec<(f64, f64)> =
        points.iter().map(|(time, [x, y])| (time - middle, x * direction[0] + y * direction[1])).collect();

    let mut slope = median_slope(along.iter().copied())?;
    let mut offset = median(along.iter().map(|(time, at)| at - slope * time).collect())?;
    let mut deviation = 0.0;
    for _ in 0..50 {
        let residuals: Vec<f64> = along.iter().map(|(time, at)| at - offset - slope * time).collect();
        deviation = median(residuals.iter().map(|residual| residual.abs()).collect())? / NORMAL_MAD;
        if deviation <= 1e-9 {
            break;
        }
        let weights: Vec<f64> =
            residuals.iter().map(|residual| (HUBER * deviation / residual.abs()).min(1.0)).collect();
        let (new_offset, new_slope) = weighted_line(&along, &weights)?;
        let change = (new_slope - slope).abs();
        (offset, slope) = (new_offset, new_slope);
        if change <= 1e-9 {
            break;
        }
    }

    // The asymptotic variance of the estimator, with the small-sample factor n/(n-2).
    let limit = HUBER * deviation;
    let influence: Vec<f64> =
        along.iter().map(|(time, at)| (at - offset - slope * time).clamp(-limit, limit)).collect();
    let square = influence.iter().map(|value| value * value).sum::<f64>();
    let within = influence.iter().filter(|value| value.abs() < limit).count() as f64 / n as f64;
    let products = influence.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
    let related = if square > 0.0 { (products / square).clamp(0.0, 0.95) } else { 0.0 };
    let extent = along.iter().map(|(time, _)| time * time).sum::<f64>();
    let variance = if within > 0.0 { square / (n as f64 - 2.0) / (within * within) / extent } else { 0.0 };
    let own = variance * (1.0 + related) / (1.0 - related);
    // Points that lie on a line by chance are no better than others.
    let direction = Vector2::from(direction);
    let least = noise.map_or(0.0, |noise| direction.dot(&(noise * direction)) / extent);
    Some(LineSpeed { speed_mps: slope.abs(), std_error_mps: own.max(least).sqrt() })
}

/// The speed by least squares of a few points whose noise is known.
fn short_line_speed(points: &[(f64, [f64; 2])], noise: &Matrix2<f64>) -> Option<LineSpeed> {
    let n = points.len();
    let lines = [0, 1].map(|axis| {
        let along: Vec<(f64, f64)> = points.iter().map(|(time, at)| (*time, at[axis])).collect();
        weighted_line(&along, &vec![1.0; n])
    });
    let [Some((x, vx)), Some((y, vy))] = lines else { return None };
    let middle = points.iter().map(|(time, _)| time).sum::<f64>() / n as f64;
    let extent: f64 = points.iter().map(|(time, _)| (time - middle).powi(2)).sum();
    let inverse = noise.try_inverse()?;
    let misfit: f64 = points
        .iter()
        .map(|(time, at)| Vector2::new(at[0] - x - vx * time, at[1] - y - vy * time))
        .map(|residual| residual.dot(&(inverse * residual)))
        .sum();
    // Where the points are further off than the noise explains, no straight line is right (Birge 1932).
    let freedom = 2.0 * (n as f64 - 2.0);
    let misfit = misfit / freedom;
    let scale = if misfit > 1.0 + 3.0 * (2.0 / freedom).sqrt() { misfit } else { 1.0 };
    let covariance = noise * (scale / extent);
    let velocity = Vector2::new(vx, vy);
    let worst = covariance.symmetric_eigenvalues().max();
    let along = |direction: Vector2<f64>| direction.dot(&(covariance * direction));
    // A velocity is longer than the speed by what the noise adds across it.
    let length = velocity.norm();
    let across = if length > 0.0 { covariance.trace() - along(velocity / length) } else { 0.0 };
    let speed_mps = (length * length - across).max(0.0).sqrt();
    // Near zero no direction is known, so the worst one counts.
    let variance = if length * length > worst { along(velocity / length) } else { worst };
    Some(LineSpeed { speed_mps, std_error_mps: variance.sqrt() })
}

/// The least squares line: offset and slope.
fn weighted_line(points: &[(f64, f64)], weights: &[f64]) -> Option<(f64, f64)> {
    let mut sums = [0.0; 5];
    for ((x, y), w) in points.iter().zip(weights) {
        for (sum, term) in sums.iter_mut().zip([*w, w * x, w * y, w * x * x, w * x * y]) {
            *sum += term;
        }
    }
    let [w, x, y, xx, xy] = sums;
    let determinant = w * xx - x * x;
    (determinant > 0.0).then(|| ((xx * y - x * xy) / determinant, (w * xy - x * y) / determinant))
}

/// The median of the slopes of all pairs; of a long series, of pairs of an even choice of its points.
fn median_slope(points: impl ExactSizeIterator<Item = (f64, f64)>) -> Option<f64> {
    let stride = points.len().div_ceil(MOST_PAIRED).max(1);
    let points: Vec<(f64, f64)> = points.step_by(stride).collect();
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, (x, y)) in points.iter().enumerate() {
        let later = points[index + 1..].iter().filter(|(other, _)| other > x);
        slopes.extend(later.map(|(other_x, other_y)| (other_y - y) / (other_x - x)));
    }
    median(slopes)
}

/// The middle value, or the mean of the middle two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len().checked_sub(1)? / 2;
    let odd = values.len() % 2 == 1;
    let (_, low, above) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let high = if odd { *low } else { above.iter().copied().fold(f64::INFINITY, f64::min) };
    Some((*low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moving(n: usize, v: [f64; 2]) -> Vec<(f64, [f64; 2])> {
        (0..n).map(|k| k as f64 / 25.0).map(|t| (t, [3.0 + v[0] * t, -8.0 + v[1] * t])).collect()
    }

    #[test]
    fn exact_line_has_its_speed_and_no_error() {
        let found = line_speed(&moving(40, [3.0, 4.0]), None).unwrap();
        assert!((found.speed_mps - 5.0).abs() < 1e-9 && found.std_error_mps < 1e-9);
    }

    #[test]
    fn repeated_last_position_hardly_slows_a_track() {
        let mut points = moving(40, [0.0, 20.0]);
        let last = points[36].1;
        for point in &mut points[37..] {
            point.1 = last;
        }
        // Wheels and shadows: some decimetres, up and down.
        for (index, point) in points.iter_mut().enumerate() {
            point.1[1] += 0.2 * ((index * 7919 % 13) as f64 / 6.0 - 1.0);
        }
        let found = line_speed(&points, None).unwrap();
        assert!((found.speed_mps - 20.0).abs() < 0.2, "{found:?}");
        assert!(found.std_error_mps < 0.3, "{found:?}");
    }

    #[test]
    fn wild_points_do_not_matter_much() {
        let mut points = moving(60, [0.0, 10.0]);
        for index in [5, 22, 41, 58] {
            points[index].1 = [500.0, -900.0];
        }
        assert!((line_speed(&points, None).unwrap().speed_mps - 10.0).abs() < 0.1);
    }

    #[test]
    fn two_points_or_no_duration_or_few_of_unknown_noise_have_no_speed() {
        let noise = Matrix2::identity();
        let speed = |points: &[(f64, [f64; 2])]| line_speed(points, Some(&noise));
        assert_eq!(speed(&moving(2, [1.0, 0.0])), None);
        assert_eq!(speed(&[(1.0, [0.0, 0.0]), (1.0, [1.0, 0.0]), (1.0, [2.0, 0.0])]), None);
        assert_eq!(speed(&[(1.0, [0.0, 0.0]), (2.0, [f64::NAN, 0.0]), (3.0, [2.0, 0.0])]), None);
        assert_eq!(speed(&[(1.0, [4.0, 0.0]), (2.0, [4.0, 0.0]), (3.0, [4.0, 0.0])]).unwrap().speed_mps, 0.0);
        assert_eq!(line_speed(&moving(8, [1.0, 0.0]), None), None);
    }

    #[test]
    fn points_that_lie_on_a_line_by_chance_are_no_better_than_others() {
        let noise = Matrix2::new(0.04, 0.0, 0.0, 0.01);
        for n in [3, 8, 12] {
            let found = line_speed(&moving(n, [10.0, 0.0]), Some(&noise)).unwrap();
            // Least squares: the variance of a point over the sum of the squared times.
            let extent: f64 = (0..n).map(|k| ((k as f64 - (n as f64 - 1.0) / 2.0) / 25.0).powi(2)).sum();
            assert!((found.std_error_mps - 0.2 / extent.sqrt()).abs() < 1e-9, "{n}: {found:?}");
        }
    }

    #[test]
    fn points_off_any_line_have_a_larger_error() {
        let noise = Matrix2::identity() * 0.01;
        let mut points = moving(5, [10.0, 0.0]);
        points[2].1[1] += 3.0;
        let (bent, straight) =
            (line_speed(&points, Some(&noise)), line_speed(&moving(5, [10.0, 0.0]), Some(&noise)));
        assert!(bent.unwrap().std_error_mps > 5.0 * straight.unwrap().std_error_mps);
    }
}
