//! Objects that move by more than their size from one frame to the next: slow cameras, fast objects.
//!
//! Their boxes do not overlap from frame to frame, so that overlap says nothing. As in C-BIoU (Yang et al. 2023,
//! "Hard to Track Objects with Irregular Motions and Similar Appearances? Make It Easier by Buffering the Matching
//! Space", WACV) the space around a box is searched, as far as an object of its size may get in that time; with a
//! velocity, around the place where it is expected. A track takes the nearest box only where nothing else could be meant,
//! because an id that stays behind is a smaller mistake than one that jumps to another object:
//! - Other objects of its group, before and now, are several times as far away as it would move (the condition under
//!   which nearest neighbours are the right ones: Chetverikov & Verestóy 1999, "Feature point tracking for incomplete
//!   trajectories").
//! - Whoever is left over when each has its nearest may have crossed the picture's edge; or an assignment that leaves over as
//!   few as possible, and those nearest to the edge, says the same (of cars in a row, the second is where the first was, and the
//!   first cannot have come from nowhere). A row that fills the picture from edge to edge says nothing: there the nearest counts.
//! - What is known to move beside it does not point to another box.

use crate::assignment::Similarity;

use super::intersection_over_union;

/// How far an object may get, in its sizes (the root of its area) a second, and the bounds of that in sizes. Where it
/// is expected somewhere, it may be half as far from there.
const SIZES_PER_SECOND: f64 = 20.0;
const REACH_SIZES: (f64, f64) = (4.0, 8.0);
/// Others must be this many times as far away as the object would have moved; with boxes that overlap, less.
const LEAST_SPACING: f64 = 2.25;
const LEAST_SPACING_OVERLAPPING: f64 = 1.2;
const OVERLAPPING_IOU: f64 = 0.3;
/// Width and height change by no more than this factor.
const LEAST_LIKENESS: f64 = 0.5;
/// So many moving neighbours are asked where the object went, and a box is meant that is nearer than this share of the
/// way to where they point.
const NEIGHBOURS: usize = 3;
const POINTED_AT: f64 = 0.25;

/// A box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    xyxy: [f32; 4],
    group: u16,
}

/// A track.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mover {
    /// Where it is by now, as far as is known.
    pub(super) expected: Seen,
    /// Pixels a second.
    pub(super) velocity: [f64; 2],
    /// Whether its velocity is unknown.
    pub(super) seen_once: bool,
    /// Whether it was found in this frame.
    pub(super) seen_now: bool,
    /// Whether it was not seen in the frame before.
    pub(super) lost: bool,
}

/// All tracks and boxes of a frame, by index.
#[derive(Debug)]
pub(super) struct Scene {
    /// Time since the frame before.
    pub(super) dt_s: f64,
    /// Whether overlap has decided already, so that only boxes that do not touch are matched here.
    pub(super) only_apart: bool,
    /// Width and height of the picture, where they are known.
    pub(super) picture: Option<[f64; 2]>,
    pub(super) tracks: Vec<Mover>,
    /// Boxes that are objects, with their index among the detections.
    pub(super) objects: Vec<(usize, Seen)>,
}

impl Seen {
    pub(super) fn new(xyxy: [f32; 4], group: u16) -> Self {
        Self { xyxy, group }
    }

    fn centre(&self) -> [f64; 2] {
        let [left, top, right, bottom] = self.xyxy.map(f64::from);
        [(left + right) / 2.0, (top + bottom) / 2.0]
    }

    fn width_and_height(&self) -> [f64; 2] {
        let [left, top, right, bottom] = self.xyxy.map(f64::from);
        [right - left, bottom - top]
    }

    fn size(&self) -> f64 {
        let [width, height] = self.width_and_height();
        (width * height).max(0.0).sqrt()
    }

    fn is_like(&self, other: &Self) -> bool {
        let (a, b) = (self.width_and_height(), other.width_and_height());
        self.group == other.group && (0..2).all(|i| a[i].min(b[i]) >= LEAST_LIKENESS * a[i].max(b[i]))
    }
}

impl Scene {
    /// Pairs of a track among `tracks` and a box among `boxes` (an index among the detections) that belong together.
    pub(super) fn pairs(&self, tracks: &[usize], boxes: &[usize]) -> Vec<(usize, usize)> {
        let columns: Vec<&(usize, Seen)> =
            self.objects.iter().filter(|(index, _)| boxes.contains(index)).collect();
        // 1 where the box is just where the track is expected, 0 where it is out of reach.
        let nearness: Vec<Vec<f64>> = tracks
            .iter()
            .map(|&track| columns.iter().map(|(_, seen)| self.nearness(&self.tracks[track], seen)).collect())
            .collect();
        // Pairs of which neither has another as near. (A sum over all pairs would rather have one more, farther off.)
        let rows = 0..tracks.len();
        let is_nearest = |row: usize, column: usize| {
            let near = nearness[row][column];
            near > 0.0
                && (0..columns.len()).all(|other| other == column || nearness[row][other] < near)
                && rows.clone().all(|other| other == row || nearness[other][column] < near)
        };
        let near: Vec<(usize, usize)> = rows
            .clone()
            .flat_map(|row| (0..columns.len()).map(move |column| (row, column)))
            .filter(|&(row, column)| is_nearest(row, column))
            .collect();
        if near.is_empty() {
            return Vec::new();
        }
        // The other way to see it: above all as many pairs as possible, then what is left over as near to the picture's edge as
        // possible, then the nearest.
        let (by_edge, by_distance) = shares(tracks.len());
        let most = Similarity::new(tracks.len(), columns.len(), |row, column| match nearness[row][column] {
            near if near > 0.0 => {
                let inside =
                    self.inside(&self.tracks[tracks[row]].expected) + self.inside(&columns[column].1);
                (1.0 + by_edge * inside + by_distance * near) / 3.0
            }
            _ => 0.0,
        });
        let most = most.assign(0.0).pairs;
        let missing = self.is_anything_missing(&near, tracks, &columns);
        near.into_iter()
            .filter(|pair| !missing || most.contains(pair))
            .filter_map(|(row, column)| {
                let (track, (detection, seen)) = (tracks[row], columns[column]);
                let alone = self.stands_alone(track, *detection, seen);
                (alone && !self.is_contradicted(track, *detection, seen, &columns))
                    .then_some((track, *detection))
            })
            .collect()
    }

    /// 1 where a box is just where a track is expected, 0 where it is out of reach.
    fn nearness(&self, track: &Mover, seen: &Seen) -> f64 {
        let judged = self.only_apart && intersection_over_union(track.expected.xyxy, seen.xyxy) > 0.0;
        if judged || !track.expected.is_like(seen) {
            return 0.0;
        }
        1.0 - distance(track.expected.centre(), seen.centre()) / track.reach(self.dt_s)
    }

    /// Whether something appears or vanishes in the midst of the picture if these pairs are right: farther from its edge than any
    /// of them moves.
    fn is_anything_missing(
        &self,
        pairs: &[(usize, usize)],
        tracks: &[usize],
        boxes: &[&(usize, Seen)],
    ) -> bool {
        let before = |row: usize| &self.tracks[tracks[row]].expected;
        let now = |column: usize| &boxes[column].1;
        let moved = pairs.iter().map(|&(row, column)| distance(before(row).centre(), now(column).centre()));
        let farthest = moved.fold(0.0, f64::max);
        let vanishes =
            |row| pairs.iter().all(|pair| pair.0 != row) && !self.is_at_edge(before(row), farthest);
        let appears =
            |column| pairs.iter().all(|pair| pair.1 != column) && !self.is_at_edge(now(column), farthest);
        (0..tracks.len()).any(vanishes) || (0..boxes.len()).any(appears)
    }

    /// How far a box is from the picture's edge, from 0 to 1.
    fn inside(&self, seen: &Seen) -> f64 {
        let [left, top, right, bottom] = seen.xyxy.map(f64::from);
        self.picture.map_or(0.0, |[width, height]| {
            let nearest = left.min(top).min(width - right).min(height - bottom);
            (nearest / width.min(height)).clamp(0.0, 1.0)
        })
    }

    /// Whether a box is within so many pixels of the picture's edge.
    fn is_at_edge(&self, seen: &Seen, pixels: f64) -> bool {
        let [left, top, right, bottom] = seen.xyxy.map(f64::from);
        self.picture.is_some_and(|[width, height]| {
            left.min(top) <= pixels || right >= width - pixels || bottom >= height - pixels
        })
    }

    /// Whether all other objects are far enough from the track and from the box.
    fn stands_alone(&self, track: usize, detection: usize, seen: &Seen) -> bool {
        let mover = &self.tracks[track];
        let moved = distance(mover.expected.centre(), seen.centre());
        let overlap = intersection_over_union(mover.expected.xyxy, seen.xyxy);
        let spacing =
            moved * if overlap >= OVERLAPPING_IOU { LEAST_SPACING_OVERLAPPING } else { LEAST_SPACING };
        let before = mover.before(self.dt_s);
        let others = self.tracks.iter().enumerate().filter(|(index, other)| {
            *index != track && !other.lost && other.expected.group == mover.expected.group
        });
        let objects =
            self.objects.iter().filter(|(index, other)| *index != detection && other.group == seen.group);
        others.map(|(_, other)| distance(other.before(self.dt_s), before)).all(|d| d >= spacing)
            && objects.map(|(_, other)| distance(other.centre(), seen.centre())).all(|d| d >= spacing)
    }

    /// Whether a track whose velocity is unknown would be at another box, if it moved as one of its neighbours.
    fn is_contradicted(&self, track: usize, detection: usize, seen: &Seen, free: &[&(usize, Seen)]) -> bool {
        let mover = &self.tracks[track];
        if !mover.seen_once {
            return false;
        }
        let from = mover.expected.centre();
        let mut neighbours: Vec<(f64, [f64; 2])> = self
            .tracks
            .iter()
            .filter(|other| !other.seen_once && other.seen_now && other.expected.group == seen.group)
            .map(|other| (distance(other.expected.centre(), from), other.velocity.map(|v| v * self.dt_s)))
            .collect();
        neighbours.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        neighbours.iter().take(NEIGHBOURS).any(|(_, way)| {
            let there = [from[0] + way[0], from[1] + way[1]];
            let near_enough = POINTED_AT * distance(there, from);
            let pointed_at = |seen: &Seen| distance(seen.centre(), there) <= near_enough;
            !pointed_at(seen)
                && free.iter().any(|(index, other)| {
                    *index != detection && mover.expected.is_like(other) && pointed_at(other)
                })
        })
    }
}

/// What distances from the edge count for beside a pair, and nearness beside those: all of so many pairs together less than one
/// more pair, and than a thousandth of the picture.
fn shares(pairs: usize) -> (f64, f64) {
    let by_edge = 1.0 / (2.0 * pairs as f64 + 1.0);
    (by_edge, by_edge * 1e-3 / (pairs as f64 + 1.0))
}

impl Mover {
    /// Most pixels from where it is expected.
    fn reach(&self, dt_s: f64) -> f64 {
        let sizes = (SIZES_PER_SECOND * dt_s).clamp(REACH_SIZES.0, REACH_SIZES.1);
        let known = if self.seen_once { 1.0 } else { 0.5 };
        (self.expected.size() * sizes * known).max(f64::MIN_POSITIVE)
    }

    /// Its centre in the frame before.
    fn before(&self, dt_s: f64) -> [f64; 2] {
        let [x, y] = self.expected.centre();
        [x - self.velocity[0] * dt_s, y - self.velocity[1] * dt_s]
    }
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}
