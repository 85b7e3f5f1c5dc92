//! When frames were captured, and the media time that each gets.

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// A live source whose presentation times run away from the clock by more than this, microseconds, has no true ones. What
/// comes at once at the beginning, such as three segments of HLS, is less.
const MOST_APART_US: u64 = 30_000_000;

/// After so many frames in a row without a usable presentation time a live source has none.
const MOST_UNTIMED: u8 = 5;

/// A live source's media time approaches the wall clock by at most one part in so many: far above what any camera's clock
/// is wrong by, far below what a speed could show.
const SLOWEST_APPROACH: i64 = 1000;

/// A moment by the wall clock and by the steady one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) wall_us: i64,
    pub(super) steady: Instant,
}

impl Clock {
    pub(super) fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_us: wall.as_micros().try_into().unwrap_or(i64::MAX), steady: Instant::now() }
    }

    pub(super) fn earlier(self, other: Self) -> Self {
        if other.steady < self.steady { other } else { self }
    }

    /// The wall clock at this moment had it run steadily since the process began: no jumps when it is set.
    fn steady_wall_us(&self) -> i64 {
        static ORIGIN: OnceLock<Clock> = OnceLock::new();
        let origin = ORIGIN.get_or_init(Clock::now);
        let since = self.steady.saturating_duration_since(origin.steady);
        origin.wall_us + since.as_micros() as i64
    }
}

/// Gives each frame its media time.
pub(super) struct Times {
    by: By,
    last_us: Option<i64>,
    discontinuity: bool,
}

/// What media times are made of.
enum By {
    /// The index over the true rate, where that is configured.
    Rate(f64),
    /// A file's presentation times from the first frame's on, microseconds; the step stands in where one is missing.
    Presentation { first_us: Option<i64>, step_us: i64 },
    /// A live source's clock: the first frame's arrival, then as far apart as presentation times say. Packets come in
    /// bursts and, with B-frames, out of order; what lies between two arrivals may be anything.
    LiveClock { last: Option<LiveTime>, step_us: i64 },
    /// The wall clock when frames come, where a live source has no presentation times or no true ones.
    Arrival,
}

/// A frame of a live source, microseconds.
#[derive(Debug, Clone, Copy)]
struct LiveTime {
    presentation_us: Option<i64>,
    media_us: i64,
    /// Frames up to this one whose presentation time was of no use.
    untimed: u8,
}

impl LiveTime {
    /// Of the frame that is shown next and was there at this wall clock. None where presentation times are missing or
    /// have nothing in common with it; single ones may be missing (an RTSP stream's first often is) or jump.
    fn after(last: Option<Self>, presentation_us: Option<i64>, now_us: i64, step_us: i64) -> Option<Self> {
        let Some(last) = last else { return Some(Self { presentation_us, media_us: now_us, untimed: 0 }) };
        let ahead = |step: i64| last.media_us.saturating_add(step).saturating_sub(now_us);
        let agrees = |step: i64| ahead(step).unsigned_abs() <= MOST_APART_US;
        let step = presentation_us.zip(last.presentation_us).map(|(this, last)| this.saturating_sub(last));
        let (media_us, untimed) = match step {
            Some(step) if step > 0 && agrees(step) => {
                let most = step / SLOWEST_APPROACH;
                (last.media_us + step - ahead(step).clamp(-most, most), 0)
            }
            // Ordinary steps have led away from the clock.
            Some(step) if step > 0 && step.unsigned_abs() <= MOST_APART_US => return None,
            _ if agrees(step_us) => (now_us.max(last.media_us + step_us), last.untimed + 1),
            _ => return None,
        };
        (untimed <= MOST_UNTIMED).then_some(Self { presentation_us, media_us, untimed })
    }
}

impl Times {
    /// For a file with this true rate, where one is configured, and this nominal one, both in frames per second.
    pub(super) fn of_file(rate: Option<f64>, nominal_fps: f64) -> Self {
        Self::by(match rate {
            Some(rate) => By::Rate(rate),
            None => By::Presentation { first_us: None, step_us: step_us(nominal_fps) },
        })
    }

    /// For a live source that says when its frames are to be shown, with this nominal rate in frames per second.
    pub(super) fn of_live(nominal_fps: f64) -> Self {
        Self::by(By::LiveClock { last: None, step_us: step_us(nominal_fps) })
    }

    /// For a live source that does not.
    pub(super) fn of_arrival() -> Self {
        Self::by(By::Arrival)
    }

    fn by(by: By) -> Self {
        Self { by, last_us: None, discontinuity: false }
    }

    /// Whether media times are nothing but when frames come.
    pub(super) fn is_by_arrival(&self) -> bool {
        matches!(self.by, By::Arrival)
    }

    /// The next frame does not continue the last one.
    pub(super) fn mark_discontinuity(&mut self) {
        self.discontinuity = true;
    }

    /// Media time of a frame in microseconds, and whether it does not continue the last frame's. Frames come in the order
    /// in which they are shown, `arrival` never before the last one's.
    pub(super) fn of(&mut self, position: u64, presentation_us: Option<i64>, arrival: Clock) -> (i64, bool) {
        let marked = std::mem::take(&mut self.discontinuity);
        let (time, jumped) = match &mut self.by {
            By::Rate(rate) => (index_time_us(position, *rate), false),
            By::Presentation { first_us, step_us } => {
                since_first(presentation_us, first_us, self.last_us, *step_us)
            }
            By::LiveClock { last, step_us } => {
                let now_us = arrival.steady_wall_us();
                match LiveTime::after(*last, presentation_us, now_us, *step_us) {
                    Some(time) => (last.insert(time).media_us, false),
                    None => {
                        self.by = By::Arrival;
                        (now_us, true)
                    }
                }
            }
            By::Arrival => {
                let now_us = arrival.steady_wall_us();
                (self.last_us.map_or(now_us, |last| now_us.max(last + 1)), false)
            }
        };
        self.last_us = Some(time);
        (time, marked || jumped)
    }
}

/// Between two frames, where only their nominal rate is known.
fn step_us(nominal_fps: f64) -> i64 {
    let fps = if nominal_fps > 0.0 { nominal_fps } else { 25.0 };
    (1e6 / fps).round() as i64
}

/// Media time of a file's frame, and whether it is a jump back.
fn since_first(
    presentation_us: Option<i64>,
    first_us: &mut Option<i64>,
    last_us: Option<i64>,
    step_us: i64,
) -> (i64, bool) {
    let expected = last_us.map_or(0, |last| last + step_us);
    let time = match presentation_us {
        Some(time) => time - *first_us.get_or_insert(time),
        None => expected,
    };
    match last_us {
        Some(last) if time <= last => {
            // Two frames of one time are an untidy file; going back further is a cut in it.
            *first_us = first_us.map(|first| first + time - expected);
            (expected, time < last - step_us)
        }
        _ => (time, false),
    }
}

/// Index over rate in microseconds, rounded: exact, so that any two runs agree to the bit.
pub(crate) fn index_time_us(position: u64, fps: f64) -> i64 {
    // Rates have at most six decimals; `30000/1001` written as 29.97003 is within a millionth.
    let micro_fps = (fps * 1e6).round().max(1.0) as u128;
    let time = (u128::from(position) * 1_000_000_000_000 + micro_fps / 2) / micro_fps;
    time.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const STEP_US: i64 = 40_000;

    /// Media times of frames that were shown and came at these microseconds, and which of them do not continue the last.
    fn live(frames: impl IntoIterator<Item = (Option<i64>, i64)>) -> (Vec<i64>, Vec<usize>) {
        let (mut times, start) = (Times::of_live(25.0), Instant::now());
        let frames = frames.into_iter().enumerate().map(|(index, (shown, came))| {
            let steady = start + Duration::from_micros(came as u64);
            times.of(index as u64, shown, Clock { wall_us: 0, steady })
        });
        let (times, jumps): (Vec<i64>, Vec<bool>) = frames.unzip();
        (times, (0..jumps.len()).filter(|frame| jumps[*frame]).collect())
    }

    fn steps(times: &[i64]) -> Vec<i64> {
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn live_frames_that_come_in_bursts_or_late_have_other_intervals() {
        // A server that begins with 2 s of what it kept, then sends three at a time, then is silent for 5 s.
        let came = |n: i64| match n {
            0..50 => n * 100,
            50..500 => (n - 50) / 3 * 3 * STEP_US,
            _ => (n - 50).max(575) * STEP_US,
        };
        let (times, jumps) = live((0..1000).map(|n| (Some(7_000_000 + n * STEP_US), came(n))));
        assert!(jumps.is_empty(), "{jumps:?}");
        assert!(steps(&times).iter().all(|step| (step - STEP_US).abs() <= STEP_US / 1000));
    }

    #[test]
    fn live_clock_drifts_from_the_wall_clock() {
        // A day of a camera whose clock is 300 millionths fast, after a burst of 2 s.
        let day = 86_400 * 25;
        let (times, jumps) = live((0..day).map(|n| {
            let came = if n < 50 { 0 } else { (n - 50) * STEP_US };
            (Some(n * STEP_US + n * 12), came)
        }));
        assert!(jumps.is_empty(), "{jumps:?}");
        let span = times[day as usize - 1] - times[0];
        let off = span - (day - 51) * STEP_US;
        assert!(off.abs() < 20_000, "{off} µs from the wall clock");
    }

    #[test]
    fn live_source_without_true_times_is_timed_by_them() {
        type Shown = fn(i64) -> Option<i64>;
        // None; none from some frame on; all the same; at half the rate.
        let cases: [(Shown, usize); 4] = [
            (|_| None, 6),
            (|n| (n < 500).then_some(n * STEP_US), 505),
            (|_| Some(5), 6),
            (|n| Some(n * STEP_US / 2), 1502),
        ];
        for (case, (shown, lost)) in cases.into_iter().enumerate() {
            let (times, jumps) = live((0..2000).map(|n| (shown(n), n * STEP_US)));
            assert_eq!(jumps, [lost], "case {case}");
            assert!(steps(&times[lost..]).iter().all(|step| *step == STEP_US), "case {case}");
        }
        // Whatever a hostile server says.
        let extremes = [i64::MIN, i64::MAX, 0, i64::MAX, i64::MIN];
        live(extremes.into_iter().enumerate().map(|(n, shown)| (Some(shown), n as i64)));
    }

    #[test]
    fn live_source_loses_its_clock_by_a_single_untidy_time() {
        type Shown = fn(i64) -> Option<i64>;
        // The first and another missing; two of one time; an hour's jump; going back.
        let cases: [Shown; 4] = [
            |n| (n > 0 && n != 300).then_some(n * STEP_US),
            |n| Some((n - n / 300) * STEP_US),
            |n| Some(n * STEP_US + n / 300 * 3_600_000_000),
            |n| Some(n % 300 * STEP_US),
        ];
        for (case, shown) in cases.into_iter().enumerate() {
            // Two at a time, so that arrival alone would not do.
            let (times, jumps) = live((0..1000).map(|n| (shown(n), n / 2 * 2 * STEP_US)));
            assert!(jumps.is_empty(), "case {case}: {jumps:?}");
            let uneven = steps(&times).into_iter().filter(|step| (step - STEP_US).abs() > STEP_US / 1000);
            let uneven: Vec<i64> = uneven.collect();
            assert!(
                uneven.len() <= 3 && uneven.iter().all(|step| *step <= 2 * STEP_US),
                "case {case}: {uneven:?}"
            );
        }
    }
}
