//! Who is matched with whom: the best one-to-one assignment above a threshold.

use pathfinding::{kuhn_munkres::kuhn_munkres, matrix::Matrix};

/// Similarities between rows and columns, 0 to 1; a pair that must not match has 0.
#[derive(Debug, Clone)]
pub struct Similarity {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

/// What [`Similarity::assign`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Matched pairs of row and column, rows rising.
    pub pairs: Vec<(usize, usize)>,
    /// Rows without a partner, rising.
    pub free_rows: Vec<usize>,
    /// Columns without a partner, rising.
    pub free_columns: Vec<usize>,
}

impl Similarity {
    /// Computes every pair's similarity; what is no number counts as 0.
    pub fn new(rows: usize, columns: usize, mut similarity: impl FnMut(usize, usize) -> f64) -> Self {
        let values = (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| similarity(row, column).clamp(0.0, 1.0))
            .map(|value| if value.is_nan() { 0.0 } else { value })
            .collect();
        Self { rows, columns, values }
    }

    /// The assignment with the largest sum of (similarity − `threshold`) over its pairs, each above the threshold:
    /// what `lap.lapjv` finds with a cost limit. By the Hungarian method in fixed-point numbers, so that it is the
    /// same on every machine.
    pub fn assign(&self, threshold: f64) -> Assignment {
        /// Fixed-point scale: 2^-40 is finer than any similarity is known.
        const ONE: f64 = (1_u64 << 40) as f64;
        let gain = |row: usize, column: usize| {
            ((self.values[row * self.columns + column] - threshold) * ONE).max(0.0) as i64
        };
        let mut pairs = Vec::new();
        if self.rows > 0 && self.columns > 0 {
            // The method wants no more rows than columns.
            let transposed = self.rows > self.columns;
            let (rows, columns) =
                if transposed { (self.columns, self.rows) } else { (self.rows, self.columns) };
            let gains =
                Matrix::from_fn(rows, columns, |(r, c)| if transposed { gain(c, r) } else { gain(r, c) });
            let (_, partners) = kuhn_munkres(&gains);
            pairs = partners
                .into_iter()
                .enumerate()
                .map(|(r, c)| if transposed { (c, r) } else { (r, c) })
                .filter(|&(row, column)| gain(row, column) > 0)
                .collect();
            pairs.sort_unstable();
        }
        let mut row_is_free = vec![true; self.rows];
        let mut column_is_free = vec![true; self.columns];
        for &(row, column) in &pairs {
            row_is_free[row] = false;
            column_is_free[column] = false;
        }
        Assignment {
            pairs,
            free_rows: true_indices(&row_is_free),
            free_columns: true_indices(&column_is_free),
        }
    }
}

fn true_indices(flags: &[bool]) -> Vec<usize> {
    flags.iter().enumerate().filter_map(|(index, &flag)| flag.then_some(index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The best sum over all assignments, by trying every one.
    fn best_by_trying(values: &[Vec<f64>], threshold: f64, row: usize, taken: u32) -> f64 {
        let Some(cells) = values.get(row) else { return 0.0 };
        let without = best_by_trying(values, threshold, row + 1, taken);
        cells
            .iter()
            .enumerate()
            .filter(|&(column, &value)| taken & (1 << column) == 0 && value > threshold)
            .fold(without, |best, (column, value)| {
                best.max(value - threshold + best_by_trying(values, threshold, row + 1, taken | 1 << column))
            })
    }

    proptest! {
        #[test]
        fn no_assignment_is_better(
            values in (0usize..7, 0usize..7).prop_flat_map(|(rows, columns)| prop::collection::vec(prop::collection::vec(0.0..1.0f64, columns), rows)),
            threshold in 0.0..0.9f64,
        ) {
            let columns = values.first().map_or(0, Vec::len);
            let found = Similarity::new(values.len(), columns, |r, c| values[r][c]).assign(threshold);
            let sum: f64 = found.pairs.iter().map(|&(r, c)| values[r][c] - threshold).sum();
            prop_assert!((sum - best_by_trying(&values, threshold, 0, 0)).abs() < 1e-9);
            prop_assert!(found.pairs.iter().all(|&(r, c)| values[r][c] > threshold));
            let mut rows: Vec<usize> = found.pairs.iter().map(|p| p.0).chain(found.free_rows).collect();
            let mut cols: Vec<usize> = found.pairs.iter().map(|p| p.1).chain(found.free_columns).collect();
            rows.sort_unstable();
            cols.sort_unstable();
            prop_assert_eq!(rows, (0..values.len()).collect::<Vec<_>>());
            prop_assert_eq!(cols, (0..columns).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_number_matches_nothing() {
        let found = Similarity::new(1, 2, |_, column| [f64::NAN, f64::NEG_INFINITY][column]).assign(0.0);
        assert_eq!(found.pairs, []);
    }
}
