//! Gives a file's frames at the rate of its media times.

use std::time::{Duration, Instant};

/// Behind by more than this, the schedule starts anew: after a long wait for room a file goes on, it does not race.
const MOST_BEHIND: Duration = Duration::from_secs(1);

/// The longest wait between two frames, whatever their media times say: nobody watches a camera that stands still for hours.
const LONGEST_GAP: Duration = Duration::from_secs(10);

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

/// How long a frame is to be kept back.
#[derive(Debug, PartialEq)]
pub(crate) struct Wait {
    pub(crate) time: Duration,
    /// The part of a gap in the file that is not waited for.
    pub(crate) left_out: Duration,
}

impl Pace {
    /// When a frame of this media time, in microseconds, is due.
    pub(crate) fn due_in(&mut self, media_time_us: i64, discontinuity: bool, now: Instant) -> Wait {
        let mut left_out = Duration::ZERO;
        let due = match self.last {
            None => Due { at: now, media_time_us, interval: Duration::ZERO },
            // A file that starts again goes on one interval later.
            Some(last) if discontinuity => Due { at: last.at + last.interval, media_time_us, ..last },
            Some(last) => {
                let gap = Duration::from_micros(
                    media_time_us.saturating_sub(last.media_time_us).max(0).unsigned_abs(),
                );
                let interval = gap.min(LONGEST_GAP);
                left_out = gap - interval;
                Due { at: last.at + interval, media_time_us, interval }
            }
        };
        let late = now.saturating_duration_since(due.at) > MOST_BEHIND;
        self.last = Some(if late { Due { at: now, ..due } } else { due });
        Wait { time: due.at.saturating_duration_since(now), left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_US: i64 = 100_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    impl Pace {
        fn wait(&mut self, media_time_us: i64, discontinuity: bool, now: Instant) -> Duration {
            let wait = self.due_in(media_time_us, discontinuity, now);
            assert_eq!(wait.left_out, Duration::ZERO);
            wait.time
        }
    }

    #[test]
    fn late_frames_make_the_next_ones_late() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.wait(0, false, start), Duration::ZERO);
        // Each frame is ready 30 ms after the one before was due; the schedule stays where it was.
        for frame in 1..100 {
            let ready = start + ms(frame * 100 - 70);
            assert_eq!(pace.wait(frame as i64 * STEP_US, false, ready), ms(70));
        }
        assert_eq!(
            pace.wait(100 * STEP_US, false, start + ms(10_500)),
            Duration::ZERO,
            "half a second behind"
        );
        assert_eq!(pace.wait(110 * STEP_US, false, start + ms(10_500)), ms(500));
    }

    #[test]
    fn file_that_waited_long_races_afterwards() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.wait(0, false, start), Duration::ZERO);
        let now = start + Duration::from_secs(60);
        assert_eq!(pace.wait(STEP_US, false, now), Duration::ZERO);
        assert_eq!(pace.wait(2 * STEP_US, false, now), ms(100));
    }

    #[test]
    fn file_that_starts_again_shifts_the_schedule() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.wait(0, false, start), Duration::ZERO);
        assert_eq!(pace.wait(STEP_US, false, start), ms(100));
        assert_eq!(pace.wait(0, true, start), ms(200));
        assert_eq!(pace.wait(STEP_US, false, start), ms(300));
    }

    #[test]
    fn file_with_a_gap_of_hours_stands_still_for_hours() {
        let (mut pace, start, hour_us) = (Pace::default(), Instant::now(), 3_600_000_000);
        assert_eq!(pace.wait(0, false, start), Duration::ZERO);
        assert_eq!(pace.wait(10_000_000, false, start), ms(10_000));
        let wait = pace.due_in(hour_us, false, start + ms(10_000));
        assert_eq!(wait, Wait { time: ms(10_000), left_out: Duration::from_secs(3580) });
        assert_eq!(pace.wait(hour_us + STEP_US, false, start + ms(20_000)), ms(100));
    }
}
