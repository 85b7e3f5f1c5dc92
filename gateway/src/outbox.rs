//! What waits for one client: a data queue that drops its oldest message, a control queue that ends the
//! session when it is full, and the newest of each list and map. Filling never waits, so one client costs nobody else; what
//! a client plays back waits for room before it is filled in, and is never dropped.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use peregrine_proto::{CameraId, FrameId, Missed, ServerMessage, StreamId};
use tokio::{sync::Notify, time::timeout_at};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;

use crate::{
    client::SessionEnd,
    encoding::{Encoding, Shared},
    line::Line,
    metrics::CameraMetrics,
    pace::Paces,
    websocket::framed,
};

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

/// A result, a picture or a step on its way to clients.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The camera, or the stream of a step.
    pub(crate) camera: CameraId,
    pub(crate) id: FrameId,
    pub(crate) kind: DeliveryKind,
    /// When the gateway received it from Redis.
    pub(crate) seen: Instant,
    pub(crate) message: Shared,
    /// Those of its camera; none for a step.
    pub(crate) metrics: Option<Arc<CameraMetrics>>,
    /// What is live is measured, and dropped where there is no room; what is played back is neither.
    pub(crate) live: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DeliveryKind {
    Result,
    Preview,
    Step,
}

impl Delivery {
    /// Whether it is a camera's: a stream of steps may have the same name.
    pub(crate) fn is_of(&self, camera: &CameraId) -> bool {
        self.kind != DeliveryKind::Step && self.camera == *camera
    }
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
    Data(Arc<Delivery>),
}

impl Outgoing {
    /// What is written: a WebSocket frame.
    pub(crate) fn frame(&self, encoding: Encoding) -> &Bytes {
        match self {
            Self::Control(frame) => frame,
            Self::Data(delivery) => delivery.message.frame(encoding),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: OutboxLimits,
    /// How the client wants its messages.
    pub(crate) encoding: Encoding,
    waiting: Mutex<Waiting>,
    drained: Notify,
    /// The client's connection, while its session goes on.
    line: Mutex<Option<Line>>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Something was added since nothing was found.
    filled: bool,
    /// Who waits for that.
    session: Option<Waker>,
    ping: bool,
    /// What the client's last ping brought.
    pong: Option<Bytes>,
    control: VecDeque<Bytes>,
    newest: BTreeMap<Newest, Shared>,
    data: VecDeque<Arc<Delivery>>,
    data_bytes: usize,
    paces: Paces,
    /// Messages dropped since the connection began.
    missed: BTreeMap<CameraId, u64>,
    /// The cameras whose count the client has not been told yet.
    untold: BTreeSet<CameraId>,
    end: Option<SessionEnd>,
}

impl Outbox {
    pub(crate) fn new(limits: OutboxLimits, encoding: Encoding) -> Self {
        Self { limits, encoding, waiting: Mutex::default(), drained: Notify::new(), line: Mutex::default() }
    }

    /// The session begins.
    pub(crate) fn connect(&self, line: Line) {
        *self.line() = Some(line);
    }

    /// The session has ended: nobody else writes to the client from now on.
    pub(crate) fn disconnect(&self) -> Option<Line> {
        self.line().take()
    }

    /// What is half written stays so: a poisoned lock is still good.
    pub(crate) fn line(&self) -> MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what waits, and wakes who waits for that.
    fn fill<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let (outcome, session) = self.fill_for(change);
        session.into_iter().for_each(Waker::wake);
        outcome
    }

    /// Changes what waits; who waits for that, if somebody does, is to be woken.
    fn fill_for<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> (T, Option<Waker>) {
        let mut waiting = self.lock();
        let outcome = change(&mut waiting);
        waiting.filled = true;
        (outcome, waiting.session.take())
    }

    /// Adds a live result, picture or step, at most `rate` a second of each camera and kind; returns how many older ones
    /// of each kind had to go.
    pub(crate) fn data(&self, delivery: Arc<Delivery>, rate: Option<f32>) -> Dropped {
        self.fill(|waiting| {
            let delivery = match rate {
                None => Some(delivery),
                Some(rate) => waiting.paces.pass(delivery, rate, Instant::now()),
            };
            delivery.map(|delivery| self.push(waiting, delivery)).unwrap_or_default()
        })
    }

    /// The same, but where all is sent at once, and the session sleeps, it is returned for [`Outbox::send_for`] and not woken.
    pub(crate) fn lay(&self, delivery: Arc<Delivery>, rate: Option<f32>) -> (Dropped, Option<Waker>) {
        if rate.is_some() {
            // The session has to know when it is due.
            return (self.data(delivery, rate), None);
        }
        self.fill_for(|waiting| self.push(waiting, delivery))
    }

    fn push(&self, waiting: &mut Waiting, delivery: Arc<Delivery>) -> Dropped {
        let mut dropped = Dropped::default();
        if waiting.end.is_some() {
            return dropped;
        }
        waiting.data_bytes += self.size(&delivery);
        waiting.data.push_back(delivery);
        while waiting.data.len() > 1
            && (waiting.data.len() > self.limits.messages || waiting.data_bytes > self.limits.bytes)
        {
            let oldest = waiting.data.iter().position(|delivery| delivery.live);
            let Some(oldest) = oldest.and_then(|at| waiting.data.remove(at)) else { break };
            waiting.data_bytes -= self.size(&oldest);
            *waiting.missed.entry(oldest.camera.clone()).or_default() += 1;
            waiting.untold.insert(oldest.camera.clone());
            dropped[oldest.kind as usize] += 1;
        }
        dropped
    }

    /// Waits until half of the room for data is free: the other half is for what is live.
    pub(crate) async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            if self.is_half_free() {
                return;
            }
            drained.await;
        }
    }

    fn is_half_free(&self) -> bool {
        let waiting = self.lock();
        waiting.data.len() * 2 < self.limits.messages.max(2) && waiting.data_bytes * 2 < self.limits.bytes
    }

    /// Adds what a client plays back, in one go. See [`Outbox::room`].
    pub(crate) fn replay(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        self.fill(|waiting| {
            if waiting.end.is_none() {
                for delivery in deliveries {
                    waiting.data_bytes += self.size(&delivery);
                    waiting.data.push_back(Arc::new(delivery));
                }
            }
        });
    }

    /// Forgets what waits of a camera and says why, in one go: nothing from before comes after the message.
    pub(crate) fn turn(&self, camera: &CameraId, message: &ServerMessage) {
        self.fill(|waiting| {
            self.forget_in(waiting, |delivery| delivery.is_of(camera));
            self.push_control(waiting, message);
        });
        self.drained.notify_waiters();
    }

    /// Adds an answer or a notice. When there is no room, the session ends: such a client does not read.
    pub(crate) fn control(&self, message: &ServerMessage) {
        self.fill(|waiting| self.push_control(waiting, message));
    }

    fn push_control(&self, waiting: &mut Waiting, message: &ServerMessage) {
        if waiting.end.is_none() {
            if waiting.control.len() < self.limits.control {
                waiting.control.push_back(self.encoding.write(message));
            } else {
                waiting.end = Some(SessionEnd::ControlQueueFull);
            }
        }
    }

    /// Asks the client for a sign of life.
    pub(crate) fn ping(&self) {
        self.fill(|waiting| waiting.ping = true);
    }

    /// Answers a client's ping. Of several that wait only the last is answered (RFC 6455 section 5.5.3).
    pub(crate) fn pong(&self, brought: Bytes) {
        self.fill(|waiting| waiting.pong = Some(brought));
    }

    /// Leaves the newest of something.
    pub(crate) fn newest(&self, what: Newest, message: Shared) {
        self.fill(|waiting| waiting.newest.insert(what, message));
    }

    /// Ends the session; the first reason stands.
    pub(crate) fn end(&self, end: SessionEnd) {
        self.fill(|waiting| *waiting.end.get_or_insert(end));
    }

    /// Why the session has ended, if it has.
    pub(crate) fn ended(&self) -> Option<SessionEnd> {
        self.lock().end
    }

    /// The answers that still wait when the session has ended.
    pub(crate) fn last_answers(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.lock().control).into()
    }

    /// Forgets what waits of a camera that is no longer wanted.
    pub(crate) fn forget(&self, unwanted: impl Fn(&Delivery) -> bool) {
        self.forget_in(&mut self.lock(), unwanted);
        self.drained.notify_waiters();
    }

    /// Forgets what waits of a stream of steps that is no longer followed.
    pub(crate) fn forget_steps(&self, stream: &StreamId) {
        self.lock().newest.remove(&Newest::Map(stream.clone()));
        self.forget(|delivery| delivery.kind == DeliveryKind::Step && delivery.camera == *stream);
    }

    /// Waits until something waits for the client, or the session has ended.
    pub(crate) async fn filled(&self) {
        let filled = poll_fn(|cx| match self.sleep(cx.waker().clone()) {
            None => Poll::Pending,
            Some(_) => Poll::Ready(()),
        });
        let due = self.lock().paces.next_due();
        match due {
            None => filled.await,
            // Late by a time-out is no mistake: what was held back is due then.
            Some(due) => drop(timeout_at(due.into(), filled).await),
        }
    }

    /// Leaves word whom to wake when something is added. Where something was since nothing was found, it is given back.
    /// One at a time may wait.
    pub(crate) fn sleep(&self, session: Waker) -> Option<Waker> {
        let mut waiting = self.lock();
        if waiting.filled {
            return Some(session);
        }
        waiting.session = Some(session);
        None
    }

    /// Something is left to do for the session, though nothing waits: what was taken is not all written.
    pub(crate) fn is_to_do(&self) {
        self.lock().filled = true;
    }

    /// Takes what waits, in the order in which it is to be sent, until that is so many bytes, by what `add` returns;
    /// returns their number.
    ///
    /// # Errors
    /// When the session has ended.
    pub(crate) fn take(
        &self,
        bytes: usize,
        mut add: impl FnMut(Outgoing) -> usize,
    ) -> Result<usize, SessionEnd> {
        let mut waiting = self.lock();
        let mut taken = 0;
        while taken < bytes
            && let Some(next) = self.pop(&mut waiting)?
        {
            taken += add(next);
        }
        drop(waiting);
        if taken > 0 {
            self.drained.notify_waiters();
        }
        Ok(taken)
    }

    /// The next message, if there is one: a pong or ping first, then control, then lists and maps, then what was missed, then data.
    fn pop(&self, waiting: &mut Waiting) -> Result<Option<Outgoing>, SessionEnd> {
        if let Some(end) = waiting.end {
            return Err(end);
        }
        if let Some(brought) = waiting.pong.take() {
            return Ok(Some(Outgoing::Control(framed(Frame::pong(brought)))));
        }
        if std::mem::take(&mut waiting.ping) {
            return Ok(Some(Outgoing::Control(framed(Frame::ping(Bytes::new())))));
        }
        let newest = |(_, message): (Newest, Shared)| message.frame(self.encoding).clone();
        let control = waiting.control.pop_front().or_else(|| waiting.newest.pop_first().map(newest));
        if let Some(frame) = control {
            return Ok(Some(Outgoing::Control(frame)));
        }
        if let Some(camera) = waiting.untold.pop_first() {
            let total = waiting.missed.get(&camera).copied().unwrap_or_default();
            let missed = ServerMessage::Missed(Missed { camera, total });
            return Ok(Some(Outgoing::Control(self.encoding.write(&missed))));
        }
        let delivery = match waiting.data.pop_front() {
            Some(delivery) => {
                waiting.data_bytes -= self.size(&delivery);
                Some(delivery)
            }
            None => waiting.paces.due(Instant::now()),
        };
        waiting.filled = delivery.is_some();
        Ok(delivery.map(Outgoing::Data))
    }

    fn forget_in(&self, waiting: &mut Waiting, unwanted: impl Fn(&Delivery) -> bool) {
        waiting.data.retain(|delivery| !unwanted(delivery));
        waiting.data_bytes = waiting.data.iter().map(|delivery| self.size(delivery)).sum();
        waiting.paces.forget(unwanted);
    }

    fn size(&self, delivery: &Delivery) -> usize {
        delivery.message.frame(self.encoding).len()
    }

    /// Nothing here can leave the queues in a bad state half way, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use peregrine_proto::{Pong, Problem, decode};

    use super::*;
    use crate::websocket::tests::payload;

    const LIMITS: OutboxLimits = OutboxLimits { messages: 3, bytes: 1000, control: 2 };

    impl Outbox {
        fn try_next(&self) -> Option<Result<Outgoing, SessionEnd>> {
            let mut next = None;
            let taken = self.take(1, |message| {
                next = Some(message);
                1
            });
            taken.map_or_else(|end| Some(Err(end)), |_| next.map(Ok))
        }

        async fn next(&self) -> Result<Outgoing, SessionEnd> {
            loop {
                match self.try_next() {
                    Some(next) => return next,
                    None => self.filled().await,
                }
            }
        }
    }

    fn delivery(camera: &str, ms: u64, size: usize) -> Delivery {
        Delivery {
            camera: CameraId::new(camera).unwrap(),
            id: FrameId { ms, seq: 0 },
            kind: DeliveryKind::Result,
            seen: Instant::now(),
            message: text(size),
            metrics: None,
            live: true,
        }
    }

    fn live(camera: &str, ms: u64, size: usize) -> Arc<Delivery> {
        Arc::new(delivery(camera, ms, size))
    }

    fn text(size: usize) -> Shared {
        Shared::new(ServerMessage::Problem(Problem { message: "-".repeat(size) }))
    }

    fn pong() -> ServerMessage {
        ServerMessage::Pong(Pong { client_time_us: 1, server_time_us: 2 })
    }

    fn drain(outbox: &Outbox) -> (Vec<ServerMessage>, Vec<u64>) {
        let (mut control, mut data) = (Vec::new(), Vec::new());
        while let Some(next) = outbox.try_next() {
            match next.unwrap() {
                Outgoing::Control(frame) => control.push(decode(&payload(&frame)).unwrap()),
                Outgoing::Data(delivery) => data.push(delivery.id.ms),
            }
        }
        (control, data)
    }

    #[test]
    fn full_data_queue_drops_the_oldest_and_tells_how_many() {
        let outbox = Outbox::new(LIMITS, Encoding::Msgpack);
        let dropped: u64 = (0..5).map(|ms| outbox.data(live("a", ms, 10), None)[0]).sum();
        assert_eq!(dropped, 2);
        let (control, data) = drain(&outbox);
        let a = CameraId::new("a").unwrap();
        assert_eq!(control, [ServerMessage::Missed(Missed { camera: a.clone(), total: 2 })]);
        assert_eq!(data, [2, 3, 4]);
        for ms in 5..9 {
            outbox.data(live("a", ms, 10), None);
        }
        assert_eq!(drain(&outbox).0, [ServerMessage::Missed(Missed { camera: a, total: 3 })]);
    }

    #[test]
    fn data_queue_is_bounded_in_bytes_but_a_large_message_passes_alone() {
        let outbox = Outbox::new(LIMITS, Encoding::Msgpack);
        assert_eq!(outbox.data(live("a", 1, 600), None), [0, 0, 0]);
        assert_eq!(outbox.data(live("b", 2, 600), None), [1, 0, 0]);
        assert_eq!(outbox.data(live("b", 3, 5000), None), [1, 0, 0]);
        assert_eq!(drain(&outbox).1, [3]);
        assert_eq!(outbox.data(live("b", 4, 600), None), [0, 0, 0], "taken bytes are given back");
    }

    #[test]
    fn full_control_queue_ends_the_session() {
        let outbox = Outbox::new(LIMITS, Encoding::Msgpack);
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
        assert_eq!(outbox.data(live("a", 1, 1), None), [0, 0, 0], "an ended session takes nothing");
    }

    #[test]
    fn control_goes_before_data_and_only_the_newest_camera_list_is_sent() {
        let outbox = Outbox::new(LIMITS, Encoding::Msgpack);
        (0..3).for_each(|_| outbox.ping());
        ["a", "b"].into_iter().for_each(|brought| outbox.pong(brought.into()));
        outbox.data(live("a", 1, 1), None);
        outbox.newest(Newest::Cameras, text(3));
        outbox.newest(Newest::Cameras, text(4));
        outbox.control(&pong());
        let order: Vec<Bytes> = std::iter::from_fn(|| outbox.try_next())
            .map(|o| o.unwrap().frame(Encoding::Msgpack).clone())
            .collect();
        assert_eq!(order.len(), 5, "one ping, and one pong");
        assert_eq!(order[0], framed(Frame::pong("b")));
        assert_eq!(order[1], framed(Frame::ping("")));
        assert_eq!(decode::<ServerMessage>(&payload(&order[2])).unwrap(), pong());
        assert_eq!(order[3], text(4).frame(Encoding::Msgpack));
    }

    #[test]
    fn unwanted_camera_is_forgotten() {
        let outbox = Outbox::new(LIMITS, Encoding::Msgpack);
        outbox.data(live("a", 1, 900), None);
        outbox.data(live("b", 2, 50), None);
        outbox.forget(|delivery| delivery.camera.as_str() == "a");
        assert_eq!(outbox.data(live("b", 3, 900), None), [0, 0, 0]);
        assert_eq!(drain(&outbox).1, [2, 3]);
    }

    #[tokio::test]
    async fn waiting_reader_wakes_when_something_comes() {
        let outbox = std::sync::Arc::new(Outbox::new(LIMITS, Encoding::Msgpack));
        let reader = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.next().await }
        });
        tokio::task::yield_now().await;
        outbox.data(live("a", 7, 1), None);
        assert!(matches!(reader.await.unwrap(), Ok(Outgoing::Data(delivery)) if delivery.id.ms == 7));
    }

    #[tokio::test]
    async fn played_back_frame_is_dropped_for_a_live_one_or_takes_all_the_room() {
        let outbox = Outbox::new(LIMITS, Encoding::Msgpack);
        outbox.room().await;
        outbox.replay([
            Delivery { live: false, ..delivery("a", 1, 10) },
            Delivery { live: false, ..delivery("a", 2, 10) },
        ]);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), outbox.room()).await.is_err(),
            "half is taken"
        );
        for ms in 11..20 {
            outbox.data(live("b", ms, 10), None);
        }
        assert_eq!(drain(&outbox).1, [1, 2, 19]);
        outbox.room().await;
    }

    #[tokio::test]
    async fn room_is_found_only_by_chance() {
        let outbox = Arc::new(Outbox::new(LIMITS, Encoding::Msgpack));
        outbox.replay([delivery("a", 1, 10), delivery("a", 2, 10)]);
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drain(&outbox);
        tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    }

    #[test]
    fn frame_from_before_a_jump_comes_after_it() {
        let outbox = Outbox::new(LIMITS, Encoding::Msgpack);
        outbox.data(live("a", 1, 10), None);
        outbox.data(live("b", 2, 10), None);
        outbox.data(live("a", 3, 10), None);
        let a = CameraId::new("a").unwrap();
        outbox.turn(&a, &pong());
        outbox.replay([delivery("a", 4, 10)]);
        let (control, data) = drain(&outbox);
        assert_eq!(control, [pong()]);
        assert_eq!(data, [2, 4]);
    }

    #[tokio::test]
    async fn last_frame_before_a_pause_is_left_out_for_the_rate() {
        let outbox = Outbox::new(LIMITS, Encoding::Msgpack);
        for ms in [1000, 1040, 1080] {
            outbox.data(live("a", ms, 10), Some(10.0));
        }
        assert_eq!(drain(&outbox).1, [1000], "one in a tenth of a second");
        let next = tokio::time::timeout(Duration::from_secs(5), outbox.next()).await.unwrap();
        assert!(matches!(next, Ok(Outgoing::Data(delivery)) if delivery.id.ms == 1080));
    }
}
