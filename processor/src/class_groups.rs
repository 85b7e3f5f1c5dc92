//! Which classes are of a kind: a detector that sees a car now and a truck then sees one object.

use std::collections::BTreeMap;

/// The groups of a camera that names none, by class name, each sorted. Every other class is a group of its own.
const DEFAULT_GROUPS: [&[&str]; 3] = [
    &[
        "ambulance",
        "big truck",
        "box truck",
        "bus",
        "car",
        "coach",
        "fire engine",
        "fire truck",
        "firetruck",
        "hatchback",
        "heavy truck",
        "jeep",
        "light truck",
        "limousine",
        "lorry",
        "minibus",
        "minivan",
        "motor vehicle",
        "pickup",
        "pickup truck",
        "police car",
        "school bus",
        "sedan",
        "semi truck",
        "suv",
        "taxi",
        "trailer",
        "truck",
        "van",
        "vehicle",
    ],
    &[
        "bicycle",
        "bike",
        "cycle",
        "cyclist",
        "e bike",
        "e scooter",
        "moped",
        "motor",
        "motor scooter",
        "motorbike",
        "motorcycle",
        "motorcyclist",
        "scooter",
        "two wheeler",
    ],
    &[
        "adult",
        "boy",
        "child",
        "girl",
        "human",
        "man",
        "pedestrian",
        "people",
        "person",
        "person sitting",
        "rider",
        "woman",
    ],
];

/// The group of each class. The number of a group is the lowest class id in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassGroups(Vec<u16>);

impl ClassGroups {
    /// Vehicles, two-wheelers and people among a model's classes, each a group. Case, hyphens and underscores do not
    /// matter.
    pub fn default_of(class_names: &[String]) -> Self {
        let group = |name: &String| {
            let name = name.trim().to_lowercase().replace(['-', '_'], " ");
            DEFAULT_GROUPS.iter().position(|group| group.binary_search(&name.as_str()).is_ok())
        };
        Self::numbered(class_names.iter().map(group))
    }

    /// The named groups of class names. Names that the model does not have come back as they are.
    ///
    /// # Errors
    /// The unknown names.
    pub fn named(
        groups: &BTreeMap<String, Vec<String>>,
        class_names: &[String],
    ) -> Result<Self, Vec<String>> {
        let mut of = vec![None; class_names.len()];
        let mut unknown = Vec::new();
        for (group, name) in
            groups.values().enumerate().flat_map(|(group, names)| names.iter().map(move |n| (group, n)))
        {
            match class_id(name, class_names) {
                Some(id) => of[id] = Some(group),
                None => unknown.push(name.clone()),
            }
        }
        if unknown.is_empty() { Ok(Self::numbered(of.into_iter())) } else { Err(unknown) }
    }

    fn numbered(groups: impl Iterator<Item = Option<usize>>) -> Self {
        let mut first = BTreeMap::new();
        let numbers = (0..=u16::MAX).zip(groups).map(|(id, group)| match group {
            Some(group) => *first.entry(group).or_insert(id),
            None => id,
        });
        Self(numbers.collect())
    }

    /// The group of a class; its own where the class is not among the model's.
    pub fn of(&self, class_id: u16) -> u16 {
        self.0.get(usize::from(class_id)).copied().unwrap_or(class_id)
    }
}

/// The index of a class name, whatever its case.
pub fn class_id(name: &str, class_names: &[String]) -> Option<usize> {
    class_names.iter().position(|known| known.eq_ignore_ascii_case(name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn default_groups_are_sorted_and_share_no_name() {
        let all: Vec<&str> = DEFAULT_GROUPS.concat();
        assert!(DEFAULT_GROUPS.iter().all(|group| group.is_sorted()));
        assert!(all.iter().enumerate().all(|(index, name)| !all[..index].contains(name)));
    }

    #[test]
    fn vehicles_two_wheelers_and_people_are_groups_by_default_and_others_alone() {
        let names =
            names(&["Person", "bicycle", "car", "motorcycle", "train", "bus", "TRUCK", "traffic_light"]);
        let groups = ClassGroups::default_of(&names);
        assert_eq!((0..9).map(|id| groups.of(id)).collect::<Vec<_>>(), [0, 1, 2, 1, 4, 2, 2, 7, 8]);
        assert_eq!(ClassGroups::default().of(7), 7);
    }

    #[test]
    fn named_groups_replace_the_default_ones_and_unknown_names_are_returned() {
        let names = names(&["car", "truck", "train"]);
        let groups = BTreeMap::from([("rails".to_owned(), vec!["Truck".to_owned(), "train".to_owned()])]);
        let groups = ClassGroups::named(&groups, &names).unwrap();
        assert_eq!([0, 1, 2].map(|id| groups.of(id)), [0, 1, 1]);
        let unknown = BTreeMap::from([("a".to_owned(), vec!["lorry".to_owned(), "car".to_owned()])]);
        assert_eq!(ClassGroups::named(&unknown, &names), Err(vec!["lorry".to_owned()]));
    }
}
