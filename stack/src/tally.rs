//! What the results of a run say, counted while they come: the stack's own reading of the streams, independent of what any daemon
//! says of itself.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use peregrine_proto::{CameraId, FrameId, FrameResult, LossReason, ResultStatus, Stage, TrackState};

use crate::quantiles::Quantiles;

/// Speeds kept of one track; people who stay longer are known well enough.
const MOST_SPEEDS: usize = 4096;
/// Results that count as the latest.
const RECENT: usize = 64;
/// A track whose median speed is at least this moves, metres per second: below lies the jitter of boxes of those who stand.
pub const MOVING_FROM_MPS: f64 = 0.3;

/// Of one camera.
#[derive(Debug, Clone, Default)]
pub struct CameraTally {
    /// Analysed frames.
    pub processed: u64,
    /// Frames left out, by reason.
    pub skipped: BTreeMap<LossReason, u64>,
    /// Frames given up after they killed their worker.
    pub poison: u64,
    /// Entries that close a file.
    pub ended: u64,
    /// Frames that never came: gaps in `n`.
    pub missing: u64,
    /// Results whose `n` or id does not follow the one before: must stay 0.
    pub disordered: u64,
    /// Results that cannot be decoded: must stay 0.
    pub unreadable: u64,
    /// The last frame's `n`.
    pub last_n: u64,
    /// The last frame.
    pub last_id: FrameId,
    /// What the processor says was lost.
    pub lost: BTreeMap<LossReason, u64>,
    /// From capture to the result seen here, milliseconds.
    pub age_ms: Quantiles,
    /// By stage, milliseconds. `commit` is what the others leave of the age: until the result was seen here.
    pub stages_ms: BTreeMap<Stage, Quantiles>,
    /// Objects detected, over all frames.
    pub detections: u64,
    /// Tracks that were seen often enough to count, over all track epochs.
    pub confirmed_tracks: u64,
    /// Median speeds of the tracks that ended, metres per second.
    pub(crate) speeds: Vec<f32>,
    /// Tracks that may still come, by track epoch and id.
    pub(crate) following: BTreeMap<(u32, u32), Followed>,
    /// The ages of the latest results, milliseconds.
    pub recent_ages_ms: VecDeque<f64>,
    /// Objects in the latest analysed frame.
    pub objects: usize,
    /// When the first result came.
    pub first: Option<Instant>,
    /// When the latest came.
    pub latest: Option<Instant>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Followed {
    confirmed: bool,
    speeds: Vec<f32>,
}

impl CameraTally {
    /// All results, whatever they say.
    pub fn results(&self) -> u64 {
        self.processed + self.skipped_total() + self.poison + self.ended
    }

    /// Frames left out before inference.
    pub fn skipped_total(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// Counts a result that was seen at `seen_at_us` (wall clock).
    pub fn add(&mut self, id: FrameId, result: &FrameResult, seen_at_us: i64) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.latest = Some(now);
        // An entry that is no frame has no number of its own.
        let numberless = result.reason == Some(LossReason::Malformed) && result.n == self.last_n;
        if (result.n <= self.last_n && !numberless) || id <= self.last_id {
            self.disordered += 1;
        } else {
            self.missing += (result.n - self.last_n).saturating_sub(1);
        }
        (self.last_n, self.last_id) = (result.n.max(self.last_n), id.max(self.last_id));
        self.lost = result.lost.iter().map(|loss| (loss.reason, loss.count)).collect();
        match result.status {
            ResultStatus::Ok => self.add_analysed(result, seen_at_us),
            ResultStatus::Skipped | ResultStatus::Predicted | ResultStatus::Other(_) => {
                *self.skipped.entry(result.reason.unwrap_or(LossReason::Malformed)).or_default() += 1;
            }
            ResultStatus::Poison => self.poison += 1,
            ResultStatus::End => self.ended += 1,
        }
    }

    fn add_analysed(&mut self, result: &FrameResult, seen_at_us: i64) {
        self.processed += 1;
        self.detections += result.detections.len() as u64;
        let age_us = seen_at_us - result.captured_at_us;
        self.age_ms.add(age_us as f64 / 1e3);
        if self.recent_ages_ms.len() == RECENT {
            self.recent_ages_ms.pop_front();
        }
        self.recent_ages_ms.push_back(age_us as f64 / 1e3);
        self.objects = result.detections.len();
        let mut explained_us = 0;
        for time in &result.stages {
            self.stages_ms.entry(time.stage).or_default().add(f64::from(time.us) / 1e3);
            // Waiting for the source comes before the frame's capture time is taken.
            if time.stage != Stage::Capture {
                explained_us += i64::from(time.us);
            }
        }
        let commit = self.stages_ms.entry(Stage::Commit).or_default();
        commit.add((age_us - explained_us) as f64 / 1e3);
        self.add_tracks(result);
    }

    fn add_tracks(&mut self, result: &FrameResult) {
        for track in &result.tracks {
            let followed = self.following.entry((result.track_epoch, track.track_id)).or_default();
            followed.confirmed |= track.state == TrackState::Tracked;
            if let Some(speed) = track
                .speed
                .filter(|_| track.state == TrackState::Tracked && followed.speeds.len() < MOST_SPEEDS)
            {
                followed.speeds.push(speed.speed_mps);
            }
        }
        let over: Vec<_> = self
            .following
            .keys()
            .filter(|(epoch, id)| {
                let still = |t: &&peregrine_proto::Track| t.track_id == *id && t.state != TrackState::Removed;
                *epoch != result.track_epoch || !result.tracks.iter().any(|t| still(&t))
            })
            .copied()
            .collect();
        for key in over {
            self.following.remove(&key).into_iter().for_each(|followed| self.end_track(followed));
        }
    }

    fn end_track(&mut self, followed: Followed) {
        /// A long demo sees many people; the newest tell enough.
        const MOST_TRACKS: usize = 10_000;
        self.confirmed_tracks += u64::from(followed.confirmed);
        self.speeds.extend(median(followed.speeds));
        if self.speeds.len() > MOST_TRACKS {
            self.speeds.drain(..MOST_TRACKS / 2);
        }
    }

    /// Ends every track that is still followed: their speeds count from now on.
    pub fn close(&mut self) {
        for followed in std::mem::take(&mut self.following).into_values() {
            self.end_track(followed);
        }
    }

    /// The median speed of each track that had one, metres per second.
    pub fn track_speeds_mps(&self) -> &[f32] {
        &self.speeds
    }
}

fn median(mut values: Vec<f32>) -> Option<f32> {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Of all cameras.
pub type Tally = BTreeMap<CameraId, CameraTally>;
