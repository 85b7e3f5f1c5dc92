//! Frames in their stream: `h` is the encoded header, `d` the pixels, the id is the capture time.

mod read;
mod write;

use peregrine_proto::{CameraId, FrameHeader, FrameId, LossCount, ResultStatus};

use crate::{Redis, ResultEntry, StreamError, keys, value};

pub use read::{Arrival, Frame, FrameReader};
pub use write::{Flow, FrameWriter, Published};

/// The newest frame that is known of a camera: where a new producer continues.
#[derive(Debug, Clone, PartialEq)]
pub struct LastFrame {
    /// Its id.
    pub id: FrameId,
    /// Its number.
    pub n: u64,
    /// Its producer's lease epoch.
    pub inc: u64,
    /// Its index in the source.
    pub position: u64,
    /// Its media time, microseconds.
    pub media_time_us: i64,
    /// Its capture time, microseconds since the Unix epoch.
    pub captured_at_us: i64,
    /// Whether it closed a file.
    pub end: bool,
    /// What the producer had lost before publishing; empty where only the result is left.
    pub lost: Vec<LossCount>,
}

impl Redis {
    /// One frame; none where it has left the stream, or is none.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn frame(&self, camera: &CameraId, id: FrameId) -> Result<Option<Frame>, StreamError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(keys::frames(camera)).arg(id.to_string()).arg(id.to_string());
        let entry = value::entries(self.frames.run(&range).await?).unwrap_or_default().pop();
        Ok(entry.and_then(|entry| match read::parse(camera.clone(), entry) {
            Arrival::Frame(frame) => Some(frame),
            Arrival::Malformed { .. } | Arrival::Recreated { .. } => None,
        }))
    }

    /// The oldest frame that lies in a camera's stream. It comes with its pixels: not to be asked often.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn oldest_waiting(&self, camera: &CameraId) -> Result<Option<FrameId>, StreamError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(keys::frames(camera)).arg("-").arg("+").arg("COUNT").arg(1);
        let entries = value::entries(self.frames.run(&range).await?).unwrap_or_default();
        Ok(entries.first().map(|entry| entry.id))
    }

    /// The newest frame of a camera: of its stream, or of its results where a processor has emptied the stream.
    ///
    /// # Errors
    /// When a server does not answer.
    pub async fn last_frame(&self, camera: &CameraId) -> Result<Option<LastFrame>, StreamError> {
        let newest =
            |key: String| redis::cmd("XREVRANGE").arg(key).arg("+").arg("-").arg("COUNT").arg(1).take();
        let reply = self.frames.run(&newest(keys::frames(camera))).await?;
        let frame = value::entries(reply).unwrap_or_default().pop().and_then(|mut entry| {
            let header: FrameHeader = peregrine_proto::decode(&entry.take("h")?).ok()?;
            Some(LastFrame {
                id: entry.id,
                n: header.n,
                inc: header.inc,
                position: header.position,
                media_time_us: header.media_time_us,
                captured_at_us: header.captured_at_us,
                end: header.end,
                lost: header.lost,
            })
        });
        let reply = self.state.run(&newest(keys::results(camera))).await?;
        let result = value::entries(reply).unwrap_or_default().pop().and_then(|entry| {
            let entry = ResultEntry::from_entry(camera.clone(), entry)?;
            let result = entry.decode().ok()?;
            Some(LastFrame {
                id: entry.id,
                n: result.n,
                inc: result.inc,
                position: result.position,
                media_time_us: result.media_time_us,
                captured_at_us: result.captured_at_us,
                end: result.status == ResultStatus::End,
                lost: Vec::new(),
            })
        });
        Ok(match (frame, result) {
            (Some(frame), Some(result)) => Some(if result.id > frame.id { result } else { frame }),
            (frame, result) => frame.or(result),
        })
    }
}
