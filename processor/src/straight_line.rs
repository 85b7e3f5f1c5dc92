//! The speed of a track that is complete: one straight line through all of it.
//!
//! Positions on the ground against time, fitted by Huber's M-estimator (Huber 1964) from the median of all pairwise
//! slopes (Theil 1950, Sen 1968): nearly as good as least squares where the noise is normal, and little moved by
//! points that are plainly wrong, such as a position that a tracker repeats after the object has left.
//!
//! All points count alike, near or far, although the far ones are noisier. What is left of the error is not noise
//! but the calibration, whose scale is off by some percent, differently in each part of the picture: leaning on the
//! part that is seen best would lean on its error too.

/// Residuals beyond so many standard deviations pull no harder (Huber's constant for 95% efficiency).
const HUBER: f64 = 1.345;
/// The median absolute deviation of a normal distribution with standard deviation 1.
const NORMAL_MAD: f64 = 0.6745;
/// Two points fit every line.
const LEAST_POINTS: usize = 3;
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

/// The speed of a straight motion: `points` of time in seconds and position on the ground in metres, by rising time.
/// None for fewer than three points, or none of any duration.
pub fn line_speed(points: &[(f64, [f64; 2])]) -> Option<LineSpeed> {
    let n = points.len();
    if n < LEAST_POINTS || points.iter().any(|(t, p)| !t.is_finite() || !p.iter().all(|v| v.is_finite())) {
        return None;
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
    let std_error_mps = (variance * (1.0 + related) / (1.0 - related)).sqrt();
    Some(LineSpeed { speed_mps: slope.abs(), std_error_mps })
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
        let found = line_speed(&moving(40, [3.0, 4.0])).unwrap();
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
        let found = line_speed(&points).unwrap();
        assert!((found.speed_mps - 20.0).abs() < 0.2, "{found:?}");
        assert!(found.std_error_mps < 0.3, "{found:?}");
    }

    #[test]
    fn wild_points_do_not_matter_much() {
        let mut points = moving(60, [0.0, 10.0]);
        for index in [5, 22, 41, 58] {
            points[index].1 = [500.0, -900.0];
        }
        assert!((line_speed(&points).unwrap().speed_mps - 10.0).abs() < 0.1);
    }

    #[test]
    fn few_points_or_no_duration_have_no_speed() {
        assert_eq!(line_speed(&moving(2, [1.0, 0.0])), None);
        assert_eq!(line_speed(&[(1.0, [0.0, 0.0]), (1.0, [1.0, 0.0]), (1.0, [2.0, 0.0])]), None);
        assert_eq!(line_speed(&[(1.0, [0.0, 0.0]), (2.0, [f64::NAN, 0.0]), (3.0, [2.0, 0.0])]), None);
        assert_eq!(
            line_speed(&[(1.0, [4.0, 0.0]), (2.0, [4.0, 0.0]), (3.0, [4.0, 0.0])]).unwrap().speed_mps,
            0.0
        );
    }
}
