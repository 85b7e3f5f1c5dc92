//! Gives a file's frames at the rate of its media times.

use std::time::{Duration, Instant};

use peregrine_daemon::Shutdown;

/// Behind by more than this, the schedule starts anew: after a long wait for room a file goes on, it does not race.
const MOST_BEHIND: Duration = Duration::from_secs(1);

/// An absolute schedule: a late frame does not make the next ones late, so nothing drifts.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Option<Due>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    media_time_us: i64,
    /// To the frame before.
    interval: Duration,
}

impl Pace {
    /// Waits until a frame of this media time is due; false when stopping was asked for meanwhile.
    pub(crate) fn wait(&mut self, media_time_us: i64, discontinuity: bool, stop: &Shutdown) -> bool {
        let wait = self.due_in(media_time_us, discontinuity, Instant::now());
        if wait.is_zero() { !stop.is_requested() } else { !stop.wait_timeout(wait) }
    }

    /// How long the frame is to be kept back.
    fn due_in(&mut self, media_time_us: i64, discontinuity: bool, now: Instant) -> Duration {
        let due = match self.last {
            None => Due { at: now, media_time_us, interval: Duration::ZERO },
            // A file that starts again goes on one interval later.
            Some(last) if discontinuity => Due { at: last.at + last.interval, media_time_us, ..last },
            Some(last) => {
                let interval = Duration::from_micros(
                    media_time_us.saturating_sub(last.media_time_us).max(0).unsigned_abs(),
                );
                Due { at: last.at + interval, media_time_us, interval }
            }
        };
        let late = now.saturating_duration_since(due.at) > MOST_BEHIND;
        self.last = Some(if late { Due { at: now, ..due } } else { due });
        due.at.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_US: i64 = 100_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn late_frames_make_the_next_ones_late() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.due_in(0, false, start), Duration::ZERO);
        // Each frame is ready 30 ms after the one before was due; the schedule stays where it was.
        for frame in 1..100 {
            let ready = start + ms(frame * 100 - 70);
            assert_eq!(pace.due_in(frame as i64 * STEP_US, false, ready), ms(70));
        }
        assert_eq!(
            pace.due_in(100 * STEP_US, false, start + ms(10_500)),
            Duration::ZERO,
            "half a second behind"
        );
        assert_eq!(pace.due_in(110 * STEP_US, false, start + ms(10_500)), ms(500));
    }

    #[test]
    fn file_that_waited_long_races_afterwards() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.due_in(0, false, start), Duration::ZERO);
        let now = start + Duration::from_secs(60);
        assert_eq!(pace.due_in(STEP_US, false, now), Duration::ZERO);
        assert_eq!(pace.due_in(2 * STEP_US, false, now), ms(100));
    }

    #[test]
    fn file_that_starts_again_shifts_the_schedule() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.due_in(0, false, start), Duration::ZERO);
        assert_eq!(pace.due_in(STEP_US, false, start), ms(100));
        assert_eq!(pace.due_in(0, true, start), ms(200));
        assert_eq!(pace.due_in(STEP_US, false, start), ms(300));
    }
}
