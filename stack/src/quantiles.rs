//! Quantiles of many values in little memory.

use serde::Serialize;

/// Each bucket is this much wider than the one before: quantiles are right to half of that.
const GROWTH: f64 = 1.01;
/// Smaller values count as zero.
const LEAST: f64 = 1e-3;
/// Enough for values up to 1e9.
const BUCKETS: usize = 2800;

/// Counts values in buckets that grow by 1%, from 0.001 to 1e9; the unit is the caller's.
#[derive(Debug, Clone, Default)]
pub struct Quantiles {
    counts: Vec<u32>,
    total: u64,
    most: f64,
}

/// The usual few.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the values are smaller.
    pub p50: f64,
    /// 95% are smaller.
    pub p95: f64,
    /// 99% are smaller.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Quantiles {
    /// Counts a value; negative ones (clocks that disagree) as zero.
    pub fn add(&mut self, value: f64) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        let bucket = if value > LEAST { ((value / LEAST).ln() / GROWTH.ln()).ceil() as usize } else { 0 };
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.total += 1;
        self.most = self.most.max(value);
    }

    /// Counts another's values too.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.counts.clone_from(&other.counts);
        } else {
            self.counts.iter_mut().zip(&other.counts).for_each(|(mine, more)| *mine += more);
        }
        self.total += other.total;
        self.most = self.most.max(other.most);
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The value below which the fraction `q` of the values lies; none without values.
    pub fn at(&self, q: f64) -> Option<f64> {
        let rank = (q * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.counts.iter().position(|&count| {
            seen += u64::from(count);
            seen >= rank
        })?;
        // The middle of the bucket, in the measure of its growth.
        let value = if bucket == 0 { 0.0 } else { LEAST * GROWTH.powf(bucket as f64 - 0.5) };
        Some(value.min(self.most))
    }

    /// Median, tail and maximum; none without values.
    pub fn spread(&self) -> Option<Spread> {
        let at = |q: f64| self.at(q).map(rounded);
        Some(Spread { p50: at(0.5)?, p95: at(0.95)?, p99: at(0.99)?, max: rounded(self.most) })
    }
}

/// To three decimals: more would only look exact.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_off_by_more_than_a_percent() {
        let mut quantiles = Quantiles::default();
        (1..=10_000).for_each(|i| quantiles.add(f64::from(i) * 0.37));
        for q in [0.01, 0.5, 0.95, 0.99] {
            let (found, exact) = (quantiles.at(q).unwrap(), q * 3700.0);
            assert!((found / exact - 1.0).abs() < 0.01, "{q}: {found} is not {exact}");
        }
        assert_eq!(quantiles.spread().unwrap().max, 3700.0);
    }

    #[test]
    fn no_values_have_a_median() {
        assert_eq!(Quantiles::default().spread(), None);
    }

    #[test]
    fn odd_values_are_not_bounded() {
        let mut quantiles = Quantiles::default();
        [-5.0, 0.0, 1e300, f64::INFINITY].into_iter().for_each(|v| quantiles.add(v));
        assert_eq!(quantiles.count(), 4);
        assert_eq!(quantiles.at(0.5), Some(0.0));
    }
}
