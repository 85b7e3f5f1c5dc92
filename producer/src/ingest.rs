//! Frames that clients bring to the gateway, as a source: asked for one at a time, and only while the pipeline keeps up.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use peregrine_media::{Captured, JpegDecoder, OpenOptions, Source, SourceCounts, SourceError, SourceInfo};
use peregrine_proto::{CameraId, INGEST_URI, Size};
use peregrine_streams::{
    INGESTED_KEPT_FOR, IngestReader, IngestedFrame, Redis, SourceState, StreamError, wall_clock_us,
};
use tokio::{runtime::Handle, sync::watch};
use tracing::debug;

/// How long one read waits; between two of them it is seen whether to stop.
const BLOCK: Duration = Duration::from_millis(500);
/// With more frames than this waiting for a processor, no other is asked for.
const MOST_WAITING: u64 = 1;
/// How often the processor's queue is looked at while it is too long.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// See the module.
pub(crate) struct IngestSource {
    redis: Redis,
    runtime: Handle,
    camera: CameraId,
    reader: IngestReader,
    decoder: JpegDecoder,
    options: OpenOptions,
    state: watch::Sender<SourceState>,
    /// Why the last frame could not be decoded; none where it could.
    undecodable: Option<String>,
    info: SourceInfo,
    /// The frame that told the size.
    first: Option<Captured>,
    frames: u64,
    counts: SourceCounts,
    last_us: i64,
}

impl IngestSource {
    /// Waits until a client brings a frame that is a picture, however long that takes; `state` says what is wrong with
    /// those that are none.
    ///
    /// # Errors
    /// When Redis does not answer, or stopping was asked for.
    pub(crate) fn open(
        redis: &Redis,
        runtime: &Handle,
        camera: &CameraId,
        options: OpenOptions,
        state: watch::Sender<SourceState>,
    ) -> Result<Self, SourceError> {
        let decoder = JpegDecoder::new()
            .map_err(|error| SourceError::Unusable { uri: INGEST_URI.into(), why: error.to_string() })?;
        let info = SourceInfo { size: Size { width: 0, height: 0 }, fps: 0.0, live: true, frames: None };
        let mut source = Self {
            redis: redis.clone(),
            runtime: runtime.clone(),
            camera: camera.clone(),
            reader: IngestReader::new(redis, camera, BLOCK),
            decoder,
            options,
            state,
            undecodable: None,
            info,
            first: None,
            frames: 0,
            counts: SourceCounts::default(),
            last_us: 0,
        };
        let first = source.picture(None)?;
        source.info.size = first.picture.size();
        source.first = Some(first);
        Ok(source)
    }

    /// The next frame that is a picture.
    fn picture(&mut self, longest: Option<Duration>) -> Result<Captured, SourceError> {
        let began = Instant::now();
        loop {
            let frame = self.fetch(longest, began)?;
            let (capture, decoding) = (began.elapsed(), Instant::now());
            let position = self.frames;
            self.frames += 1;
            match self.decoder.decode(&frame.jpeg) {
                Ok(picture) => {
                    if self.undecodable.take().is_some() {
                        self.state.send_modify(|state| state.error.clear());
                    }
                    let captured_at_us = i64::try_from(frame.id.ms).unwrap_or(i64::MAX / 1000) * 1000;
                    self.last_us = captured_at_us.max(self.last_us + 1);
                    return Ok(Captured {
                        discontinuity: false,
                        damage: None,
                        picture,
                        position,
                        media_time_us: self.last_us,
                        captured_at_us,
                        arrived: long_ago(captured_at_us),
                        capture,
                        decode: decoding.elapsed(),
                    });
                }
                Err(error) => {
                    self.counts.undecodable += 1;
                    debug!(camera = %self.camera, %error, "frame of a client left out");
                    self.reader.refuse(format!("the frame before could not be decoded: {error}"));
                    let why = format!("a client brings frames that cannot be decoded: {error}");
                    self.undecodable = Some(why.clone());
                    self.state.send_modify(|state| state.error = why);
                }
            }
        }
    }

    fn fetch(&mut self, longest: Option<Duration>, began: Instant) -> Result<IngestedFrame, SourceError> {
        loop {
            if self.options.stop.load(Ordering::Acquire) {
                return Err(SourceError::Stopped { uri: INGEST_URI.into() });
            }
            if longest.is_some_and(|longest| began.elapsed() > longest) {
                let nobody = "no client brings frames: open the page of the device again";
                return Err(lost(self.undecodable.as_deref().unwrap_or(nobody)));
            }
            let waiting = self.runtime.block_on(self.redis.backlog(&self.camera)).map_err(away)?;
            if waiting > MOST_WAITING {
                thread::sleep(LOOK_AGAIN);
            } else if let Some(frame) = self.runtime.block_on(self.reader.next()).map_err(away)? {
                return Ok(frame);
            }
        }
    }
}

/// The moment of a wall clock time that lies behind, by the monotonic clock. No frame lies for longer than it is kept: where it
/// seems so, the clocks are apart.
fn long_ago(wall_us: i64) -> Instant {
    let now = Instant::now();
    let ago = Duration::from_micros(wall_clock_us().saturating_sub(wall_us).max(0).unsigned_abs());
    now.checked_sub(ago.min(INGESTED_KEPT_FOR)).unwrap_or(now)
}

impl Source for IngestSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Captured>, SourceError> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.picture(Some(self.options.timeout)).map(|captured| {
                self.info.size = captured.picture.size();
                Some(captured)
            }),
        }
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        Err(SourceError::NoRewind { uri: INGEST_URI.into() })
    }

    /// What was brought before is gone.
    fn skip_to(&mut self, _: u64) -> Result<(), SourceError> {
        Ok(())
    }

    fn counts(&self) -> SourceCounts {
        self.counts
    }
}

fn away(error: StreamError) -> SourceError {
    lost(&error.to_string())
}

fn lost(why: &str) -> SourceError {
    SourceError::Lost { uri: INGEST_URI.into(), why: why.into() }
}
