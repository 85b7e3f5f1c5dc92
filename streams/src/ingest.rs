//! JPEG frames that clients bring: one at a time, and only when the camera's producer has asked for it. So nothing
//! queues up: what comes while the pipeline is busy, or while no producer is there, is not taken.

use std::time::Duration;

use bytes::Bytes;
use peregrine_proto::{CameraId, FrameId};
use redis::Value;

use crate::{Redis, StreamError, keys, lease::millis, servers::Servers, value};

/// A producer's question stands for so long after its read has ended.
const MARGIN: Duration = Duration::from_secs(1);
/// A frame that nobody fetched for so long is too old.
pub const INGESTED_KEPT_FOR: Duration = Duration::from_secs(3);

/// What a question holds where nothing was wrong with the frame before.
const NOTHING_WRONG: &str = "1";

/// What became of a frame that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// The producer has not asked for one: the frame is not taken.
    NotAsked,
    /// It goes to the producer.
    Taken {
        /// Why the producer could not use the frame before this one, if so.
        refused: Option<String>,
    },
}

/// A frame as a client brought it.
#[derive(Debug, Clone)]
pub struct IngestedFrame {
    /// When it came by the server's clock, and a sequence.
    pub id: FrameId,
    /// JPEG, or whatever else the client took for it.
    pub jpeg: Bytes,
}

impl Redis {
    /// Offers a frame of a camera to its producer.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn offer_frame(&self, camera: &CameraId, jpeg: &[u8]) -> Result<Offered, StreamError> {
        let asked = self.frames.run(redis::cmd("GETDEL").arg(keys::ingest_asked(camera))).await?;
        let Some(asked) = value::text(&asked) else { return Ok(Offered::NotAsked) };
        let refused = (asked != NOTHING_WRONG).then(|| asked.to_owned());
        let key = keys::ingest(camera);
        let mut commands = redis::pipe();
        commands.cmd("XADD").arg(&key).arg("MAXLEN").arg(1).arg("*").arg("jpeg").arg(jpeg);
        commands.cmd("PEXPIRE").arg(&key).arg(millis(INGESTED_KEPT_FOR));
        match self.frames.run_all(&commands).await?.into_iter().next() {
            Some(Value::ServerError(error)) => Err(self.frames.refusal(error, "XADD".into())),
            _ => Ok(Offered::Taken { refused }),
        }
    }
}

/// Asks for frames of one camera, over a blocking connection of its own.
pub struct IngestReader {
    servers: Servers,
    block: Duration,
    camera: CameraId,
    /// Read, and to be removed. The next one is whichever is there then: its id may be smaller where the clock went back.
    read: Option<FrameId>,
    /// Why the last frame could not be used; told to whoever brings the next.
    refused: Option<String>,
}

impl IngestReader {
    /// A reader whose reads block up to `block`.
    pub fn new(redis: &Redis, camera: &CameraId, block: Duration) -> Self {
        let servers = redis.frames.blocking(block);
        Self { servers, block, camera: camera.clone(), read: None, refused: None }
    }

    /// The last frame cannot be used, and why: the next question says so.
    pub fn refuse(&mut self, why: String) {
        self.refused = Some(why);
    }

    /// Asks for a frame and waits for it; none where none came in time.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn next(&mut self) -> Result<Option<IngestedFrame>, StreamError> {
        let key = keys::ingest(&self.camera);
        if let Some(read) = self.read {
            self.servers.run(redis::cmd("XDEL").arg(&key).arg(read.to_string())).await?;
            self.read = None;
        }
        let mut ask = redis::cmd("SET");
        let refused = self.refused.as_deref().unwrap_or(NOTHING_WRONG);
        ask.arg(keys::ingest_asked(&self.camera)).arg(refused).arg("PX").arg(millis(self.block + MARGIN));
        self.servers.run(&ask).await?;
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(1).arg("BLOCK").arg(millis(self.block));
        read.arg("STREAMS").arg(key).arg(FrameId::ZERO.to_string());
        let streams = value::streams(self.servers.run(&read).await?).unwrap_or_default();
        let Some(mut entry) = streams.into_iter().flat_map(|(_, entries)| entries).next() else {
            return Ok(None);
        };
        (self.read, self.refused) = (Some(entry.id), None);
        Ok(entry.take("jpeg").map(|jpeg| IngestedFrame { id: entry.id, jpeg }))
    }
}
