//! Fan-out: who wants what of which camera, and one encoded message for all of them.
//!
//! The hub follows wishes in both directions. Readers ask it what is wanted at all ([`Demand`]), so that nobody
//! reads, and no producer encodes, what no client asked for; and they hand it what they read, which it lays into
//! the outbox of each client that wants it. It never waits for a client.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Instant,
};

use bytes::Bytes;
use peregrine_proto::{
    CameraId, FrameId, Preview, ResultMessage, ServerMessage, Size, Subscribe, Unsubscribe,
};
use peregrine_streams::wall_clock_us;
use serde_bytes::ByteBuf;
use tokio::sync::watch;

use crate::{
    encoding::{Encoding, Shared},
    metrics::{CameraMetrics, ClientMetrics},
    outbox::{Delivery, DeliveryKind, Dropped, Newest, Outbox, OutboxLimits},
    pace::RATES,
};

/// Most cameras that one client may name; who wants more subscribes to all.
pub(crate) const MOST_NAMED: usize = 1024;

/// What the clients want of all cameras together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Cameras whose results are wanted, each with a number that changes whenever nobody wanted them meanwhile.
    pub(crate) results: BTreeMap<CameraId, u64>,
    /// Cameras that are watched.
    pub(crate) pictures: BTreeMap<CameraId, Watching>,
}

/// How a camera is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watching {
    /// Changes whenever nobody watched meanwhile.
    pub(crate) since: u64,
    /// The widest picture that anybody wants: a frame has one picture, and browsers scale it down well.
    pub(crate) width: u32,
}

/// A picture as the producer encoded it.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) id: FrameId,
    pub(crate) size: Size,
    pub(crate) jpeg: Bytes,
    pub(crate) damaged: bool,
    /// When it came; none where it was there before anybody watched, and may be old.
    pub(crate) came: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    demand: watch::Sender<Demand>,
    members: watch::Sender<usize>,
    pub(crate) metrics: Arc<ClientMetrics>,
}

#[derive(Debug, Default)]
struct Inner {
    last_key: u64,
    members: HashMap<u64, Listening>,
    /// One for each camera that exists.
    topics: BTreeMap<CameraId, Topic>,
    /// The newest camera list.
    cameras: Option<Shared>,
}

#[derive(Debug)]
struct Listening {
    outbox: Arc<Outbox>,
    all: Wants,
    named: BTreeMap<CameraId, Wants>,
    /// Cameras that it is not live on: nothing live of them is sent.
    held: BTreeSet<CameraId>,
}

/// What one client wants of a camera.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Wants {
    results: bool,
    width: Option<u32>,
    /// At most so many a second.
    pub(crate) rate: Option<f32>,
}

/// A client on a camera's list.
#[derive(Debug)]
struct Listener {
    key: u64,
    outbox: Arc<Outbox>,
    wants: Wants,
    /// It plays back. Its wishes still count: the camera is followed, and pictures are made, for the time when it
    /// comes to see what happens now.
    held: bool,
    /// It has the results up to this one already.
    has: FrameId,
}

#[derive(Debug)]
struct Topic {
    metrics: Arc<CameraMetrics>,
    listeners: Vec<Listener>,
    /// Requests for one picture, with the width that they want.
    looks: BTreeMap<u64, u32>,
    /// Since when results, and pictures, are wanted without a pause.
    results_since: Option<u64>,
    watched_since: Option<u64>,
    /// What a newcomer gets first; only kept while somebody listens, so it is never old.
    result: Option<Arc<Delivery>>,
    preview: Option<Arc<Delivery>>,
    /// The newest result that was relayed, or that there was when relaying began; none before that is known.
    reached: Option<FrameId>,
    picture: watch::Sender<Option<Picture>>,
}

/// A choice that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("more than {MOST_NAMED} cameras are named: subscribe to all of them with an empty list")]
    TooManyNamed,
    #[error("max_rate is {0}: use {least} to {most} a second", least = RATES.start(), most = RATES.end())]
    Rate(f32),
}

impl Hub {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            demand: watch::Sender::default(),
            members: watch::Sender::default(),
            metrics: Arc::new(ClientMetrics::new()),
        })
    }

    /// A client joins. It gets the camera list at once and nothing else before it subscribes.
    pub(crate) fn join(self: &Arc<Self>, limits: OutboxLimits, encoding: Encoding) -> Member {
        let outbox = Arc::new(Outbox::new(limits, encoding));
        let mut inner = self.lock();
        if let Some(cameras) = &inner.cameras {
            outbox.newest(Newest::Cameras, cameras.clone());
        }
        let key = inner.key();
        inner.members.insert(
            key,
            Listening {
                outbox: outbox.clone(),
                all: Wants::default(),
                named: BTreeMap::new(),
                held: BTreeSet::new(),
            },
        );
        self.members.send_replace(inner.members.len());
        Member { hub: self.clone(), key, outbox }
    }

    /// How many clients there are, and its changes.
    pub(crate) fn members(&self) -> watch::Receiver<usize> {
        self.members.subscribe()
    }

    /// What is wanted, and its changes.
    pub(crate) fn demand(&self) -> watch::Receiver<Demand> {
        self.demand.subscribe()
    }

    /// Which cameras exist.
    pub(crate) fn set_known(&self, known: &BTreeSet<CameraId>) {
        let mut inner = self.lock();
        if inner.topics.len() == known.len() && inner.topics.keys().all(|camera| known.contains(camera)) {
            return;
        }
        inner.topics.retain(|camera, _| known.contains(camera));
        for camera in known {
            if !inner.topics.contains_key(camera) {
                inner.topics.insert(camera.clone(), Topic::new(camera));
                inner.attach_everybody(camera);
            }
        }
        self.publish_demand(&mut inner);
    }

    /// Hands a new camera list to everybody.
    pub(crate) fn tell_cameras(&self, message: ServerMessage) {
        let mut inner = self.lock();
        if inner.cameras.as_ref().is_some_and(|last| *last.message() == message) {
            return;
        }
        let list = Shared::new(message);
        for member in inner.members.values() {
            member.outbox.newest(Newest::Cameras, list.clone());
        }
        inner.cameras = Some(list);
    }

    /// Forgets the camera list: newcomers wait for the next one instead of seeing an old one.
    pub(crate) fn forget_cameras(&self) {
        self.lock().cameras = None;
    }

    /// Tells everybody something out of the ordinary.
    pub(crate) fn tell(&self, message: &ServerMessage) {
        for member in self.lock().members.values() {
            member.outbox.control(message);
        }
    }

    /// Relays a result: `result` is the encoded `FrameResult` as it stands in the stream.
    pub(crate) fn result(&self, camera: &CameraId, id: FrameId, result: &[u8]) {
        let message = ServerMessage::Result(ResultMessage {
            camera: camera.clone(),
            id,
            seen_at_us: wall_clock_us(),
            result: ByteBuf::from(result),
        });
        self.deliver(camera, id, DeliveryKind::Result, message);
    }

    /// Relays a picture.
    pub(crate) fn picture(&self, camera: &CameraId, picture: Picture) {
        let message = ServerMessage::Preview(Preview {
            camera: camera.clone(),
            id: picture.id,
            size: picture.size,
            jpeg: ByteBuf::from(picture.jpeg.as_ref()),
            damaged: picture.damaged,
        });
        self.deliver(camera, picture.id, DeliveryKind::Preview, message);
        if let Some(topic) = self.lock().topics.get(camera)
            && topic.width().is_some()
        {
            topic.picture.send_replace(Some(picture));
        }
    }

    fn deliver(&self, camera: &CameraId, id: FrameId, kind: DeliveryKind, message: ServerMessage) {
        let seen = Instant::now();
        let message = Shared::new(message);
        let mut inner = self.lock();
        let Some(topic) = inner.topics.get_mut(camera) else { return };
        let metrics = Some(topic.metrics.clone());
        let delivery =
            Arc::new(Delivery { camera: camera.clone(), id, kind, seen, message, metrics, live: true });
        let (dropped, sleeping) = topic.deliver(&delivery);
        match kind {
            DeliveryKind::Result if topic.wants_results() => {
                topic.reached = Some(id);
                topic.result = Some(delivery);
            }
            DeliveryKind::Preview if topic.width().is_some() => topic.preview = Some(delivery),
            _ => {}
        }
        drop(inner);
        for (outbox, session) in sleeping {
            outbox.send_for(session);
        }
        self.metrics.dropped(dropped);
    }

    /// A camera is followed from now on, and has no result yet.
    pub(crate) fn no_result_yet(&self, camera: &CameraId) {
        if let Some(topic) = self.lock().topics.get_mut(camera)
            && topic.wants_results()
        {
            topic.reached.get_or_insert(FrameId::ZERO);
        }
    }

    /// A message for one client that plays back; none when there is no such camera any more.
    pub(crate) fn replayed(
        &self,
        camera: &CameraId,
        id: FrameId,
        kind: DeliveryKind,
        message: ServerMessage,
    ) -> Option<Delivery> {
        let message = Shared::new(message);
        let metrics = Some(self.lock().topics.get(camera)?.metrics.clone());
        Some(Delivery {
            camera: camera.clone(),
            id,
            kind,
            seen: Instant::now(),
            message,
            metrics,
            live: false,
        })
    }

    /// Looks at a camera for a moment, like a client that wants pictures; none when there is no such camera.
    pub(crate) fn look(self: &Arc<Self>, camera: &CameraId, width: u32) -> Option<Look> {
        let mut inner = self.lock();
        let key = inner.key();
        let topic = inner.topics.get_mut(camera)?;
        topic.looks.insert(key, width);
        let pictures = topic.picture.subscribe();
        self.publish_demand(&mut inner);
        Some(Look { hub: self.clone(), camera: camera.clone(), key, pictures })
    }

    fn publish_demand(&self, inner: &mut Inner) {
        let demand = inner.demand();
        self.demand.send_if_modified(|current| {
            let changed = *current != demand;
            *current = demand;
            changed
        });
    }

    /// Every change below is complete before the lock is given back, so a poisoned one is still good.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place in the hub; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) hub: Arc<Hub>,
    key: u64,
    pub(crate) outbox: Arc<Outbox>,
}

impl Member {
    /// Chooses what to receive about some cameras, or about all there are and will be. Returns those of the named
    /// ones that do not exist now; they are delivered as soon as they do.
    pub(crate) fn subscribe(&self, choice: Subscribe) -> Result<Vec<CameraId>, Unfit> {
        if let Some(rate) = choice.max_rate.filter(|rate| !RATES.contains(rate)) {
            return Err(Unfit::Rate(rate));
        }
        let width = choice.preview_width.map(|width| width.clamp(16, 8192));
        self.choose(choice.cameras, Wants { results: choice.results, width, rate: choice.max_rate })
    }

    /// Receives nothing more about some cameras, or about all.
    pub(crate) fn unsubscribe(&self, choice: Unsubscribe) -> Result<(), Unfit> {
        self.choose(choice.cameras, Wants::default()).map(drop)
    }

    /// What this client wants of a camera; none when there is no such camera.
    pub(crate) fn wants(&self, camera: &CameraId) -> Option<Wants> {
        let inner = self.hub.lock();
        let member = inner.members.get(&self.key)?;
        inner.topics.contains_key(camera).then(|| member.wants(camera))
    }

    /// From now on nothing live of a camera is sent. Returns the newest result that was, as far as that is known.
    pub(crate) fn hold(&self, camera: &CameraId) -> Option<FrameId> {
        let mut inner = self.hub.lock();
        inner.members.get_mut(&self.key)?.held.insert(camera.clone());
        let topic = inner.topics.get_mut(camera)?;
        for listener in topic.listeners.iter_mut().filter(|listener| listener.key == self.key) {
            listener.held = true;
        }
        topic.reached
    }

    /// Sends what is live again: forgets what waits, says so, and begins with the latest, in one go.
    pub(crate) fn go_live(&self, camera: &CameraId, message: Option<&ServerMessage>) {
        let mut inner = self.hub.lock();
        if let Some(member) = inner.members.get_mut(&self.key) {
            member.held.remove(camera);
        }
        match message {
            Some(message) => self.outbox.turn(camera, message),
            None => self.outbox.forget(|delivery| delivery.is_of(camera)),
        }
        inner.attach(camera, self.key);
    }

    /// Goes on with what is live behind a result that was sent, without a gap or a repetition. False where results
    /// that this client has not were relayed already, or where that is not known yet: read on, then ask again.
    pub(crate) fn go_on_live(&self, camera: &CameraId, after: FrameId) -> bool {
        let mut inner = self.hub.lock();
        if let Some(topic) = inner.topics.get_mut(camera)
            && let Some(listener) = topic.listeners.iter_mut().find(|listener| listener.key == self.key)
        {
            if listener.wants.results && topic.reached.is_none_or(|reached| reached > after) {
                return false;
            }
            (listener.held, listener.has) = (false, after);
        }
        if let Some(member) = inner.members.get_mut(&self.key) {
            member.held.remove(camera);
        }
        true
    }

    fn choose(&self, cameras: Vec<CameraId>, wants: Wants) -> Result<Vec<CameraId>, Unfit> {
        let cameras: BTreeSet<CameraId> = cameras.into_iter().collect();
        let mut inner = self.hub.lock();
        let Some(member) = inner.members.get_mut(&self.key) else { return Ok(Vec::new()) };
        let touched: BTreeSet<CameraId> = if cameras.is_empty() {
            member.all = wants;
            member.named.clear();
            inner.topics.keys().cloned().collect()
        } else {
            let new = cameras.iter().filter(|camera| !member.named.contains_key(*camera)).count();
            if member.named.len() + new > MOST_NAMED || cameras.len() > MOST_NAMED {
                return Err(Unfit::TooManyNamed);
            }
            for camera in &cameras {
                if wants == member.all {
                    member.named.remove(camera);
                } else {
                    member.named.insert(camera.clone(), wants);
                }
            }
            cameras
        };
        let unknown = touched.iter().filter(|camera| !inner.topics.contains_key(*camera)).cloned().collect();
        for camera in &touched {
            inner.attach(camera, self.key);
        }
        self.hub.publish_demand(&mut inner);
        Ok(unknown)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut inner = self.hub.lock();
        inner.members.remove(&self.key);
        for topic in inner.topics.values_mut() {
            topic.listeners.retain(|listener| listener.key != self.key);
        }
        self.hub.publish_demand(&mut inner);
        self.hub.members.send_replace(inner.members.len());
    }
}

/// A short look at a camera; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Look {
    hub: Arc<Hub>,
    camera: CameraId,
    key: u64,
    pictures: watch::Receiver<Option<Picture>>,
}

impl Look {
    /// The first picture for which `fits` holds, the one in hand included. None once the camera is removed.
    pub(crate) async fn picture(&mut self, fits: impl Fn(&Picture) -> bool) -> Option<Picture> {
        let found = self.pictures.wait_for(|picture| picture.as_ref().is_some_and(&fits)).await.ok()?;
        found.clone()
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let mut inner = self.hub.lock();
        if let Some(topic) = inner.topics.get_mut(&self.camera) {
            topic.looks.remove(&self.key);
        }
        self.hub.publish_demand(&mut inner);
    }
}

impl Inner {
    fn key(&mut self) -> u64 {
        next(&mut self.last_key)
    }

    /// Brings a camera's list of listeners in line with what a client wants, and starts it with the latest.
    fn attach(&mut self, camera: &CameraId, key: u64) {
        let (Some(topic), Some(member)) = (self.topics.get_mut(camera), self.members.get(&key)) else {
            return;
        };
        let (wants, held) = (member.wants(camera), member.held.contains(camera));
        let place = topic.listeners.iter().position(|listener| listener.key == key);
        let before = place.map(|at| topic.listeners.swap_remove(at));
        if wants != Wants::default() {
            let has = before.as_ref().map_or(FrameId::ZERO, |before| before.has);
            topic.listeners.push(Listener { key, outbox: member.outbox.clone(), wants, held, has });
        }
        member.outbox.forget(|delivery| delivery.is_of(camera) && !wants.takes(delivery.kind));
        if held {
            return;
        }
        for latest in [&topic.result, &topic.preview].into_iter().flatten() {
            let was_sent =
                before.as_ref().is_some_and(|before| !before.held && before.wants.takes(latest.kind));
            if wants.takes(latest.kind) && !was_sent {
                let delivery = Delivery { seen: Instant::now(), ..Delivery::clone(latest) };
                member.outbox.data(Arc::new(delivery), wants.rate);
            }
        }
    }

    fn attach_everybody(&mut self, camera: &CameraId) {
        let keys: Vec<u64> = self.members.keys().copied().collect();
        for key in keys {
            self.attach(camera, key);
        }
    }

    /// What is wanted; forgets on the way what is kept for newcomers of a camera that is no longer followed.
    fn demand(&mut self) -> Demand {
        let mut demand = Demand::default();
        for (camera, topic) in &mut self.topics {
            if topic.wants_results() {
                let since = *topic.results_since.get_or_insert_with(|| next(&mut self.last_key));
                demand.results.insert(camera.clone(), since);
            } else {
                (topic.results_since, topic.result, topic.reached) = (None, None, None);
            }
            if let Some(width) = topic.width() {
                let since = *topic.watched_since.get_or_insert_with(|| next(&mut self.last_key));
                demand.pictures.insert(camera.clone(), Watching { since, width });
            } else if topic.watched_since.is_some() {
                (topic.watched_since, topic.preview) = (None, None);
                topic.picture.send_replace(None);
            }
        }
        demand
    }
}

fn next(last_key: &mut u64) -> u64 {
    *last_key += 1;
    *last_key
}

impl Topic {
    fn new(camera: &CameraId) -> Self {
        Self {
            metrics: Arc::new(CameraMetrics::new(camera)),
            listeners: Vec::new(),
            looks: BTreeMap::new(),
            results_since: None,
            watched_since: None,
            result: None,
            preview: None,
            reached: None,
            picture: watch::Sender::new(None),
        }
    }

    /// Lays a message into the outboxes; returns how many older ones of each kind had to go, and the outboxes whose
    /// sessions sleep.
    fn deliver(&mut self, delivery: &Arc<Delivery>) -> (Dropped, Vec<(Arc<Outbox>, Waker)>) {
        let (mut dropped, mut sleeping) = (Dropped::default(), Vec::with_capacity(self.listeners.len()));
        for listener in &mut self.listeners {
            if listener.takes(delivery) {
                let (gone, session) = listener.outbox.lay(delivery.clone(), listener.wants.rate);
                dropped.iter_mut().zip(gone).for_each(|(sum, gone)| *sum += gone);
                sleeping.extend(session.map(|session| (listener.outbox.clone(), session)));
            }
        }
        (dropped, sleeping)
    }

    fn wants_results(&self) -> bool {
        self.listeners.iter().any(|listener| listener.wants.results)
    }

    fn width(&self) -> Option<u32> {
        let watched = self.listeners.iter().filter_map(|listener| listener.wants.width);
        watched.chain(self.looks.values().copied()).max()
    }
}

impl Listening {
    fn wants(&self, camera: &CameraId) -> Wants {
        self.named.get(camera).copied().unwrap_or(self.all)
    }
}

impl Listener {
    fn takes(&mut self, delivery: &Delivery) -> bool {
        if self.held || !self.wants.takes(delivery.kind) {
            return false;
        }
        if delivery.kind == DeliveryKind::Result && self.has > FrameId::ZERO {
            if delivery.id <= self.has {
                return false;
            }
            // Only once: a stream that is made anew may begin with smaller ids.
            self.has = FrameId::ZERO;
        }
        true
    }
}

impl Wants {
    pub(crate) fn takes(self, kind: DeliveryKind) -> bool {
        match kind {
            DeliveryKind::Result => self.results,
            DeliveryKind::Preview => self.width.is_some(),
            // No camera's: whoever follows the stream wants it.
            DeliveryKind::Step => true,
        }
    }
}
