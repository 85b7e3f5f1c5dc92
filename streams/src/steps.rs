//! Steps of simulators and robots, followed by whoever shows them. A stream's map is kept apart from its steps, once.

use std::time::Duration;

use bytes::Bytes;
use peregrine_proto::{DecodeError, FrameId, Step, StreamId};
use redis::Value;

use crate::{
    Redis, StreamError, Waker,
    follow::Follower,
    keys,
    lease::{latest_real_ms, millis},
    value,
};

/// About so many steps of a stream stay: 20 s at 50 a second.
pub const STEPS_KEPT: usize = 1000;
/// A stream without steps for so long is forgotten.
pub const STREAM_KEPT: Duration = Duration::from_secs(3600);

/// A step in its stream.
#[derive(Debug, Clone)]
pub struct StepEntry {
    /// Whose.
    pub stream: StreamId,
    /// When it was taken by the server's clock, and a sequence.
    pub id: FrameId,
    /// The encoded [`Step`] without its map, to be passed on as it is.
    pub encoded: Bytes,
    /// The encoded map, where one came with this step.
    pub map: Option<Bytes>,
    /// Whether a map came with it.
    has_map: bool,
}

impl StepEntry {
    /// Reads the step.
    ///
    /// # Errors
    /// When it is none, or of another release.
    pub fn decode(&self) -> Result<Step, DecodeError> {
        peregrine_proto::decode(&self.encoded)
    }

    fn from_entry(stream: StreamId, mut entry: value::Entry) -> Option<Self> {
        let encoded = entry.take("s")?;
        let has_map = entry.take("m").is_some();
        Some(Self { stream, id: entry.id, encoded, map: None, has_map })
    }
}

/// A step on its way into its stream, encoded.
#[derive(Debug, Clone)]
pub struct NewStep {
    /// The [`Step`] without its map.
    pub step: Vec<u8>,
    /// The map, where one comes with it.
    pub map: Option<Vec<u8>>,
}

/// A stream of steps that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownStream {
    /// Its name.
    pub stream: StreamId,
    /// How long ago a step came, as far as was noted.
    pub silent: Duration,
}

impl Redis {
    /// Adds steps in their order; gives the id of the last one.
    ///
    /// # Errors
    /// When the server does not answer, is full, or `steps` is empty.
    pub async fn put_steps(&self, stream: &StreamId, steps: &[NewStep]) -> Result<FrameId, StreamError> {
        let (key, map_key) = (keys::steps(stream), keys::step_map(stream));
        let kept = millis(STREAM_KEPT);
        let mut commands = redis::pipe();
        for NewStep { step, map } in steps {
            if let Some(map) = map {
                commands.cmd("SET").arg(&map_key).arg(map).arg("PX").arg(&kept);
            }
            let add = commands.cmd("XADD").arg(&key).arg("MAXLEN").arg("~").arg(STEPS_KEPT).arg("*");
            add.arg("s").arg(step);
            if map.is_some() {
                add.arg("m").arg(1);
            }
        }
        let last = commands.len().saturating_sub(1);
        commands.cmd("PEXPIRE").arg(&key).arg(&kept);
        commands.cmd("PEXPIRE").arg(&map_key).arg(&kept);
        let mut id = None;
        for (at, answer) in self.frames.run_all(&commands).await?.into_iter().enumerate() {
            match answer {
                Value::ServerError(error) => return Err(self.frames.refusal(error, "XADD".into())),
                answer if at == last => id = value::frame_id(&answer),
                _ => {}
            }
        }
        id.ok_or(StreamError::Answer { what: "XADD", found: "no id".into() })
    }

    /// Whether steps cannot be kept now, and this is not the moment to try.
    pub fn is_away_for(&self, stream: &StreamId) -> bool {
        self.frames.is_down(&keys::steps(stream))
    }

    /// Notes that steps come. Once a second is enough.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn note_stream(&self, stream: &StreamId) -> Result<(), StreamError> {
        let now_ms = self.state.time_us(keys::STREAMS).await? / 1000;
        let mut commands = redis::pipe();
        let forgotten_ms = now_ms - i64::try_from(STREAM_KEPT.as_millis()).unwrap_or(i64::MAX);
        commands.cmd("ZREMRANGEBYSCORE").arg(keys::STREAMS).arg("-inf").arg(forgotten_ms);
        commands.cmd("ZADD").arg(keys::STREAMS).arg(now_ms).arg(stream.as_str());
        match self.state.run_all(&commands).await?.pop() {
            Some(Value::ServerError(error)) => Err(self.state.refusal(error, "ZADD".into())),
            _ => Ok(()),
        }
    }

    /// The streams of steps that came lately, by name.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn streams(&self) -> Result<Vec<KnownStream>, StreamError> {
        let now_ms = self.state.time_us(keys::STREAMS).await? / 1000;
        let mut range = redis::cmd("ZRANGE");
        range.arg(keys::STREAMS).arg(0).arg(-1).arg("WITHSCORES");
        let mut streams = Vec::new();
        for (name, seen) in value::pairs(self.state.run(&range).await?).unwrap_or_default() {
            let (Ok(stream), Some(seen_ms)) = (StreamId::new(&name), value::integer(&seen)) else { continue };
            if seen_ms > latest_real_ms(now_ms) {
                continue;
            }
            let silent = Duration::from_millis((now_ms - seen_ms).max(0).unsigned_abs());
            if silent < STREAM_KEPT {
                streams.push(KnownStream { stream, silent });
            }
        }
        streams.sort_by(|a, b| a.stream.cmp(&b.stream));
        Ok(streams)
    }
}

/// Follows the steps of many streams over one blocking connection.
pub struct StepReader {
    follower: Follower,
    redis: Redis,
}

impl StepReader {
    /// A reader that follows no stream yet.
    pub fn new(redis: &Redis) -> Self {
        Self { follower: Follower::new(&redis.frames, keys::steps), redis: redis.clone() }
    }

    /// Follows a stream from its newest step on, and gives that one with the map: to join late.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn join(&mut self, stream: &StreamId) -> Result<Option<StepEntry>, StreamError> {
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(keys::steps(stream)).arg("+").arg("-").arg("COUNT").arg(1);
        let entry = value::entries(self.redis.frames.run(&newest).await?).unwrap_or_default().pop();
        let after = entry.as_ref().map_or(FrameId::ZERO, |entry| entry.id);
        let mut newest = entry.and_then(|entry| StepEntry::from_entry(stream.clone(), entry));
        if let Some(newest) = &mut newest {
            newest.map = self.map(stream).await?;
        }
        self.follower.follow(stream, after, usize::MAX);
        Ok(newest)
    }

    /// Stops following a stream.
    pub fn unfollow(&mut self, stream: &StreamId) {
        self.follower.unfollow(stream);
    }

    /// Ends a wait of this reader from elsewhere.
    pub fn waker(&self) -> Waker {
        self.follower.waker()
    }

    /// Reads what there is, or waits for it; nothing after `block` (5 s at most) or a wake-up. A stream that was made
    /// anew is followed from its beginning.
    ///
    /// # Errors
    /// When the connection is lost or does not answer. No step is lost by it: read again.
    pub async fn read(&mut self, block: Duration) -> Result<Vec<StepEntry>, StreamError> {
        let batch = self.follower.read(block).await?;
        for stream in &batch.recreated {
            self.follower.follow(stream, FrameId::ZERO, usize::MAX);
        }
        let mut entries: Vec<StepEntry> = batch
            .entries
            .into_iter()
            .filter_map(|(stream, entry)| StepEntry::from_entry(stream, entry))
            .collect();
        for entry in entries.iter_mut().filter(|entry| entry.has_map) {
            // The newest map there is; an older one is of no use any more. Without an answer, the steps still count.
            entry.map = self.map(&entry.stream).await.unwrap_or_default();
        }
        Ok(entries)
    }

    async fn map(&self, stream: &StreamId) -> Result<Option<Bytes>, StreamError> {
        let map = self.redis.frames.run(redis::cmd("GET").arg(keys::step_map(stream))).await?;
        Ok(value::bytes(map))
    }
}
