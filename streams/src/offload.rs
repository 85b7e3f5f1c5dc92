//! Detection for others: a worker that cannot keep up asks any idle one with the same model.
//!
//! Requests lie in a list from which idle workers pop; answers in a list of the worker that asked. An entry may get lost with the
//! connection that popped it, and nobody may come for one: whoever asked still has the frame, and does not wait for long.
//! So both lists are short, and go away by themselves.

use std::{marker::PhantomData, time::Duration};

use peregrine_proto::{DetectAnswer, DetectRequest, codec::Checked};

use crate::{Redis, StreamError, keys, lease::millis, servers::Servers, value};

/// The longest wait for an entry.
const BLOCK: Duration = Duration::from_secs(5);
/// Entries that a list holds; the oldest are dropped.
const MOST_WAITING: i64 = 64;
/// A list to which nothing is added goes away.
const KEPT_FOR: Duration = Duration::from_secs(10);

impl Redis {
    /// Asks idle workers with this model.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn ask_to_detect(&self, model: &str, request: &DetectRequest) -> Result<(), StreamError> {
        self.push(&keys::detect_requests(model), &peregrine_proto::encode(request)).await
    }

    /// Answers the worker that asked, see `DetectRequest::answer_to`.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn answer_detect(&self, to: &str, answer: &DetectAnswer) -> Result<(), StreamError> {
        self.push(&keys::detect_answers(to), &peregrine_proto::encode(answer)).await
    }

    /// What workers with this model ask for.
    pub fn detect_requests(&self, model: &str) -> DetectQueue<DetectRequest> {
        DetectQueue::new(self, keys::detect_requests(model))
    }

    /// What is answered to a worker.
    pub fn detect_answers(&self, worker: &str) -> DetectQueue<DetectAnswer> {
        DetectQueue::new(self, keys::detect_answers(worker))
    }

    async fn push(&self, key: &str, entry: &[u8]) -> Result<(), StreamError> {
        let mut commands = redis::pipe();
        commands.cmd("RPUSH").arg(key).arg(entry);
        commands.cmd("LTRIM").arg(key).arg(-MOST_WAITING).arg(-1);
        commands.cmd("PEXPIRE").arg(key).arg(millis(KEPT_FOR));
        match self.state.run_all(&commands).await?.into_iter().next() {
            Some(redis::Value::ServerError(error)) => Err(self.state.refusal(error, "RPUSH".into())),
            _ => Ok(()),
        }
    }
}

/// A list from which entries are taken, each by one taker, over a blocking connection of its own.
pub struct DetectQueue<T> {
    servers: Servers,
    key: String,
    entries: PhantomData<T>,
}

impl<T: Checked> DetectQueue<T> {
    fn new(redis: &Redis, key: String) -> Self {
        Self { servers: redis.state.blocking(BLOCK), key, entries: PhantomData }
    }

    /// The next entry; none within five seconds, or where it cannot be read, as of another release. Not to be dropped
    /// while it waits: what was popped would be lost, and the next one would wait behind it.
    ///
    /// # Errors
    /// When the connection is lost or does not answer; it is made anew, after a growing pause.
    pub async fn next(&mut self) -> Result<Option<T>, StreamError> {
        let mut pop = redis::cmd("BLPOP");
        pop.arg(&self.key).arg(BLOCK.as_secs());
        let popped = value::list(self.servers.run(&pop).await?).unwrap_or_default().pop();
        let Some(entry) = popped.and_then(value::bytes) else { return Ok(None) };
        Ok(peregrine_proto::decode(&entry)
            .inspect_err(|error| tracing::warn!(list = self.key, %error, "entry left out"))
            .ok())
    }
}
