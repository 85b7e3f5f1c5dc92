//! Greedy non-maximum suppression within each class.

use super::candidates::Candidate;

/// Keeps, of candidates sorted by falling score, those that no better one of their class overlaps by more than
/// `most_overlap` (intersection over union), and of these the first `most`.
pub(super) fn keep_best(candidates: &mut Vec<Candidate>, most_overlap: f32, most: usize) {
    let mut kept = 0;
    for i in 0..candidates.len() {
        if kept == most {
            break;
        }
        let candidate = candidates[i];
        let rival = |better: &Candidate| {
            better.class_id == candidate.class_id && overlap(better.xyxy, candidate.xyxy) > most_overlap
        };
        if !candidates[..kept].iter().any(rival) {
            candidates[kept] = candidate;
            kept += 1;
        }
    }
    candidates.truncate(kept);
}

/// Intersection over union of two boxes that have an area.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let width = a[2].min(b[2]) - a[0].max(b[0]);
    let height = a[3].min(b[3]) - a[1].max(b[1]);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let area = |[left, top, right, bottom]: [f32; 4]| (right - left) * (bottom - top);
    let both = width * height;
    both / (area(a) + area(b) - both)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(xyxy: [f32; 4], score: f32, class_id: u16) -> Candidate {
        Candidate { xyxy, score, class_id }
    }

    #[test]
    fn a_worse_box_of_another_class_survives() {
        let (first, second) = ([0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0]);
        let mut found = vec![candidate(first, 0.9, 0), candidate(second, 0.8, 0), candidate(second, 0.7, 1)];
        keep_best(&mut found, 0.5, 300);
        assert_eq!(found, [candidate(first, 0.9, 0), candidate(second, 0.7, 1)]);
    }

    #[test]
    fn a_suppressed_box_suppresses_nothing() {
        // Each overlaps the next by 3/5, the first and the third by 1/3.
        let found = |left: f32, score| candidate([left, 0.0, left + 8.0, 8.0], score, 0);
        let mut chain = vec![found(0.0, 0.9), found(2.0, 0.8), found(4.0, 0.7)];
        keep_best(&mut chain, 0.5, 300);
        assert_eq!(chain, [found(0.0, 0.9), found(4.0, 0.7)]);
    }

    #[test]
    fn an_overlap_of_exactly_the_threshold_is_kept() {
        let mut found =
            vec![candidate([0.0, 0.0, 2.0, 1.0], 0.9, 0), candidate([0.0, 0.0, 1.0, 1.0], 0.8, 0)];
        keep_best(&mut found, 0.5, 300);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn only_the_best_are_kept_where_there_are_too_many() {
        let mut found: Vec<_> = (0..9)
            .map(|i| candidate([i as f32, 0.0, i as f32 + 1.0, 1.0], 1.0 - i as f32 / 10.0, 0))
            .collect();
        let best = found[..4].to_vec();
        keep_best(&mut found, 0.5, 4);
        assert_eq!(found, best);
    }
}
