//! A tracker's state as the release before reads it: objects that are not told to anybody, sightings of those that are not
//! confirmed, and all but the first of an object's classes are left out. Nothing of that takes an id from a track.

use peregrine_proto::TrackState;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct State {
    epoch: u32,
    last_id: u32,
    last_frame_us: Option<i64>,
    interval_s: Option<f32>,
    tracks: Vec<Followed>,
}

#[derive(Serialize)]
struct Followed {
    id: u32,
    class_id: u16,
    state: TrackState,
    #[serde(with = "crate::packed")]
    filter: [f32; 20],
    confidence: f32,
    last_seen_us: i64,
}

impl State {
    pub(super) fn of(state: &super::State) -> Self {
        let told = state.tracks.iter().filter(|track| track.id > 0);
        Self {
            epoch: state.epoch,
            last_id: state.last_id,
            last_frame_us: state.last_frame_us,
            interval_s: state.interval_s,
            tracks: told.map(Followed::of).collect(),
        }
    }
}

impl Followed {
    fn of(track: &super::Followed) -> Self {
        Self {
            id: track.id,
            class_id: track.tally.majority(),
            state: track.state,
            filter: track.filter.for_schema_2(),
            confidence: track.confidence,
            last_seen_us: track.last_seen_us,
        }
    }
}
