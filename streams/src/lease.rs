//! Who holds a camera: leases with a fence, taken and given up politely.

use std::{fmt, time::Duration};

use bytes::Bytes;
use peregrine_proto::{CameraId, FrameId, SCHEMA};
use redis::Value;

use crate::{Checkpoint, Redis, StreamError, agreement::FOR_GOOD, keys, script, servers::Answer, value};

/// For how long a released camera is kept for the worker that asked for it.
const KEPT_FOR: Duration = Duration::from_millis(1500);

/// The longest TTL that a worker can be given: that of a lease of the release before, which does not note its own.
const LONGEST_TTL: Duration = Duration::from_secs(600);
/// A moment that was noted lies no further beyond its span than this; further, the clock has gone back since.
const REAL_WITHIN: Duration = Duration::from_secs(1);

/// What a camera is held for. The same scripts serve both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads frames and commits results.
    Processor,
    /// Writes frames.
    Producer,
}

/// A worker and one of its lives: a restarted worker of the same name is somebody else.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WorkerId {
    name: String,
    nonce: u32,
}

impl WorkerId {
    /// A new life of the worker of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), nonce: rand::random() }
    }

    /// The name that people know.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08x}", self.name, self.nonce)
    }
}
impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The worker's name without its nonce.
pub(crate) fn name_of(worker: &str) -> &str {
    worker.rsplit_once('.').map_or(worker, |(name, _)| name)
}

/// Proof that a camera is held. Every write under it is refused as soon as somebody else took over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The camera.
    pub camera: CameraId,
    /// What it is held for.
    pub role: Role,
    /// Rises with every change of holder.
    pub epoch: u64,
    /// Epoch, worker and nonce. The nonce is there because an epoch can repeat after a failover.
    pub fence: String,
    /// How long the lease lasts without being renewed or committed under.
    pub ttl: Duration,
}

/// A lease that was just taken, and where the last holder left off.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The lease.
    pub lease: Lease,
    /// Where to continue.
    pub checkpoint: Checkpoint,
    /// How long ago the last holder gave its last sign of life (a commit or a renewal, as far as the lease tells, of a holder
    /// with the same TTL); none where it released the camera, or there was none.
    pub silent_for: Option<Duration>,
}

/// What asking for a lease led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Acquired {
    /// It is ours.
    Granted(Box<Grant>),
    /// It is somebody else's, or kept for them.
    Refused {
        /// Who.
        holder: String,
        /// When to ask again at the earliest.
        wait: Duration,
    },
}

/// What renewing a lease led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewed {
    /// It is still ours; another worker asks for the camera, or nobody.
    Held {
        /// Who asks.
        wanted_by: Option<String>,
    },
    /// It has passed to somebody else.
    Fenced,
}

/// How often the frame that a holder starts with was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Go on. While the number is above one, process this frame alone: a neighbour in the pipeline could be the one
    /// that kills workers, and this one would be blamed for it.
    Begin {
        /// 1 for the first time.
        attempt: u32,
    },
    /// Three attempts did not survive this frame: commit it as poison without looking at its pixels.
    Poison,
    /// The lease has passed to somebody else.
    Fenced,
}

/// Attempts at one frame that may die before it is given up.
pub const MOST_ATTEMPTS: u32 = 3;

impl Redis {
    /// Asks for a camera.
    ///
    /// # Errors
    /// When the server does not answer or answers nonsense.
    pub async fn acquire(
        &self,
        role: Role,
        camera: &CameraId,
        worker: &WorkerId,
        ttl: Duration,
    ) -> Result<Acquired, StreamError> {
        let least_epoch = match role {
            Role::Processor => 0,
            // With frames on a server of their own, its stream may remember a producer that the lease forgot.
            Role::Producer => self.last_frame(camera).await?.map_or(0, |last| last.inc),
        };
        let reply = script::ACQUIRE
            .run(
                &self.state,
                &[keys::lease(role, camera), keys::checkpoint(camera)],
                &[
                    worker.to_string().as_bytes(),
                    millis(ttl).as_bytes(),
                    least_epoch.to_string().as_bytes(),
                    if self.schema() >= SCHEMA { FOR_GOOD } else { "0" }.as_bytes(),
                ],
            )
            .await?;
        parse_acquired(reply, role, camera, ttl)
            .ok_or(StreamError::Answer { what: "ACQUIRE", found: "a list of another form".into() })
    }

    /// Extends a lease. Only for a camera without frames: a commit extends it as well.
    ///
    /// # Errors
    /// When the server does not answer or answers nonsense.
    pub async fn renew(&self, lease: &Lease) -> Result<Renewed, StreamError> {
        let reply = script::RENEW
            .run(
                &self.state,
                &[keys::lease(lease.role, &lease.camera)],
                &[lease.fence.as_bytes(), millis(lease.ttl).as_bytes()],
            )
            .await?;
        match outcome(&reply) {
            Some(("FENCED", _)) => Ok(Renewed::Fenced),
            Some(("OK", Some(who))) => Ok(Renewed::Held { wanted_by: worker_name(who) }),
            _ => Err(value::unexpected("RENEW", &reply)),
        }
    }

    /// Gives a lease up, keeps the camera for whoever asked for it, and wakes those who wait for free ones.
    /// False when it was somebody else's already.
    ///
    /// # Errors
    /// When the server does not answer or answers nonsense.
    pub async fn release(&self, lease: &Lease) -> Result<bool, StreamError> {
        let reply = script::RELEASE
            .run(
                &self.state,
                &[keys::lease(lease.role, &lease.camera)],
                &[lease.fence.as_bytes(), millis(KEPT_FOR).as_bytes()],
            )
            .await?;
        let released = value::integer(&reply).ok_or_else(|| value::unexpected("RELEASE", &reply))? == 1;
        if released {
            self.wake(&crate::Wake::Released { role: lease.role, camera: lease.camera.clone() }).await;
        }
        Ok(released)
    }

    /// Asks the holder of a camera to hand it over. False when the holder changed or somebody asked before.
    ///
    /// # Errors
    /// When the server does not answer or answers nonsense.
    pub async fn want(
        &self,
        role: Role,
        camera: &CameraId,
        holder: &str,
        worker: &WorkerId,
        stands_for: Duration,
    ) -> Result<bool, StreamError> {
        let reply = script::WANT
            .run(
                &self.state,
                &[keys::lease(role, camera)],
                &[holder.as_bytes(), worker.to_string().as_bytes(), millis(stands_for).as_bytes()],
            )
            .await?;
        value::integer(&reply).map(|n| n == 1).ok_or_else(|| value::unexpected("WANT", &reply))
    }

    /// Notes, before the first frame after taking a lease, that work on it begins.
    ///
    /// # Errors
    /// When the server does not answer or answers nonsense.
    pub async fn begin_attempt(&self, lease: &Lease, id: FrameId) -> Result<Attempt, StreamError> {
        let reply = script::ATTEMPT
            .run(
                &self.state,
                &[keys::lease(lease.role, &lease.camera)],
                &[lease.fence.as_bytes(), id.to_string().as_bytes()],
            )
            .await?;
        match outcome(&reply) {
            Some(("FENCED", _)) => Ok(Attempt::Fenced),
            Some(("OK", Some(tries))) => match value::integer(tries).and_then(|n| u32::try_from(n).ok()) {
                Some(attempt) if attempt <= MOST_ATTEMPTS => Ok(Attempt::Begin { attempt }),
                Some(_) => Ok(Attempt::Poison),
                None => Err(value::unexpected("ATTEMPT", &reply)),
            },
            _ => Err(value::unexpected("ATTEMPT", &reply)),
        }
    }
}

pub(crate) fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// The first word of a script's answer, and what follows it.
pub(crate) fn outcome(reply: &Value) -> Option<(&str, Option<&Value>)> {
    match reply {
        Value::Array(parts) => Some((value::text(parts.first()?)?, parts.get(1))),
        _ => None,
    }
}

pub(crate) fn worker_name(worker: &Value) -> Option<String> {
    value::text(worker).filter(|w| !w.is_empty()).map(|w| name_of(w).to_owned())
}

fn parse_acquired(reply: Value, role: Role, camera: &CameraId, ttl: Duration) -> Option<Acquired> {
    let mut parts = value::list(reply)?.into_iter();
    if value::integer(&parts.next()?)? == 0 {
        let holder = name_of(value::text(&parts.next()?)?).to_owned();
        let wait = Duration::from_millis(value::unsigned(&parts.next()?)?);
        return Some(Acquired::Refused { holder, wait });
    }
    let fence = value::text(&parts.next()?)?.to_owned();
    let epoch = value::unsigned(&parts.next()?)?;
    let checkpoint = Checkpoint {
        id: value::frame_id(&parts.next()?)?,
        n: value::unsigned(&parts.next()?)?,
        inc: value::unsigned(&parts.next()?)?,
        state: value::bytes(parts.next()?)?,
        lost: crate::commit::decode_losses(&value::bytes(parts.next()?)?),
    };
    let expired_ms = u64::try_from(value::integer(&parts.next()?)?).ok();
    let silent_for = expired_ms.map(|ms| ttl + Duration::from_millis(ms));
    let lease = Lease { camera: camera.clone(), role, epoch, fence, ttl };
    Some(Acquired::Granted(Box::new(Grant { lease, checkpoint, silent_for })))
}

/// Who holds a camera, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The worker's name.
    pub worker: String,
    /// Its lease epoch.
    pub epoch: u64,
}

impl Redis {
    /// Who holds each of these cameras; none where a lease is free or has run out, or where the
    /// camera's node of a cluster does not answer while others do.
    ///
    /// # Errors
    /// When the server does not answer or answers nonsense.
    pub async fn holders(
        &self,
        role: Role,
        cameras: &[CameraId],
    ) -> Result<Vec<Option<Holder>>, StreamError> {
        let live = |owner: Option<Owner>| {
            let owner = owner.filter(Owner::is_live)?;
            Some(Holder { worker: name_of(&owner.worker).to_owned(), epoch: owner.epoch })
        };
        Ok(self.owners(role, cameras).await?.into_iter().map(live).collect())
    }

    /// Leases as they stand; none where the camera's node of a cluster does not answer while others do.
    pub(crate) async fn owners(
        &self,
        role: Role,
        cameras: &[CameraId],
    ) -> Result<Vec<Option<Owner>>, StreamError> {
        let mut commands = redis::pipe();
        for camera in cameras {
            let fields = ["owner", "exp", "epoch", "want", "ttl", "ttlof", "fence"];
            commands.cmd("HMGET").arg(keys::lease(role, camera)).arg(&fields);
        }
        let owner = |answer: Option<Answer>| {
            let Answer { now_us, value } = answer?;
            let parts = value::list(value).unwrap_or_default();
            let field = |at: usize| parts.get(at).and_then(value::unsigned).unwrap_or(0);
            let text = |at: usize| parts.get(at).and_then(value::text);
            let ttl = match text(5) == text(6) {
                true => Duration::from_millis(field(4)),
                false => LONGEST_TTL,
            };
            Some(Owner {
                worker: text(0).unwrap_or_default().to_owned(),
                left: left(field(1), ttl, now_us),
                epoch: field(2),
                reserved: text(3) == Some(script::RESERVED),
            })
        };
        Ok(self.state.survey(&commands).await?.into_iter().map(owner).collect())
    }
}

/// How long until a moment, milliseconds of the server's clock, that was noted so far ahead: as in common.lua.
pub(crate) fn left(moment_ms: u64, span: Duration, now_us: i64) -> Duration {
    let left = Duration::from_millis(moment_ms.saturating_sub(now_us.unsigned_abs() / 1000));
    if left > span + REAL_WITHIN { Duration::ZERO } else { left }
}

/// A sign of life that is noted later than this was noted before the clock went back: nothing says that it is recent.
pub(crate) fn latest_real_ms(now_ms: i64) -> i64 {
    now_ms.saturating_add(i64::try_from(REAL_WITHIN.as_millis()).unwrap_or(0))
}

/// A lease as it stands in Redis.
pub(crate) struct Owner {
    pub(crate) worker: String,
    /// How long it lasts from now; zero when it has run out.
    pub(crate) left: Duration,
    pub(crate) epoch: u64,
    /// Workers of the release before cannot have the camera.
    pub(crate) reserved: bool,
}

impl Owner {
    pub(crate) fn is_live(&self) -> bool {
        !self.worker.is_empty() && !self.left.is_zero()
    }
}

/// Where a new holder of a camera continues, when it has never been held.
impl Default for Checkpoint {
    fn default() -> Self {
        Self { id: FrameId::ZERO, n: 0, inc: 0, state: Bytes::new(), lost: crate::Losses::default() }
    }
}
