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
//! - No assignment that matches more objects contradicts it (of cars in a row, the second is where the first was),
//!   unless who is left over in the nearest one may have crossed the picture's edge.
//! - What came in over the edge does not go back there while it may as well go on.
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
    /// Whether it was not there two frames ago, and so came from somewhere.
    pub(super) is_new: bool,
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
        let mut nearness: Vec<Vec<f64>> = tracks
            .iter()
            .map(|&track| columns.iter().map(|(_, seen)| self.nearness(&self.tracks[track], seen)).collect())
            .collect();
        for (&track, row) in tracks.iter().zip(&mut nearness).filter(|(track, _)| self.tracks[**track].is_new)
        {
            let from = self.tracks[track].expected.centre();
            let came_in = |to: [f64; 2]| self.is_outside(mirrored(to, from));
            let ways_in: Vec<[f64; 2]> = (0..row.len())
                .filter(|&column| row[column] > 0.0 && came_in(columns[column].1.centre()))
                .map(|column| way(from, columns[column].1.centre()))
                .collect();
            for (near, (_, seen)) in row.iter_mut().zip(&columns) {
                let there = way(from, seen.centre());
                let goes_back = |way: &[f64; 2]| way[0] * there[0] + way[1] * there[1] < 0.0;
                if !came_in(seen.centre()) && ways_in.iter().any(goes_back) {
                    *near = 0.0;
                }
            }
        }
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
        // Above all as many pairs as possible, then the nearest.
        let least_share = 1.0 / (tracks.len() + 1) as f64;
        let most = Similarity::new(tracks.len(), columns.len(), |row, column| match nearness[row][column] {
            near if near > 0.0 => (1.0 + near * least_share) / 2.0,
            _ => 0.0,
        });
        let most = most.assign(0.0).pairs;
        let step = |&(row, column): &(usize, usize)| {
            distance(self.tracks[tracks[row]].expected.centre(), columns[column].1.centre())
        };
        let farthest = near.iter().map(step).fold(0.0, f64::max);
        let may_have_left = |row: usize| self.is_at_edge(&self.tracks[tracks[row]].expected, farthest);
        let may_have_come = |column: usize| self.is_at_edge(&columns[column].1, farthest);
        let nobody_missing =
            rows.clone().all(|row| near.iter().any(|pair| pair.0 == row) || may_have_left(row))
                && (0..columns.len())
                    .all(|column| near.iter().any(|pair| pair.1 == column) || may_have_come(column));
        near.into_iter()
            .filter(|pair| nobody_missing || most.contains(pair))
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

    fn is_outside(&self, point: [f64; 2]) -> bool {
        self.picture.is_some_and(|picture| (0..2).any(|i| !(0.0..=picture[i]).contains(&point[i])))
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

/// Where something was in the frame before `middle`, if it goes on to `to` at the same pace.
fn mirrored(to: [f64; 2], middle: [f64; 2]) -> [f64; 2] {
    [2.0 * middle[0] - to[0], 2.0 * middle[1] - to[1]]
}

fn way(from: [f64; 2], to: [f64; 2]) -> [f64; 2] {
    [to[0] - from[0], to[1] - from[1]]
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}
