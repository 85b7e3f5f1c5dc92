//! The gateway's series, made once each so that counting takes no lock. Their names are in `peregrine_daemon`.

use std::time::Duration;

use peregrine_daemon::{
    Metric,
    metrics::{CameraSeries, Counter, Gauge, Histogram, StageHistograms},
};
use peregrine_proto::{CameraId, Stage};

use crate::outbox::{DeliveryKind, Dropped};

/// Those that are about clients.
#[derive(Debug)]
pub(crate) struct ClientMetrics {
    pub(crate) connected: Gauge,
    sent: [Counter; DeliveryKind::ALL.len()],
    dropped: [Counter; DeliveryKind::ALL.len()],
}

impl ClientMetrics {
    pub(crate) fn new() -> Self {
        let each = |metric: Metric| DeliveryKind::ALL.map(|kind| metric.counter([kind.label()]));
        Self {
            connected: Metric::Clients.gauge([]),
            sent: each(Metric::MessagesSent),
            dropped: each(Metric::MessagesDropped),
        }
    }

    pub(crate) fn sent(&self, kind: DeliveryKind) {
        self.sent[kind as usize].inc();
    }

    pub(crate) fn dropped(&self, dropped: Dropped) {
        for (counter, dropped) in self.dropped.iter().zip(dropped) {
            if dropped > 0 {
                counter.inc_by(dropped as f64);
            }
        }
    }
}

/// Those of one camera.
#[derive(Debug)]
pub(crate) struct CameraMetrics {
    stages: StageHistograms,
    paint_age: Histogram,
    _series: CameraSeries,
}

impl CameraMetrics {
    pub(crate) fn new(camera: &CameraId) -> Self {
        let series = CameraSeries::hold(camera.as_str());
        Self {
            _series: series,
            stages: StageHistograms::new(camera.as_str()),
            paint_age: Metric::PaintAge.histogram([camera.as_str()]),
        }
    }

    /// From the commit seen by the gateway to written to a client.
    pub(crate) fn relayed(&self, took: Duration) {
        self.stages.record(Stage::Relay, took);
    }

    /// What a browser reports of a frame, and the frame's age when it was painted.
    pub(crate) fn painted(&self, deliver: Duration, paint: Duration, age: Duration) {
        self.stages.record(Stage::Deliver, deliver);
        self.stages.record(Stage::Paint, paint);
        self.paint_age.observe(age.as_secs_f64());
    }
}
