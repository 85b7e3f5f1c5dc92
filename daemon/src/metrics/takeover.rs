use std::time::{Duration, Instant};

use super::Metric;

/// A lease that was taken over from an owner that had not released it, until the first frame is through.
#[derive(Debug)]
pub struct Takeover {
    role: &'static str,
    /// The former owner's last sign of life.
    silent_since: Instant,
}

impl Takeover {
    /// Counts a takeover by `role` (`processor`, `producer`) from an owner that has been silent for so long.
    pub fn begin(role: &'static str, silent_for: Duration) -> Self {
        Metric::Takeovers.counter([role]).inc();
        let now = Instant::now();
        // A machine may have been on for less than that.
        Self { role, silent_since: now.checked_sub(silent_for).unwrap_or(now) }
    }

    /// The new owner's first frame is committed or published.
    pub fn end(self) {
        Metric::TakeoverDuration.histogram([self.role]).observe(self.silent_since.elapsed().as_secs_f64());
    }
}
