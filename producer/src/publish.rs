//! `credit` and `publish`: into the camera's stream, under its lease.

use std::time::Duration;

use peregrine_daemon::Shutdown;
use peregrine_proto::{FrameHeader, FrameId, Size};
use peregrine_streams::{Flow, FrameWriter, LastFrame, Lease, Published, Redis, StreamError, wall_clock_us};
use tokio::runtime::Handle;
use tracing::warn;

use crate::report::Report;

/// When stopped, the longest wait for what became of the frame in hand.
const SETTLE_WITHIN: Duration = Duration::from_secs(1);

/// What became of a frame.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is in the stream.
    Written(FrameId),
    /// It is lost, and counted.
    Lost,
    /// Stopping was asked for before there was room.
    Stopped,
    /// Nothing more can be written by this writer.
    Broken(StreamError),
}

/// Publishes one camera's frames from its own thread.
pub(crate) struct Publisher {
    writer: FrameWriter,
    runtime: Handle,
    stop: Shutdown,
    lossless: bool,
    last_media_time_us: i64,
}

impl Publisher {
    /// Continues where the camera's last producer stopped. Must run outside the runtime's own threads.
    pub(crate) fn open(
        redis: &Redis,
        lease: &Lease,
        flow: Flow,
        runtime: Handle,
        stop: Shutdown,
    ) -> Result<Self, StreamError> {
        let writer = runtime.block_on(FrameWriter::open(redis, lease, flow))?;
        let lossless = matches!(flow, Flow::Lossless { .. });
        let last_media_time_us = writer.last_frame().map_or(0, |last| last.media_time_us);
        Ok(Self { writer, runtime, stop, lossless, last_media_time_us })
    }

    /// The newest frame of the producer before this one.
    pub(crate) fn last_frame(&self) -> Option<&LastFrame> {
        self.writer.last_frame()
    }

    /// Closes the stream of a file: an entry without a picture.
    pub(crate) fn close(&mut self, report: &mut Report) -> Outcome {
        let state = report.state();
        let none = Size { width: 0, height: 0 };
        let mut header = FrameHeader {
            position: state.position.unwrap_or(0),
            media_time_us: self.last_media_time_us,
            captured_at_us: wall_clock_us(),
            end: true,
            ..FrameHeader::of_picture(state.size.unwrap_or(none), state.analysed.unwrap_or(none))
        };
        let before = self.writer.published();
        let (outcome, _) = self.write(&mut header, &[], report);
        self.count(report, self.writer.published() > before);
        outcome
    }

    /// Writes a frame, waiting for room where nothing may be lost.
    pub(crate) fn publish(
        &mut self,
        header: &mut FrameHeader,
        pixels: &[u8],
        fps: f64,
        report: &mut Report,
    ) -> Outcome {
        let (outcome, took) = self.write(header, pixels, report);
        self.count(report, false);
        if let Outcome::Written(id) = outcome {
            self.last_media_time_us = header.media_time_us;
            report.published(id, header, fps, took);
        }
        outcome
    }

    /// Takes over what the writer wrote. `closed` when the last entry was no frame but the end of a file.
    fn count(&self, report: &mut Report, closed: bool) {
        report.written_by_writer(self.writer.published() - u64::from(closed));
    }

    fn write(&mut self, header: &mut FrameHeader, pixels: &[u8], report: &mut Report) -> (Outcome, Duration) {
        header.lost = report.lost_before_writer();
        let Self { writer, runtime, stop, lossless, .. } = self;
        let written = runtime.block_on(async {
            tokio::select! {
                biased;
                published = writer.publish(header, pixels) => Some(published),
                // Only waiting for room can take long; a frame that is left there is read again by the next producer.
                () = stop.requested(), if *lossless => None,
            }
        });
        // Before it settles: what is not written when stopped is read again by the next producer, and not lost.
        report.lost_by_writer(writer.lost());
        if written.is_none() {
            // The frame may have been on its way: the account should know. Not for long, Redis may be away.
            let settled =
                runtime.block_on(async { tokio::time::timeout(SETTLE_WITHIN, writer.settle()).await });
            if !matches!(settled, Ok(Ok(()))) {
                warn!(camera = %report.camera(), "whether the last frame was written is not known: it may be missing in the account");
            }
        }
        match written {
            Some(Ok(Published::Written { id, took, .. })) => (Outcome::Written(id), took),
            Some(Ok(Published::Dropped(_) | Published::Unanswered)) => (Outcome::Lost, Duration::ZERO),
            Some(Err(error)) => (Outcome::Broken(error), Duration::ZERO),
            None => (Outcome::Stopped, Duration::ZERO),
        }
    }
}
