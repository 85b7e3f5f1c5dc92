//! ByteTrack (Zhang et al. 2022, arXiv:2110.06864): every detection box is associated, the sure ones first.
//!
//! 1. Boxes from `high_threshold` on are matched with all confirmed tracks, by intersection over union times score.
//! 2. Boxes from `low_threshold` on are matched with the tracks that were seen in the frame before and found
//!    nothing, by intersection over union alone: objects half hidden or blurred.
//! 3. Boxes left over from the first step confirm the tracks that began in the frame before; whatever began there
//!    and is not seen again was noise.
//! 4. Boxes still left over start tracks, from `track_activation_threshold` on.
//!
//! As in the authors' code, the objects of the very first frame need no confirmation. No clock, no I/O: the same
//! state and frame give the same bits.
//!
//! Beyond the paper:
//! - A track has a group of classes, and is matched with boxes of any class in it; it has the class that it was seen
//!   as most often. Of boxes of several classes of a group that overlap like one object, only the best is followed.
//! - Objects that move by more than their size from frame to frame are matched by distance, where nothing else could
//!   be meant: see [`far`].
//! - Boxes of lower scores start a track, too, when the object is seen often enough: see [`Tracker::follow_doubtful`].

mod class_tally;
mod far;
mod schema_2;

use peregrine_proto::{AnalysisConfig, Detection, Size, TrackConfig, TrackState};
use serde::{Deserialize, Serialize};

use self::class_tally::ClassTally;
use crate::{assignment::Similarity, class_groups::ClassGroups, kalman::BoxFilter};

/// Least intersection over union in the second association, as in the paper.
const SECOND_MATCHING_THRESHOLD: f64 = 0.5;
/// Least fused similarity for a track's confirmation, as in the authors' code.
const CONFIRMING_THRESHOLD: f64 = 0.3;
/// The frame interval before two frames have been seen, seconds.
const FIRST_INTERVAL_S: f64 = 1.0 / 30.0;
/// The longest frame interval that the motion model's noises are meant for, seconds: what happens between two frames
/// of a slower camera is as uncertain as between several of a faster one.
const LONGEST_MODEL_INTERVAL_S: f64 = 0.1;
/// From this time between two frames on, seconds, an object may have moved so far that overlap means little.
const SLOW_S: f64 = 0.12;
/// An object with a doubtful score starts a track when it was seen in so many consecutive frames over so much time.
const LEAST_FRAMES: u16 = 5;
const LEAST_TIME_US: i64 = 1_000_000;
/// Most sightings kept of what is not confirmed.
const MOST_SIGHTINGS: usize = 4;

/// Follows the objects of one camera.
#[derive(Debug, Clone)]
pub struct Tracker {
    config: TrackConfig,
    groups: ClassGroups,
    /// Detections from this score on are objects for people.
    confidence: f32,
    /// Boxes of a group that overlap more than this are one object.
    same_object_iou: f64,
    /// Of the last frame.
    picture: Option<Size>,
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
    /// Since when, and in which frame last, objects were seen that scores kept from being followed.
    #[serde(default)]
    doubtful_us: Option<(i64, i64)>,
}

/// An object that is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Followed {
    /// 0 while it is doubtful and not told to anybody.
    id: u32,
    tally: ClassTally,
    state: TrackState,
    filter: BoxFilter,
    confidence: f32,
    last_seen_us: i64,
    /// None once it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unconfirmed: Option<Unconfirmed>,
    #[serde(skip)]
    detection: Option<usize>,
}

/// An object that is not confirmed yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unconfirmed {
    /// Consecutive frames in which it was seen.
    frames: u16,
    /// Where it was seen: at first, last, and at most twice between.
    sightings: Vec<Sighting>,
}

/// Where an object was seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// The frame's time.
    pub media_time_us: i64,
    /// Left, top, right, bottom in source pixels.
    #[serde(with = "crate::packed")]
    pub xyxy: [f32; 4],
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
    /// The class of most of its detections, the newer ones counting more.
    pub class_id: u16,
    /// The share of its detections that had this class, above 0 and up to 1.
    pub class_share: f32,
    /// Index of the detection matched in this frame.
    pub detection: Option<usize>,
}

/// What came out of a frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tracks {
    /// All tracks by rising id, those given up in this frame included.
    pub tracks: Vec<Tracked>,
    /// The tracks confirmed in this frame, by id, with what was seen of them before: the first, the last and at most
    /// two between. Those of an epoch's first frame are not among them.
    pub confirmed: Vec<(u32, Vec<Sighting>)>,
    /// Tracks given up early, or not begun, because there were `max_tracks` already.
    pub crowded_out: u32,
    /// Whether objects have been seen for a second whose scores start no track.
    pub doubtful: bool,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(analysis: &AnalysisConfig, groups: ClassGroups) -> Self {
        let state = State {
            epoch: 0,
            last_id: 0,
            last_frame_us: None,
            interval_s: None,
            tracks: Vec::new(),
            doubtful_us: None,
        };
        Self {
            config: analysis.track,
            groups,
            confidence: analysis.confidence,
            same_object_iou: f64::from(analysis.nms_iou),
            picture: None,
            state,
        }
    }

    /// Everything that a checkpoint must hold.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The same for a checkpoint of schema 2.
    pub fn state_for_schema_2(&self) -> impl Serialize {
        schema_2::State::of(&self.state)
    }

    /// Goes on from a checkpoint.
    pub fn restore(&mut self, mut state: State) {
        state.interval_s = state.interval_s.filter(|interval| *interval > 0.0 && interval.is_finite());
        state.tracks.retain(|track| {
            let sightings = track.unconfirmed.as_ref().map_or(0, |unconfirmed| unconfirmed.sightings.len());
            track.filter.is_finite() && sightings <= MOST_SIGHTINGS
        });
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
        self.state.doubtful_us = None;
    }

    /// Goes on in another picture of the same scene: what was at `[x, y]` is at `[x * sx, y * sy]` there.
    pub fn scale(&mut self, [sx, sy]: [f64; 2]) {
        let by = [sx as f32, sy as f32];
        for track in &mut self.state.tracks {
            track.filter.scale([sx, sy]);
            for sighting in track.unconfirmed.iter_mut().flat_map(|unconfirmed| &mut unconfirmed.sightings) {
                sighting.xyxy = std::array::from_fn(|side| sighting.xyxy[side] * by[side % 2]);
            }
        }
    }

    /// Takes in the next frame's detections, in any order; `picture` is the size of what they were seen in. Those of
    /// scores below `low_threshold` and those that are no boxes are left out. A time before the last frame's starts a new epoch.
    pub fn update(&mut self, media_time_us: i64, picture: Option<Size>, detections: &[Detection]) -> Tracks {
        self.picture = picture;
        if self.state.last_frame_us.is_some_and(|last| media_time_us < last) || self.state.last_id == u32::MAX
        {
            self.restart(0);
        }
        let first_frame = self.state.last_frame_us.is_none();
        let last_frame_us = self.state.last_frame_us.unwrap_or(media_time_us);
        let dt_s = media_time_us.saturating_sub(last_frame_us) as f64 / 1e6;
        let mut gone = self.predict(media_time_us, dt_s);

        let objects = self.one_box_each(detections);
        let in_scores = |from: f32, below: f32| -> Vec<usize> {
            let fits = |&index: &usize| (from..below).contains(&detections[index].confidence);
            objects.iter().copied().filter(fits).collect()
        };
        let high = in_scores(self.config.high_threshold, f32::INFINITY);
        let low = in_scores(self.config.low_threshold, self.config.high_threshold);
        let slow = dt_s >= SLOW_S;

        // Of what was seen once, in the frame before, nobody knows where it goes.
        let seen_once =
            |track: &Followed| track.tally.sightings() == 1 && track.last_seen_us == last_frame_us;
        let confirmed = self.indices(|track| track.state != TrackState::New && !(slow && seen_once(track)));
        let threshold = f64::from(self.config.minimum_matching_threshold);
        let (unmatched, high) = self.associate(&confirmed, detections, &high, threshold, Fusion::WithScore);
        let (still_tracked, _): (Vec<usize>, Vec<usize>) =
            unmatched.into_iter().partition(|&index| self.state.tracks[index].state == TrackState::Tracked);
        let (now_lost, low) =
            self.associate(&still_tracked, detections, &low, SECOND_MATCHING_THRESHOLD, Fusion::OverlapAlone);
        let begun = self.indices(|track| track.is_announced() && !(slow && seen_once(track)));
        let (noise, high) =
            self.associate(&begun, detections, &high, CONFIRMING_THRESHOLD, Fusion::WithScore);
        let first_seen = self.indices(|track| slow && seen_once(track) && track.id > 0);
        let (mut unmatched, high) =
            self.associate_far(dt_s, &[now_lost, noise, first_seen].concat(), detections, &high, &objects);
        // The second association for what needed no confirmation.
        let (at_once, boxes) = (
            unmatched
                .extract_if(.., |&mut index| {
                    let track = &self.state.tracks[index];
                    slow && track.state == TrackState::Tracked && seen_once(track)
                })
                .collect::<Vec<_>>(),
            [&high[..], &low[..]].concat(),
        );
        let mut pairs = self.far_pairs(dt_s, &at_once, detections, &boxes, &objects);
        pairs.retain(|&(track, detection)| {
            let overlap =
                intersection_over_union(self.state.tracks[track].filter.xyxy(), detections[detection].xyxy);
            low.contains(&detection) && overlap >= SECOND_MATCHING_THRESHOLD
        });
        let (now_lost, low) = self.take_in_pairs(&pairs, &at_once, detections, &low);
        unmatched.extend(now_lost);
        for index in self.indices(|track| track.detection.is_some()) {
            self.state.tracks[index].state = TrackState::Tracked;
        }
        for index in unmatched {
            let track = &mut self.state.tracks[index];
            let noise = track.state == TrackState::New || slow && track.tally.sightings() == 1;
            track.state = if noise { TrackState::Removed } else { TrackState::Lost };
        }
        let mut rest = [high, low].concat();
        rest.retain(|&index| detections[index].confidence >= self.confidence);
        if self.config.doubtful {
            rest = self.follow_doubtful(media_time_us, dt_s, detections, &rest, &objects, &mut gone);
        }
        let mut confirmed = Vec::new();
        for track in &mut self.state.tracks {
            if track.detection.is_none() {
                continue;
            }
            track.last_seen_us = media_time_us;
            if let Some(unconfirmed) = track.unconfirmed.take_if(|_| track.state == TrackState::Tracked) {
                confirmed.push((track.id, unconfirmed.sightings));
            }
        }
        let over = |track: &mut Followed| track.state == TrackState::Removed || !track.filter.is_finite();
        gone.extend(self.state.tracks.extract_if(.., over).filter(|track| track.id > 0));

        let crowded_out = self.begin(media_time_us, first_frame, detections, rest, &mut gone);
        self.state.last_frame_us = Some(media_time_us);

        let told = self.state.tracks.iter().filter(|track| track.id > 0);
        let mut tracks: Vec<Tracked> = told.map(|track| track.report(track.state)).collect();
        tracks.extend(gone.iter().map(|track| track.report(TrackState::Removed)));
        tracks.sort_unstable_by_key(|track| track.track_id);
        confirmed.sort_unstable_by_key(|(id, _)| *id);
        let doubtful = self.has_doubtful(media_time_us, detections, &objects);
        Tracks { tracks, confirmed, crowded_out, doubtful }
    }

    /// The detections that are boxes, rising, without those that a better one of another class of their group
    /// overlaps like the same object.
    fn one_box_each(&self, detections: &[Detection]) -> Vec<usize> {
        let usable = |d: &Detection| {
            d.confidence >= self.config.low_threshold
                && d.xyxy.iter().all(|v| v.abs() < 1e6)
                && d.xyxy[2] > d.xyxy[0]
                && d.xyxy[3] > d.xyxy[1]
        };
        let mut indices: Vec<usize> = (0..detections.len()).filter(|&i| usable(&detections[i])).collect();
        indices.sort_by(|&a, &b| detections[b].confidence.total_cmp(&detections[a].confidence));
        let groups: Vec<u16> = indices.iter().map(|&i| self.groups.of(detections[i].class_id)).collect();
        let mut kept: Vec<(usize, u16)> = Vec::with_capacity(indices.len());
        for (index, group) in indices.into_iter().zip(groups) {
            let detection = &detections[index];
            let better = |&(other, its_group): &(usize, u16)| {
                its_group == group
                    && detections[other].class_id != detection.class_id
                    && intersection_over_union(detections[other].xyxy, detection.xyxy) > self.same_object_iou
            };
            if !kept.iter().any(better) {
                kept.push((index, group));
            }
        }
        let mut kept: Vec<usize> = kept.into_iter().map(|(index, _)| index).collect();
        kept.sort_unstable();
        kept
    }

    /// Moves all tracks on to a frame's time; returns those that were not seen for too long.
    fn predict(&mut self, media_time_us: i64, dt_s: f64) -> Vec<Followed> {
        if dt_s > 0.0 {
            // Falls fast and rises slowly: frames that were dropped are not the camera's rate.
            let interval = match self.state.interval_s {
                None => dt_s,
                Some(interval) => dt_s.clamp(f64::from(interval) * 0.8, f64::from(interval) * 1.02),
            };
            self.state.interval_s = Some(interval.max(1e-6) as f32);
        }
        // A camera slower than the buffer still has its tracks from one frame to the next.
        let interval_s = self.state.interval_s.map_or(FIRST_INTERVAL_S, f64::from);
        let patience_us = (f64::from(self.config.lost_track_buffer_s).max(1.5 * interval_s) * 1e6) as i64;
        let given_up = |track: &mut Followed| media_time_us.saturating_sub(track.last_seen_us) > patience_us;
        let mut gone: Vec<Followed> =
            self.state.tracks.extract_if(.., given_up).filter(|track| track.id > 0).collect();
        for track in &mut gone {
            track.detection = None;
        }
        let interval_s = self.model_interval_s();
        for track in &mut self.state.tracks {
            track.detection = None;
            track.filter.predict(dt_s, interval_s, track.state == TrackState::Lost);
        }
        gone
    }

    /// The interval that the noises of the motion model are meant for.
    fn model_interval_s(&self) -> f64 {
        self.state.interval_s.map_or(FIRST_INTERVAL_S, f64::from).min(LONGEST_MODEL_INTERVAL_S)
    }

    /// The interval that a track's first velocity is guessed by: at slow cameras that of a fast one, because an object
    /// may have got anywhere.
    fn first_interval_s(&self) -> f64 {
        match self.state.interval_s {
            Some(interval) if f64::from(interval) >= SLOW_S => FIRST_INTERVAL_S,
            _ => self.model_interval_s(),
        }
    }

    /// From this score on a box that matches nothing starts a track at once.
    fn starting_score(&self) -> f32 {
        self.config.track_activation_threshold.max(self.config.high_threshold)
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
        let of = |index: &usize| {
            let track = &self.state.tracks[*index];
            (track.filter.xyxy(), self.groups.of(track.tally.majority()))
        };
        let rows: Vec<([f32; 4], u16)> = tracks.iter().map(of).collect();
        let similarity = Similarity::new(tracks.len(), candidates.len(), |row, column| {
            let detection = &detections[candidates[column]];
            let (xyxy, group) = rows[row];
            if group != self.groups.of(detection.class_id) {
                return 0.0;
            }
            let overlap = intersection_over_union(xyxy, detection.xyxy);
            match fusion {
                Fusion::WithScore => overlap * f64::from(detection.confidence),
                Fusion::OverlapAlone => overlap,
            }
        });
        let assignment = similarity.assign(threshold);
        for (row, column) in assignment.pairs {
            self.state.tracks[tracks[row]].take_in(candidates[column], detections);
        }
        (
            assignment.free_rows.into_iter().map(|row| tracks[row]).collect(),
            assignment.free_columns.into_iter().map(|column| candidates[column]).collect(),
        )
    }

    /// Matches tracks that were seen in the frame before with detections that need not overlap them, see [`far`].
    /// `objects` are all detections of the frame. Returns what is left of both.
    fn associate_far(
        &mut self,
        dt_s: f64,
        tracks: &[usize],
        detections: &[Detection],
        candidates: &[usize],
        objects: &[usize],
    ) -> (Vec<usize>, Vec<usize>) {
        let pairs = self.far_pairs(dt_s, tracks, detections, candidates, objects);
        self.take_in_pairs(&pairs, tracks, detections, candidates)
    }

    /// The pairs of a track and a detection that belong together by distance, see [`far`].
    fn far_pairs(
        &self,
        dt_s: f64,
        tracks: &[usize],
        detections: &[Detection],
        candidates: &[usize],
        objects: &[usize],
    ) -> Vec<(usize, usize)> {
        if tracks.is_empty() || candidates.is_empty() {
            return Vec::new();
        }
        let is_object =
            |index: &usize| detections[*index].confidence >= self.confidence || candidates.contains(index);
        let seen = |index: usize| {
            let Detection { xyxy, class_id, .. } = detections[index];
            (index, far::Seen::new(xyxy, self.groups.of(class_id)))
        };
        let scene = far::Scene {
            dt_s,
            only_apart: dt_s < SLOW_S,
            picture: self.picture.map(|size| [f64::from(size.width), f64::from(size.height)]),
            tracks: self.state.tracks.iter().map(|track| track.mover(&self.groups)).collect(),
            objects: objects.iter().copied().filter(is_object).map(seen).collect(),
        };
        scene.pairs(tracks, candidates)
    }

    /// Updates matched tracks. Returns what is left of `tracks` and `candidates`.
    fn take_in_pairs(
        &mut self,
        pairs: &[(usize, usize)],
        tracks: &[usize],
        detections: &[Detection],
        candidates: &[usize],
    ) -> (Vec<usize>, Vec<usize>) {
        for &(track, detection) in pairs {
            self.state.tracks[track].take_in(detection, detections);
        }
        let free_track = |track: &usize| pairs.iter().all(|(t, _)| t != track);
        let free_detection = |detection: &usize| pairs.iter().all(|(_, d)| d != detection);
        (
            tracks.iter().copied().filter(free_track).collect(),
            candidates.iter().copied().filter(free_detection).collect(),
        )
    }

    /// Follows objects with doubtful scores in silence, until they have been seen in [`LEAST_FRAMES`] consecutive
    /// frames over [`LEAST_TIME_US`]: then they are tracks. The paper's tracks are not touched by it: a sure box starts
    /// a new one also here, and one that a sure box does not confirm is removed, but followed on in silence.
    /// Returns the detections left over.
    fn follow_doubtful(
        &mut self,
        media_time_us: i64,
        dt_s: f64,
        detections: &[Detection],
        candidates: &[usize],
        objects: &[usize],
        gone: &mut Vec<Followed>,
    ) -> Vec<usize> {
        for track in &mut self.state.tracks {
            if track.state == TrackState::Removed && track.unconfirmed.is_some() {
                gone.push(track.clone());
                (track.id, track.state) = (0, TrackState::New);
            }
        }
        let doubtful = self.indices(|track| track.id == 0);
        // Overlap means little at slow cameras, and must not bring back what was too ambiguous by distance.
        let (unmatched, left) = if dt_s < SLOW_S {
            self.associate(&doubtful, detections, candidates, CONFIRMING_THRESHOLD, Fusion::OverlapAlone)
        } else {
            (doubtful.clone(), candidates.to_vec())
        };
        let (unmatched, left) = self.associate_far(dt_s, &unmatched, detections, &left, objects);
        for index in unmatched {
            self.state.tracks[index].state = TrackState::Removed;
        }
        let starting_score = self.starting_score();
        let interval_s = self.first_interval_s();
        for index in doubtful {
            let track = &mut self.state.tracks[index];
            let Some(detection) = track.detection.map(|index| detections[index]) else { continue };
            let Some(unconfirmed) = &mut track.unconfirmed else { continue };
            unconfirmed.frames = unconfirmed.frames.saturating_add(1);
            let since = unconfirmed.sightings.first().map_or(media_time_us, |first| first.media_time_us);
            let lasted = media_time_us.saturating_sub(since) >= LEAST_TIME_US;
            let enough = lasted && unconfirmed.frames >= LEAST_FRAMES;
            let sure = detection.confidence >= starting_score;
            if enough || sure {
                let Some(id) = self.state.last_id.checked_add(1) else { continue };
                self.state.last_id = id;
                track.id = id;
            }
            if enough {
                track.state = TrackState::Tracked;
                continue;
            }
            unconfirmed.remember(Sighting { media_time_us, xyxy: detection.xyxy });
            if sure {
                track.filter = BoxFilter::new(detection.xyxy, interval_s);
                track.tally = ClassTally::new(detection.class_id);
            }
        }
        left
    }

    /// Starts tracks from what matched nothing, the surest first. Where there is no room, doubtful objects go first,
    /// then lost tracks, the one not seen for the longest time first; while none is lost, nothing begins. Returns how
    /// many tracks had to go or wait.
    fn begin(
        &mut self,
        media_time_us: i64,
        first_frame: bool,
        detections: &[Detection],
        mut candidates: Vec<usize>,
        gone: &mut Vec<Followed>,
    ) -> u32 {
        candidates.sort_by(|&a, &b| detections[b].confidence.total_cmp(&detections[a].confidence));
        let interval_s = self.first_interval_s();
        let mut crowded_out = 0;
        for index in candidates {
            let detection = &detections[index];
            let sure = detection.confidence >= self.starting_score();
            if !sure && !self.config.doubtful {
                continue;
            }
            if self.state.tracks.len() >= self.config.max_tracks as usize {
                if !sure {
                    continue;
                }
                if let Some(doubtful) = self.state.tracks.iter().rposition(|track| track.id == 0) {
                    self.state.tracks.remove(doubtful);
                } else {
                    crowded_out += 1;
                    let tracks = self.state.tracks.iter().enumerate();
                    let lost = tracks.filter(|(_, track)| track.state == TrackState::Lost);
                    let Some((oldest, _)) = lost.min_by_key(|(_, track)| (track.last_seen_us, track.id))
                    else {
                        continue;
                    };
                    gone.push(self.state.tracks.remove(oldest));
                }
            }
            let id = match self.state.last_id.checked_add(1) {
                Some(id) if sure => id,
                None if sure => break,
                _ => 0,
            };
            self.state.last_id = self.state.last_id.max(id);
            let confirmed = first_frame && sure;
            let sighting = Sighting { media_time_us, xyxy: detection.xyxy };
            let unconfirmed = Unconfirmed { frames: 1, sightings: vec![sighting] };
            self.state.tracks.push(Followed {
                id,
                tally: ClassTally::new(detection.class_id),
                state: if confirmed { TrackState::Tracked } else { TrackState::New },
                filter: BoxFilter::new(detection.xyxy, interval_s),
                confidence: detection.confidence,
                last_seen_us: media_time_us,
                unconfirmed: (!confirmed).then_some(unconfirmed),
                detection: Some(index),
            });
        }
        crowded_out
    }

    /// Whether objects that no track follows have been seen for a second, at most a second apart, only because their
    /// scores start none.
    fn has_doubtful(&mut self, media_time_us: i64, detections: &[Detection], objects: &[usize]) -> bool {
        let followed = |index: usize| {
            self.state.tracks.iter().any(|track| track.id > 0 && track.detection == Some(index))
        };
        let doubtful = |&&index: &&usize| {
            (self.confidence..self.starting_score()).contains(&detections[index].confidence)
                && !followed(index)
        };
        let now = objects.iter().find(doubtful).is_some();
        let recent =
            self.state.doubtful_us.filter(|(_, last)| media_time_us.saturating_sub(*last) <= LEAST_TIME_US);
        self.state.doubtful_us = match (now, recent) {
            (true, Some((since, _))) => Some((since, media_time_us)),
            (true, None) => Some((media_time_us, media_time_us)),
            (false, recent) => recent,
        };
        now && self.state.doubtful_us.is_some_and(|(since, now)| now.saturating_sub(since) >= LEAST_TIME_US)
    }
}

impl Followed {
    fn report(&self, state: TrackState) -> Tracked {
        Tracked {
            track_id: self.id,
            state,
            xyxy: self.filter.xyxy(),
            confidence: self.confidence,
            class_id: self.tally.majority(),
            class_share: self.tally.share(),
            detection: self.detection,
        }
    }

    /// Whether it is a track that people see but that is not confirmed.
    fn is_announced(&self) -> bool {
        self.state == TrackState::New && self.id > 0
    }

    /// Takes in the detection that was matched.
    fn take_in(&mut self, index: usize, detections: &[Detection]) {
        let detection = &detections[index];
        self.filter.update(detection.xyxy);
        self.confidence = detection.confidence;
        self.tally.add(detection.class_id);
        self.detection = Some(index);
    }

    fn mover(&self, groups: &ClassGroups) -> far::Mover {
        far::Mover {
            expected: far::Seen::new(self.filter.xyxy(), groups.of(self.tally.majority())),
            velocity: self.filter.velocity(),
            seen_once: self.tally.sightings() == 1,
            seen_now: self.detection.is_some(),
            lost: self.state == TrackState::Lost,
        }
    }
}

impl Unconfirmed {
    /// Keeps the first sighting, the last and two between, about a third of [`LEAST_TIME_US`] apart.
    fn remember(&mut self, sighting: Sighting) {
        if let [.., before, last] = &self.sightings[..] {
            let apart_us = last.media_time_us.saturating_sub(before.media_time_us);
            if self.sightings.len() == MOST_SIGHTINGS || apart_us < LEAST_TIME_US / 3 {
                self.sightings.pop();
            }
        }
        self.sightings.push(sighting);
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

    fn following(track: TrackConfig) -> Tracker {
        Tracker::new(&AnalysisConfig { track, ..AnalysisConfig::default() }, ClassGroups::default())
    }

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
        let mut tracker = following(TrackConfig::default());
        for index in 0..100 {
            let confidence = if (20..60).contains(&index) { 0.3 } else { 0.9 };
            let tracks =
                tracker.update(frame_us(index), None, &[person_at(50.0 + 3.0 * index as f32, confidence)]);
            assert_eq!(ids(&tracks), [1], "frame {index}");
            assert_eq!(tracks.tracks[0].state, TrackState::Tracked, "frame {index}");
        }
    }

    #[test]
    fn low_score_starts_no_track_where_that_is_off_and_it_is_said_after_a_second() {
        let mut tracker = following(TrackConfig { doubtful: false, ..TrackConfig::default() });
        for index in 0..60 {
            let tracks = tracker.update(frame_us(index), None, &[person_at(50.0, 0.55)]);
            assert_eq!((tracks.tracks, tracks.doubtful), (vec![], index >= 25), "frame {index}");
        }
    }

    #[test]
    fn doubtful_object_is_a_track_after_a_second_with_what_was_seen_before() {
        let mut tracker = following(TrackConfig::default());
        let at = |index: i64| person_at(50.0 + 2.0 * index as f32, 0.5);
        for index in 0..60 {
            let tracks = tracker.update(frame_us(index), None, &[at(index)]);
            assert!(!tracks.doubtful);
            assert_eq!(ids(&tracks), if index < 25 { vec![] } else { vec![1] }, "frame {index}");
            let Some((id, sightings)) = tracks.confirmed.first() else { continue };
            assert_eq!((index, *id, tracks.tracks[0].state), (25, 1, TrackState::Tracked));
            let frames: Vec<i64> = sightings.iter().map(|sighting| sighting.media_time_us / 40_000).collect();
            assert_eq!(frames, [0, 9, 18, 24]);
            assert!(sightings.iter().zip(frames).all(|(sighting, frame)| sighting.xyxy == at(frame).xyxy));
        }
    }

    #[test]
    fn doubtful_object_needs_five_frames_however_slow_the_camera_and_none_may_miss_it() {
        let mut tracker = following(TrackConfig::default());
        let tracks: Vec<Tracks> =
            (0..6).map(|k| tracker.update(k * 500_000, None, &[person_at(50.0, 0.5)])).collect();
        assert_eq!(tracks.iter().map(|t| t.tracks.len()).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1]);
        let mut tracker = following(TrackConfig::default());
        for index in 0..200 {
            let seen = if index % 20 == 19 { vec![] } else { vec![person_at(50.0, 0.5)] };
            let tracks = tracker.update(frame_us(index), None, &seen);
            assert_eq!((tracks.tracks, tracks.doubtful), (vec![], index >= 25 && index % 20 != 19));
        }
    }

    #[test]
    fn score_that_wavers_about_the_threshold_becomes_a_track() {
        let mut tracker = following(TrackConfig::default());
        let mut last = Tracks::default();
        for index in 0..60 {
            last = tracker.update(
                frame_us(index),
                None,
                &[person_at(50.0, [0.5, 0.65, 0.5, 0.4][index as usize % 4])],
            );
        }
        assert_eq!(last.tracks.iter().map(|track| track.state).collect::<Vec<_>>(), [TrackState::Tracked]);
    }

    #[test]
    fn doubtful_objects_leave_room_for_sure_ones() {
        let mut tracker = following(TrackConfig { max_tracks: 3, ..TrackConfig::default() });
        let at = [0.0, 100.0, 200.0, 300.0].map(|x| person_at(x, 0.5));
        tracker.update(0, None, &at);
        let sure = [400.0, 500.0, 600.0].map(|x| person_at(x, 0.9));
        let tracks = tracker.update(frame_us(1), None, &[&at[..], &sure].concat());
        assert_eq!((ids(&tracks), tracks.crowded_out), (vec![1, 2, 3], 0));
    }

    fn vehicles() -> ClassGroups {
        ClassGroups::default_of(&["person", "", "car", "", "", "", "", "truck"].map(str::to_owned))
    }

    #[test]
    fn object_whose_class_flips_keeps_its_id_and_has_the_class_of_most_sightings() {
        for every in [2, 3, 4] {
            let mut tracker = Tracker::new(&AnalysisConfig::default(), vehicles());
            for index in 0..60 {
                let class = if index % every == 1 { 7 } else { 2 };
                let x = 4.0 * index as f32;
                let tracks =
                    tracker.update(frame_us(index), None, &[seen([x, 0.0, x + 80.0, 50.0], 0.9, class)]);
                assert_eq!(
                    (ids(&tracks), tracks.tracks[0].class_id),
                    (vec![1], 2),
                    "every {every}, frame {index}"
                );
                let flips = (index + every - 1) / every;
                let share = (index + 1 - flips) as f32 / (index + 1) as f32;
                assert!((tracks.tracks[0].class_share - share).abs() < 1e-6, "every {every}, frame {index}");
            }
        }
    }

    #[test]
    fn object_seen_as_two_classes_of_a_group_is_one_track_and_of_two_groups_two() {
        let both = |index: i64, other: u16| {
            let x = 4.0 * index as f32;
            let (first, second) = if index % 2 == 0 { (0.8, 0.7) } else { (0.7, 0.8) };
            [seen([x, 0.0, x + 80.0, 50.0], first, 2), seen([x + 3.0, 1.0, x + 84.0, 52.0], second, other)]
        };
        for (other, expected) in [(7, vec![1]), (0, vec![1, 2])] {
            let mut tracker = Tracker::new(&AnalysisConfig::default(), vehicles());
            for index in 0..40 {
                assert_eq!(ids(&tracker.update(frame_us(index), None, &both(index, other))), expected);
            }
        }
    }

    #[test]
    fn lost_object_keeps_its_id_within_the_buffer_and_is_removed_once_after_it() {
        let mut tracker = following(TrackConfig::default());
        let at = |index: i64| person_at(50.0 + 2.0 * index as f32, 0.9);
        for index in 0..20 {
            tracker.update(frame_us(index), None, &[at(index)]);
        }
        for index in 20..40 {
            assert_eq!(tracker.update(frame_us(index), None, &[]).tracks[0].state, TrackState::Lost);
        }
        let found = tracker.update(frame_us(40), None, &[at(40)]);
        assert_eq!((found.tracks[0].track_id, found.tracks[0].state), (1, TrackState::Tracked));
        let states: Vec<TrackState> = (41..80)
            .flat_map(|index| tracker.update(frame_us(index), None, &[]).tracks)
            .map(|track| track.state)
            .collect();
        assert_eq!(states.iter().filter(|state| **state == TrackState::Removed).count(), 1);
        assert_eq!(states.last(), Some(&TrackState::Removed));
    }

    #[test]
    fn what_is_seen_once_is_new_then_removed() {
        let mut tracker = following(TrackConfig::default());
        tracker.update(0, None, &[]);
        assert_eq!(
            tracker.update(frame_us(1), None, &[person_at(50.0, 0.9)]).tracks[0].state,
            TrackState::New
        );
        assert_eq!(tracker.update(frame_us(2), None, &[]).tracks[0].state, TrackState::Removed);
        assert_eq!(tracker.update(frame_us(3), None, &[]).tracks, []);
    }

    #[test]
    fn object_of_another_class_does_not_continue_a_track() {
        let mut tracker = following(TrackConfig::default());
        tracker.update(0, None, &[seen([0.0, 0.0, 50.0, 50.0], 0.9, 2)]);
        let after = tracker.update(frame_us(1), None, &[seen([0.0, 0.0, 50.0, 50.0], 0.9, 7)]);
        assert_eq!(
            after.tracks.iter().map(|t| (t.class_id, t.state)).collect::<Vec<_>>(),
            [(2, TrackState::Lost), (7, TrackState::New)]
        );
    }

    #[test]
    fn skipped_frames_do_not_break_a_track() {
        let mut tracker = following(TrackConfig::default());
        // Six pixels a frame; after some frames, up to four of five are dropped.
        let mut index = 0;
        for step in [1; 15].into_iter().chain([5, 1, 3, 5, 5, 1, 1, 4, 5]) {
            index += step;
            let tracks = tracker.update(frame_us(index), None, &[person_at(6.0 * index as f32, 0.9)]);
            assert_eq!(ids(&tracks), [1], "frame {index}");
        }
    }

    #[test]
    fn slow_camera_keeps_tracks_from_frame_to_frame() {
        let mut tracker = following(TrackConfig::default());
        for index in 0..10 {
            assert_eq!(ids(&tracker.update(index * 2_000_000, None, &[person_at(50.0, 0.9)])), [1]);
        }
    }

    /// The ids under which each object was followed, from boxes of 60x40 that move by `step` in each frame.
    fn followed_as(fps: f64, frames: i64, starts: &[(f32, f32)], step: f32) -> Vec<BTreeSet<u32>> {
        let picture = Size { width: 1280, height: 720 };
        let mut tracker = following(TrackConfig::default());
        let mut found = vec![BTreeSet::new(); starts.len()];
        for frame in 0..frames {
            let (mut objects, mut boxes) = (Vec::new(), Vec::new());
            for (object, (x, y)) in starts.iter().enumerate() {
                let x = x + step * frame as f32;
                if (0.0..1280.0).contains(&x) {
                    objects.push(object);
                    boxes.push(seen([x - 30.0, y - 20.0, x + 30.0, y + 20.0], 0.9, 0));
                }
            }
            let time = (frame as f64 * 1e6 / fps) as i64;
            for track in tracker.update(time, Some(picture), &boxes).tracks {
                if let (TrackState::Tracked, Some(index)) = (track.state, track.detection) {
                    found[objects[index]].insert(track.track_id);
                }
            }
        }
        found
    }

    #[test]
    fn objects_that_do_not_overlap_from_frame_to_frame_keep_their_ids_when_others_are_far_enough() {
        for fps in [5.0, 3.0, 2.0] {
            for step in [45.0, 70.0, 117.0, 175.0] {
                let apart = 2.5 * step;
                let starts: Vec<(f32, f32)> = (0..12)
                    .flat_map(|place| (0..3).map(move |lane| (place, lane)))
                    .map(|(place, lane)| {
                        (1200.0 - apart * place as f32 - 17.0 * lane as f32, 60.0 + apart * lane as f32)
                    })
                    .collect();
                for (object, ids) in followed_as(fps, 14, &starts, step).iter().enumerate() {
                    let frames =
                        (0..14).filter(|k| (0.0..1280.0).contains(&(starts[object].0 + step * *k as f32)));
                    let expected = if frames.count() < 2 { 0..=1 } else { 1..=1 };
                    assert!(
                        expected.contains(&ids.len()),
                        "{fps} fps, step {step}, object {object}: {ids:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_id_jumps_to_another_object_however_close_it_follows() {
        for fps in [5.0, 3.0, 2.0] {
            for steps in [1.2, 1.5, 1.8, 2.2] {
                let starts = [0.0, 1.0, 2.0].map(|place| (400.0 - place * steps * 70.0, 300.0));
                let ids: Vec<u32> = followed_as(fps, 10, &starts, 70.0).into_iter().flatten().collect();
                let different: BTreeSet<&u32> = ids.iter().collect();
                assert_eq!(ids.len(), different.len(), "{fps} fps, {steps} steps apart");
            }
        }
    }

    /// As long as one end of the row is in the picture, it says which way the row moves.
    #[test]
    fn no_id_jumps_in_a_row_that_reaches_over_one_edge() {
        for steps in [1.2, 1.5, 1.7, 1.9, 2.2] {
            let row = |first: f32| (0..14).map(move |place| (first - place as f32 * steps * 70.0, 300.0));
            for (what, step, starts) in [
                ("comes in from the left", 70.0, row(450.0).collect::<Vec<_>>()),
                ("comes in from the right", -70.0, row(450.0).map(|(x, y)| (1280.0 - x, y)).collect()),
                ("leaves to the left", -70.0, row(1200.0).collect()),
            ] {
                let ids: Vec<u32> = followed_as(3.0, 8, &starts, step).into_iter().flatten().collect();
                let different: BTreeSet<&u32> = ids.iter().collect();
                assert_eq!(ids.len(), different.len(), "{what}, {steps} steps apart: {ids:?}");
            }
        }
    }

    #[test]
    fn state_of_the_release_before_is_taken_up_with_its_ids() {
        let [x, y, width, height] = [70.0, 150.0, 40.0, 100.0].map(|mean| [mean, 0.0, 4.0, 0.1, 6.0_f32]);
        let numbers: Vec<u8> =
            [x, y, width, height].as_flattened().iter().flat_map(|v| v.to_le_bytes()).collect();
        let track = (7, 2, TrackState::Tracked, serde_bytes::ByteBuf::from(numbers), 0.9_f32, 40_000);
        let old = rmp_serde::to_vec(&(3, 7, Some(40_000), Some(0.04_f32), vec![track])).unwrap();
        let mut tracker = Tracker::new(&AnalysisConfig::default(), vehicles());
        tracker.restore(rmp_serde::from_slice(&old).unwrap());
        let tracks = tracker.update(80_000, None, &[seen([50.0, 100.0, 90.0, 200.0], 0.9, 7)]);
        assert_eq!((tracker.epoch(), ids(&tracks), tracks.tracks[0].class_id), (3, vec![7], 2));
    }

    #[test]
    fn time_running_backwards_starts_an_epoch_with_new_ids() {
        let mut tracker = following(TrackConfig::default());
        tracker.update(frame_us(5), None, &[person_at(50.0, 0.9)]);
        let tracks = tracker.update(0, None, &[person_at(50.0, 0.9)]);
        assert_eq!((tracker.epoch(), ids(&tracks)), (1, vec![2]));
    }

    #[test]
    fn full_tracker_gives_up_the_oldest_lost_track_first_and_counts_it() {
        let mut tracker = following(TrackConfig { max_tracks: 3, ..TrackConfig::default() });
        let at = [0.0, 100.0, 200.0, 300.0, 400.0].map(|x| person_at(x, 0.9));
        tracker.update(0, None, &at[..3]);
        tracker.update(frame_us(1), None, &at[1..3]);
        tracker.update(frame_us(2), None, &at[2..3]);
        let tracks = tracker.update(frame_us(3), None, &at[2..4]);
        let removed: Vec<u32> =
            tracks.tracks.iter().filter(|t| t.state == TrackState::Removed).map(|t| t.track_id).collect();
        assert_eq!((removed, tracks.crowded_out), (vec![1], 1));
        // Nothing is lost: what is followed stays, what comes waits.
        let mut tracker = following(TrackConfig { max_tracks: 3, ..TrackConfig::default() });
        assert_eq!(tracker.update(0, None, &at).crowded_out, 2);
        assert_eq!(ids(&tracker.update(frame_us(1), None, &at)), [1, 2, 3]);
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
            let (mut whole, mut restored) = (following(config), following(config));
            for (time, detections) in &scene {
                let bytes = rmp_serde::to_vec(restored.state()).unwrap();
                restored = following(config);
                restored.restore(rmp_serde::from_slice(&bytes).unwrap());
                prop_assert_eq!(whole.update(*time, None, detections), restored.update(*time, None, detections));
                prop_assert_eq!(rmp_serde::to_vec(whole.state()).unwrap(), rmp_serde::to_vec(restored.state()).unwrap());
            }
        }

        #[test]
        fn ids_are_never_used_again_and_removed_tracks_never_return(scene in scenes()) {
            let track = TrackConfig { max_tracks: 6, ..TrackConfig::default() };
            let analysis = AnalysisConfig { track, ..AnalysisConfig::default() };
            let groups = ClassGroups::default_of(&["car", "van", "person"].map(str::to_owned));
            let mut tracker = Tracker::new(&analysis, groups.clone());
            let mut of_track = BTreeMap::new();
            let mut gone = BTreeSet::new();
            let mut known = BTreeSet::new();
            for (time, detections) in &scene {
                let epoch = tracker.epoch();
                let tracks = tracker.update(*time, None, detections).tracks;
                if tracker.epoch() != epoch {
                    gone.append(&mut known);
                }
                for track in &tracks {
                    prop_assert!(!gone.contains(&track.track_id));
                    let group = groups.of(track.class_id);
                    prop_assert_eq!(*of_track.entry(track.track_id).or_insert(group), group);
                    prop_assert!(track.track_id > 0 && track.class_share > 0.0 && track.class_share <= 1.0);
                    prop_assert!(track.xyxy.iter().all(|v| v.is_finite()));
                    prop_assert!(track.xyxy[2] >= track.xyxy[0] && track.xyxy[3] >= track.xyxy[1]);
                    let matched = track.detection.map(|index| groups.of(detections[index].class_id));
                    prop_assert!(matched.is_none_or(|matched| matched == group));
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
