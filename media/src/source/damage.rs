//! Which pictures of a source are broken, and which of those are analysed.

use std::collections::VecDeque;

/// A camera that loses more than half of its pictures for so long, in media time, is analysed with all of them.
const TRIED_US: i64 = 10_000_000;

/// And again without the damaged ones after so long without damage.
const RETURNS_US: i64 = 60_000_000;

/// The damage of a picture, as the decoder reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Its data is incomplete or was changed on the way.
    Corrupt,
    /// A picture that it is predicted from never came.
    MissingReference,
    /// Parts of it could not be decoded and were made up from what is around them.
    Concealed,
    /// It is predicted from a damaged picture: errors stay until the next picture that stands alone.
    Predicted,
}

impl Damage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Corrupt, Self::MissingReference, Self::Concealed, Self::Predicted];

    /// As metrics and summaries name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::MissingReference => "missing_reference",
            Self::Concealed => "concealed",
            Self::Predicted => "predicted",
        }
    }
}

/// The decision about a damaged picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is not analysed, and counted.
    LeftOut,
    /// It is analysed, since the camera's configuration keeps damaged pictures.
    Kept,
    /// It is analysed, since too few pictures would be left.
    TooMany,
}

/// Decides which damaged pictures of a camera are analysed.
#[derive(Debug, Default)]
pub struct DamageFilter {
    keeps: bool,
    /// Pictures and damaged ones of each of the last seconds, by the second.
    seconds: VecDeque<(i64, u32, u32)>,
    began_us: Option<i64>,
    /// The last damage, while all pictures are analysed.
    analysed_since_us: Option<i64>,
}

impl DamageFilter {
    /// `keeps`: damaged pictures are analysed as if they were whole.
    pub fn new(keeps: bool) -> Self {
        Self { keeps, ..Self::default() }
    }

    /// Whether so many pictures were damaged that all are analysed.
    pub fn takes_all(&self) -> bool {
        self.analysed_since_us.is_some()
    }

    /// Decides about a picture; none where it is whole. All pictures come here in their order, with their media time in
    /// microseconds.
    pub fn judge(&mut self, media_time_us: i64, damage: Option<Damage>) -> Option<Verdict> {
        self.count(media_time_us, damage.is_some());
        if let Some(last_us) = &mut self.analysed_since_us {
            if damage.is_some() {
                *last_us = media_time_us;
            } else if media_time_us.saturating_sub(*last_us) > RETURNS_US {
                self.analysed_since_us = None;
                self.seconds.clear();
                self.began_us = Some(media_time_us);
            }
        }
        damage.map(|_| match (self.keeps, self.analysed_since_us) {
            (true, _) => Verdict::Kept,
            (false, Some(_)) => Verdict::TooMany,
            (false, None) if self.loses_most(media_time_us) => {
                self.analysed_since_us = Some(media_time_us);
                Verdict::TooMany
            }
            (false, None) => Verdict::LeftOut,
        })
    }

    fn count(&mut self, media_time_us: i64, damaged: bool) {
        // A file that starts again, or a stream that was lost.
        if self.seconds.back().is_some_and(|(second, ..)| media_time_us.div_euclid(1_000_000) < *second) {
            self.seconds.clear();
            self.began_us = None;
        }
        self.began_us.get_or_insert(media_time_us);
        let second = media_time_us.div_euclid(1_000_000);
        if self.seconds.back().is_none_or(|(last, ..)| *last != second) {
            self.seconds.push_back((second, 0, 0));
        }
        if let Some((_, pictures, broken)) = self.seconds.back_mut() {
            *pictures += 1;
            *broken += u32::from(damaged);
        }
        while self.seconds.front().is_some_and(|(first, ..)| second - first >= TRIED_US / 1_000_000) {
            self.seconds.pop_front();
        }
    }

    /// Whether more than half of the pictures of the last seconds were damaged.
    fn loses_most(&self, media_time_us: i64) -> bool {
        let whole = self.began_us.is_some_and(|began| media_time_us.saturating_sub(began) >= TRIED_US);
        let (pictures, damaged) = self
            .seconds
            .iter()
            .fold((0, 0), |(all, damaged), (_, these, broken)| (all + these, damaged + broken));
        whole && damaged * 2 > pictures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verdicts at 10 pictures a second over so many seconds, of which those are damaged that this says by their number.
    fn verdicts(keeps: bool, seconds: i64, damaged: impl Fn(i64) -> bool) -> Vec<Option<Verdict>> {
        let mut filter = DamageFilter::new(keeps);
        (0..seconds * 10)
            .map(|n| filter.judge(n * 100_000, damaged(n).then_some(Damage::Concealed)))
            .collect()
    }

    #[test]
    fn whole_pictures_are_judged_or_damaged_ones_pass() {
        let found = verdicts(false, 100, |n| n % 3 == 0);
        assert!(
            found.iter().enumerate().all(|(n, verdict)| *verdict == (n % 3 == 0).then_some(Verdict::LeftOut))
        );
        let kept = verdicts(true, 30, |n| n % 3 != 0);
        assert!(
            kept.iter().enumerate().all(|(n, verdict)| *verdict == (n % 3 != 0).then_some(Verdict::Kept))
        );
    }

    #[test]
    fn camera_that_loses_most_pictures_shows_nothing() {
        // Damaged for half a minute, whole for two, then now and then.
        let damaged = |n| if n < 300 { n % 3 != 0 } else { n >= 1500 && n % 50 == 0 };
        let found = verdicts(false, 200, damaged);
        assert!(found[..100].iter().flatten().all(|verdict| *verdict == Verdict::LeftOut));
        assert!(found[101..300].iter().flatten().all(|verdict| *verdict == Verdict::TooMany));
        assert!(found[1500..].iter().flatten().all(|verdict| *verdict == Verdict::LeftOut));
        // A damaged picture within the minute begins it again.
        let found = verdicts(false, 200, |n| if n < 300 { n % 3 != 0 } else { n % 500 == 0 });
        assert!(found[101..].iter().flatten().all(|verdict| *verdict == Verdict::TooMany));
    }

    #[test]
    fn short_damage_at_the_beginning_or_after_a_gap_turns_it_off() {
        let found = verdicts(false, 60, |n| n < 90 || (300..345).contains(&n));
        assert!(found[..90].iter().flatten().all(|verdict| *verdict == Verdict::LeftOut));
        let mut filter = DamageFilter::new(false);
        for n in 0..50 {
            assert_eq!(filter.judge(n * 100_000, None), None);
        }
        // A file that starts again, and one with a gap of an hour.
        assert_eq!(filter.judge(0, Some(Damage::Corrupt)), Some(Verdict::LeftOut));
    }
}
