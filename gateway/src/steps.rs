//! Fan-out of steps made elsewhere: who follows which stream, one encoded message for all of them, and the list of
//! streams. Nothing is read of a stream that nobody follows.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use peregrine_daemon::Shutdown;
use peregrine_proto::{ServerMessage, StepMapMessage, StepMessage, StreamId, StreamState, Streams};
use peregrine_streams::{
    KnownStream, LONGEST_BLOCK, Redis, StepEntry, StepReader, StreamError, Waker, wall_clock_us,
};
use serde_bytes::ByteBuf;
use tokio::sync::watch;
use tracing::debug;

use crate::{
    encoding::Shared,
    outbox::{Delivery, DeliveryKind, Dropped, Newest, Outbox},
    relay::Hub,
    subscribe::{Follow, follow},
};

/// Most streams that one client may follow.
const MOST_FOLLOWED: usize = 64;
/// A stream without steps for longer is not live.
const LIVE: Duration = Duration::from_secs(3);
/// How often the list of streams is looked at while a client is connected.
const EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Steps {
    hub: Arc<Hub>,
    inner: Mutex<Inner>,
    demand: watch::Sender<Demand>,
}

/// The streams that are followed, each with a number that changes whenever nobody followed meanwhile.
type Demand = BTreeMap<StreamId, u64>;

#[derive(Debug, Default)]
struct Inner {
    last_key: u64,
    followers: HashMap<u64, Arc<Outbox>>,
    /// One for each stream that is followed.
    topics: BTreeMap<StreamId, Topic>,
    /// The newest list of streams.
    streams: Option<Shared>,
}

#[derive(Debug)]
struct Topic {
    since: u64,
    followers: BTreeMap<u64, Arc<Outbox>>,
    /// What a newcomer gets first; only kept while somebody follows, so it is never old.
    step: Option<Arc<Delivery>>,
    map: Option<Shared>,
}

/// Too many streams are named by one client.
#[derive(Debug, thiserror::Error)]
#[error("more than {MOST_FOLLOWED} streams of steps are named: name only those on the screen")]
pub(crate) struct TooManyFollowed;

impl Steps {
    pub(crate) fn new(hub: Arc<Hub>) -> Arc<Self> {
        Arc::new(Self { hub, inner: Mutex::default(), demand: watch::Sender::default() })
    }

    /// A client joins. It gets the list of streams, and nothing else before it follows one.
    pub(crate) fn join(self: &Arc<Self>, outbox: Arc<Outbox>) -> Following {
        let mut inner = self.lock();
        if let Some(streams) = &inner.streams {
            outbox.newest(Newest::Streams, streams.clone());
        }
        inner.last_key += 1;
        let key = inner.last_key;
        inner.followers.insert(key, outbox.clone());
        Following { steps: self.clone(), key, outbox }
    }

    /// Relays a step, and the map before it where one came with it.
    pub(crate) fn relay(&self, entry: StepEntry) {
        let seen = Instant::now();
        let StepEntry { stream, id, encoded, map, .. } = entry;
        let map = map.map(|map| {
            let map = ByteBuf::from(map.as_ref());
            Shared::new(ServerMessage::StepMap(StepMapMessage { stream: stream.clone(), map }))
        });
        let step = ServerMessage::Step(StepMessage {
            stream: stream.clone(),
            id,
            seen_at_us: wall_clock_us(),
            step: ByteBuf::from(encoded.as_ref()),
        });
        let delivery = Arc::new(Delivery {
            camera: stream.clone(),
            id,
            kind: DeliveryKind::Step,
            seen,
            message: Shared::new(step),
            metrics: None,
            live: true,
        });
        let mut dropped = Dropped::default();
        let mut inner = self.lock();
        let Some(topic) = inner.topics.get_mut(&stream) else { return };
        for outbox in topic.followers.values() {
            if let Some(map) = &map {
                outbox.newest(Newest::Map(stream.clone()), map.clone());
            }
            let gone = outbox.data(delivery.clone(), None);
            dropped.iter_mut().zip(gone).for_each(|(sum, gone)| *sum += gone);
        }
        topic.step = Some(delivery);
        topic.map = map.or(topic.map.take());
        drop(inner);
        self.hub.metrics.dropped(dropped);
    }

    /// Hands a new list of streams to everybody.
    fn tell_streams(&self, known: Vec<KnownStream>) {
        let streams = known
            .into_iter()
            .map(|KnownStream { stream, silent }| StreamState { stream, live: silent < LIVE })
            .collect();
        let message = ServerMessage::Streams(Streams { streams });
        let mut inner = self.lock();
        if inner.streams.as_ref().is_some_and(|last| *last.message() == message) {
            return;
        }
        let list = Shared::new(message);
        for outbox in inner.followers.values() {
            outbox.newest(Newest::Streams, list.clone());
        }
        inner.streams = Some(list);
    }

    fn publish_demand(&self, inner: &Inner) {
        let demand: Demand =
            inner.topics.iter().map(|(stream, topic)| (stream.clone(), topic.since)).collect();
        self.demand.send_if_modified(|current| {
            let changed = *current != demand;
            *current = demand;
            changed
        });
    }

    /// Every change is complete before the lock is given back, so a poisoned one is still good.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place among those who follow steps; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Following {
    steps: Arc<Steps>,
    key: u64,
    outbox: Arc<Outbox>,
}

impl Following {
    /// Follows these streams and no others, whether they are there now or come later.
    pub(crate) fn choose(&self, streams: Vec<StreamId>) -> Result<(), TooManyFollowed> {
        if streams.len() > MOST_FOLLOWED {
            return Err(TooManyFollowed);
        }
        self.follow(&streams.into_iter().collect());
        Ok(())
    }

    fn follow(&self, streams: &BTreeSet<StreamId>) {
        let mut inner = self.steps.lock();
        for (stream, topic) in &mut inner.topics {
            if !streams.contains(stream) && topic.followers.remove(&self.key).is_some() {
                self.outbox.forget_steps(stream);
            }
        }
        inner.topics.retain(|stream, topic| !topic.followers.is_empty() || streams.contains(stream));
        for stream in streams {
            self.attach(&mut inner, stream);
        }
        self.steps.publish_demand(&inner);
    }

    /// Begins with the latest, where others follow the stream already.
    fn attach(&self, inner: &mut Inner, stream: &StreamId) {
        let Inner { topics, last_key, .. } = inner;
        let topic = topics.entry(stream.clone()).or_insert_with(|| {
            *last_key += 1;
            Topic { since: *last_key, followers: BTreeMap::new(), step: None, map: None }
        });
        if topic.followers.insert(self.key, self.outbox.clone()).is_some() {
            return;
        }
        if let Some(map) = &topic.map {
            self.outbox.newest(Newest::Map(stream.clone()), map.clone());
        }
        if let Some(step) = &topic.step {
            let delivery = Delivery { seen: Instant::now(), ..Delivery::clone(step) };
            self.outbox.data(Arc::new(delivery), None);
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.follow(&BTreeSet::new());
        self.steps.lock().followers.remove(&self.key);
    }
}

/// Follows the steps of all streams that a client wants.
pub(crate) async fn steps(redis: Redis, steps: Arc<Steps>, shutdown: Shutdown) {
    let demand = steps.demand.subscribe();
    follow(StepReader::new(&redis), &*steps, demand, &shutdown).await;
}

impl Follow for StepReader {
    type Entry = StepEntry;
    type Hub = Steps;
    type Demand = Demand;
    const WHAT: &'static str = "steps";

    fn wanted(demand: &Demand) -> BTreeMap<StreamId, u64> {
        demand.clone()
    }

    async fn join(&mut self, stream: &StreamId) -> Result<Option<StepEntry>, StreamError> {
        StepReader::join(self, stream).await
    }

    fn leave(&mut self, stream: &StreamId) {
        self.unfollow(stream);
    }

    fn waker(&self) -> Waker {
        StepReader::waker(self)
    }

    async fn read(&mut self) -> Result<Vec<StepEntry>, StreamError> {
        StepReader::read(self, LONGEST_BLOCK).await
    }

    fn relay(steps: &Steps, entry: StepEntry, _: bool) {
        steps.relay(entry);
    }
}

/// Keeps the list of streams up to date while a client is connected.
pub(crate) async fn list(redis: Redis, steps: Arc<Steps>, shutdown: Shutdown) {
    let mut members = steps.hub.members();
    loop {
        let idle = *members.borrow_and_update() == 0;
        if idle {
            steps.lock().streams = None;
        } else {
            match redis.streams().await {
                Ok(known) => steps.tell_streams(known),
                // Clients are told by the camera list that Redis is away.
                Err(error) => debug!(%error, "cannot list the streams of steps"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY), if !idle => {}
            _ = members.changed(), if idle => {}
            () = shutdown.requested() => return,
        }
    }
}
