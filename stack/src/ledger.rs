//! Where every frame ended, from counts that were made independently of each other: by Redis, by the producer, and from the results.

use std::collections::BTreeMap;

use peregrine_proto::{CameraId, LossReason};
use peregrine_streams::{SourceState, keys};
use redis::{Connection, RedisResult, Value};
use serde::Serialize;

use crate::tally::CameraTally;

/// A camera's counts, and whether they agree.
#[derive(Debug, Clone, Serialize)]
pub struct Ledger {
    /// The camera.
    pub camera: CameraId,
    /// Whether all counts agree.
    pub balanced: bool,
    /// Which do not, in sentences.
    pub disagreements: Vec<String>,
    /// What Redis counted.
    pub redis: RedisCounts,
    /// What the producer says it did.
    pub producer: ProducerCounts,
    /// What stands in the results.
    pub results: ResultCounts,
}

/// Counted by the Redis server (`XINFO STREAM`): nobody can forget to count there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RedisCounts {
    /// Entries ever added to the camera's frames.
    pub frames_added: u64,
    /// Entries still there.
    pub frames_left: u64,
    /// Entries ever added to the camera's results.
    pub results_added: u64,
}

/// From the producer's record of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProducerCounts {
    /// Frames given to the stream, without those that close a file; none where the producer never said.
    pub published: Option<u64>,
    /// Frames that never reached the stream, by reason.
    pub dropped: BTreeMap<LossReason, u64>,
}

/// Counted from the results as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ResultCounts {
    /// Analysed frames.
    pub processed: u64,
    /// Frames left out before inference, by reason.
    pub skipped: BTreeMap<LossReason, u64>,
    /// Frames given up after they killed their worker.
    pub poison: u64,
    /// Entries that close a file.
    pub ended: u64,
    /// Gaps in the frames' own count.
    pub missing: u64,
    /// What the processor says was lost.
    pub lost: BTreeMap<LossReason, u64>,
    /// Results out of order, twice, or unreadable.
    pub faults: u64,
}

impl Ledger {
    /// Draws up the account of a camera.
    pub fn new(camera: CameraId, redis: RedisCounts, producer: ProducerCounts, tally: &CameraTally) -> Self {
        let results = ResultCounts {
            processed: tally.processed,
            skipped: tally.skipped.clone(),
            poison: tally.poison,
            ended: tally.ended,
            missing: tally.missing,
            lost: tally.lost.clone(),
            faults: tally.disordered + tally.unreadable,
        };
        let mut disagreements = Vec::new();
        let mut equal = |left: u64, left_is: &str, right: u64, right_is: &str| {
            if left != right {
                disagreements.push(format!("{left} {left_is}, but {right} {right_is}"));
            }
        };
        let lost = |reason| results.lost.get(&reason).copied().unwrap_or(0);
        let stale = lost(LossReason::StaleProducer);
        equal(redis.results_added, "results written (Redis)", tally.results(), "results read");
        equal(
            redis.frames_added,
            "frames written (Redis)",
            tally.results() + tally.missing + stale + redis.frames_left,
            "frames with a result, missing, stale or still waiting",
        );
        equal(
            tally.missing,
            "gaps in the count of frames",
            results.lost.values().sum::<u64>() - stale,
            "frames lost (processor)",
        );
        if let Some(published) = producer.published {
            let written = redis.frames_added.saturating_sub(tally.ended);
            equal(written, "frames written (Redis)", published, "frames published (producer)");
        }
        equal(results.faults, "results out of order or unreadable", 0, "allowed");
        Self { camera, balanced: disagreements.is_empty(), disagreements, redis, producer, results }
    }

    /// Frames that were wanted of the source: published ones without the end of the file, and those dropped before.
    pub fn produced(&self) -> u64 {
        self.redis.frames_added - self.results.ended.min(self.redis.frames_added)
            + self.producer.dropped.values().sum::<u64>()
            - self.left_out()
    }

    /// Frames left out on purpose: every Nth is wanted.
    pub fn left_out(&self) -> u64 {
        self.producer.dropped.get(&LossReason::NotWanted).copied().unwrap_or(0)
    }

    /// Frames dropped, by reason: before the stream (producer) and in it (processor).
    pub fn dropped(&self) -> BTreeMap<LossReason, u64> {
        let mut dropped = self.producer.dropped.clone();
        for (reason, count) in &self.results.lost {
            *dropped.entry(*reason).or_default() += count;
        }
        dropped.retain(|reason, count| *count > 0 && *reason != LossReason::NotWanted);
        dropped
    }
}

/// What the producer says of a camera's source; none where no producer has had the camera.
pub(crate) fn source_state(state: &mut Connection, camera: &CameraId) -> RedisResult<Option<SourceState>> {
    let fields: BTreeMap<String, String> = redis::cmd("HGETALL").arg(keys::source(camera)).query(state)?;
    let json = |(name, value): (String, String)| {
        Some((name, serde_json::from_str::<serde_json::Value>(&value).ok()?))
    };
    let fields: serde_json::Map<_, _> = fields.into_iter().filter_map(json).collect();
    if fields.is_empty() { Ok(None) } else { Ok(serde_json::from_value(fields.into()).ok()) }
}

impl From<SourceState> for ProducerCounts {
    fn from(source: SourceState) -> Self {
        let dropped = source.lost.iter().map(|loss| (loss.reason, loss.count)).collect();
        // The stream's count begins before the source's where the camera had another source.
        let published = source.first_n.checked_sub(1).map(|before| before + source.published);
        Self { published, dropped }
    }
}

/// Asks Redis what it counted for a camera. `frames` may be another server.
pub(crate) fn redis_counts(
    state: &mut Connection,
    frames: &mut Connection,
    camera: &CameraId,
) -> RedisResult<RedisCounts> {
    let (frames_added, frames_left) = stream_counts(frames, &keys::frames(camera))?;
    let (results_added, _) = stream_counts(state, &keys::results(camera))?;
    Ok(RedisCounts { frames_added, frames_left, results_added })
}

/// Entries ever added, and entries there now; nothing of a stream that does not exist.
fn stream_counts(connection: &mut Connection, key: &str) -> RedisResult<(u64, u64)> {
    if !redis::cmd("EXISTS").arg(key).query::<bool>(connection)? {
        return Ok((0, 0));
    }
    let info: BTreeMap<String, Value> = redis::cmd("XINFO").arg("STREAM").arg(key).query(connection)?;
    let number = |name: &str| info.get(name).and_then(|v| redis::from_redis_value_ref(v).ok()).unwrap_or(0);
    Ok((number("entries-added"), number("length")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(redis: RedisCounts, published: u64, tally: &CameraTally) -> Ledger {
        let producer = ProducerCounts { published: Some(published), ..Default::default() };
        Ledger::new(CameraId::new("a").unwrap(), redis, producer, tally)
    }

    #[test]
    fn honest_counts_do_not_balance() {
        let mut tally = CameraTally { processed: 90, missing: 6, ended: 1, ..Default::default() };
        tally.skipped.insert(LossReason::TooOld, 2);
        tally.lost = BTreeMap::from([(LossReason::QueueFull, 6), (LossReason::StaleProducer, 1)]);
        let redis = RedisCounts { frames_added: 102, frames_left: 2, results_added: 93 };
        let ledger = ledger(redis, 101, &tally);
        assert_eq!(ledger.disagreements, Vec::<String>::new());
        assert_eq!(ledger.produced(), 101);
        assert_eq!(ledger.dropped().values().sum::<u64>(), 7);
    }

    #[test]
    fn a_frame_that_vanished_goes_unnoticed() {
        let tally = CameraTally { processed: 9, ..Default::default() };
        let vanished = ledger(RedisCounts { frames_added: 10, frames_left: 0, results_added: 9 }, 10, &tally);
        assert!(!vanished.balanced);
        let unread = ledger(RedisCounts { frames_added: 9, frames_left: 0, results_added: 10 }, 9, &tally);
        assert!(!unread.balanced);
        let unpublished =
            ledger(RedisCounts { frames_added: 9, frames_left: 0, results_added: 9 }, 8, &tally);
        assert!(!unpublished.balanced);
    }
}
