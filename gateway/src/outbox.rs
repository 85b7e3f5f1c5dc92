//! What waits for one client: a data queue that drops its oldest message, a control queue that ends the
//! session when it is full, and the newest of each list and map. Filling never waits, so one client costs nobody else.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use peregrine_proto::{CameraId, FrameId, Missed, ServerMessage, StreamId, encode};
use tokio::sync::Notify;

use crate::{client::SessionEnd, metrics::CameraMetrics};

/// How much may wait for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Results and pictures.
    pub messages: usize,
    /// Bytes of results and pictures. A single larger message still passes, alone.
    pub bytes: usize,
    /// Answers and notices.
    pub control: usize,
}

/// A result, a picture or a step on its way to a client, encoded once for all of them.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The camera, or the stream of a step.
    pub(crate) camera: CameraId,
    pub(crate) id: FrameId,
    pub(crate) kind: DeliveryKind,
    /// When the gateway received it from Redis.
    pub(crate) seen: Instant,
    /// A whole `ServerMessage`.
    pub(crate) bytes: Bytes,
    /// Those of its camera; none for a step.
    pub(crate) metrics: Option<Arc<CameraMetrics>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryKind {
    Result,
    Preview,
    Step,
}

impl DeliveryKind {
    pub(crate) const ALL: [Self; 3] = [Self::Result, Self::Preview, Self::Step];

    /// The label in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Preview => "preview",
            Self::Step => "step",
        }
    }
}

/// How many messages of each kind were dropped, in the order of [`DeliveryKind::ALL`].
pub(crate) type Dropped = [u64; DeliveryKind::ALL.len()];

/// Of what only the newest matters: a later one replaces it. They are sent in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Newest {
    Cameras,
    Streams,
    Map(StreamId),
}

/// The next thing to write to a client.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Control(Bytes),
    Data(Delivery),
}

impl Outgoing {
    pub(crate) fn bytes(&self) -> &Bytes {
        match self {
            Self::Control(bytes) => bytes,
            Self::Data(delivery) => &delivery.bytes,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: OutboxLimits,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    control: VecDeque<Bytes>,
    /// Whole `ServerMessage`s.
    newest: BTreeMap<Newest, Bytes>,
    data: VecDeque<Delivery>,
    data_bytes: usize,
    /// Messages dropped since the connection began.
    missed: BTreeMap<CameraId, u64>,
    /// The cameras whose count the client has not been told yet.
    untold: BTreeSet<CameraId>,
    end: Option<SessionEnd>,
}

impl Outbox {
    pub(crate) fn new(limits: OutboxLimits) -> Self {
        Self { limits, waiting: Mutex::default(), filled: Notify::new() }
    }

    /// Adds a result or a picture; returns how many older ones of each kind had to go.
    pub(crate) fn data(&self, delivery: Delivery) -> Dropped {
        let mut dropped = Dropped::default();
        let mut waiting = self.lock();
        if waiting.end.is_some() {
            return dropped;
        }
        waiting.data_bytes += delivery.bytes.len();
        waiting.data.push_back(delivery);
        while waiting.data.len() > 1
            && (waiting.data.len() > self.limits.messages || waiting.data_bytes > self.limits.bytes)
        {
            let Some(oldest) = waiting.data.pop_front() else { break };
            waiting.data_bytes -= oldest.bytes.len();
            *waiting.missed.entry(oldest.camera.clone()).or_default() += 1;
            waiting.untold.insert(oldest.camera);
            dropped[oldest.kind as usize] += 1;
        }
        drop(waiting);
        self.filled.notify_one();
        dropped
    }

    /// Adds an answer or a notice. When there is no room, the session ends: such a client does not read.
    pub(crate) fn control(&self, message: &ServerMessage) {
        let mut waiting = self.lock();
        if waiting.end.is_none() {
            if waiting.control.len() < self.limits.control {
                waiting.control.push_back(encode(message).into());
            } else {
                waiting.end = Some(SessionEnd::ControlQueueFull);
            }
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Leaves the newest of something, an encoded `ServerMessage`.
    pub(crate) fn newest(&self, what: Newest, message: Bytes) {
        self.lock().newest.insert(what, message);
        self.filled.notify_one();
    }

    /// Ends the session; the first reason stands.
    pub(crate) fn end(&self, end: SessionEnd) {
        self.lock().end.get_or_insert(end);
        self.filled.notify_one();
    }

    /// The answers that still wait when the session has ended.
    pub(crate) fn last_answers(&self) -> VecDeque<Bytes> {
        std::mem::take(&mut self.lock().control)
    }

    /// Forgets what waits of a camera that is no longer wanted.
    pub(crate) fn forget(&self, unwanted: impl Fn(&Delivery) -> bool) {
        let mut waiting = self.lock();
        waiting.data.retain(|delivery| !unwanted(delivery));
        waiting.data_bytes = waiting.data.iter().map(|delivery| delivery.bytes.len()).sum();
    }

    /// Forgets what waits of a stream of steps that is no longer followed.
    pub(crate) fn forget_steps(&self, stream: &StreamId) {
        self.lock().newest.remove(&Newest::Map(stream.clone()));
        self.forget(|delivery| delivery.kind == DeliveryKind::Step && delivery.camera == *stream);
    }

    /// Waits for the next message, or for the end of the session. Safe to cancel.
    pub(crate) async fn next(&self) -> Result<Outgoing, SessionEnd> {
        loop {
            let filled = self.filled.notified();
            if let Some(next) = self.try_next() {
                return next;
            }
            filled.await;
        }
    }

    /// The next message, if there is one: control first, then lists and maps, then what was missed, then data.
    pub(crate) fn try_next(&self) -> Option<Result<Outgoing, SessionEnd>> {
        let mut waiting = self.lock();
        if let Some(end) = waiting.end {
            return Some(Err(end));
        }
        let control = waiting.control.pop_front().or_else(|| Some(waiting.newest.pop_first()?.1));
        if let Some(bytes) = control {
            return Some(Ok(Outgoing::Control(bytes)));
        }
        if let Some(camera) = waiting.untold.pop_first() {
            let total = waiting.missed.get(&camera).copied().unwrap_or_default();
            let missed = ServerMessage::Missed(Missed { camera, total });
            return Some(Ok(Outgoing::Control(encode(&missed).into())));
        }
        let delivery = waiting.data.pop_front()?;
        waiting.data_bytes -= delivery.bytes.len();
        Some(Ok(Outgoing::Data(delivery)))
    }

    /// Nothing here can leave the queues in a bad state half way, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use peregrine_proto::{Pong, decode};

    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits { messages: 3, bytes: 1000, control: 2 };

    fn delivery(camera: &str, ms: u64, size: usize) -> Delivery {
        Delivery {
            camera: CameraId::new(camera).unwrap(),
            id: FrameId { ms, seq: 0 },
            kind: DeliveryKind::Result,
            seen: Instant::now(),
            bytes: vec![0; size].into(),
            metrics: None,
        }
    }

    fn pong() -> ServerMessage {
        ServerMessage::Pong(Pong { client_time_us: 1, server_time_us: 2 })
    }

    fn drain(outbox: &Outbox) -> (Vec<ServerMessage>, Vec<u64>) {
        let (mut control, mut data) = (Vec::new(), Vec::new());
        while let Some(next) = outbox.try_next() {
            match next.unwrap() {
                Outgoing::Control(bytes) => control.push(decode(&bytes).unwrap()),
                Outgoing::Data(delivery) => data.push(delivery.id.ms),
            }
        }
        (control, data)
    }

    #[test]
    fn full_data_queue_drops_the_oldest_and_tells_how_many() {
        let outbox = Outbox::new(LIMITS);
        let dropped: u64 = (0..5).map(|ms| outbox.data(delivery("a", ms, 10))[0]).sum();
        assert_eq!(dropped, 2);
        let (control, data) = drain(&outbox);
        let a = CameraId::new("a").unwrap();
        assert_eq!(control, [ServerMessage::Missed(Missed { camera: a.clone(), total: 2 })]);
        assert_eq!(data, [2, 3, 4]);
        for ms in 5..9 {
            outbox.data(delivery("a", ms, 10));
        }
        assert_eq!(drain(&outbox).0, [ServerMessage::Missed(Missed { camera: a, total: 3 })]);
    }

    #[test]
    fn data_queue_is_bounded_in_bytes_but_a_large_message_passes_alone() {
        let outbox = Outbox::new(LIMITS);
        assert_eq!(outbox.data(delivery("a", 1, 600)), [0, 0, 0]);
        assert_eq!(outbox.data(delivery("b", 2, 600)), [1, 0, 0]);
        assert_eq!(outbox.data(delivery("b", 3, 5000)), [1, 0, 0]);
        assert_eq!(drain(&outbox).1, [3]);
        assert_eq!(outbox.data(delivery("b", 4, 600)), [0, 0, 0], "taken bytes are given back");
    }

    #[test]
    fn full_control_queue_ends_the_session() {
        let outbox = Outbox::new(LIMITS);
        outbox.control(&pong());
        outbox.control(&pong());
        assert!(outbox.try_next().unwrap().is_ok());
        outbox.control(&pong());
        outbox.control(&pong());
        assert_eq!(outbox.try_next().unwrap().unwrap_err(), SessionEnd::ControlQueueFull);
        outbox.end(SessionEnd::ShuttingDown);
        assert_eq!(
            outbox.try_next().unwrap().unwrap_err(),
            SessionEnd::ControlQueueFull,
            "first reason stands"
        );
        assert_eq!(outbox.data(delivery("a", 1, 1)), [0, 0, 0], "an ended session takes nothing");
    }

    #[test]
    fn control_goes_before_data_and_only_the_newest_camera_list_is_sent() {
        let outbox = Outbox::new(LIMITS);
        outbox.data(delivery("a", 1, 1));
        outbox.newest(Newest::Cameras, Bytes::from_static(b"old"));
        outbox.newest(Newest::Cameras, Bytes::from_static(b"new"));
        outbox.control(&pong());
        let order: Vec<Bytes> =
            std::iter::from_fn(|| outbox.try_next()).map(|o| o.unwrap().bytes().clone()).collect();
        assert_eq!(order.len(), 3);
        assert_eq!(decode::<ServerMessage>(&order[0]).unwrap(), pong());
        assert_eq!(order[1], "new");
    }

    #[test]
    fn unwanted_camera_is_forgotten() {
        let outbox = Outbox::new(LIMITS);
        outbox.data(delivery("a", 1, 900));
        outbox.data(delivery("b", 2, 50));
        outbox.forget(|delivery| delivery.camera.as_str() == "a");
        assert_eq!(outbox.data(delivery("b", 3, 900)), [0, 0, 0]);
        assert_eq!(drain(&outbox).1, [2, 3]);
    }

    #[tokio::test]
    async fn waiting_reader_wakes_when_something_comes() {
        let outbox = std::sync::Arc::new(Outbox::new(LIMITS));
        let reader = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.next().await }
        });
        tokio::task::yield_now().await;
        outbox.data(delivery("a", 7, 1));
        assert!(matches!(
            reader.await.unwrap(),
            Ok(Outgoing::Data(Delivery { id: FrameId { ms: 7, .. }, .. }))
        ));
    }
}
