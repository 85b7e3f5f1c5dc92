//! What a processor writes for each frame, all or nothing.

use std::time::Duration;

use bytes::Bytes;
use peregrine_proto::{FrameHeader, FrameId, FrameResult, LossCount, LossReason, losses_for};

use crate::{
    Lease, Redis, StreamError, keys,
    lease::{millis, outcome, worker_name},
    ledger, script, value,
};

/// How many results a camera keeps unless told otherwise: about an hour at 10 frames per second.
pub const RESULTS_KEPT: u64 = 36_000;

/// How far a camera was analysed, and the state of the analysis there.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The last committed frame; [`FrameId::ZERO`] before the first.
    pub id: FrameId,
    /// Its `n`.
    pub n: u64,
    /// The newest `inc` seen.
    pub inc: u64,
    /// The state of tracker and speeds, opaque here, under 64 KiB; empty before the first frame.
    pub state: Bytes,
    /// What was lost up to there.
    pub lost: Losses,
}

/// Counts of lost frames by reason, sorted by reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Losses(Vec<LossCount>);

impl Losses {
    /// Counts more of them.
    pub fn add(&mut self, reason: LossReason, count: u64) {
        if count == 0 {
            return;
        }
        match self.0.binary_search_by_key(&reason, |c| c.reason) {
            Ok(at) => self.0[at].count = self.0[at].count.saturating_add(count),
            Err(at) => self.0.insert(at, LossCount { reason, count }),
        }
    }

    /// How many for this reason.
    pub fn get(&self, reason: LossReason) -> u64 {
        self.0.iter().find(|c| c.reason == reason).map_or(0, |c| c.count)
    }

    /// How many for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, c| sum.saturating_add(c.count))
    }

    /// As they travel.
    pub fn to_vec(&self) -> Vec<LossCount> {
        self.0.clone()
    }
}

impl FromIterator<LossCount> for Losses {
    fn from_iter<I: IntoIterator<Item = LossCount>>(counts: I) -> Self {
        let mut losses = Self::default();
        counts.into_iter().for_each(|c| losses.add(c.reason, c.count));
        losses
    }
}

pub(crate) fn decode_losses(bytes: &[u8]) -> Losses {
    // Written by us; what cannot be read (another release) starts the counts anew, which the ledger shows.
    serde_json::from_slice::<Vec<LossCount>>(bytes).map(Losses::from_iter).unwrap_or_default()
}

/// The consumer's side of the ledger: what it saw of a camera's stream, and what it did not.
///
/// Every frame given to the stream has the next `n`; a gap is exactly what the stream dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intake {
    /// The last frame's `n`.
    pub n: u64,
    /// The newest `inc`.
    pub inc: u64,
    /// What was lost so far.
    pub lost: Losses,
    garbage: u64,
}

/// Whether a frame is to be processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is the next one, after so many that were lost.
    Next {
        /// Frames dropped by the stream just before it.
        missed: u64,
    },
    /// A producer that was succeeded woke up and wrote it: leave it out, it was counted.
    StaleProducer,
}

impl Intake {
    /// Continues where a checkpoint ends.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Self {
        Self { n: checkpoint.n, inc: checkpoint.inc, lost: checkpoint.lost.clone(), garbage: 0 }
    }

    /// Takes note of the next frame of the stream. `missed` frames before it are counted.
    pub fn see(&mut self, header: &FrameHeader) -> Seen {
        // The same producer never repeats an n; a smaller one under a newer lease would be a producer that could not
        // read how far the last had come, and its frames are new all the same.
        if header.inc < self.inc || (header.inc == self.inc && header.n <= self.n) {
            self.lost.add(LossReason::StaleProducer, 1);
            return Seen::StaleProducer;
        }
        let missed = header.n.saturating_sub(self.n).saturating_sub(1);
        let malformed = missed.min(std::mem::take(&mut self.garbage));
        self.lost.add(LossReason::Malformed, malformed);
        self.lost.add(LossReason::QueueFull, missed - malformed);
        (self.n, self.inc) = (header.n, header.inc);
        Seen::Next { missed }
    }

    /// Takes note of an entry that is no frame. If it took an `n`, the gap it left is told apart from other drops.
    pub fn see_garbage(&mut self) {
        self.garbage = self.garbage.saturating_add(1);
    }
}

/// One frame's outcome, to be written.
#[derive(Debug, Clone)]
pub struct Commit<'a> {
    /// The lease under which the frame was processed.
    pub lease: &'a Lease,
    /// The frame.
    pub id: FrameId,
    /// The frame committed before it, as the checkpoint must still say.
    pub expected: FrameId,
    /// What was seen and lost up to and with this frame; its counts also belong in `result.lost`.
    pub intake: &'a Intake,
    /// The analysis' state after it, under 64 KiB.
    pub state: &'a [u8],
    /// The result; it is written in this version.
    pub result: &'a FrameResult,
    /// About how many results the camera keeps.
    pub results_kept: u64,
}

/// What a commit led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Written.
    Committed {
        /// Who asks for the camera.
        wanted_by: Option<String>,
    },
    /// It was written before: this was the retry after a lost reply. As good as `Committed`.
    AlreadyDone {
        /// Who asks for the camera.
        wanted_by: Option<String>,
    },
    /// The checkpoint was lost and this frame has its result already: progress was made, no second result written.
    CheckpointLost {
        /// Who asks for the camera.
        wanted_by: Option<String>,
    },
    /// Somebody else holds the camera. Nothing was written: discard every uncommitted state of this camera, also of
    /// frames in the pipeline behind this one.
    Fenced,
    /// The checkpoint is elsewhere. Nothing was written: discard everything as for `Fenced`, release, acquire anew.
    Stale {
        /// Where the checkpoint is.
        found: FrameId,
    },
}

impl Redis {
    /// Writes result, checkpoint and progress in one script, extends the lease, and frees the frame's memory.
    ///
    /// While Redis is away this waits and tries again, for however long: race it against shutdown. A retry is safe:
    /// the script knows a frame that it has written.
    ///
    /// # Errors
    /// Only what trying again would not mend.
    pub async fn commit(&self, commit: &Commit<'_>) -> Result<CommitOutcome, StreamError> {
        let result = peregrine_proto::encode(commit.result);
        let lost = losses_for(&commit.intake.lost.0, commit.result.schema);
        let lost = serde_json::to_vec(&lost).unwrap_or_default();
        let camera = &commit.lease.camera;
        let trim_to = if self.split { String::new() } else { commit.id.next().to_string() };
        let keys = [
            keys::lease(commit.lease.role, camera),
            keys::frames(camera),
            keys::results(camera),
            keys::checkpoint(camera),
        ];
        let (id, expected) = (commit.id.to_string(), commit.expected.to_string());
        let (n, inc) = (commit.intake.n.to_string(), commit.intake.inc.to_string());
        let (epoch, kept) = (commit.lease.epoch.to_string(), commit.results_kept.to_string());
        let ttl = millis(commit.lease.ttl);
        let counted_as = ledger::counted_as(commit.result).unwrap_or_default();
        let args: [&[u8]; 13] = [
            commit.lease.fence.as_bytes(),
            id.as_bytes(),
            expected.as_bytes(),
            n.as_bytes(),
            inc.as_bytes(),
            commit.state,
            &lost,
            &result,
            epoch.as_bytes(),
            ttl.as_bytes(),
            kept.as_bytes(),
            trim_to.as_bytes(),
            counted_as.as_bytes(),
        ];
        let reply = loop {
            match script::COMMIT.run(&self.state, &keys, &args).await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(%camera, frame = %commit.id, %error, "commit not answered: trying again");
                    // The connection itself spaces its attempts; this only keeps a refusing server from being hammered.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => break other?,
            }
        };
        let parsed = match outcome(&reply) {
            Some(("OK", Some(who))) => CommitOutcome::Committed { wanted_by: worker_name(who) },
            Some(("DONE", Some(who))) => CommitOutcome::AlreadyDone { wanted_by: worker_name(who) },
            Some(("DUP", Some(who))) => CommitOutcome::CheckpointLost { wanted_by: worker_name(who) },
            Some(("FENCED", _)) => CommitOutcome::Fenced,
            Some(("STALE", Some(found))) => {
                CommitOutcome::Stale { found: value::frame_id(found).unwrap_or_default() }
            }
            Some(("FAULT", Some(why))) => {
                return Err(StreamError::Refused {
                    url: self.state.url.clone(),
                    what: format!("the result of camera {camera}"),
                    why: value::text(why).unwrap_or_default().to_owned(),
                });
            }
            _ => return Err(value::unexpected("COMMIT", &reply)),
        };
        let done = !matches!(parsed, CommitOutcome::Fenced | CommitOutcome::Stale { .. });
        if self.split && done {
            // Safe after the fact: reading starts after the checkpoint. What is missed here goes with the next commit.
            let mut trim = redis::cmd("XTRIM");
            trim.arg(&keys[1]).arg("MINID").arg("=").arg(commit.id.next().to_string());
            if let Err(error) = self.frames.run(&trim).await {
                tracing::debug!(%camera, %error, "frames not trimmed: the next commit will");
            }
        }
        Ok(parsed)
    }

    /// The camera's checkpoint, for display; the holder of a lease got it with the lease.
    ///
    /// # Errors
    /// When the server does not answer or answers nonsense.
    pub async fn checkpoint(&self, camera: &peregrine_proto::CameraId) -> Result<Checkpoint, StreamError> {
        let mut command = redis::cmd("HMGET");
        command.arg(keys::checkpoint(camera)).arg(&["id", "n", "inc", "state", "lost"]);
        let reply = self.state.run(&command).await?;
        let mut parts = value::list(reply).unwrap_or_default().into_iter();
        let mut next = || parts.next().unwrap_or_default();
        Ok(Checkpoint {
            id: value::frame_id(&next()).unwrap_or_default(),
            n: value::unsigned(&next()).unwrap_or_default(),
            inc: value::unsigned(&next()).unwrap_or_default(),
            state: value::bytes(next()).unwrap_or_default(),
            lost: value::bytes(next()).map(|b| decode_losses(&b)).unwrap_or_default(),
        })
    }
}
