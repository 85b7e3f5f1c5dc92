//! When frames were captured, and the media time that each gets.

use std::{
    collections::VecDeque,
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::{TimeRepair, TimeRepairs};

/// A live source whose presentation times run away from the clock by more than this, microseconds, has no true ones. What
/// comes at once at the beginning, such as three segments of HLS, is less.
const MOST_APART_US: i64 = 30_000_000;

/// After so many frames in a row without a usable presentation time a live source has none.
const MOST_UNTIMED: u8 = 5;

/// A live source's media time approaches the wall clock by at most one part in so many: far above what any camera's clock
/// is wrong by, far below what a speed could show.
const SLOWEST_APPROACH: i64 = 1000;

/// A live source's clock has jumped where its step is longer than the step of arrival by more than this, microseconds, and by
/// more than so many times the usual difference.
const JUMP_US: i64 = 1_000_000;
const JUMP_SPREADS: i64 = 3;

/// For so long, microseconds, it counts how far ahead of their arrival a live source's frames were.
const LEAD_KEPT_US: i64 = 30_000_000;

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

/// Gives each frame its media time when it comes.
pub(super) struct Times {
    by: By,
    last_us: Option<i64>,
    discontinuity: bool,
}

/// What media times are made of.
enum By {
    /// The index over this rate, frames per second.
    Rate(f64),
    /// A live source's clock.
    LiveClock(LiveClock),
    /// The wall clock when frames come, where a live source has no presentation times or no true ones.
    Arrival,
}

impl Times {
    /// For a file with this rate in frames per second, or the usual one where it is not known.
    pub(super) fn of_rate(fps: f64) -> Self {
        Self::by(By::Rate(if fps > 0.0 { fps } else { USUAL_FPS }))
    }

    /// For a live source that says when its frames are to be shown, with this nominal rate in frames per second.
    pub(super) fn of_live(nominal_fps: f64) -> Self {
        Self::by(By::LiveClock(LiveClock::new(nominal_fps)))
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
    /// in which they are shown, `arrival` never before the last one's. What was put right is counted.
    pub(super) fn of(
        &mut self,
        position: u64,
        presentation_us: Option<i64>,
        arrival: Clock,
        repairs: &mut TimeRepairs,
    ) -> (i64, bool) {
        let marked = std::mem::take(&mut self.discontinuity);
        let (time, jumped) = match &mut self.by {
            By::Rate(rate) => (index_time_us(position, *rate), false),
            By::LiveClock(clock) => {
                let now_us = arrival.steady_wall_us();
                match clock.media_time_us(presentation_us, now_us, repairs) {
                    Some(time) => (time, false),
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

/// A live source's clock: the first frame's media time is its arrival, the others' are as far apart as their presentation
/// times say. Packets come in bursts and, with B-frames, out of order; what lies between two arrivals may be anything.
///
/// Arrival judges the presentation times: a frame whose time cannot be true gets the usual interval. Where the next frame
/// continues the last true one, it was a single untidy time; where it continues the untidy one, the clock has jumped, and
/// media time goes on as if it had not.
struct LiveClock {
    interval: Interval,
    /// The last frame whose presentation time was true.
    sure: Option<LiveFrame>,
    /// The frame after it, if its presentation time was not.
    doubtful: Option<(LiveFrame, TimeRepair)>,
    last: Option<(i64, i64)>,
    /// Frames up to the last one whose presentation time was of no use.
    untimed: u8,
    /// How much the steps of presentation and arrival usually differ.
    spread_us: i64,
    /// How far media time was ahead of arrival at most, lately.
    lead_us: i64,
}

/// A frame of a live source, microseconds.
#[derive(Debug, Clone, Copy)]
struct LiveFrame {
    presentation_us: i64,
    media_us: i64,
    arrived_us: i64,
}

impl LiveClock {
    fn new(nominal_fps: f64) -> Self {
        Self {
            interval: Interval::new(nominal_fps),
            sure: None,
            doubtful: None,
            last: None,
            untimed: 0,
            spread_us: 0,
            lead_us: 0,
        }
    }

    /// Of the frame that is shown next and was there at this wall clock. None where presentation times are missing or
    /// have nothing in common with it; single ones may be missing (an RTSP stream's first often is).
    fn media_time_us(
        &mut self,
        presentation_us: Option<i64>,
        now_us: i64,
        repairs: &mut TimeRepairs,
    ) -> Option<i64> {
        let at = |media_us| {
            presentation_us.map(|presentation_us| LiveFrame { presentation_us, media_us, arrived_us: now_us })
        };
        let Some((last_us, last_arrived_us)) = self.last else {
            self.sure = at(now_us);
            self.last = Some((now_us, now_us));
            return Some(now_us);
        };
        let arrival_step = now_us.saturating_sub(last_arrived_us);
        let doubtful = self.doubtful.take();
        let from_sure = self.sure.map(|frame| self.judge(frame, presentation_us, now_us, last_us));
        let from_doubtful = doubtful.map(|(frame, _)| self.judge(frame, presentation_us, now_us, last_us));
        let media_us = match (from_sure, from_doubtful) {
            (Some(Step::RanAway), _) => return None,
            (Some(Step::True { media_us, from }), _) => {
                if let Some((_, kind)) = doubtful {
                    repairs.add(kind);
                }
                self.follow(from, media_us, now_us);
                self.sure = at(media_us);
                media_us
            }
            (_, Some(Step::True { media_us, from })) => {
                let shifted = self.sure.zip(doubtful).is_some_and(|(sure, (frame, _))| {
                    let stepped = frame.presentation_us.saturating_sub(sure.presentation_us);
                    let lasted = frame.media_us - sure.media_us;
                    stepped.saturating_sub(lasted).unsigned_abs() > JUMP_US.unsigned_abs()
                });
                if let Some((_, kind)) = doubtful {
                    repairs.add(if shifted { TimeRepair::Jump } else { kind });
                }
                self.follow(from, media_us, now_us);
                self.sure = at(media_us);
                media_us
            }
            _ => {
                if let Some((_, kind)) = doubtful {
                    repairs.add(kind);
                }
                self.untimed += 1;
                let interval = self.interval.usual_us();
                let silent = arrival_step > interval + self.jump_us();
                let media_us = last_us + if silent { arrival_step } else { interval };
                if self.untimed > MOST_UNTIMED || media_us.saturating_sub(now_us).abs() > MOST_APART_US {
                    return None;
                }
                let before = doubtful.map(|(frame, _)| frame).or(self.sure);
                let kind = TimeRepair::of(presentation_us, before.map(|frame| frame.presentation_us));
                match at(media_us) {
                    // The first frame had no time: this one is as good as any.
                    Some(frame) if self.sure.is_none() => self.sure = Some(frame),
                    Some(frame) => self.doubtful = Some((frame, kind)),
                    None => repairs.add(kind),
                }
                media_us
            }
        };
        let lead = media_us - now_us;
        // However long the silence: what was held up comes after it.
        let share = arrival_step.clamp(0, JUMP_US) as f64 / LEAD_KEPT_US as f64;
        self.lead_us = lead.max(self.lead_us - ((self.lead_us - lead) as f64 * share) as i64);
        self.last = Some((media_us, now_us));
        Some(media_us)
    }

    /// The judgement of a presentation time, taking this frame's for true.
    fn judge(&self, from: LiveFrame, presentation_us: Option<i64>, now_us: i64, last_us: i64) -> Step {
        let Some(presentation_us) = presentation_us else { return Step::Untrue };
        let step = presentation_us.saturating_sub(from.presentation_us);
        let lead = from.media_us.saturating_add(step).saturating_sub(now_us);
        let longer = step.saturating_sub(now_us.saturating_sub(from.arrived_us));
        // Frames that were held up somewhere come faster than they were taken: what is lost among them is no jump.
        let jumped = longer > self.jump_us() && lead.saturating_sub(self.lead_us) > JUMP_US;
        if step <= 0 || jumped {
            return Step::Untrue;
        }
        if lead.abs() > MOST_APART_US {
            return Step::RanAway;
        }
        let most = step / SLOWEST_APPROACH;
        let media_us = from.media_us + step - lead.clamp(-most, most);
        if media_us > last_us { Step::True { media_us, from } } else { Step::Untrue }
    }

    /// More than this above the step of arrival is a jump.
    fn jump_us(&self) -> i64 {
        JUMP_US.max(JUMP_SPREADS * self.spread_us)
    }

    /// Learns from a true step.
    fn follow(&mut self, from: LiveFrame, media_us: i64, now_us: i64) {
        let (step, arrival) = (media_us - from.media_us, now_us - from.arrived_us);
        self.spread_us += ((step - arrival).abs() - self.spread_us) / 16;
        if self.untimed == 0 {
            self.interval.add(step);
        }
        self.untimed = 0;
    }
}

/// A step from one frame of a live source to the next.
enum Step {
    True {
        media_us: i64,
        from: LiveFrame,
    },
    Untrue,
    /// Ordinary steps have led away from the clock.
    RanAway,
}

/// Frames per second where a source does not say.
const USUAL_FPS: f64 = 25.0;

/// How far apart a source's frames usually are.
pub(super) struct Interval {
    nominal_us: i64,
    /// The last steps, microseconds.
    steps: VecDeque<i64>,
}

impl Interval {
    /// So many of the last steps count.
    const KEPT: usize = 15;

    pub(super) fn new(nominal_fps: f64) -> Self {
        let fps = if nominal_fps > 0.0 { nominal_fps } else { USUAL_FPS };
        Self { nominal_us: ((1e6 / fps).round() as i64).max(1), steps: VecDeque::new() }
    }

    pub(super) fn add(&mut self, step_us: i64) {
        if self.steps.len() == Self::KEPT {
            self.steps.pop_front();
        }
        self.steps.push_back(step_us.max(1));
    }

    /// The median of the last steps; the nominal one while there is none.
    pub(super) fn usual_us(&self) -> i64 {
        let mut steps: Vec<i64> = self.steps.iter().copied().collect();
        let middle = steps.len() / 2;
        if steps.is_empty() { self.nominal_us } else { *steps.select_nth_unstable(middle).1 }
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
        let (mut times, mut repairs, start) = (Times::of_live(25.0), TimeRepairs::default(), Instant::now());
        let frames = frames.into_iter().enumerate().map(|(index, (shown, came))| {
            let steady = start + Duration::from_micros(came as u64);
            times.of(index as u64, shown, Clock { wall_us: 0, steady }, &mut repairs)
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

    /// Media times of 20 s at 25 frames a second, whose presentation times this shifts, and what was put right.
    fn shifted(by: impl Fn(i64) -> i64, came: impl Fn(i64) -> i64) -> (Vec<i64>, TimeRepairs) {
        let (mut times, mut repairs, start) = (Times::of_live(25.0), TimeRepairs::default(), Instant::now());
        let times: Vec<i64> = (0..500)
            .map(|n| {
                let steady = start + Duration::from_micros(came(n) as u64);
                let clock = Clock { wall_us: 0, steady };
                let (time, jumped) =
                    times.of(n as u64, Some((1 << 40) + n * STEP_US + by(n)), clock, &mut repairs);
                assert!(!jumped, "frame {n}");
                time
            })
            .collect();
        (times, repairs)
    }

    #[test]
    fn live_clock_that_is_set_tears_media_time() {
        let hour = 3_600_000_000;
        for by in [
            1_100_000,
            3_000_000,
            20_000_000,
            29_000_000,
            31_000_000,
            hour,
            1 << 43,
            -60_000,
            -3_000_000,
            -hour,
        ] {
            // As it comes; three at a time; with half a second of jitter.
            let arrivals: [fn(i64) -> i64; 3] =
                [|n| n * STEP_US, |n| n / 3 * 3 * STEP_US, |n| n * STEP_US + (n * n % 7) * 70_000];
            for (arrival, came) in arrivals.into_iter().enumerate() {
                let (times, repairs) = shifted(|n| if n < 300 { 0 } else { by }, came);
                let uneven: Vec<i64> =
                    steps(&times).into_iter().filter(|step| (step - STEP_US).abs() > STEP_US / 500).collect();
                // With so much jitter a jump by little more than a second is none.
                if !(arrival == 2 && by == 1_100_000) {
                    assert_eq!(uneven, [] as [i64; 0], "by {by} µs, arrival {arrival}");
                    let kind = if by.abs() < JUMP_US { TimeRepair::Behind } else { TimeRepair::Jump };
                    assert_eq!((repairs.get(kind), repairs.total()), (1, 1), "by {by} µs, arrival {arrival}");
                }
            }
        }
    }

    #[test]
    fn live_frame_with_an_absurd_time_moves_others() {
        for by in [9_800_000_000, 5_000_000, -120_000, -40_000, -9_800_000_000] {
            let (times, repairs) = shifted(|n| if n % 50 == 20 { by } else { 0 }, |n| n * STEP_US);
            assert!(steps(&times).iter().all(|step| (step - STEP_US).abs() <= STEP_US / 500), "by {by} µs");
            let kind = match by {
                0.. => TimeRepair::Ahead,
                -40_000 => TimeRepair::Repeated,
                _ => TimeRepair::Behind,
            };
            assert_eq!((repairs.get(kind), repairs.total()), (10, 10), "by {by} µs");
        }
    }

    #[test]
    fn silence_of_a_live_source_is_taken_for_a_jump() {
        for silence in [1_500_000, 5_000_000, 25_000_000] {
            let both = |n: i64| if n < 300 { 0 } else { silence };
            let (times, repairs) = shifted(both, |n| n * STEP_US + both(n));
            assert_eq!(repairs.total(), 0, "{silence}");
            assert!((steps(&times)[299] - silence - STEP_US).abs() <= silence / 500);
            // The network stood still, then gave what was kept of the time; the rest was lost.
            let came = |n: i64| match n {
                ..300 => n * STEP_US,
                300..320 => 299 * STEP_US + silence,
                _ => n * STEP_US + silence - 20 * STEP_US,
            };
            let lost = |n: i64| if n < 320 { 0 } else { silence - 20 * STEP_US };
            let (times, repairs) = shifted(lost, came);
            assert_eq!(repairs.total(), 0, "{silence}");
            assert!(
                (steps(&times)[319] - silence + 19 * STEP_US).abs() <= silence / 500,
                "{:?}",
                steps(&times)
            );
        }
    }
}
