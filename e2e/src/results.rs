//! What came out, and whether two runs came to the same.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peregrine_proto::{CameraId, FrameId, FrameResult, ResultStatus};
use peregrine_streams::{Redis, ResultReader};

/// Reads a camera's results from the first one on, until its source has ended or there are `enough` of them.
///
/// # Errors
/// When that takes longer than `longest`, or Redis or a result cannot be read.
pub async fn collect(
    redis: &Redis,
    camera: &CameraId,
    enough: usize,
    longest: Duration,
) -> Result<Vec<(FrameId, FrameResult)>> {
    let mut reader = ResultReader::new(redis);
    reader.follow(camera, FrameId::ZERO);
    let deadline = Instant::now() + longest;
    let mut results: Vec<(FrameId, FrameResult)> = Vec::new();
    while results.len() < enough && results.last().is_none_or(|(_, r)| r.status != ResultStatus::End) {
        ensure!(Instant::now() < deadline, "{} results of {camera} after {longest:?}", results.len());
        // The connection may be lost on purpose: the reader goes on where it was.
        let entries = match reader.read(Duration::from_millis(500)).await {
            Ok(entries) => entries,
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        for entry in entries {
            results.push((entry.id, entry.decode()?));
        }
    }
    Ok(results)
}

/// What `processor analyze` wrote.
///
/// # Errors
/// When the file cannot be read, or a line of it is no result.
pub fn of_file(path: &Path) -> Result<Vec<FrameResult>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// The analysed frames without what may differ between two runs: ids, times of capture, durations, and who did it.
pub fn essence(results: impl IntoIterator<Item = FrameResult>) -> Vec<FrameResult> {
    let analysed = results.into_iter().filter(|result| result.status == ResultStatus::Ok);
    analysed
        .map(|result| FrameResult {
            n: 0,
            inc: 0,
            captured_at_us: 0,
            stages: Vec::new(),
            worker: String::new(),
            lost: Vec::new(),
            ..result
        })
        .collect()
}

/// Whether each frame from 0 to `frames` has exactly one result, analysed and in order, in ids, count and place in the source.
///
/// # Errors
/// With the first frame for which that is not so.
pub fn each_frame_once(results: &[(FrameId, FrameResult)], frames: u64) -> Result<()> {
    let analysed: Vec<_> = results.iter().filter(|(_, result)| result.status != ResultStatus::End).collect();
    for (expected, (id, result)) in (0..).zip(&analysed) {
        ensure!(result.status == ResultStatus::Ok, "frame {id} is {}: {:?}", result.status, result.reason);
        ensure!(
            result.position == expected,
            "expected frame {expected} of the source, got {} ({id})",
            result.position
        );
        ensure!(
            result.lost.iter().all(|lost| lost.count == 0),
            "frame {id} tells of losses: {:?}",
            result.lost
        );
    }
    for pair in results.windows(2) {
        let [(before, earlier), (after, later)] = pair else { continue };
        ensure!(before < after, "{after} follows {before}");
        ensure!(later.n == earlier.n + 1, "n goes from {} to {}", earlier.n, later.n);
    }
    ensure!(analysed.len() as u64 == frames, "{} frames of {frames}", analysed.len());
    Ok(())
}
