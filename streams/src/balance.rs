//! Which cameras this worker holds: each worker decides alone, all arrive at an even share.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use peregrine_proto::{CameraId, SCHEMA};
use rand::seq::SliceRandom;

use crate::{
    Acquired, Grant, Lease, Redis, Renewed, Role, StreamError, WorkerId,
    agreement::FOR_GOOD,
    keys,
    lease::{latest_real_ms, name_of},
    value,
};

/// How long a lease lasts unless told otherwise: within this and half a second a dead worker's cameras run again.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3);
/// How long a free camera is left to those whose share it is.
const LEFT_TO_OTHERS: Duration = Duration::from_millis(200);
/// After this long without a heartbeat a worker is taken off the list.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Keeps a fair share of the cameras: takes free ones, asks for some of whoever has too many, hands over politely.
///
/// Call [`Balance::tick`] when the time it gave has passed, or at once when the control stream tells of a released
/// camera or of a change.
pub struct Balance {
    redis: Redis,
    role: Role,
    worker: WorkerId,
    ttl: Duration,
    held: BTreeMap<CameraId, Held>,
    /// The least and the most cameras that are a fair share.
    share: (usize, usize),
    /// Since when cameras have been seen free.
    free_since: BTreeMap<CameraId, Instant>,
    /// What has changed and was not told yet: a tick that fails half-way tells it with the next one.
    untold: Tick,
    /// This worker has signed in before.
    signed_in: bool,
}

struct Held {
    lease: Lease,
    /// Release was asked for; the owner still finishes its frame.
    handing_over: bool,
    /// When the lease was last known to be extended.
    renewed: Instant,
}

/// What changed.
#[derive(Debug, Default)]
pub struct Tick {
    /// Cameras that are ours now.
    pub taken: Vec<Grant>,
    /// Cameras that somebody else took, or that no longer exist: discard their uncommitted state.
    pub lost: Vec<CameraId>,
    /// Cameras to hand over: finish and commit the frame in hand, then call [`Balance::release`].
    pub release: Vec<CameraId>,
    /// Call again after this long at the latest.
    pub next: Duration,
    /// Workers of this role that are alive, this one included.
    pub live: usize,
    /// Redis no longer knew this worker: its data was lost. What is written there only once has to be written again.
    pub forgotten: bool,
}

impl Balance {
    /// A worker that holds nothing yet.
    pub fn new(redis: &Redis, role: Role, worker: WorkerId, ttl: Duration) -> Self {
        Self {
            redis: redis.clone(),
            role,
            worker,
            ttl,
            held: BTreeMap::new(),
            share: (0, 0),
            free_since: BTreeMap::new(),
            untold: Tick::default(),
            signed_in: false,
        }
    }

    /// The worker.
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// The cameras held now.
    pub fn held(&self) -> impl Iterator<Item = &CameraId> {
        self.held.keys()
    }

    /// The lease of a camera.
    pub fn lease(&self, camera: &CameraId) -> Option<&Lease> {
        self.held.get(camera).map(|held| &held.lease)
    }

    /// Looks at all owners and changes what needs changing. `cameras` are all that this worker may hold.
    ///
    /// Leases are renewed only if the worker as a whole made `progress` lately (its last commit, or a read that found
    /// nothing to do): with many cameras one camera's turn can take longer than its lease, and a wedged worker loses
    /// its cameras by itself.
    ///
    /// # Errors
    /// When the server does not answer. Nothing is lost by it: call again, soon.
    pub async fn tick(&mut self, cameras: &[CameraId], progress: bool) -> Result<Tick, StreamError> {
        let others = self.beat().await?;
        let live = others.len() + 1;
        self.drop_removed(cameras).await?;
        self.renew(progress).await?;

        let owners = self.redis.owners(self.role, cameras).await?;
        self.share = (cameras.len() / live, cameras.len().div_ceil(live));
        let me = self.worker.to_string();
        let mut free = Vec::new();
        let mut loads: BTreeMap<String, Vec<&CameraId>> = BTreeMap::new();
        let mut next = self.ttl / 3;
        for (camera, owner) in cameras.iter().zip(owners) {
            // Nothing can be said or done about a camera whose node of a cluster is away.
            let Some(owner) = owner else { continue };
            if !owner.reserved && self.redis.schema() >= SCHEMA {
                self.redis.reserve(self.role, camera, FOR_GOOD).await?;
                next = Duration::ZERO;
            }
            if !owner.is_live() {
                if !self.held.contains_key(camera) {
                    free.push(camera);
                }
            } else if owner.worker != me {
                next = next.min(owner.left + Duration::from_millis(2));
                loads.entry(owner.worker).or_default().push(camera);
            }
        }
        self.take(free, &mut next).await?;
        if self.free_since.keys().any(|camera| !self.held.contains_key(camera)) {
            // A free camera is the share of somebody: if it is one who died, it is ours as soon as that shows.
            next = others.into_iter().fold(next, Duration::min);
        }
        self.ask_for_more(loads).await?;
        // A little apart, so that workers that started together do not go on asking together.
        let next = next.mul_f64(rand::random_range(0.9..1.0)).max(Duration::from_millis(2));
        Ok(Tick { next, live, ..std::mem::take(&mut self.untold) })
    }

    /// Whether to hand a camera over, when a commit told that somebody wants it. True once a camera.
    pub fn hand_over(&mut self, camera: &CameraId) -> bool {
        let staying = self.held.values().filter(|held| !held.handing_over).count();
        match self.held.get_mut(camera) {
            Some(held) if !held.handing_over && staying > self.share.0 => {
                held.handing_over = true;
                true
            }
            _ => false,
        }
    }

    /// Notes that a commit extended the camera's lease.
    pub fn committed(&mut self, camera: &CameraId) {
        if let Some(held) = self.held.get_mut(camera) {
            held.renewed = Instant::now();
        }
    }

    /// Gives a camera up, after its last frame was committed.
    ///
    /// # Errors
    /// When the server does not answer: the lease then runs out by itself.
    pub async fn release(&mut self, camera: &CameraId) -> Result<(), StreamError> {
        match self.held.remove(camera) {
            Some(held) => self.redis.release(&held.lease).await.map(drop),
            None => Ok(()),
        }
    }

    /// Forgets a camera whose lease has passed to somebody else.
    pub fn forget(&mut self, camera: &CameraId) {
        self.held.remove(camera);
    }

    /// Gives everything up and signs off.
    ///
    /// # Errors
    /// When the server does not answer: the leases then run out by themselves.
    pub async fn leave(&mut self) -> Result<(), StreamError> {
        // First, so that those who take the cameras count who is left.
        let gone = redis::cmd("ZREM").arg(keys::workers(self.role)).arg(self.sign()).take();
        let mut first_error = self.redis.state.run(&gone).await.map(drop);
        for camera in self.held.keys().cloned().collect::<Vec<_>>() {
            let released = self.release(&camera).await;
            first_error = first_error.and(released);
        }
        first_error
    }

    /// Signs in, and reads who else is alive: for how long each still counts as that without another heartbeat.
    async fn beat(&mut self) -> Result<Vec<Duration>, StreamError> {
        let key = keys::workers(self.role);
        let now_ms = self.redis.state.time_us(key).await? / 1000;
        let ago = |age: Duration| now_ms - i64::try_from(age.as_millis()).unwrap_or(0);
        let me = self.sign();
        let mut commands = redis::pipe();
        commands.cmd("ZADD").arg(key).arg(now_ms).arg(&me);
        commands.cmd("ZREMRANGEBYSCORE").arg(key).arg("-inf").arg(ago(FORGOTTEN_AFTER));
        let newest = latest_real_ms(now_ms);
        commands.cmd("ZRANGEBYSCORE").arg(key).arg(ago(self.ttl)).arg(newest).arg("WITHSCORES");
        let mut replies = self.redis.state.run_all(&commands).await?;
        let reply = replies.pop().unwrap_or_default();
        let is_new = replies.first().and_then(value::integer) == Some(1);
        self.untold.forgotten |= is_new && self.signed_in;
        self.signed_in |= is_new;
        let others = value::pairs(reply).unwrap_or_default().into_iter().filter(|(worker, _)| *worker != me);
        let alive_for = |(_, beat): (String, redis::Value)| {
            let since_ms = now_ms.saturating_sub(value::integer(&beat).unwrap_or(now_ms)).max(0);
            self.ttl.saturating_sub(Duration::from_millis(since_ms.unsigned_abs())) + Duration::from_millis(2)
        };
        Ok(others.map(alive_for).collect())
    }

    /// How it signs in: with what it reads. Workers of the release before sign with less.
    fn sign(&self) -> String {
        format!("{} {SCHEMA}", self.worker)
    }

    async fn drop_removed(&mut self, cameras: &[CameraId]) -> Result<(), StreamError> {
        for camera in self.held.keys().filter(|held| !cameras.contains(held)).cloned().collect::<Vec<_>>() {
            let released = self.release(&camera).await;
            self.tell_lost(camera);
            released?;
        }
        Ok(())
    }

    async fn renew(&mut self, progress: bool) -> Result<(), StreamError> {
        let due = |held: &Held| progress && held.renewed.elapsed() >= self.ttl / 4;
        let due: Vec<Lease> =
            self.held.values().filter(|held| due(held)).map(|held| held.lease.clone()).collect();
        for lease in due {
            // Of a cluster, other nodes may answer; if none does, the look at the owners tells.
            if self.redis.state.is_down(&keys::lease(lease.role, &lease.camera)) {
                continue;
            }
            match self.redis.renew(&lease).await {
                Err(error) if error.is_transient() => {
                    tracing::debug!(camera = %lease.camera, %error, "lease not renewed");
                }
                Err(error) => return Err(error),
                Ok(Renewed::Held { wanted_by }) => {
                    self.committed(&lease.camera);
                    if wanted_by.is_some() && self.hand_over(&lease.camera) {
                        self.untold.release.push(lease.camera);
                    }
                }
                Ok(Renewed::Fenced) => {
                    self.held.remove(&lease.camera);
                    self.tell_lost(lease.camera);
                }
            }
        }
        Ok(())
    }

    fn tell_lost(&mut self, camera: CameraId) {
        self.untold.taken.retain(|grant| grant.lease.camera != camera);
        self.untold.lost.push(camera);
    }

    /// Takes free cameras up to a fair share, and those that nobody else takes.
    async fn take(&mut self, mut free: Vec<&CameraId>, next: &mut Duration) -> Result<(), StreamError> {
        free.shuffle(&mut rand::rng());
        self.free_since.retain(|camera, _| free.contains(&camera));
        for camera in free {
            // What nobody takes although it is somebody's share, others cannot take: they are gone and not yet missed, or may
            // not open its source. Better one too many for a while than a camera without anybody.
            let since = *self.free_since.entry(camera.clone()).or_insert_with(Instant::now);
            if self.held.len() >= self.share.1 && since.elapsed() < LEFT_TO_OTHERS {
                *next = (*next).min(LEFT_TO_OTHERS);
                continue;
            }
            match self.redis.acquire(self.role, camera, &self.worker, self.ttl).await? {
                Acquired::Granted(grant) => {
                    let lease = grant.lease.clone();
                    let held = Held { lease, handing_over: false, renewed: Instant::now() };
                    self.held.insert(camera.clone(), held);
                    self.untold.taken.push(*grant);
                }
                Acquired::Refused { wait, .. } => *next = (*next).min(wait + Duration::from_millis(2)),
            }
        }
        Ok(())
    }

    /// Below a fair share: asks for as many as are missing, of whoever has most.
    async fn ask_for_more(&self, mut loads: BTreeMap<String, Vec<&CameraId>>) -> Result<(), StreamError> {
        for _ in self.held.len()..self.share.0 {
            let Some((holder, cameras)) = loads.iter_mut().max_by_key(|(_, cameras)| cameras.len()) else {
                break;
            };
            if cameras.len() <= self.share.0 {
                break;
            }
            let at = rand::random_range(0..cameras.len());
            let camera = cameras.swap_remove(at);
            self.redis.want(self.role, camera, holder, &self.worker, self.ttl).await?;
        }
        Ok(())
    }
}

/// A worker's last sign of life, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The worker's name.
    pub worker: String,
    /// How long ago it was.
    pub seen_ago: Duration,
}

impl Redis {
    /// The last sign of life of each worker of a role, by name; those silent for a minute are forgotten.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn heartbeats(&self, role: Role) -> Result<Vec<Heartbeat>, StreamError> {
        let key = keys::workers(role);
        let now_ms = self.state.time_us(key).await? / 1000;
        let mut command = redis::cmd("ZRANGE");
        command.arg(key).arg(0).arg(-1).arg("WITHSCORES");
        let mut newest: BTreeMap<String, Duration> = BTreeMap::new();
        for (worker, beat) in value::pairs(self.state.run(&command).await?).unwrap_or_default() {
            let beat_ms = value::integer(&beat).unwrap_or(0);
            if beat_ms > latest_real_ms(now_ms) {
                continue;
            }
            let since_ms = now_ms.saturating_sub(beat_ms).max(0);
            let seen_ago = Duration::from_millis(since_ms.unsigned_abs());
            // One that was started again under its name has an entry for each of its lives.
            let known = newest.entry(name_of(&worker).to_owned()).or_insert(seen_ago);
            *known = seen_ago.min(*known);
        }
        let heartbeat = |(worker, seen_ago)| Heartbeat { worker, seen_ago };
        let recent = newest.into_iter().filter(|(_, seen_ago)| *seen_ago <= FORGOTTEN_AFTER);
        Ok(recent.map(heartbeat).collect())
    }

    /// Workers of a role that gave a sign of life within the last `within`, by name.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn live_workers(&self, role: Role, within: Duration) -> Result<Vec<String>, StreamError> {
        let key = keys::workers(role);
        let now_ms = self.state.time_us(key).await? / 1000;
        let since_ms = now_ms - i64::try_from(within.as_millis()).unwrap_or(0);
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(key).arg(since_ms).arg(latest_real_ms(now_ms));
        let reply = value::list(self.state.run(&command).await?).unwrap_or_default();
        let name = |worker: &redis::Value| value::text(worker).map(|w| name_of(w).to_owned());
        Ok(reply.iter().filter_map(name).collect())
    }
}
