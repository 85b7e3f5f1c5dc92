//! Spans of frames, sent by OTLP over HTTP: one trace a frame, under an id that every daemon derives for itself.
//!
//! Spans are made after the fact, from the stamps that a frame carries anyhow: without a collector, or for a frame that is
//! not sampled, this costs a comparison. Each daemon sends the stages that it sees; all of them are children of one span, `frame`,
//! which the producer sends. Whether a frame is sampled follows from its trace id, so that all daemons choose the same ones.

use std::{
    env,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use peregrine_proto::{CameraId, FrameId, Stage};
use tokio::{runtime, sync::mpsc, time::timeout};
use tracing::{info, warn};

use crate::{Metric, SpansSection};

/// Spans that wait to be sent: some seconds of them. What comes while it is full is dropped and counted.
const CAPACITY: usize = 4096;
/// Spans in one request.
const MOST_AT_ONCE: usize = 512;
/// How long spans are gathered for one request.
const GATHER: Duration = Duration::from_secs(1);
/// How long leaving may wait for the last request.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);
/// How the standard names where spans go, beside `spans.endpoint`.
const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// The span of a whole frame.
const FRAME: &str = "frame";

static SENDING: OnceLock<Sending> = OnceLock::new();

#[derive(Debug)]
struct Sending {
    /// A frame is sampled when the lower half of its trace id is not above this.
    sampled_up_to: u64,
    scope: InstrumentationScope,
    /// None once the process leaves.
    queue: Mutex<Option<mpsc::Sender<SpanData>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// Sends spans from now on, where a collector is configured.
///
/// # Errors
/// A sentence about why they cannot be sent.
pub(crate) fn begin(section: &SpansSection, daemon: &str, worker: &str) -> Result<(), String> {
    let named = section.endpoint.is_some() || VARIABLES.iter().any(|name| env::var_os(name).is_some());
    if !named || section.ratio <= 0.0 {
        return Ok(());
    }
    let mut builder = SpanExporter::builder().with_http();
    if let Some(endpoint) = &section.endpoint {
        builder = builder.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')));
    }
    let unusable = |why: String| format!("spans cannot be sent: {why}");
    let mut exporter = builder.build().map_err(|error| unusable(error.to_string()))?;
    let service = KeyValue::new("service.name", format!("peregrine-{daemon}"));
    let instance = KeyValue::new("service.instance.id", worker.to_owned());
    exporter.set_resource(&Resource::builder_empty().with_attributes([service, instance]).build());
    let (queue, spans) = mpsc::channel(CAPACITY);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    let thread = thread::Builder::new()
        .name("spans".into())
        .spawn(move || runtime.block_on(send(exporter, spans)))
        .map_err(|error| unusable(error.to_string()))?;
    let sending = Sending {
        sampled_up_to: (section.ratio.min(1.0) * u64::MAX as f64) as u64,
        scope: InstrumentationScope::builder("peregrine").with_version(env!("CARGO_PKG_VERSION")).build(),
        queue: Mutex::new(Some(queue)),
        thread: Mutex::new(Some(thread)),
    };
    info!(ratio = section.ratio, "sending spans");
    // A second daemon in one process, as in tests, sends with the first.
    let _ = SENDING.set(sending);
    Ok(())
}

/// Sends what waits, and nothing more.
pub(crate) fn finish() {
    let Some(sending) = SENDING.get() else { return };
    sending.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    let thread = sending.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
    // It ends by itself: the queue is closed, and the last request has a limit.
    thread.into_iter().for_each(|thread| drop(thread.join()));
}

/// Gathers spans and sends them, until nobody makes any.
async fn send(exporter: SpanExporter, mut spans: mpsc::Receiver<SpanData>) {
    let mut works = true;
    while let Some(first) = spans.recv().await {
        let mut batch = vec![first];
        let gather = async {
            while batch.len() < MOST_AT_ONCE && spans.recv_many(&mut batch, MOST_AT_ONCE).await > 0 {}
        };
        let _ = timeout(GATHER, gather).await;
        let count = batch.len() as u64;
        let limit = if spans.is_closed() { FLUSH_WITHIN } else { Duration::from_secs(10) };
        let problem = match timeout(limit, exporter.export(batch)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {} s", limit.as_secs())),
        };
        match &problem {
            Some(error) if works => warn!(error, "spans are not taken: is the collector there?"),
            None if !works => info!("spans are taken again"),
            _ => {}
        }
        works = problem.is_none();
        if !works {
            Metric::SpansDropped.counter([]).inc_by(count as f64);
        }
    }
}

/// The spans of one frame that this daemon knows of; sent one by one as they are added.
#[derive(Debug)]
pub struct FrameSpans {
    trace: TraceId,
    camera: String,
    frame: String,
    sending: &'static Sending,
}

/// Of a frame, if it is sampled and spans are sent.
pub fn of_frame(camera: &CameraId, frame: FrameId) -> Option<FrameSpans> {
    let sending = SENDING.get()?;
    let [high, low] = trace_of(camera, frame);
    (low <= sending.sampled_up_to).then(|| FrameSpans {
        trace: TraceId::from(u128::from(high) << 64 | u128::from(low)),
        camera: camera.to_string(),
        frame: frame.to_string(),
        sending,
    })
}

impl FrameSpans {
    /// The span that all others are children of: of the producer, from the frame's capture to its publishing.
    pub fn whole(&self, began: SystemTime, took: Duration) {
        self.add(FRAME, self.whole_id(), SpanId::INVALID, began, took);
    }

    /// A stage.
    pub fn stage(&self, stage: Stage, began: SystemTime, took: Duration) {
        // Zero is no id.
        let id = SpanId::from(rand::random::<u64>().max(1));
        self.add(stage.as_str(), id, self.whole_id(), began, took);
    }

    /// Stages that followed each other until `ended`.
    pub fn stages(&self, stages: impl DoubleEndedIterator<Item = (Stage, Duration)>, ended: SystemTime) {
        let mut end = ended;
        for (stage, took) in stages.rev() {
            end -= took;
            self.stage(stage, end, took);
        }
    }

    fn whole_id(&self) -> SpanId {
        SpanId::from(mixed(u128::from_be_bytes(self.trace.to_bytes()) as u64).max(1))
    }

    fn add(&self, name: &'static str, id: SpanId, parent: SpanId, start: SystemTime, took: Duration) {
        let span = SpanData {
            span_context: SpanContext::new(self.trace, id, TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: start,
            end_time: start + took,
            attributes: vec![
                KeyValue::new("peregrine.camera", self.camera.clone()),
                KeyValue::new("peregrine.frame", self.frame.clone()),
            ],
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.sending.scope.clone(),
        };
        let queue = self.sending.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.as_ref().is_none_or(|queue| queue.try_send(span).is_err()) {
            Metric::SpansDropped.counter([]).inc();
        }
    }
}

/// The two halves of a frame's trace id: the same in every daemon and every release, so no hasher of the standard library.
fn trace_of(camera: &CameraId, frame: FrameId) -> [u64; 2] {
    let name = format!("{camera}/{frame}");
    // FNV-1a, with another beginning for each half; its lower bits alone are not random enough to sample by.
    let hash = |seed: u64| {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        mixed(name.bytes().fold(seed, step))
    };
    [hash(0xcbf2_9ce4_8422_2325), hash(0x9e37_79b9_7f4a_7c15)]
}

/// Spreads every bit over all of them: the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_of_two_releases_disagree_about_a_trace() {
        let camera = CameraId::new("yard").unwrap();
        let frame = FrameId { ms: 1_700_000_000_000, seq: 1 };
        let [high, low] = trace_of(&camera, frame);
        assert_eq!(format!("{high:016x}{low:016x}"), "e2d8637bce6d5d83f95ea6734803ec61");
    }

    #[test]
    fn sampled_frames_are_not_as_many_as_the_ratio_says() {
        let camera = CameraId::new("yard").unwrap();
        let frames = (0..20_000).map(|n| FrameId { ms: 1_700_000_000_000 + 33 * n, seq: 0 });
        let up_to = (0.1 * u64::MAX as f64) as u64;
        let sampled = frames.filter(|frame| trace_of(&camera, *frame)[1] <= up_to).count();
        assert!((1850..2150).contains(&sampled), "{sampled} of 20000");
    }
}
