use std::time::Duration;

use bytes::Bytes;
use peregrine_proto::{CameraId, FrameHeader, FrameId};

use crate::{Redis, StreamError, Waker, follow::Follower, keys, value::Entry};

/// A frame as it was published.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Whose.
    pub camera: CameraId,
    /// Its id.
    pub id: FrameId,
    /// What travels with it.
    pub header: FrameHeader,
    /// Pixels, `header.data_len()` bytes; not copied since the answer of Redis was parsed.
    pub data: Bytes,
}

/// What a reader finds in a stream.
#[derive(Debug)]
pub enum Arrival {
    /// A frame.
    Frame(Frame),
    /// An entry that is no frame, or whose pixels do not fit its header (which is then given).
    Malformed {
        /// Whose stream.
        camera: CameraId,
        /// The entry.
        id: FrameId,
        /// The header, where it could be read.
        header: Option<FrameHeader>,
        /// What is wrong with it.
        why: String,
    },
    /// The stream was made anew and its ids start before the cursor: release the camera and acquire it again.
    Recreated {
        /// Whose stream.
        camera: CameraId,
    },
}

/// Reads the frames of many cameras over one blocking connection.
///
/// Each camera has an allowance: so many more frames are read from it, then it is left out until it is raised
/// again. That is the backpressure of the pipeline behind. The cursor runs ahead of the checkpoint; what was read
/// and never committed is read again by the next holder.
pub struct FrameReader {
    follower: Follower,
}

impl FrameReader {
    /// A reader that follows no camera yet.
    pub fn new(redis: &Redis) -> Self {
        Self { follower: Follower::gathering(&redis.frames, keys::frames) }
    }

    /// Reads a camera's frames after the given one (a checkpoint's), as many as `allowance` says.
    pub fn follow(&mut self, camera: &CameraId, after: FrameId, allowance: usize) {
        self.follower.follow(camera, after, allowance);
    }

    /// Stops reading a camera.
    pub fn unfollow(&mut self, camera: &CameraId) {
        self.follower.unfollow(camera);
    }

    /// Sets how many more frames may be read from a camera.
    pub fn allow(&mut self, camera: &CameraId, allowance: usize) {
        self.follower.allow(camera, allowance);
    }

    /// The cameras that are followed.
    pub fn cameras(&self) -> impl Iterator<Item = &CameraId> {
        self.follower.cameras()
    }

    /// Ends a wait of this reader from elsewhere: to change allowances, or to stop.
    pub fn waker(&self) -> Waker {
        self.follower.waker()
    }

    /// Reads what there is, or waits for it; nothing after `block` (5 s at most) or a wake-up.
    ///
    /// May be dropped while it waits; nothing is lost, but the connection is made anew.
    ///
    /// # Errors
    /// When the connection is lost or does not answer. Nothing is lost by it: read again. The pause before the next
    /// connection grows up to two seconds.
    pub async fn read(&mut self, block: Duration) -> Result<Vec<Arrival>, StreamError> {
        let batch = self.follower.read(block).await?;
        let recreated = batch.recreated.into_iter().map(|camera| Arrival::Recreated { camera });
        Ok(batch.entries.into_iter().map(|(camera, entry)| parse(camera, entry)).chain(recreated).collect())
    }
}

pub(super) fn parse(camera: CameraId, mut entry: Entry) -> Arrival {
    let id = entry.id;
    let malformed = |camera, header, why: String| Arrival::Malformed { camera, id, header, why };
    let Some(header) = entry.take("h") else {
        return malformed(camera, None, "there is no header in field h".into());
    };
    let header: FrameHeader = match peregrine_proto::decode(&header) {
        Ok(header) => header,
        Err(error) => return malformed(camera, None, error.to_string()),
    };
    let data = entry.take("d").unwrap_or_default();
    if data.len() == header.data_len() {
        Arrival::Frame(Frame { camera, id, header, data })
    } else {
        let why =
            format!("{} bytes of pixels where {} need {}", data.len(), header.analysed, header.data_len());
        malformed(camera, Some(header), why)
    }
}
