//! JPEG pictures under the ids of their frames, made only while somebody watches.

use std::time::Duration;

use bytes::Bytes;
use peregrine_proto::{CameraId, FrameId, Size};

use crate::{
    Redis, StreamError, Waker,
    follow::Follower,
    keys,
    lease::{left, millis},
    servers::Answer,
    value,
};

/// Nobody says for longer at once that somebody watches.
const LONGEST_WATCH: Duration = Duration::from_secs(10);

/// A picture of a frame.
#[derive(Debug, Clone)]
pub struct PreviewEntry {
    /// Whose.
    pub camera: CameraId,
    /// The frame that it shows.
    pub id: FrameId,
    /// Its size in pixels.
    pub size: Size,
    /// JPEG.
    pub jpeg: Bytes,
    /// The decoder marked it as broken.
    pub damaged: bool,
}

impl PreviewEntry {
    fn from_entry(camera: CameraId, mut entry: value::Entry) -> Option<Self> {
        let mut number = |name| std::str::from_utf8(&entry.take(name)?).ok()?.parse::<u32>().ok();
        let size = Size { width: number("w")?, height: number("h")? };
        let damaged = entry.take("damaged").is_some();
        Some(Self { camera, id: entry.id, size, jpeg: entry.take("jpeg")?, damaged })
    }
}

impl Redis {
    /// Says that somebody watches a camera at this picture width, for so long, 10 s at most.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn watch(
        &self,
        camera: &CameraId,
        width: u32,
        stands_for: Duration,
    ) -> Result<(), StreamError> {
        let key = keys::viewers(camera);
        let until_ms = self.state.time_us(&key).await? / 1000
            + i64::try_from(stands_for.min(LONGEST_WATCH).as_millis()).unwrap_or(0);
        let mut commands = redis::pipe();
        commands.cmd("HSET").arg(&key).arg(width).arg(until_ms);
        // The longest anybody asks for wins; the hash goes by itself when nobody does any more.
        commands.cmd("PEXPIRE").arg(&key).arg(millis(stands_for)).arg("GT");
        commands.cmd("PEXPIRE").arg(&key).arg(millis(stands_for)).arg("NX");
        let first = self.state.run_all(&commands).await?.into_iter().next();
        match first {
            Some(redis::Value::ServerError(error)) => Err(self.state.refusal(error, "HSET".into())),
            Some(redis::Value::Int(1)) => {
                self.wake(&crate::Wake::Watched { camera: camera.clone() }).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The picture widths at which each of these cameras is watched now; empty for nobody, or where
    /// its node of a cluster does not answer while others do.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn watched(&self, cameras: &[CameraId]) -> Result<Vec<Vec<u32>>, StreamError> {
        let mut commands = redis::pipe();
        for camera in cameras {
            commands.cmd("HGETALL").arg(keys::viewers(camera));
        }
        let widths = |answer: Option<Answer>| {
            let Some(Answer { now_us, value }) = answer else { return Vec::new() };
            let pairs = value::pairs(value).unwrap_or_default();
            let live = pairs.into_iter().filter(|(_, until)| {
                value::unsigned(until).is_some_and(|until| !left(until, LONGEST_WATCH, now_us).is_zero())
            });
            live.filter_map(|(width, _)| width.parse().ok()).collect()
        };
        Ok(self.state.survey(&commands).await?.into_iter().map(widths).collect())
    }

    /// Keeps a picture, marked where the decoder found it broken; about `kept` of them stay.
    ///
    /// # Errors
    /// When the server does not answer, is full, or has a newer picture already.
    pub async fn put_preview(
        &self,
        camera: &CameraId,
        id: FrameId,
        size: Size,
        jpeg: &[u8],
        damaged: bool,
        kept: u32,
    ) -> Result<(), StreamError> {
        let key = keys::previews(camera);
        let mut commands = redis::pipe();
        // Trimmed first and by its own command: a full Redis allows that, and refuses the other.
        commands.cmd("XTRIM").arg(&key).arg("MAXLEN").arg("~").arg(kept);
        let add = commands.cmd("XADD").arg(&key).arg(id.to_string());
        add.arg("w").arg(size.width).arg("h").arg(size.height).arg("jpeg").arg(jpeg);
        if damaged {
            add.arg("damaged").arg(1);
        }
        match self.frames.run_all(&commands).await?.pop() {
            Some(redis::Value::ServerError(error)) => Err(self.frames.refusal(error, "XADD".into())),
            _ => Ok(()),
        }
    }

    /// The newest picture of a camera.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn latest_preview(&self, camera: &CameraId) -> Result<Option<PreviewEntry>, StreamError> {
        self.preview(camera, "+", "-").await
    }

    /// The picture of one frame, if one was kept.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn preview_of(
        &self,
        camera: &CameraId,
        id: FrameId,
    ) -> Result<Option<PreviewEntry>, StreamError> {
        self.preview(camera, &id.to_string(), &id.to_string()).await
    }

    async fn preview(
        &self,
        camera: &CameraId,
        to: &str,
        from: &str,
    ) -> Result<Option<PreviewEntry>, StreamError> {
        let mut range = redis::cmd("XREVRANGE");
        range.arg(keys::previews(camera)).arg(to).arg(from).arg("COUNT").arg(1);
        let entry = value::entries(self.frames.run(&range).await?).unwrap_or_default().pop();
        Ok(entry.and_then(|entry| PreviewEntry::from_entry(camera.clone(), entry)))
    }
}

/// Follows the pictures of many cameras over one blocking connection.
pub struct PreviewReader {
    follower: Follower,
}

impl PreviewReader {
    /// A reader that follows no camera yet.
    pub fn new(redis: &Redis) -> Self {
        Self { follower: Follower::new(&redis.frames, keys::previews) }
    }

    /// Follows a camera's pictures after the given frame.
    pub fn follow(&mut self, camera: &CameraId, after: FrameId) {
        self.follower.follow(camera, after, usize::MAX);
    }

    /// Stops following a camera.
    pub fn unfollow(&mut self, camera: &CameraId) {
        self.follower.unfollow(camera);
    }

    /// Ends a wait of this reader from elsewhere.
    pub fn waker(&self) -> Waker {
        self.follower.waker()
    }

    /// Reads what there is, or waits for it; nothing after `block` (5 s at most) or a wake-up.
    ///
    /// # Errors
    /// When the connection is lost or does not answer. Nothing is lost by it: read again.
    pub async fn read(&mut self, block: Duration) -> Result<Vec<PreviewEntry>, StreamError> {
        let batch = self.follower.read(block).await?;
        for camera in &batch.recreated {
            self.follow(camera, FrameId::ZERO);
        }
        Ok(batch
            .entries
            .into_iter()
            .filter_map(|(camera, entry)| PreviewEntry::from_entry(camera, entry))
            .collect())
    }
}
