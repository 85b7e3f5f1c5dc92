//! What a daemon's `/metrics` said, twice, and the rates between the two.

use std::collections::BTreeSet;

use peregrine_daemon::{
    Metric,
    metrics::{Labels, Samples},
};

/// One daemon between two looks at it.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// Where it was asked.
    pub(super) address: String,
    pub(super) before: Samples,
    pub(super) after: Samples,
    /// Between the two.
    pub(super) seconds: f64,
}

/// How often something took place, and how much time it took together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Timing {
    /// Times a second.
    pub(super) rate: f64,
    /// Seconds spent in it a second: how many were in it at a time, on average (Little's law).
    pub(super) share: f64,
}

impl Timing {
    /// Seconds that it took, on average; 0 where it did not happen.
    pub(super) fn mean(self) -> f64 {
        if self.rate > 0.0 { self.share / self.rate } else { 0.0 }
    }
}

impl std::ops::AddAssign for Timing {
    fn add_assign(&mut self, other: Self) {
        self.rate += other.rate;
        self.share += other.share;
    }
}

impl Observed {
    /// How much counters grew a second, all of them together that have these labels.
    pub(super) fn rate(&self, metric: Metric, wanted: &[(&str, &str)]) -> f64 {
        self.grown(metric.name(), wanted)
    }

    /// The gauges with these labels as they are now, together; none where there is none.
    pub(super) fn gauge(&self, metric: Metric, wanted: &[(&str, &str)]) -> Option<f64> {
        self.after.with(metric.name(), wanted).map(|(_, value)| value).reduce(|a, b| a + b)
    }

    /// What histograms counted, for those of seconds.
    pub(super) fn timing(&self, metric: Metric, wanted: &[(&str, &str)]) -> Timing {
        Timing {
            rate: self.grown(&format!("{}_count", metric.name()), wanted),
            share: self.grown(&format!("{}_sum", metric.name()), wanted),
        }
    }

    /// The values that a label has.
    pub(super) fn values(&self, metric: Metric, label: &str) -> BTreeSet<String> {
        self.after.with(metric.name(), &[]).filter_map(|(labels, _)| labels.get(label).cloned()).collect()
    }

    /// One that began to count anew with its daemon grew from zero.
    fn grown(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let grown = |(labels, after): (&Labels, f64)| {
            let before = self.before.value(name, labels).unwrap_or(0.0);
            if after >= before { after - before } else { after }
        };
        self.after.with(name, wanted).map(grown).sum::<f64>() / self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(before: &str, after: &str) -> Observed {
        let (before, after) = (Samples::parse(before), Samples::parse(after));
        Observed { address: String::new(), before, after, seconds: 4.0 }
    }

    #[test]
    fn counter_of_a_restarted_or_new_daemon_goes_backwards() {
        let name = Metric::FramesProcessed.name();
        let text = |values: &[(&str, u32)]| -> String {
            values.iter().map(|(camera, n)| format!("{name}{{camera=\"{camera}\"}} {n}\n")).collect()
        };
        let seen = observed(&text(&[("a", 100), ("b", 10)]), &text(&[("a", 8), ("b", 14), ("c", 4)]));
        assert_eq!(seen.rate(Metric::FramesProcessed, &[]), 4.0);
        assert_eq!(seen.rate(Metric::FramesProcessed, &[("camera", "b")]), 1.0);
        assert_eq!(seen.rate(Metric::FramesProcessed, &[("camera", "z")]), 0.0);
        assert_eq!(seen.values(Metric::FramesProcessed, "camera").len(), 3);
    }

    #[test]
    fn mean_is_taken_over_the_daemons_whole_life() {
        let name = Metric::StageDuration.name();
        let text = |sum: f64, count: u32| format!("{name}_sum {sum}\n{name}_count {count}\n");
        let timing = observed(&text(100.0, 10), &text(100.4, 18)).timing(Metric::StageDuration, &[]);
        assert!((timing.mean() - 0.05).abs() < 1e-9, "{timing:?}");
        assert_eq!(timing.rate, 2.0);
        assert_eq!(Timing::default().mean(), 0.0);
    }
}
