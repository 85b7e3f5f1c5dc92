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
