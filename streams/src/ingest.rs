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

/// A frame as a client brought it.
#[derive(Debug, Clone)]
pub struct IngestedFrame {
    /// When it came by the server's clock, and a sequence.
    pub id: FrameId,
    /// JPEG, or whatever else the client took for it.
    pub jpeg: Bytes,
}

impl Redis {
    /// Offers a frame of a camera to its producer. False where it has not asked for one: the frame is not taken.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn offer_frame(&self, camera: &CameraId, jpeg: &[u8]) -> Result<bool, StreamError> {
        let asked = self.frames.run(redis::cmd("DEL").arg(keys::ingest_asked(camera))).await?;
        if value::integer(&asked) != Some(1) {
            return Ok(false);
        }
        let key = keys::ingest(camera);
        let mut commands = redis::pipe();
        commands.cmd("XADD").arg(&key).arg("MAXLEN").arg(1).arg("*").arg("jpeg").arg(jpeg);
        commands.cmd("PEXPIRE").arg(&key).arg(millis(INGESTED_KEPT_FOR));
        match self.frames.run_all(&commands).await?.into_iter().next() {
            Some(Value::ServerError(error)) => Err(self.frames.refusal(error, "XADD".into())),
            _ => Ok(true),
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
}

impl IngestReader {
    /// A reader whose reads block up to `block`.
    pub fn new(redis: &Redis, camera: &CameraId, block: Duration) -> Self {
        let servers = redis.frames.blocking(block);
        Self { servers, block, camera: camera.clone(), read: None }
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
        ask.arg(keys::ingest_asked(&self.camera)).arg(1).arg("PX").arg(millis(self.block + MARGIN));
        self.servers.run(&ask).await?;
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(1).arg("BLOCK").arg(millis(self.block));
        read.arg("STREAMS").arg(key).arg(FrameId::ZERO.to_string());
        let streams = value::streams(self.servers.run(&read).await?).unwrap_or_default();
        let Some(mut entry) = streams.into_iter().flat_map(|(_, entries)| entries).next() else {
            return Ok(None);
        };
        self.read = Some(entry.id);
        Ok(entry.take("jpeg").map(|jpeg| IngestedFrame { id: entry.id, jpeg }))
    }
}
