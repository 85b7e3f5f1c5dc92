use std::time::Duration;

use rand::Rng;

/// Capped exponential backoff with jitter. Reset it only on proof of health (frames for a while, a reply), never on a mere connection.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits of about `first`, twice that, and so on up to `most`.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// How long to wait after one more failure: a random value in the upper half of the step, so that many that failed
    /// together do not return together.
    pub fn failed(&mut self) -> Duration {
        let step = self.first.saturating_mul(1 << self.failures.min(20)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// There was proof of health: the next failure waits for `first` again.
    pub fn healthy(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last proof of health.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

impl Default for Backoff {
    /// From a quarter of a second to ten seconds.
    fn default() -> Self {
        Self::new(Duration::from_millis(250), Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_leave_their_bounds() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        for failure in 0..100_u32 {
            let step =
                Duration::from_millis(100).saturating_mul(1 << failure.min(10)).min(Duration::from_secs(3));
            let wait = backoff.failed();
            assert!(wait >= step / 2 && wait <= step, "wait {wait:?} after failure {failure}");
        }
        backoff.healthy();
        assert!(backoff.failed() <= Duration::from_millis(100));
    }
}
