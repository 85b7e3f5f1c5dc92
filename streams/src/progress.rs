//! How far a camera's streams have come, for displays: numbers only, no frame is touched.

use peregrine_proto::CameraId;
use redis::Value;

use crate::{Redis, StreamError, keys, servers::Answer, value};

/// How far a camera's streams have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Frames that wait in the camera's stream.
    pub backlog: u64,
    /// Results committed since the stream began. Falls only when the stream is made anew.
    pub results: u64,
}

impl Redis {
    /// How far the streams of each of these cameras have come. A stream that does not exist counts as
    /// empty, as does one whose node of a cluster does not answer while others do.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn progress(&self, cameras: &[CameraId]) -> Result<Vec<Progress>, StreamError> {
        let (mut frames, mut results) = (redis::pipe(), redis::pipe());
        for camera in cameras {
            frames.cmd("XLEN").arg(keys::frames(camera));
            // Brings the first and the last result along: small. Of a frame stream that would be two frames.
            results.cmd("XINFO").arg("STREAM").arg(keys::results(camera));
        }
        let backlogs = self.frames.survey(&frames).await?;
        let results = self.state.survey(&results).await?;
        let progress = |(backlog, results): (Option<Answer>, Option<Answer>)| Progress {
            backlog: backlog.and_then(|backlog| value::unsigned(&backlog.value)).unwrap_or(0),
            results: results.and_then(|results| entries_added(results.value)).unwrap_or(0),
        };
        Ok(backlogs.into_iter().zip(results).map(progress).collect())
    }
}

fn entries_added(info: Value) -> Option<u64> {
    let pairs = value::pairs(info)?;
    pairs.iter().find(|(name, _)| name == "entries-added").and_then(|(_, count)| value::unsigned(count))
}
