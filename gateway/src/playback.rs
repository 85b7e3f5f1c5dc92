//! A client's own place in a camera's time.
//!
//! While a client is not live on a camera, the hub sends it nothing of it. A task of its session reads what Redis
//! still holds instead, results and the pictures of the very same frames, and lays them into its outbox in order.
//! Every jump forgets what waits there and is told with a raised epoch first, so nothing from before it comes after it.
//! The task ends when the client is live again, and with the session.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use peregrine_proto::{
    CameraId, FrameId, Gap, Playback, PlaybackState, Preview, ResultMessage, ResultStatus, ServerMessage,
};
use peregrine_streams::{PreviewEntry, Redis, ResultEntry, StreamError};
use serde_bytes::ByteBuf;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
};
use tracing::debug;

use crate::{
    outbox::{Delivery, DeliveryKind},
    pace::slot,
    relay::{MOST_NAMED, Member, Wants},
};

/// Cameras that one client may be elsewhere than live on, those left out on which it catches up with what is live.
const MOST_PLAYBACKS: usize = 16;
/// Cameras of one client that catch up at a time; the others wait for their turn.
const MOST_CATCHING_UP: usize = 16;
/// Requests about one camera that may wait for their answer.
const MOST_REQUESTS: usize = 32;
/// Results that are read ahead.
const AHEAD: usize = 32;
const STEPS: RangeInclusive<i32> = -100..=100;
const SPEEDS: RangeInclusive<f32> = 0.1..=16.0;
/// A client that plays is told when for so long nothing comes that is due.
const BUFFERING_AFTER: Duration = Duration::from_secs(1);
/// A stretch without frames is played as if it were so long.
const LONGEST_HOLE: Duration = Duration::from_secs(5);
/// Not more than one picture in this time, however fast is played: no screen shows more.
const PICTURE_EVERY: Duration = Duration::from_millis(20);
/// Before looking again for results that were relayed to others already.
const SOON: Duration = Duration::from_millis(20);
/// Before asking a Redis again that does not answer.
const LATER: Duration = Duration::from_millis(500);

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    Pause,
    Play,
    Seek {
        to: FrameId,
        nearest: bool,
    },
    Step(i32),
    Speed(f32),
    /// Everything after a result, then what is live.
    Resume(FrameId),
    /// The camera is not wanted any more.
    Leave,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    id: Option<u32>,
    wish: Wish,
}

/// The playbacks of one client; they end when this is dropped.
pub(crate) struct Playbacks {
    redis: Redis,
    member: Arc<Member>,
    /// The last epoch of any camera.
    epoch: Arc<AtomicU32>,
    running: BTreeMap<CameraId, Running>,
    turns: Arc<Semaphore>,
}

impl Playbacks {
    pub(crate) fn new(redis: Redis, member: Arc<Member>) -> Self {
        let turns = Arc::new(Semaphore::new(MOST_CATCHING_UP));
        Self { redis, member, epoch: Arc::default(), running: BTreeMap::new(), turns }
    }

    /// Asks for something about a camera; the answer goes into the client's outbox.
    pub(crate) fn ask(&mut self, camera: CameraId, id: u32, wish: Wish) {
        let posted = match self.member.wants(&camera) {
            None => Err(format!("there is no camera `{camera}` now")),
            Some(_) => self.post(&camera, Request { id: Some(id), wish }),
        };
        if let Err(problem) = posted {
            let mut answer = self.player(camera).message(Some(id));
            answer.problem = Some(problem);
            self.member.outbox.control(&ServerMessage::Playback(answer));
        }
    }

    /// Goes on after a result. The camera is held and subscribed to, in this order, so that nothing live comes first.
    pub(crate) fn resume(&mut self, camera: &CameraId, after: FrameId) {
        if self.post(camera, Request { id: None, wish: Wish::Resume(after) }).is_err() {
            self.member.outbox.control(&ServerMessage::Gap(Gap {
                camera: camera.clone(),
                after,
                first: None,
            }));
            self.member.go_live(camera, None);
        }
    }

    /// Leaves a camera that was held in vain where it was.
    pub(crate) fn stay(&self, camera: &CameraId) {
        if !self.running.get(camera).is_some_and(|running| running.mailbox.is_open()) {
            self.member.go_live(camera, None);
        }
    }

    /// Ends what runs about some cameras, or about all.
    pub(crate) fn leave(&mut self, cameras: &[CameraId]) {
        for (camera, running) in &self.running {
            if cameras.is_empty() || cameras.contains(camera) {
                running.mailbox.post(Request { id: None, wish: Wish::Leave });
            }
        }
    }

    /// Hands a request to the camera's playback, or begins one.
    fn post(&mut self, camera: &CameraId, request: Request) -> Result<(), String> {
        self.running.retain(|_, running| running.mailbox.is_open());
        let catches_up = matches!(request.wish, Wish::Resume(_));
        let played = self.running.iter().filter(|(other, running)| !running.catches_up && *other != camera);
        if !catches_up && played.count() >= MOST_PLAYBACKS {
            return Err(format!("{MOST_PLAYBACKS} cameras are played back already: play one of them live"));
        }
        match self.running.get(camera).map(|running| running.mailbox.post(request)) {
            Some(Posted::Taken) => {
                self.running.entry(camera.clone()).and_modify(|running| running.catches_up &= catches_up);
                return Ok(());
            }
            Some(Posted::Full) => {
                return Err(format!(
                    "{MOST_REQUESTS} requests about `{camera}` wait: wait for their answers"
                ));
            }
            Some(Posted::Closed) | None => {}
        }
        if self.running.len() >= MOST_PLAYBACKS + MOST_NAMED {
            return Err(format!("{} cameras catch up already: wait for them", self.running.len()));
        }
        let player = self.player(camera.clone());
        let mailbox = player.mailbox.clone();
        mailbox.post(request);
        let task = tokio::spawn(player.run()).abort_handle();
        self.running.insert(camera.clone(), Running { mailbox, task, catches_up });
        Ok(())
    }

    fn player(&self, camera: CameraId) -> Player {
        Player {
            redis: self.redis.clone(),
            member: self.member.clone(),
            turns: self.turns.clone(),
            turn: None,
            mailbox: Arc::new(Mailbox::new()),
            epoch: self.epoch.clone(),
            seek_epoch: self.epoch.load(Ordering::Relaxed),
            camera,
            state: State::Live,
            at: None,
            held: None,
            ahead: VecDeque::new(),
            source_ended: false,
            pictured: None,
            buffering: false,
        }
    }
}

/// A playback's task; ends when this is dropped.
#[derive(Debug)]
struct Running {
    mailbox: Arc<Mailbox>,
    task: AbortHandle,
    /// It was asked for nothing but to catch up with what is live.
    catches_up: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has closed its mailbox is through, and ends by itself.
        if self.mailbox.is_open() {
            self.task.abort();
        }
    }
}

/// Requests on their way to a playback. It closes only when it is empty, so none is lost.
#[derive(Debug)]
struct Mailbox {
    /// None once it is closed.
    requests: Mutex<Option<VecDeque<Request>>>,
    posted: Notify,
}

enum Posted {
    Taken,
    Full,
    Closed,
}

impl Mailbox {
    fn new() -> Self {
        Self { requests: Mutex::new(Some(VecDeque::new())), posted: Notify::new() }
    }

    fn post(&self, request: Request) -> Posted {
        match self.lock().as_mut() {
            None => return Posted::Closed,
            // Twice is no more than once.
            Some(waiting)
                if matches!(
                    (request.wish, waiting.back()),
                    (Wish::Leave, Some(Request { wish: Wish::Leave, .. }))
                ) =>
            {
                return Posted::Taken;
            }
            // What ends it always has a place.
            Some(waiting) if waiting.len() >= MOST_REQUESTS && !matches!(request.wish, Wish::Leave) => {
                return Posted::Full;
            }
            Some(waiting) => waiting.push_back(request),
        }
        self.posted.notify_one();
        Posted::Taken
    }

    async fn next(&self) -> Request {
        loop {
            let posted = self.posted.notified();
            if let Some(request) = self.lock().as_mut().and_then(VecDeque::pop_front) {
                return request;
            }
            posted.await;
        }
    }

    fn close_if_empty(&self) -> bool {
        let mut requests = self.lock();
        requests.take_if(|waiting| waiting.is_empty());
        requests.is_none()
    }

    fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Request>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    Live,
    Paused,
    /// `due` is when the frame at the position was to be seen.
    Playing {
        speed: f32,
        due: Instant,
    },
    Resuming,
    Ended,
}

/// One client's playback of one camera.
struct Player {
    redis: Redis,
    member: Arc<Member>,
    /// One is held while it catches up.
    turns: Arc<Semaphore>,
    turn: Option<OwnedSemaphorePermit>,
    mailbox: Arc<Mailbox>,
    epoch: Arc<AtomicU32>,
    /// Of the last jump on this camera.
    seek_epoch: u32,
    camera: CameraId,
    state: State,
    /// The last frame that was sent, or that the client has.
    at: Option<FrameId>,
    /// Oldest and newest result in the stream, as of the last request.
    held: Option<(FrameId, FrameId)>,
    /// What comes after the position.
    ahead: VecDeque<ResultEntry>,
    /// The result at the position says so.
    source_ended: bool,
    /// When the last frame that was played with its picture was to be seen.
    pictured: Option<Instant>,
    /// The client was told to wait.
    buffering: bool,
}

impl Player {
    async fn run(mut self) {
        let mailbox = self.mailbox.clone();
        while !(matches!(self.state, State::Live) && mailbox.close_if_empty()) {
            tokio::select! {
                biased;
                request = mailbox.next() => self.obey(request).await,
                () = self.advance() => {}
            }
        }
    }

    async fn obey(&mut self, Request { id, wish }: Request) {
        let obeyed = match wish {
            Wish::Resume(after) => {
                (self.state, self.at) = (State::Resuming, Some(after));
                self.ahead.clear();
                return;
            }
            Wish::Leave => {
                self.state = State::Live;
                return self.member.go_live(&self.camera, None);
            }
            _ => match self.redis.results_held(&self.camera).await {
                Ok(held) => {
                    self.held = held;
                    self.obey_within(id, wish).await
                }
                Err(error) => Err(error.into()),
            },
        };
        if let Err(Refusal(problem)) = obeyed {
            let mut answer = self.message(id);
            answer.problem = Some(problem);
            self.tell(answer);
        }
    }

    async fn obey_within(&mut self, id: Option<u32>, wish: Wish) -> Result<(), Refusal> {
        match wish {
            Wish::Pause => self.pause(id),
            Wish::Seek { to, nearest } => self.seek(id, to, nearest).await,
            Wish::Step(frames) => self.step(id, frames).await,
            Wish::Speed(speed) => self.play_at(id, speed),
            Wish::Play | Wish::Resume(_) | Wish::Leave => {
                match self.state {
                    State::Live => self.tell(self.message(id)),
                    _ => self.go_live(id),
                }
                Ok(())
            }
        }
    }

    fn pause(&mut self, id: Option<u32>) -> Result<(), Refusal> {
        if matches!(self.state, State::Live) {
            let (_, newest) = self.held.ok_or_else(|| self.nothing_held())?;
            self.at = Some(self.member.hold(&self.camera).unwrap_or(newest));
        }
        self.state = State::Paused;
        self.tell(self.message(id));
        Ok(())
    }

    fn go_live(&mut self, id: Option<u32>) {
        self.turn_epoch();
        (self.state, self.at) = (State::Live, None);
        let answer = ServerMessage::Playback(self.message(id));
        self.member.go_live(&self.camera, Some(&answer));
    }

    async fn seek(&mut self, id: Option<u32>, to: FrameId, nearest: bool) -> Result<(), Refusal> {
        let found = match self.redis.results_between(&self.camera, to, to, 1).await?.pop() {
            None if nearest => self.nearest(to).await?,
            found => found,
        };
        let Some(entry) = found else {
            let Some((first, last)) = self.held else { return Err(self.nothing_held()) };
            let camera = &self.camera;
            let problem = format!("frame {to} of `{camera}` is not held: seek between {first} and {last}");
            return Err(Refusal(problem));
        };
        let state = match self.state {
            State::Playing { speed, .. } => State::Playing { speed, due: Instant::now() },
            _ => State::Paused,
        };
        self.jump(id, entry, state).await;
        Ok(())
    }

    async fn nearest(&self, to: FrameId) -> Result<Option<ResultEntry>, StreamError> {
        let before = self.redis.results_before(&self.camera, to, 1).await?.pop();
        let after = self.redis.results_between(&self.camera, to, FrameId::MAX, 1).await?.pop();
        Ok(match (before, after) {
            (Some(before), Some(after)) if to.ms - before.id.ms <= after.id.ms - to.ms => Some(before),
            (before, after) => after.or(before),
        })
    }

    async fn step(&mut self, id: Option<u32>, frames: i32) -> Result<(), Refusal> {
        let Some(at) = self.at else {
            return Err(Refusal(format!("`{}` is live: pause it before stepping", self.camera)));
        };
        if !STEPS.contains(&frames) {
            let (least, most) = (STEPS.start(), STEPS.end());
            return Err(Refusal(format!("{frames} frames are too many for a step: use {least} to {most}")));
        }
        let (camera, count) = (&self.camera, frames.unsigned_abs() as usize);
        let (mut found, end) = match frames {
            0 => (self.redis.results_between(camera, at, at, 1).await?, "only"),
            1.. => (self.redis.results_between(camera, at.next(), FrameId::MAX, count).await?, "newest"),
            _ => (self.redis.results_before(camera, at, count).await?, "oldest"),
        };
        let Some(entry) = found.pop() else {
            return Err(Refusal(format!("{at} is the {end} frame of `{camera}` that is held")));
        };
        self.jump(id, entry, State::Paused).await;
        Ok(())
    }

    fn play_at(&mut self, id: Option<u32>, speed: f32) -> Result<(), Refusal> {
        if self.at.is_none() {
            return Err(Refusal(format!("`{}` is live: seek back before choosing a speed", self.camera)));
        }
        if !SPEEDS.contains(&speed) {
            let (least, most) = (SPEEDS.start(), SPEEDS.end());
            return Err(Refusal(format!("speed {speed} is out of range: use {least} to {most}")));
        }
        self.state = State::Playing { speed, due: Instant::now() };
        self.buffering = false;
        self.tell(self.message(id));
        Ok(())
    }

    /// Goes to a frame: what waited is forgotten, the answer says so, then comes the frame.
    async fn jump(&mut self, id: Option<u32>, entry: ResultEntry, state: State) {
        let picture = self.picture(entry.id).await;
        if matches!(self.state, State::Live) {
            self.member.hold(&self.camera);
        }
        self.turn_epoch();
        (self.state, self.at) = (state, Some(entry.id));
        let mut answer = self.message(id);
        answer.has_picture = picture.is_some();
        self.member.outbox.turn(&self.camera, &ServerMessage::Playback(answer));
        self.send(entry, picture);
    }

    /// What is read ahead, and what was told of it, belongs to another place.
    fn turn_epoch(&mut self) {
        self.seek_epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        self.ahead.clear();
        (self.pictured, self.buffering) = (None, false);
    }

    /// Does what is to be done next without being asked, for as long as there is something. Safe to cancel.
    async fn advance(&mut self) {
        let (playing, next) = (self.state, self.ahead.front().map(|next| next.id));
        match (playing, &self.turn) {
            (State::Resuming, None) => self.turn = self.turns.clone().acquire_owned().await.ok(),
            (State::Resuming, Some(_)) => {}
            _ => self.turn = None,
        }
        if let (State::Playing { .. }, Some(next)) = (playing, next) {
            tokio::time::sleep_until(self.due(next).into()).await;
        }
        let patience = match playing {
            State::Live | State::Paused | State::Ended => return std::future::pending().await,
            State::Playing { .. } if !self.buffering => BUFFERING_AFTER,
            State::Playing { .. } | State::Resuming => Duration::MAX,
        };
        let work = async {
            match next {
                None => self.read_on().await,
                Some(_) => self.send_next().await,
            }
        };
        if tokio::time::timeout(patience, work).await.is_err() {
            self.buffering = true;
            self.tell(self.message(None));
        }
    }

    /// Reads what comes after the position; goes live where that is nothing more.
    async fn read_on(&mut self) {
        let after = self.at.unwrap_or(FrameId::ZERO);
        // Not given up between two attempts: whoever waits for it is told so after a while.
        let mut entries = loop {
            match self.redis.results_between(&self.camera, after, FrameId::MAX, AHEAD + 1).await {
                Ok(entries) => break VecDeque::from(entries),
                Err(error) => debug!(camera = %self.camera, %error, "cannot read back"),
            }
            if self.turn.take().is_some() {
                // Other cameras may be held by a Redis that answers.
                return tokio::time::sleep(LATER).await;
            }
            tokio::time::sleep(LATER).await;
        };
        // While the frame itself is still there, nothing behind it was trimmed.
        if entries.front().is_some_and(|entry| entry.id == after) {
            entries.pop_front();
        } else if after > FrameId::ZERO {
            let (camera, first) = (self.camera.clone(), entries.front().map(|entry| entry.id));
            self.member.outbox.control(&ServerMessage::Gap(Gap { camera, after, first }));
            if first.is_none() {
                return self.go_live(None);
            }
        }
        self.ahead = entries;
        if self.ahead.is_empty() {
            self.catch_up(after).await;
        }
    }

    async fn catch_up(&mut self, after: FrameId) {
        let playing = matches!(self.state, State::Playing { .. });
        if playing && self.source_ended {
            self.state = State::Ended;
        } else if self.member.go_on_live(&self.camera, after) {
            (self.state, self.at) = (State::Live, None);
        } else {
            return tokio::time::sleep(SOON).await;
        }
        if playing {
            self.tell(self.message(None));
        }
    }

    /// Sends the next frame as soon as there is room for it.
    async fn send_next(&mut self) {
        let Some(next) = self.ahead.front().map(|next| next.id) else { return };
        let due = self.due(next);
        let wanted = !self.is_too_many(next);
        let rested = self.pictured.is_none_or(|last| due.saturating_duration_since(last) >= PICTURE_EVERY);
        let picture = match self.state {
            State::Playing { .. } if wanted && rested => self.picture(next).await,
            _ => None,
        };
        self.member.outbox.room().await;
        let Some(entry) = self.ahead.pop_front() else { return };
        if self.ahead.is_empty() {
            self.source_ended = entry.decode().is_ok_and(|result| result.status == ResultStatus::End);
        }
        if let State::Playing { due: seen, .. } = &mut self.state {
            *seen = due;
        }
        if picture.is_some() {
            self.pictured = Some(due);
        }
        self.at = Some(next);
        if wanted {
            self.send(entry, picture);
        }
        if self.buffering {
            self.buffering = false;
            self.tell(self.message(None));
        }
    }

    /// When the next frame is to be seen. Who is late does not hurry afterwards.
    fn due(&self, next: FrameId) -> Instant {
        let now = Instant::now();
        let (State::Playing { speed, due }, Some(at)) = (self.state, self.at) else { return now };
        let apart = Duration::from_millis(next.ms.saturating_sub(at.ms)).min(LONGEST_HOLE);
        let due = due + apart.div_f32(speed);
        if due + BUFFERING_AFTER < now { now } else { due }
    }

    /// Whether a frame is one more than the client wants a second.
    fn is_too_many(&self, next: FrameId) -> bool {
        match (self.state, self.at, self.wants().rate) {
            (State::Playing { speed, .. }, Some(at), Some(rate)) => {
                slot(next, rate / speed) == slot(at, rate / speed)
            }
            _ => false,
        }
    }

    fn wants(&self) -> Wants {
        self.member.wants(&self.camera).unwrap_or_default()
    }

    /// The picture of a frame, where one is wanted and held. Without it the frame is worth sending all the same.
    async fn picture(&self, id: FrameId) -> Option<PreviewEntry> {
        if !self.wants().takes(DeliveryKind::Preview) {
            return None;
        }
        match self.redis.preview_of(&self.camera, id).await {
            Ok(picture) => picture,
            Err(error) => {
                debug!(camera = %self.camera, %error, "cannot read a picture back");
                None
            }
        }
    }

    /// Lays a frame into the outbox, its picture first: who reads the result knows whether there is one.
    fn send(&self, entry: ResultEntry, picture: Option<PreviewEntry>) {
        let mut deliveries: Vec<Delivery> = Vec::with_capacity(2);
        let mut add = |id, kind, message| {
            deliveries.extend(self.member.hub.replayed(&self.camera, id, kind, message));
        };
        if let Some(PreviewEntry { camera, id, size, jpeg, damaged }) = picture {
            let jpeg = ByteBuf::from(jpeg.as_ref());
            let preview = Preview { camera, id, size, jpeg, damaged };
            add(id, DeliveryKind::Preview, ServerMessage::Preview(preview));
        }
        if self.wants().takes(DeliveryKind::Result) {
            let ResultEntry { camera, id, encoded, .. } = entry;
            let result = ByteBuf::from(encoded.as_ref());
            let message = ResultMessage { camera, id, seen_at_us: 0, result };
            add(id, DeliveryKind::Result, ServerMessage::Result(message));
        }
        self.member.outbox.replay(deliveries);
    }

    fn tell(&self, message: Playback) {
        self.member.outbox.control(&ServerMessage::Playback(message));
    }

    /// Where this client is.
    fn message(&self, request_id: Option<u32>) -> Playback {
        let (state, speed) = match self.state {
            State::Playing { speed, .. } if self.buffering => (PlaybackState::Buffering, speed),
            State::Playing { speed, .. } => (PlaybackState::Playing, speed),
            State::Paused => (PlaybackState::Paused, 1.0),
            State::Ended => (PlaybackState::Ended, 1.0),
            State::Live | State::Resuming => (PlaybackState::Live, 1.0),
        };
        Playback {
            request_id,
            camera: self.camera.clone(),
            seek_epoch: self.seek_epoch,
            state,
            speed,
            at: self.at.filter(|_| state != PlaybackState::Live),
            first: self.held.map(|(first, _)| first),
            last: self.held.map(|(_, last)| last),
            has_picture: false,
            problem: None,
        }
    }

    fn nothing_held(&self) -> Refusal {
        Refusal(format!("nothing of `{}` is held yet: there is only what is live", self.camera))
    }
}

/// Why a request is not obeyed: a sentence with the way out.
struct Refusal(String);

impl From<StreamError> for Refusal {
    fn from(error: StreamError) -> Self {
        Self(error.to_string())
    }
}
