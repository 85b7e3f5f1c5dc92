//! ByteTrack (Zhang et al. 2022, arXiv:2110.06864): every detection box is associated, the sure ones first.
//!
//! 1. Boxes from `high_threshold` on are matched with all confirmed tracks, by intersection over union times score.
//! 2. Boxes from `low_threshold` on are matched with the tracks that were seen in the frame before and found
//!    nothing, by intersection over union alone: objects half hidden or blurred.
//! 3. Boxes left over from the first step confirm the tracks that began in the frame before; whatever began there
//!    and is not seen again was noise.
//! 4. Boxes still left over start tracks, from `track_activation_threshold` on.
//!
//! As in the authors' code, the objects of the very first frame need no confirmation. Tracks and boxes of different
//! classes never match. No clock, no I/O: the same state and frame give the same bits.

use peregrine_proto::{Detection, TrackConfig, TrackState};
use serde::{Deserialize, Serialize};

use crate::{assignment::Similarity, kalman::BoxFilter};

/// Least intersection over union in the second association, as in the paper.
const SECOND_MATCHING_THRESHOLD: f64 = 0.5;
/// Least fused similarity for a track's confirmation, as in the authors' code.
const CONFIRMING_THRESHOLD: f64 = 0.3;
/// The frame interval before two frames have been seen, seconds.
const FIRST_INTERVAL_S: f32 = 1.0 / 30.0;

/// Follows the objects of one camera.
#[derive(Debug, Clone)]
pub struct Tracker {
    config: TrackConfig,
    state: State,
}

/// Everything that goes from frame to frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    epoch: u32,
    last_id: u32,
    /// Media time of the last frame; none before the epoch's first.
    last_frame_us: Option<i64>,
    /// The camera's usual time between frames.
    interval_s: Option<f32>,
    tracks: Vec<Followed>,
}

/// An object that is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Followed {
    id: u32,
    class_id: u16,
    state: TrackState,
    filter: BoxFilter,
    confidence: f32,
    last_seen_us: i64,
    #[serde(skip)]
    detection: Option<usize>,
}

/// A track after a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tracked {
    /// Never used twice by one tracker.
    pub track_id: u32,
    /// Where the track is in its life.
    pub state: TrackState,
    /// The filter's estimate: left, top, right, bottom in source pixels.
    pub xyxy: [f32; 4],
    /// Score of the detection that was matched last.
    pub confidence: f32,
    /// The class of all its detections.
    pub class_id: u16,
    /// Index of the detection matched in this frame.
    pub detection: Option<usize>,
}

/// What came out of a frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tracks {
    /// All tracks by rising id, those given up in this frame included.
    pub tracks: Vec<Tracked>,
    /// Tracks given up early, or not begun, because there were `max_tracks` already.
    pub crowded_out: u32,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(config: TrackConfig) -> Self {
        let state = State { epoch: 0, last_id: 0, last_frame_us: None, interval_s: None, tracks: Vec::new() };
        Self { config, state }
    }

    /// Everything that a checkpoint must hold.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Goes on from a checkpoint.
    pub fn restore(&mut self, mut state: State) {
        state.interval_s = state.interval_s.filter(|interval| *interval > 0.0 && interval.is_finite());
        state.tracks.retain(|track| track.filter.is_finite());
        state.tracks.truncate(self.config.max_tracks as usize);
        self.state = state;
    }

    /// Whether the epoch has had a frame.
    pub fn has_begun(&self) -> bool {
        self.state.last_frame_us.is_some()
    }

    /// Raised whenever the tracks start anew.
    pub fn epoch(&self) -> u32 {
        self.state.epoch
    }

    /// Forgets all tracks and raises the epoch to the next, at least to `epoch`. Ids go on counting.
    pub fn restart(&mut self, epoch: u32) {
        self.state.epoch = self.state.epoch.saturating_add(1).max(epoch);
        self.state.last_frame_us = None;
        self.state.tracks.clear();
    }

    /// Takes in the next frame's detections, in any order. Those of scores below `low_threshold` and those that are
    /// no boxes are left out. A time before the last frame's starts a new epoch.
    pub fn update(&mut self, media_time_us: i64, detections: &[Detection]) -> Tracks {
        if self.state.last_frame_us.is_some_and(|last| media_time_us < last) || self.state.last_id == u32::MAX
        {
            self.restart(0);
        }
        let first_frame = self.state.last_frame_us.is_none();
        let mut gone = self.predict(media_time_us);

        let usable = |d: &Detection| {
            d.xyxy.iter().all(|v| v.abs() < 1e6) && d.xyxy[2] > d.xyxy[0] && d.xyxy[3] > d.xyxy[1]
        };
        let in_scores = |from: f32, below: f32| -> Vec<usize> {
            let fits = |d: &Detection| d.confidence >= from && d.confidence < below && usable(d);
            (0..detections.len()).filter(|&index| fits(&detections[index])).collect()
        };
        let high = in_scores(self.config.high_threshold, f32::INFINITY);
        let low = in_scores(self.config.low_threshold, self.config.high_threshold);

        let confirmed = self.indices(|track| track.state != TrackState::New);
        let threshold = f64::from(self.config.minimum_matching_threshold);
        let (unmatched, high) = self.associate(&confirmed, detections, &high, threshold, Fusion::WithScore);
        let (still_tracked, _): (Vec<usize>, Vec<usize>) =
            unmatched.into_iter().partition(|&index| self.state.tracks[index].state == TrackState::Tracked);
        let (now_lost, _) =
            self.associate(&still_tracked, detections, &low, SECOND_MATCHING_THRESHOLD, Fusion::OverlapAlone);
        for index in now_lost {
            self.state.tracks[index].state = TrackState::Lost;
        }
        let begun = self.indices(|track| track.state == TrackState::New);
        let (noise, high) =
            self.associate(&begun, detections, &high, CONFIRMING_THRESHOLD, Fusion::WithScore);
        for index in noise {
            self.state.tracks[index].state = TrackState::Removed;
        }
        for index in self.indices(|track| track.detection.is_some()) {
            let track = &mut self.state.tracks[index];
            track.state = TrackState::Tracked;
            track.last_seen_us = media_time_us;
        }
        gone.extend(
            self.state
                .tracks
                .extract_if(.., |track| track.state == TrackState::Removed || !track.filter.is_finite()),
        );

        let crowded_out = self.begin(media_time_us, first_frame, detections, high, &mut gone);
        self.state.last_frame_us = Some(media_time_us);

        let mut tracks: Vec<Tracked> =
            self.state.tracks.iter().map(|track| track.report(track.state)).collect();
        tracks.extend(gone.iter().map(|track| track.report(TrackState::Removed)));
        tracks.sort_unstable_by_key(|track| track.track_id);
        Tracks { tracks, crowded_out }
    }

    /// Moves all tracks on to a frame's time; returns those that were not seen for too long.
    fn predict(&mut self, media_time_us: i64) -> Vec<Followed> {
        let Some(last) = self.state.last_frame_us else { return Vec::new() };
        let dt_s = media_time_us.saturating_sub(last) as f64 / 1e6;
        if dt_s > 0.0 {
            // Falls fast and rises slowly: frames that were dropped are not the camera's rate.
            let interval = match self.state.interval_s {
                None => dt_s,
                Some(interval) => dt_s.clamp(f64::from(interval) * 0.8, f64::from(interval) * 1.02),
            };
            self.state.interval_s = Some(interval.max(1e-6) as f32);
        }
        let interval_s = self.interval_s();
        // A camera slower than the buffer still has its tracks from one frame to the next.
        let patience_us = (f64::from(self.config.lost_track_buffer_s).max(1.5 * interval_s) * 1e6) as i64;
        let given_up = |track: &mut Followed| media_time_us.saturating_sub(track.last_seen_us) > patience_us;
        let mut gone: Vec<Followed> = self.state.tracks.extract_if(.., given_up).collect();
        for track in &mut gone {
            track.detection = None;
        }
        for track in &mut self.state.tracks {
            track.detection = None;
            track.filter.predict(dt_s, interval_s, track.state == TrackState::Lost);
        }
        gone
    }

    fn interval_s(&self) -> f64 {
        f64::from(self.state.interval_s.unwrap_or(FIRST_INTERVAL_S))
    }

    fn indices(&self, which: impl Fn(&Followed) -> bool) -> Vec<usize> {
        (0..self.state.tracks.len()).filter(|&index| which(&self.state.tracks[index])).collect()
    }

    /// Matches tracks with detections, both by index, and updates those matched. Returns what is left of both.
    fn associate(
        &mut self,
        tracks: &[usize],
        detections: &[Detection],
        candidates: &[usize],
        threshold: f64,
        fusion: Fusion,
    ) -> (Vec<usize>, Vec<usize>) {
        let boxes: Vec<[f32; 4]> =
            tracks.iter().map(|&index| self.state.tracks[index].filter.xyxy()).collect();
        let similarity = Similarity::new(tracks.len(), candidates.len(), |row, column| {
            let detection = &detections[candidates[column]];
            if self.state.tracks[tracks[row]].class_id != detection.class_id {
                return 0.0;
            }
            let overlap = intersection_over_union(boxes[row], detection.xyxy);
            match fusion {
                Fusion::WithScore => overlap * f64::from(detection.confidence),
                Fusion::OverlapAlone => overlap,
            }
        });
        let assignment = similarity.assign(threshold);
        for (row, column) in assignment.pairs {
            let detection = &detections[candidates[column]];
            let track = &mut self.state.tracks[tracks[row]];
            track.filter.update(detection.xyxy);
            track.confidence = detection.confidence;
            track.detection = Some(candidates[column]);
        }
        (
            assignment.free_rows.into_iter().map(|row| tracks[row]).collect(),
            assignment.free_columns.into_iter().map(|column| candidates[column]).collect(),
        )
    }

    /// Starts tracks from what matched nothing, the surest first. Where there is no room, lost tracks go, the one
    /// not seen for the longest time first; while none is lost, nothing begins. Returns how many had to go or wait.
    fn begin(
        &mut self,
        media_time_us: i64,
        first_frame: bool,
        detections: &[Detection],
        mut candidates: Vec<usize>,
        gone: &mut Vec<Followed>,
    ) -> u32 {
        candidates.retain(|&index| detections[index].confidence >= self.config.track_activation_threshold);
        candidates.sort_by(|&a, &b| detections[b].confidence.total_cmp(&detections[a].confidence));
        let interval_s = self.interval_s();
        let mut crowded_out = 0;
        for index in candidates {
            let detection = &detections[index];
            if self.state.tracks.len() >= self.config.max_tracks as usize {
                crowded_out += 1;
                let lost =
                    self.state.tracks.iter().enumerate().filter(|(_, track)| track.state == TrackState::Lost);
                let Some((oldest, _)) = lost.min_by_key(|(_, track)| (track.last_seen_us, track.id)) else {
                    continue;
                };
                gone.push(self.state.tracks.remove(oldest));
            }
            let Some(id) = self.state.last_id.checked_add(1) else { break };
            self.state.last_id = id;
            self.state.tracks.push(Followed {
                id,
                class_id: detection.class_id,
                state: if first_frame { TrackState::Tracked } else { TrackState::New },
                filter: BoxFilter::new(detection.xyxy, interval_s),
                confidence: detection.confidence,
                last_seen_us: media_time_us,
                detection: Some(index),
            });
        }
        crowded_out
    }
}

impl Followed {
    fn report(&self, state: TrackState) -> Tracked {
        Tracked {
            track_id: self.id,
            state,
            xyxy: self.filter.xyxy(),
            confidence: self.confidence,
            class_id: self.class_id,
            detection: self.detection,
        }
    }
}

/// What the similarity of a track and a box is made of.
#[derive(Debug, Clone, Copy)]
enum Fusion {
    /// Intersection over union times the detection's score.
    WithScore,
    /// Intersection over union.
    OverlapAlone,
}

/// Area of the intersection of two boxes over that of their union.
fn intersection_over_union(a: [f32; 4], b: [f32; 4]) -> f64 {
    let (a, b) = (a.map(f64::from), b.map(f64::from));
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let area = |[left, top, right, bottom]: [f64; 4]| (right - left) * (bottom - top);
    let intersection = width * height;
    intersection / (area(a) + area(b) - intersection)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn seen(xyxy: [f32; 4], confidence: f32, class_id: u16) -> Detection {
        Detection { xyxy, confidence, class_id }
    }

    fn person_at(x: f32, confidence: f32) -> Detection {
        seen([x, 100.0, x + 40.0, 200.0], confidence, 0)
    }

    fn frame_us(index: i64) -> i64 {
        index * 40_000
    }

    fn ids(tracks: &Tracks) -> Vec<u32> {
        tracks.tracks.iter().map(|track| track.track_id).collect()
    }

    /// The paper's case: someone half hidden is still detected, with a low score, for longer than a lost track is kept.
    #[test]
    fn without_the_low_score_stage_a_hidden_object_gets_another_id() {
        let mut tracker = Tracker::new(TrackConfig::default());
        for index in 0..100 {
            let confidence = if (20..60).contains(&index) { 0.3 } else { 0.9 };
            let tracks = tracker.update(frame_us(index), &[person_at(50.0 + 3.0 * index as f32, confidence)]);
            assert_eq!(ids(&tracks), [1], "frame {index}");
            assert_eq!(tracks.tracks[0].state, TrackState::Tracked, "frame {index}");
        }
    }

    #[test]
    fn low_score_starts_no_track() {
        let mut tracker = Tracker::new(TrackConfig::default());
        for index in 0..10 {
            assert_eq!(tracker.update(frame_us(index), &[person_at(50.0, 0.55)]).tracks, []);
        }
    }

    #[test]
    fn lost_object_keeps_its_id_within_the_buffer_and_is_removed_once_after_it() {
        let mut tracker = Tracker::new(TrackConfig::default());
        let at = |index: i64| person_at(50.0 + 2.0 * index as f32, 0.9);
        for index in 0..20 {
            tracker.update(frame_us(index), &[at(index)]);
        }
        for index in 20..40 {
            assert_eq!(tracker.update(frame_us(index), &[]).tracks[0].state, TrackState::Lost);
        }
        let found = tracker.update(frame_us(40), &[at(40)]);
        assert_eq!((found.tracks[0].track_id, found.tracks[0].state), (1, TrackState::Tracked));
        let states: Vec<TrackState> = (41..80)
            .flat_map(|index| tracker.update(frame_us(index), &[]).tracks)
            .map(|track| track.state)
            .collect();
        assert_eq!(states.iter().filter(|state| **state == TrackState::Removed).count(), 1);
        assert_eq!(states.last(), Some(&TrackState::Removed));
    }

    #[test]
    fn what_is_seen_once_is_new_then_removed() {
        let mut tracker = Tracker::new(TrackConfig::default());
        tracker.update(0, &[]);
        assert_eq!(tracker.update(frame_us(1), &[person_at(50.0, 0.9)]).tracks[0].state, TrackState::New);
        assert_eq!(tracker.update(frame_us(2), &[]).tracks[0].state, TrackState::Removed);
        assert_eq!(tracker.update(frame_us(3), &[]).tracks, []);
    }

    #[test]
    fn object_of_another_class_does_not_continue_a_track() {
        let mut tracker = Tracker::new(TrackConfig::default());
        tracker.update(0, &[seen([0.0, 0.0, 50.0, 50.0], 0.9, 2)]);
        let after = tracker.update(frame_us(1), &[seen([0.0, 0.0, 50.0, 50.0], 0.9, 7)]);
        assert_eq!(
            after.tracks.iter().map(|t| (t.class_id, t.state)).collect::<Vec<_>>(),
            [(2, TrackState::Lost), (7, TrackState::New)]
        );
    }

    #[test]
    fn skipped_frames_do_not_break_a_track() {
        let mut tracker = Tracker::new(TrackConfig::default());
        // Six pixels a frame; after some frames, up to four of five are dropped.
        let mut index = 0;
        for step in [1; 15].into_iter().chain([5, 1, 3, 5, 5, 1, 1, 4, 5]) {
            index += step;
            let tracks = tracker.update(frame_us(index), &[person_at(6.0 * index as f32, 0.9)]);
            assert_eq!(ids(&tracks), [1], "frame {index}");
        }
    }

    #[test]
    fn slow_camera_keeps_tracks_from_frame_to_frame() {
        let mut tracker = Tracker::new(TrackConfig::default());
        for index in 0..10 {
            assert_eq!(ids(&tracker.update(index * 2_000_000, &[person_at(50.0, 0.9)])), [1]);
        }
    }

    #[test]
    fn time_running_backwards_starts_an_epoch_with_new_ids() {
        let mut tracker = Tracker::new(TrackConfig::default());
        tracker.update(frame_us(5), &[person_at(50.0, 0.9)]);
        let tracks = tracker.update(0, &[person_at(50.0, 0.9)]);
        assert_eq!((tracker.epoch(), ids(&tracks)), (1, vec![2]));
    }

    #[test]
    fn full_tracker_gives_up_the_oldest_lost_track_first_and_counts_it() {
        let mut tracker = Tracker::new(TrackConfig { max_tracks: 3, ..TrackConfig::default() });
        let at = [0.0, 100.0, 200.0, 300.0, 400.0].map(|x| person_at(x, 0.9));
        tracker.update(0, &at[..3]);
        tracker.update(frame_us(1), &at[1..3]);
        tracker.update(frame_us(2), &at[2..3]);
        let tracks = tracker.update(frame_us(3), &at[2..4]);
        let removed: Vec<u32> =
            tracks.tracks.iter().filter(|t| t.state == TrackState::Removed).map(|t| t.track_id).collect();
        assert_eq!((removed, tracks.crowded_out), (vec![1], 1));
        // Nothing is lost: what is followed stays, what comes waits.
        let mut tracker = Tracker::new(TrackConfig { max_tracks: 3, ..TrackConfig::default() });
        assert_eq!(tracker.update(0, &at).crowded_out, 2);
        assert_eq!(ids(&tracker.update(frame_us(1), &at)), [1, 2, 3]);
    }

    /// Some people cross a picture, appear, vanish and are missed; anything may stand between.
    fn scenes() -> impl Strategy<Value = Vec<(i64, Vec<Detection>)>> {
        let number = prop_oneof![20 => -50.0..800.0f32, 1 => Just(f32::NAN), 1 => Just(f32::INFINITY), 1 => Just(-1e30f32)];
        let wild =
            (prop::array::uniform4(number), prop_oneof![9 => 0.0..1.0f32, 1 => Just(f32::NAN)], 0..3u16)
                .prop_map(|(xyxy, confidence, class_id)| Detection { xyxy, confidence, class_id });
        let walker = (0..8u8, 0.2..1.0f32, -5.0..5.0f32, 0.0..30.0f32).prop_map(
            |(lane, confidence, wobble, along)| {
                let (x, y) = (along * 20.0 + wobble, f32::from(lane) * 60.0);
                Detection { xyxy: [x, y, x + 40.0, y + 80.0], confidence, class_id: u16::from(lane % 2) }
            },
        );
        let step = prop_oneof![20 => Just(40_000i64), 3 => 0..400_000i64, 1 => -1_000_000..10_000_000i64];
        let boxes = prop::collection::vec(prop_oneof![6 => walker, 1 => wild], 0..10);
        prop::collection::vec((step, boxes), 1..60).prop_map(|frames| {
            let mut time = 0;
            frames
                .into_iter()
                .map(|(step, boxes)| {
                    time += step;
                    (time, boxes)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn restore_after_any_frame_changes_nothing(scene in scenes()) {
            let config = TrackConfig { max_tracks: 6, ..TrackConfig::default() };
            let (mut whole, mut restored) = (Tracker::new(config), Tracker::new(config));
            for (time, detections) in &scene {
                let bytes = rmp_serde::to_vec(restored.state()).unwrap();
                restored = Tracker::new(config);
                restored.restore(rmp_serde::from_slice(&bytes).unwrap());
                prop_assert_eq!(whole.update(*time, detections), restored.update(*time, detections));
                prop_assert_eq!(rmp_serde::to_vec(whole.state()).unwrap(), rmp_serde::to_vec(restored.state()).unwrap());
            }
        }

        #[test]
        fn ids_are_never_used_again_and_removed_tracks_never_return(scene in scenes()) {
            let mut tracker = Tracker::new(TrackConfig { max_tracks: 6, ..TrackConfig::default() });
            let mut classes = BTreeMap::new();
            let mut gone = BTreeSet::new();
            let mut known = BTreeSet::new();
            for (time, detections) in &scene {
                let epoch = tracker.epoch();
                let tracks = tracker.update(*time, detections).tracks;
                if tracker.epoch() != epoch {
                    gone.append(&mut known);
                }
                for track in &tracks {
                    prop_assert!(!gone.contains(&track.track_id));
                    prop_assert_eq!(*classes.entry(track.track_id).or_insert(track.class_id), track.class_id);
                    prop_assert!(track.xyxy.iter().all(|v| v.is_finite()));
                    prop_assert!(track.xyxy[2] >= track.xyxy[0] && track.xyxy[3] >= track.xyxy[1]);
                    let matched = track.detection.map(|index| detections[index].class_id);
                    prop_assert!(matched.is_none_or(|class| class == track.class_id));
                }
                let mut used: Vec<usize> = tracks.iter().filter_map(|track| track.detection).collect();
                used.sort_unstable();
                prop_assert!(used.is_sorted_by(|a, b| a < b), "one detection, one track");
                let alive = |t: &&Tracked| t.state != TrackState::Removed;
                prop_assert!(tracks.iter().filter(alive).count() <= 6);
                gone.extend(tracks.iter().filter(|t| t.state == TrackState::Removed).map(|t| t.track_id));
                known = tracks.iter().filter(alive).map(|t| t.track_id).collect();
            }
        }
    }
}
