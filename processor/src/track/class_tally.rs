//! As what a track was seen: how often as each class, in a few bytes.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Classes that are counted apart. One more takes the place of the one seen least (Metwally et al. 2005,
/// "Efficient computation of frequent and top-k elements", with three counters).
const MOST_CLASSES: usize = 3;
/// When this many sightings are counted, all counts are halved: what was long ago counts less.
const MOST_SIGHTINGS: u16 = 1000;

/// Counts of sightings by class, the most frequent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClassTally([(u16, u16); MOST_CLASSES]);

impl ClassTally {
    /// One sighting.
    pub(super) fn new(class_id: u16) -> Self {
        Self([(class_id, 1), (0, 0), (0, 0)])
    }

    /// Counts one more sighting. Of two classes seen equally often, the one that was ahead stays.
    pub(super) fn add(&mut self, class_id: u16) {
        let known = self.0.iter().position(|&(id, count)| id == class_id && count > 0);
        let entry = &mut self.0[known.unwrap_or(MOST_CLASSES - 1)];
        *entry = (class_id, entry.1 + 1);
        self.0.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        if self.sightings() >= MOST_SIGHTINGS {
            for (_, count) in &mut self.0 {
                *count /= 2;
            }
        }
    }

    /// The class seen most often.
    pub(super) fn majority(&self) -> u16 {
        self.0[0].0
    }

    /// The share of the sightings that had the majority's class, above 0 and up to 1.
    pub(super) fn share(&self) -> f32 {
        f32::from(self.0[0].1) / f32::from(self.sightings())
    }

    /// Sightings counted, at least 1; older ones count less.
    pub(super) fn sightings(&self) -> u16 {
        self.0.iter().map(|&(_, count)| count).sum()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (entries, rest) = bytes.as_chunks::<4>();
        let mut tally = [(0, 0); MOST_CLASSES];
        for (place, &[a, b, c, d]) in tally.iter_mut().zip(entries) {
            *place = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        }
        let total: u32 = tally.iter().map(|&(_, count)| u32::from(count)).sum();
        let fits = rest.is_empty()
            && entries.len() <= MOST_CLASSES
            && (1..u32::from(MOST_SIGHTINGS)).contains(&total);
        (fits && tally.is_sorted_by_key(|&(_, count)| std::cmp::Reverse(count))).then_some(Self(tally))
    }
}

impl Serialize for ClassTally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(4 * MOST_CLASSES);
        for (id, count) in self.0.iter().filter(|(_, count)| *count > 0) {
            bytes.extend(id.to_le_bytes());
            bytes.extend(count.to_le_bytes());
        }
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for ClassTally {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ClassTally;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("counts by class")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<ClassTally, E> {
                ClassTally::from_bytes(bytes)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Bytes(bytes), &self))
            }

            /// The release before kept one class and no count: its tracks were seen more than once.
            fn visit_u64<E: de::Error>(self, class_id: u64) -> Result<ClassTally, E> {
                let class_id = u16::try_from(class_id)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(class_id), &self))?;
                Ok(ClassTally([(class_id, 2), (0, 0), (0, 0)]))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn majority_wins_with_its_share() {
        let mut tally = ClassTally::new(2);
        [7, 2, 2, 7, 2, 2, 7, 2, 2].into_iter().for_each(|class| tally.add(class));
        assert_eq!((tally.majority(), tally.share(), tally.sightings()), (2, 0.7, 10));
    }

    #[test]
    fn what_was_seen_long_ago_counts_less_than_what_is_seen_now() {
        let mut tally = ClassTally::new(2);
        (0..5_000).for_each(|_| tally.add(2));
        (0..1_100).for_each(|_| tally.add(7));
        assert_eq!(tally.majority(), 7);
    }

    #[test]
    fn a_rare_fourth_class_does_not_push_out_the_majority() {
        let mut tally = ClassTally::new(1);
        (0..300).for_each(|index| tally.add([1, 2, 1, 3, 1, 4, 1, 5][index % 8]));
        assert_eq!(tally.majority(), 1);
    }

    proptest! {
        #[test]
        fn kept_bytes_are_read_back_and_others_are_refused(classes in prop::collection::vec(0..5u16, 1..2500), bytes in prop::collection::vec(any::<u8>(), 0..16)) {
            let mut tally = ClassTally::new(classes[0]);
            for class in &classes[1..] {
                tally.add(*class);
                prop_assert!((1..MOST_SIGHTINGS).contains(&tally.sightings()) && tally.share() > 0.0 && tally.share() <= 1.0);
            }
            let kept = rmp_serde::to_vec(&tally).unwrap();
            prop_assert!(kept.len() <= 14);
            prop_assert_eq!(rmp_serde::from_slice::<ClassTally>(&kept).unwrap(), tally);
            if let Some(read) = ClassTally::from_bytes(&bytes) {
                prop_assert!(read.sightings() > 0);
            }
        }
    }
}
