//! When a lost source is opened again, and how often that is said.

use std::time::Duration;

use peregrine_daemon::Backoff;

/// The first wait after a source that was well.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A source that gave frames for so long was well. One that ends after its first frames is not: it would be opened several times
/// a second for ever.
const WELL: Duration = Duration::from_secs(5);

/// The losses of one source.
#[derive(Debug)]
pub(crate) struct Reconnecting {
    backoff: Backoff,
    problem: String,
    /// How often that problem came, one after the other.
    times: u64,
}

/// What is to be done after a loss.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// How long to wait before the source is opened again.
    pub(crate) pause: Duration,
    /// How often the same problem has come, where that is to be said: at first, and whenever it has come twice as often.
    pub(crate) said: Option<u64>,
}

impl Reconnecting {
    pub(crate) fn new(longest_pause: Duration) -> Self {
        Self { backoff: Backoff::new(FIRST_PAUSE, longest_pause), problem: String::new(), times: 0 }
    }

    /// The source was lost by a problem, after it had given frames for so long.
    pub(crate) fn lost(&mut self, problem: &str, delivered: Duration) -> Next {
        if delivered >= WELL {
            self.backoff.healthy();
        }
        if self.problem != problem || delivered >= WELL {
            problem.clone_into(&mut self.problem);
            self.times = 0;
        }
        self.times += 1;
        Next { pause: self.backoff.failed(), said: self.times.is_power_of_two().then_some(self.times) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);

    #[test]
    fn source_that_ends_after_its_first_frames_is_opened_as_often_as_ever() {
        let mut losses = Reconnecting::new(LONGEST);
        let opened: Vec<Next> =
            (0..100).map(|_| losses.lost("end of stream", Duration::from_millis(80))).collect();
        assert!(opened[0].pause <= FIRST_PAUSE);
        assert!(opened[10..].iter().all(|next| next.pause >= LONGEST / 2), "{opened:?}");
        let said: Vec<u64> = opened.iter().filter_map(|next| next.said).collect();
        assert_eq!(said, [1, 2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn source_that_was_well_waits_long_or_is_lost_in_silence() {
        let mut losses = Reconnecting::new(LONGEST);
        for _ in 0..20 {
            losses.lost("no route", Duration::ZERO);
        }
        let next = losses.lost("no route", Duration::from_secs(60));
        assert!(next.pause <= FIRST_PAUSE && next.said == Some(1), "{next:?}");
        assert_eq!(losses.lost("refused", Duration::ZERO).said, Some(1), "another problem");
    }
}
