//! What time it is where frames go: ages are measured by it.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use crate::{Redis, StreamError, keys, wall_clock_us};

/// So far from the server's clock, and by what a look at it leaves open, this machine's clock is right, microseconds.
const RIGHT_WITHIN_US: i64 = 100_000;

/// A look at the server's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    server_us: i64,
    at: Instant,
    uncertain: Duration,
}

impl Look {
    /// What time it is, of what this machine's wall clock says at a moment. That counts where it is right, since looking
    /// takes time; otherwise the server's does, as it has run on since.
    fn right(self, wall_us: i64, now: Instant) -> i64 {
        let server_us = self.server_us.saturating_add(micros(now.saturating_duration_since(self.at)));
        let apart_us = wall_us.saturating_sub(server_us).saturating_abs();
        if apart_us > RIGHT_WITHIN_US + micros(self.uncertain) { server_us } else { wall_us }
    }
}

impl Redis {
    /// Looks at the clock of the server where frames go. Whoever asks for [ages](Self::since) does it once a second.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn look_at_clock(&self) -> Result<(), StreamError> {
        let asked = Instant::now();
        let server_us = self.frames.time_us(keys::CAMERAS).await?;
        let uncertain = asked.elapsed() / 2;
        let look = Look { server_us, at: asked + uncertain, uncertain };
        *self.look.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
        Ok(())
    }

    /// What time it is, microseconds since the Unix epoch: by this machine's wall clock, or, where it is wrong, by that of
    /// the server where frames go, as of the last [look](Self::look_at_clock).
    pub fn now_us(&self) -> i64 {
        let look = *self.look.lock().unwrap_or_else(PoisonError::into_inner);
        let wall_us = wall_clock_us();
        look.map_or(wall_us, |look| look.right(wall_us, Instant::now()))
    }

    /// How long ago a moment was that another daemon noted, microseconds since the Unix epoch; nothing where it is still to come.
    pub fn since(&self, moment_us: i64) -> Duration {
        Duration::from_micros(self.now_us().saturating_sub(moment_us).max(0).unsigned_abs())
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_that_is_wrong_is_replaced_by_the_servers() {
        const SECOND: i64 = 1_000_000;
        let at = Instant::now();
        let look = Look { server_us: 1000 * SECOND, at, uncertain: Duration::from_millis(20) };
        let later = at + Duration::from_secs(3);
        for right in [1003 * SECOND, 1003 * SECOND + 119_000, 1003 * SECOND - 119_000] {
            assert_eq!(look.right(right, later), right);
        }
        for wrong in [1003 * SECOND + 121_000, 4603 * SECOND, 0, i64::MIN, i64::MAX] {
            assert_eq!(look.right(wrong, later), 1003 * SECOND);
        }
    }
}
