//! The media times of a file's frames, judged with a look at the frames behind them.

use std::collections::VecDeque;

use super::{TimeRepair, TimeRepairs, times::Interval};

/// So many frames are looked at where presentation times are in doubt: two of them may be untidy.
const LOOKED_AT: usize = 4;

/// A step that is so many times as long as usual is doubted.
const LONG_STEP: i64 = 2;

/// A step that is so many times as short as the next one is none, if both together are as long as usual.
const NEARLY_REPEATED: i64 = 8;

/// Presentation times are taken for at most so far from zero, microseconds: 285 years.
const FARTHEST_US: i64 = 1 << 53;

/// Gives a file's frames their media times: presentation times from the first frame's on. They come as a decoder gives
/// them, in the order in which they are shown, and leave in the same order.
///
/// A frame is held back until the one behind it has come; up to four where times are in doubt. Of these, those whose times
/// rise keep them, as many as can: the others (single frames stamped far ahead or behind, repeated or missing times) are
/// spread evenly between their neighbours. Where all go back and rise from there, another recording begins: media time goes
/// on after the usual interval, and the frame does not continue the last one. A long step that nothing contradicts stays.
pub(super) struct FileTimes<T> {
    interval: Interval,
    /// Frames that have no media time yet, with their presentation times in microseconds.
    held: VecDeque<(Option<i64>, T)>,
    ready: VecDeque<Timed<T>>,
    ended: bool,
    discontinuity: bool,
    /// Presentation less media time.
    origin_us: i64,
    last_us: Option<i64>,
    /// Media time of the last frame that kept its own, and how many frames came after it.
    last_kept: Option<(i64, i64)>,
    repairs: TimeRepairs,
}

/// Something with its media time in microseconds.
pub(super) struct Timed<T> {
    pub(super) of: T,
    pub(super) media_time_us: i64,
    /// It does not continue the last one.
    pub(super) discontinuity: bool,
}

/// Frames that may keep their times, by their index among those held.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    frames: Vec<usize>,
    /// The step that is least like the usual one, as a ratio of at least 1.
    oddest: f64,
}

impl Kept {
    fn better_than(&self, other: &Self) -> bool {
        let (these, those) = (self.frames.len(), other.frames.len());
        these > those || these == those && self.oddest < other.oddest
    }
}

impl<T> FileTimes<T> {
    /// For a file with this nominal rate in frames per second.
    pub(super) fn new(nominal_fps: f64) -> Self {
        Self {
            interval: Interval::new(nominal_fps),
            held: VecDeque::new(),
            ready: VecDeque::new(),
            ended: false,
            discontinuity: false,
            origin_us: 0,
            last_us: None,
            last_kept: None,
            repairs: TimeRepairs::default(),
        }
    }

    /// The first frame does not continue what came before.
    pub(super) fn mark_discontinuity(&mut self) {
        self.discontinuity = true;
    }

    /// Takes the next frame.
    pub(super) fn push(&mut self, presentation_us: Option<i64>, of: T) {
        self.held.push_back((presentation_us.map(|us| us.clamp(-FARTHEST_US, FARTHEST_US)), of));
        self.settle();
    }

    /// No frame follows: those that are held get their times.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.settle();
    }

    /// The next frame that has its media time.
    pub(super) fn pop(&mut self) -> Option<Timed<T>> {
        self.ready.pop_front()
    }

    /// Whether no frame waits for its time.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.ready.is_empty()
    }

    /// The repairs so far.
    pub(super) fn repairs(&self) -> &TimeRepairs {
        &self.repairs
    }

    fn settle(&mut self) {
        while !self.held.is_empty() && (self.ended || self.held.len() >= self.needed()) {
            self.decide();
        }
    }

    /// How many frames must be held before the first of them gets its time.
    fn needed(&self) -> usize {
        let mut held = self.held.iter().map(|(presentation, _)| *presentation);
        match (self.last_us, held.next().flatten(), held.next()) {
            (Some(last), Some(first), second) => {
                let step = self.media_us(first).saturating_sub(last);
                let plain = step > 0 && step <= LONG_STEP * self.interval.usual_us();
                let rises = second.is_none_or(|second| second > Some(first));
                if plain && rises { 2 } else { LOOKED_AT }
            }
            _ => LOOKED_AT,
        }
    }

    /// Gives the first of the frames that are held its time, and those behind it that cannot be told without it.
    fn decide(&mut self) {
        if let Some(middle_us) = self.nearly_repeated() {
            return self.give_repaired(TimeRepair::Repeated, middle_us);
        }
        let goes_on = self.best(self.last_us);
        if let Some(last_us) = self.last_us
            && self.begins_again(last_us, &goes_on)
        {
            let media_us = last_us.saturating_add(self.interval.usual_us());
            let first = self.held.front().and_then(|(presentation, _)| *presentation).unwrap_or_default();
            self.origin_us = first.saturating_sub(media_us);
            self.last_kept = None;
            self.discontinuity = true;
            self.keep(media_us);
            return;
        }
        let usual_us = self.interval.usual_us();
        let Some(&first) = goes_on.frames.first() else {
            return self.give_untimed(self.last_us.map_or(0, |last| last.saturating_add(usual_us)));
        };
        let shown = self.held.get(first).and_then(|(presentation, _)| *presentation).unwrap_or_default();
        match self.last_us {
            None => {
                // Those before it have no time that could be true: media time begins with them.
                let media_us = first as i64 * usual_us;
                self.origin_us = shown.saturating_sub(media_us);
                (0..first).for_each(|index| self.give_untimed(index as i64 * usual_us));
                self.keep(media_us);
            }
            Some(_) if first == 0 => self.keep(self.media_us(shown)),
            Some(last_us) => {
                let (span, steps) = (self.media_us(shown).saturating_sub(last_us), first as i64 + 1);
                (1..steps).for_each(|index| self.give_untimed(last_us + span.saturating_mul(index) / steps));
            }
        }
    }

    /// The time half way between the neighbours of a frame whose own is nearly that of the last one: muxers that must not repeat a time
    /// write the next tick.
    fn nearly_repeated(&self) -> Option<i64> {
        let mut held = self.held.iter().map(|(presentation, _)| *presentation);
        let (last, first, second) = (self.last_us?, held.next()??, held.next()??);
        let (first, second) = (self.media_us(first), self.media_us(second));
        let (step, next) = (first.saturating_sub(last), second.saturating_sub(first));
        let as_usual = second.saturating_sub(last) <= 3 * self.interval.usual_us();
        let nearly = step > 0 && step.saturating_mul(NEARLY_REPEATED) < next && as_usual;
        nearly.then_some(last + (step + next) / 2)
    }

    /// The frames that are held and may keep their times, if media time goes on after this one; none for the file's first.
    fn best(&self, after_us: Option<i64>) -> Kept {
        let mut best = Kept { frames: Vec::new(), oddest: f64::INFINITY };
        for choice in 1..1_u32 << self.held.len().min(LOOKED_AT) {
            if let Some(kept) = self.kept(choice, after_us)
                && kept.better_than(&best)
            {
                best = kept;
            }
        }
        best
    }

    /// The frames of this set of bits, if their times rise.
    fn kept(&self, choice: u32, after_us: Option<i64>) -> Option<Kept> {
        let usual = self.interval.usual_us() as f64;
        let (mut kept, mut before) =
            (Kept { frames: Vec::new(), oddest: 1.0 }, after_us.map(|after| (after, 0)));
        for (index, (presentation, _)) in self.held.iter().enumerate() {
            if choice >> index & 1 == 0 {
                continue;
            }
            let (media_us, place) = (self.media_us((*presentation)?), index as i64 + 1);
            if let Some((before_us, before_place)) = before {
                let step = media_us.saturating_sub(before_us);
                if step <= 0 {
                    return None;
                }
                let step = step as f64 / (place - before_place) as f64;
                kept.oddest = kept.oddest.max(step / usual).max(usual / step);
            }
            before = Some((media_us, place));
            kept.frames.push(index);
        }
        Some(kept)
    }

    /// Whether another recording begins with the first frame that is held: it goes back by more than a frame, and the ones
    /// behind it follow it better than what came before.
    fn begins_again(&self, last_us: i64, goes_on: &Kept) -> bool {
        let Some((Some(first), _)) = self.held.front() else { return false };
        if self.media_us(*first) >= last_us.saturating_sub(self.interval.usual_us()) {
            return false;
        }
        let anew = (1..1_u32 << self.held.len().min(LOOKED_AT))
            .filter(|choice| choice & 1 == 1)
            .filter_map(|choice| self.kept(choice, None))
            .reduce(|best, kept| if kept.better_than(&best) { kept } else { best });
        anew.is_some_and(|anew| {
            let (these, those) = (anew.frames.len(), goes_on.frames.len());
            these >= 2 && these > those && anew.oddest < goes_on.oddest
        })
    }

    fn media_us(&self, presentation_us: i64) -> i64 {
        presentation_us.saturating_sub(self.origin_us)
    }

    /// The first frame that is held keeps its time.
    fn keep(&mut self, media_us: i64) {
        if let Some((before_us, untimed)) = self.last_kept {
            self.interval.add(media_us.saturating_sub(before_us) / (untimed + 1));
        }
        self.last_kept = Some((media_us, 0));
        self.give(media_us);
    }

    /// The first frame that is held gets another time than its own.
    fn give_untimed(&mut self, media_us: i64) {
        let before = self.last_us.map(|last| last.saturating_add(self.origin_us));
        let own = self.held.front().and_then(|(presentation, _)| *presentation);
        self.give_repaired(TimeRepair::of(own, before), media_us);
    }

    fn give_repaired(&mut self, kind: TimeRepair, media_us: i64) {
        self.repairs.add(kind);
        if let Some((_, untimed)) = &mut self.last_kept {
            *untimed += 1;
        }
        self.give(media_us);
    }

    fn give(&mut self, media_us: i64) {
        if let Some((_, of)) = self.held.pop_front() {
            let media_time_us = self.last_us.map_or(media_us, |last| media_us.max(last.saturating_add(1)));
            self.last_us = Some(media_time_us);
            let discontinuity = std::mem::take(&mut self.discontinuity);
            self.ready.push_back(Timed { of, media_time_us, discontinuity });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Media times of frames with these presentation times, and which of them do not continue the last.
    fn times(presentation: &[Option<i64>]) -> (Vec<i64>, Vec<usize>, TimeRepairs) {
        let mut times = FileTimes::new(10.0);
        let mut given = Vec::new();
        for (index, presentation) in presentation.iter().enumerate() {
            times.push(*presentation, index);
            given.extend(std::iter::from_fn(|| times.pop()));
        }
        times.end();
        given.extend(std::iter::from_fn(|| times.pop()));
        assert!(given.iter().map(|timed| timed.of).eq(0..presentation.len()), "lost or out of order");
        let breaks = given.iter().filter(|timed| timed.discontinuity).map(|timed| timed.of).collect();
        (given.iter().map(|timed| timed.media_time_us / 1000).collect(), breaks, *times.repairs())
    }

    /// Of times in milliseconds.
    fn of(shown: &[i64]) -> (Vec<i64>, Vec<usize>, TimeRepairs) {
        times(&shown.iter().map(|shown| Some(shown * 1000)).collect::<Vec<_>>())
    }

    fn even(frames: usize) -> Vec<i64> {
        (0..frames as i64).map(|frame| frame * 100).collect()
    }

    #[test]
    fn single_untidy_times_move_other_frames() {
        for frame in 0..20 {
            for off in [9_800_000, 5000, 450, 150, 100, -100, -150, -450, -5000, -9_800_000] {
                let mut shown = even(20);
                shown[frame] += off;
                let (found, breaks, repairs) = of(&shown);
                // Nothing contradicts a late last frame: it comes after a pause.
                if frame == 19 && off > 0 {
                    assert_eq!((found, repairs.total()), (shown, 0), "{off}");
                    continue;
                }
                let expected = if frame == 0 && off < 0 {
                    // As is an early first one.
                    let after = (1..20).map(|frame| frame * 100 - off);
                    std::iter::once(0).chain(after).collect()
                } else {
                    even(20)
                };
                assert_eq!(found, expected, "frame {frame} off by {off} ms");
                let repaired = u64::from(frame > 0 || off > 0);
                assert_eq!((breaks.len(), repairs.total()), (0, repaired), "frame {frame} off by {off} ms");
            }
        }
    }

    #[test]
    fn nearly_repeated_times_are_kept() {
        let mut shown = even(20);
        (shown[7], shown[12]) = (601, 1105);
        let (found, breaks, repairs) = of(&shown);
        assert_eq!((found, breaks.len(), repairs.total()), (even(20), 0, 2));
    }

    #[test]
    fn two_untidy_times_move_other_frames() {
        for frame in 2..17 {
            for off in [9_800_000, 5000, 450, -5000, -9_800_000] {
                let mut shown = even(20);
                shown[frame] += off;
                shown[frame + 1] += off;
                let (found, breaks, repairs) = of(&shown);
                assert_eq!((found, breaks.len()), (even(20), 0), "frame {frame} off by {off} ms");
                assert_eq!(repairs.total(), 2);
            }
        }
    }

    #[test]
    fn repairs_are_of_the_wrong_kind() {
        let kinds = |shown: &[Option<i64>]| -> Vec<(&str, u64)> {
            let (.., repairs) = times(shown);
            repairs.by_kind().map(|(kind, count)| (kind.as_str(), count)).collect()
        };
        let mut shown: Vec<Option<i64>> = even(40).into_iter().map(|ms| Some(ms * 1000)).collect();
        assert_eq!(kinds(&shown), []);
        shown[5] = Some(9_000_000_000);
        shown[10] = shown[9];
        (shown[15], shown[16]) = (None, None);
        shown[20] = Some(0);
        assert_eq!(kinds(&shown), [("ahead", 1), ("behind", 1), ("repeated", 1), ("missing", 2)]);
    }

    #[test]
    fn missing_times_are_not_spread_between_their_neighbours() {
        let shown = [None, Some(70), Some(170), None, None, Some(470), Some(500), None];
        let (found, breaks, _) = times(&shown.map(|shown: Option<i64>| shown.map(|ms| ms * 1000)));
        assert_eq!((found, breaks), (vec![0, 100, 200, 300, 400, 500, 530, 630], vec![]));
        let (found, breaks, repairs) = times(&[None; 30]);
        assert_eq!((found, breaks.len(), repairs.total()), (even(30), 0, 30));
    }

    #[test]
    fn times_in_whole_seconds_run_away() {
        let shown: Vec<i64> = (0..300).map(|frame| frame / 10 * 1000).collect();
        let (found, breaks, _) = of(&shown);
        assert!(breaks.is_empty());
        for (frame, found) in found.iter().enumerate().skip(20) {
            assert!((found - frame as i64 * 100).abs() <= 200, "frame {frame} at {found} ms");
        }
    }

    #[test]
    fn real_gaps_and_uneven_times_are_smoothed() {
        // A gap of an hour; a timelapse; a screen recording that stands still now and then.
        let gap: Vec<i64> =
            (0..40).map(|frame| frame * 100 + if frame < 20 { 0 } else { 3_600_000 }).collect();
        let timelapse: Vec<i64> = (0..40).map(|frame| frame * 60_000).collect();
        let mut at = 0;
        let screen: Vec<i64> = (0..200_i64)
            .map(|frame| {
                at += if frame * frame % 13 == 4 { 3000 + frame } else { 16 + frame % 3 };
                at - 16
            })
            .collect();
        for shown in [gap, timelapse, screen] {
            let (found, breaks, repairs) = of(&shown);
            assert_eq!((found, breaks.len(), repairs.total()), (shown, 0, 0));
        }
    }

    #[test]
    fn joined_recordings_are_not_told_apart() {
        for pieces in [vec![40, 40], vec![3, 40, 4], vec![5, 4, 3, 20]] {
            let shown: Vec<i64> = pieces.iter().flat_map(|frames| even(*frames)).collect();
            let (found, breaks, repairs) = of(&shown);
            assert_eq!((found, repairs.total()), (even(shown.len()), 0), "{pieces:?}");
            let mut begin = 0;
            let expected: Vec<usize> = pieces[..pieces.len() - 1]
                .iter()
                .map(|frames| {
                    begin += frames;
                    begin
                })
                .collect();
            assert_eq!(breaks, expected, "{pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn frames_are_lost_or_media_time_stands_still(
            shown in prop::collection::vec(
                prop::option::of(prop_oneof![Just(i64::MIN), Just(i64::MAX), -400_000..400_000_i64, any::<i64>()]),
                0..40,
            ),
        ) {
            let mut file = FileTimes::new(25.0);
            let mut given = Vec::new();
            for (index, shown) in shown.iter().enumerate() {
                file.push(*shown, index);
                given.extend(std::iter::from_fn(|| file.pop()));
                prop_assert!(index + 1 - given.len() <= LOOKED_AT);
            }
            file.end();
            given.extend(std::iter::from_fn(|| file.pop()));
            prop_assert!(given.iter().map(|timed| timed.of).eq(0..shown.len()));
            prop_assert!(given.windows(2).all(|pair| pair[0].media_time_us < pair[1].media_time_us));
        }
    }
}
