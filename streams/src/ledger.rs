//! Where the frames of a camera ended, from counts that were made independently of each other: by the producer, by the
//! owner, and by the Redis server itself.

use peregrine_proto::{CameraId, FrameResult, LossCount, LossReason, ResultStatus};
use redis::Value;

use crate::{Losses, Redis, StreamError, commit::decode_losses, keys, servers::Answer, value};

/// The field of a checkpoint that counts the entries which closed a file.
const ENDED: &str = "ended";

/// A camera's account. Its parts are read one after the other: while frames flow, they are of slightly different moments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Results ever written, by the Redis server's own count.
    pub results: u64,
    /// Of them, entries that closed a file.
    pub ended: u64,
    /// Of them, frames that were left out before inference or given up.
    pub skipped: Losses,
    /// Frames that were given to the stream and never came, as the owner counts them.
    pub lost: Losses,
    /// Entries that wait in the stream.
    pub waiting: u64,
}

impl Account {
    /// Frames that were analysed.
    pub fn processed(&self) -> u64 {
        self.results.saturating_sub(self.ended).saturating_sub(self.skipped.total())
    }

    /// Frames with one of these ends, or still waiting.
    pub fn accounted(&self) -> u64 {
        self.results.saturating_sub(self.ended) + self.lost.total() + self.waiting
    }
}

/// The field of a checkpoint that counts results of this kind; none for analysed frames, which are the rest.
pub(crate) fn counted_as(result: &FrameResult) -> Option<String> {
    match result.status {
        ResultStatus::Ok => None,
        ResultStatus::End => Some(ENDED.to_owned()),
        ResultStatus::Poison => Some(skipped(LossReason::Poison)),
        ResultStatus::Skipped | ResultStatus::Predicted | ResultStatus::Other(_) => {
            Some(skipped(result.reason.unwrap_or(LossReason::Malformed)))
        }
    }
}

fn skipped(reason: LossReason) -> String {
    format!("skipped:{reason}")
}

impl Redis {
    /// The account of each of these cameras. A camera whose node of a cluster does not answer while others do has an
    /// empty one.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn accounts(&self, cameras: &[CameraId]) -> Result<Vec<Account>, StreamError> {
        let mut checkpoints = redis::pipe();
        for camera in cameras {
            checkpoints.cmd("HMGET").arg(keys::checkpoint(camera)).arg("lost").arg(ENDED);
            for &reason in LossReason::ALL {
                checkpoints.arg(skipped(reason));
            }
        }
        let progress = self.progress(cameras).await?;
        let checkpoints = self.state.survey(&checkpoints).await?;
        let account = |(progress, checkpoint): (crate::Progress, Option<Answer>)| {
            let fields = checkpoint.and_then(|answer| value::list(answer.value)).unwrap_or_default();
            Account { results: progress.results, waiting: progress.backlog, ..counted(fields) }
        };
        Ok(progress.into_iter().zip(checkpoints).map(account).collect())
    }
}

fn counted(fields: Vec<Value>) -> Account {
    let mut fields = fields.into_iter();
    let lost = fields.next().and_then(value::bytes).map(|bytes| decode_losses(&bytes)).unwrap_or_default();
    let ended = fields.next().as_ref().and_then(value::unsigned).unwrap_or(0);
    let counts = fields.map(|count| value::unsigned(&count).unwrap_or(0));
    let skipped = LossReason::ALL.iter().zip(counts).map(|(&reason, count)| LossCount { reason, count });
    Account { lost, ended, skipped: skipped.collect(), ..Account::default() }
}
