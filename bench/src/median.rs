//! The median of repeated measurements, and how well it is known.

/// The middle value; the mean of both middle ones where their number is even; none of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    let lower = if sorted.len().is_multiple_of(2) { sorted[middle - 1] } else { upper };
    Some(lower.midpoint(upper))
}

/// Between which values the median of what was sampled lies, with a probability of at least 95%; none of fewer than six.
///
/// A value is below that median with probability 1/2, whatever the distribution. So the k-th least value is above it with the
/// probability that fewer than k of n fair coins show heads, and the k-th greatest is below it as often: k is the greatest for
/// which this is at most 2.5%. (Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2.)
pub(crate) fn interval(values: impl IntoIterator<Item = f64>) -> Option<[f64; 2]> {
    let sorted = sorted(values);
    let below = rank(sorted.len())?.checked_sub(1)?;
    Some([sorted[below], sorted[sorted.len() - 1 - below]])
}

/// The k of n values.
fn rank(n: usize) -> Option<usize> {
    const EACH_SIDE: f64 = 0.025;
    let mut of_heads = 0.5_f64.powi(i32::try_from(n).ok()?);
    let mut fewer = 0.0;
    for heads in 0..n {
        fewer += of_heads;
        if fewer > EACH_SIDE {
            return (heads > 0).then_some(heads);
        }
        of_heads *= (n - heads) as f64 / (heads + 1) as f64;
    }
    None
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_another() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn ranks_differ_from_those_of_the_binomial_distribution() {
        // In whole numbers by Python: the greatest k with 1000 * sum(comb(n, i) for i in range(k)) <= 25 * 2**n.
        let ranks =
            [(6, 1), (7, 1), (8, 1), (9, 2), (10, 2), (11, 2), (12, 3), (15, 4), (17, 5), (20, 6), (25, 8)];
        for (n, k) in ranks.into_iter().chain([(30, 10), (40, 14), (100, 40), (1000, 469)]) {
            assert_eq!(rank(n), Some(k), "{n} values");
        }
        assert_eq!([0, 1, 5].map(rank), [None; 3]);
    }

    #[test]
    fn the_interval_leaves_out_too_many_or_too_few() {
        let values = |n: u32| (1..=n).rev().map(f64::from);
        assert_eq!(interval(values(5)), None);
        assert_eq!(interval(values(6)), Some([1.0, 6.0]));
        assert_eq!(interval(values(9)), Some([2.0, 8.0]));
        assert_eq!(interval(values(40)), Some([14.0, 27.0]));
    }
}
