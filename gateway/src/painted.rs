//! What browsers report of the results that they painted: it counts once, and only for what was sent.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use peregrine_daemon::spans::{self, FrameSpans};
use peregrine_proto::{CameraId, FrameId, Painted, Stage};
use peregrine_streams::wall_clock_us;

use crate::{metrics::CameraMetrics, outbox::Delivery};

/// Results that were written and whose paint report may still come.
const UNPAINTED: usize = 256;
/// A report of a stage longer than this is not a measurement.
const LONGEST_REPORT: Duration = Duration::from_secs(60);

/// Results that a client has and may report as painted.
#[derive(Debug, Default)]
pub(crate) struct Unpainted {
    /// Whether the client reports at all, where that is known. Most programs do not, and nothing is kept of what they get.
    reports: Option<bool>,
    results: VecDeque<Written>,
}

#[derive(Debug)]
struct Written {
    camera: CameraId,
    id: FrameId,
    metrics: Arc<CameraMetrics>,
    /// None where the frame is not followed.
    spans: Option<FrameSpans>,
    relay: Duration,
    written_at_us: i64,
}

impl Unpainted {
    /// Notes a live result that was written.
    pub(crate) fn written(&mut self, delivery: &Delivery) {
        let Some(metrics) = &delivery.metrics else { return };
        let relay = delivery.seen.elapsed();
        metrics.relayed(relay);
        let spans = spans::of_frame(&delivery.camera, delivery.id);
        if let Some(spans) = &spans {
            spans.stages([(Stage::Relay, relay)].into_iter(), SystemTime::now());
        }
        if self.results.len() == UNPAINTED {
            self.results.pop_front();
            if self.reports.is_none() {
                *self = Self { reports: Some(false), results: VecDeque::new() };
            }
        }
        if self.reports == Some(false) {
            return;
        }
        self.results.push_back(Written {
            camera: delivery.camera.clone(),
            id: delivery.id,
            metrics: metrics.clone(),
            spans,
            relay,
            written_at_us: wall_clock_us(),
        });
    }

    /// A client reports that it has painted a result.
    pub(crate) fn painted(&mut self, report: &Painted) {
        self.reports = Some(true);
        let found = self.results.iter().rposition(|w| w.id == report.id && w.camera == report.camera);
        let Some(written) = found.and_then(|at| self.results.remove(at)) else { return };
        // The client counts from `seen_at_us`, which is all it knows: our own part is taken off.
        let deliver = Duration::from_micros(report.deliver_us.into()).saturating_sub(written.relay);
        let paint = Duration::from_micros(report.paint_us.into());
        if deliver > LONGEST_REPORT || paint > LONGEST_REPORT {
            return;
        }
        let captured_at_us = i64::try_from(written.id.ms).unwrap_or(i64::MAX).saturating_mul(1000);
        let until_written = written.written_at_us.saturating_sub(captured_at_us).max(0).unsigned_abs();
        let age = Duration::from_micros(until_written) + deliver + paint;
        written.metrics.painted(deliver, paint, age);
        if let Some(spans) = written.spans {
            let written_at = UNIX_EPOCH + Duration::from_micros(written.written_at_us.max(0).unsigned_abs());
            spans.stage(Stage::Deliver, written_at, deliver);
            spans.stage(Stage::Paint, written_at + deliver, paint);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Instant};

    use peregrine_proto::{Problem, ServerMessage};

    use super::*;
    use crate::{encoding::Shared, outbox::DeliveryKind};

    #[test]
    fn results_are_kept_for_who_reports_nothing_or_not_for_who_begins_to() {
        let camera = CameraId::new("yard").unwrap();
        let metrics = Arc::new(CameraMetrics::new(&camera));
        let unpainted = RefCell::new(Unpainted::default());
        let written = |ms| {
            let mut unpainted = unpainted.borrow_mut();
            unpainted.written(&Delivery {
                camera: camera.clone(),
                id: FrameId { ms, seq: 0 },
                kind: DeliveryKind::Result,
                seen: Instant::now(),
                message: Shared::new(ServerMessage::Problem(Problem { message: String::new() })),
                metrics: Some(metrics.clone()),
                live: true,
            });
            unpainted.results.len()
        };
        let painted = |ms| {
            let mut unpainted = unpainted.borrow_mut();
            let id = FrameId { ms, seq: 0 };
            unpainted.painted(&Painted { camera: camera.clone(), id, deliver_us: 1, paint_us: 1 });
            unpainted.results.len()
        };
        assert_eq!((1..=256).map(written).last(), Some(256));
        assert_eq!((257..1000).map(written).max(), Some(0));
        assert_eq!(painted(900), 0, "of what is not kept");
        assert_eq!((1000..2000).map(written).last(), Some(256), "of what comes now");
        assert_eq!(painted(1999), 255);
        assert_eq!(painted(1999), 255, "counts once");
    }
}
