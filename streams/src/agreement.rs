//! Which schema version is written: the newest, once everybody who announces itself reads it.
//!
//! Until then the version before is written, which all read. Each daemon looks once a second. When nobody of the release
//! before has announced itself for [`QUIET`], whoever sees it first reserves every camera for workers that read the newest
//! version, and raises the version in Redis; from then on a worker of the release before gets no lease. A Redis without any
//! camera is new, and begins with the newest version.

use std::{
    collections::BTreeSet,
    fmt,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use peregrine_proto::{CameraId, OLDEST_SCHEMA, SCHEMA};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tracing::{debug, info, warn};

use crate::{
    Redis, Role, StreamError, keys,
    lease::{millis, name_of},
    registry::hex,
    script, value,
};

/// For so long nobody of the release before may have announced itself when the version rises.
pub const QUIET: Duration = Duration::from_secs(10);
/// A sign of life counts for so long.
const ANNOUNCED: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longer than raising the version takes; whoever dies of it leaves no camera reserved for longer.
const WHILE_RAISING: Duration = Duration::from_secs(60);
/// A reservation for good, milliseconds.
pub(crate) const FOR_GOOD: &str = "4000000000000000";
const ROLES: [Role; 2] = [Role::Processor, Role::Producer];

/// A daemon that does not read the newest schema version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OldDaemon {
    /// `producer`, `processor` or `gateway`.
    pub daemon: String,
    /// Its name among its peers.
    pub worker: String,
}

impl OldDaemon {
    fn of(entry: &str) -> Option<Self> {
        let mut words = entry.split(' ');
        let (daemon, worker) = (words.next()?, words.next()?);
        // Without an address it is an entry of those who take cameras: with a nonce.
        let worker = if words.next().is_some() { worker } else { name_of(worker) };
        Some(Self { daemon: daemon.to_owned(), worker: worker.to_owned() })
    }
}

impl fmt::Display for OldDaemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.daemon, self.worker)
    }
}

/// The schema version that is written, and who keeps it from being the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaState {
    /// The version.
    pub written: u16,
    /// Who announces itself and does not read [`SCHEMA`].
    pub old: BTreeSet<OldDaemon>,
}

impl SchemaState {
    /// What people should know about it, a sentence each.
    pub fn notices(&self) -> Vec<String> {
        let told = |old: &OldDaemon| match (self.written >= SCHEMA, old.daemon.as_str()) {
            (false, _) => format!(
                "{old} is of the release before: schema {OLDEST_SCHEMA} is written until it is replaced"
            ),
            (true, "gateway") => {
                format!("{old} is of the release before and reads no new results: replace it")
            }
            (true, _) => format!("{old} is of the release before and gets no cameras any more: replace it"),
        };
        self.old.iter().map(told).collect()
    }
}

/// Keeps the version that a [`Redis`] handle and its clones write.
pub struct Agreement {
    redis: Redis,
    /// Since when nobody of the release before has been seen.
    quiet_since: Option<Instant>,
    told: BTreeSet<String>,
}

impl Agreement {
    /// Looks for the first time.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn reach(redis: &Redis) -> Result<Self, StreamError> {
        let mut agreement = Self { redis: redis.clone(), quiet_since: None, told: BTreeSet::new() };
        let state = redis.agree("new").await?;
        agreement.take_note(&state);
        Ok(agreement)
    }

    /// Looks once a second, until it is dropped.
    pub async fn keep(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.look().await {
                debug!(%error, "which schema version is written could not be read: as before");
            }
        }
    }

    /// Looks, and raises the version when it is time.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn look(&mut self) -> Result<(), StreamError> {
        // A Redis that lost its data while nobody of the release before was there begins anew.
        let when = if self.redis.schema() >= SCHEMA { "new" } else { "" };
        let state = self.redis.agree(when).await?;
        self.take_note(&state);
        if self.redis.schema() < SCHEMA && self.quiet_since.is_some_and(|since| since.elapsed() >= QUIET) {
            self.raise().await?;
        }
        Ok(())
    }

    fn take_note(&mut self, state: &SchemaState) {
        self.quiet_since = match self.quiet_since {
            Some(since) if state.old.is_empty() => Some(since),
            None if state.old.is_empty() => Some(Instant::now()),
            _ => None,
        };
        let before = self.redis.writes.swap(state.written, Ordering::Relaxed);
        if before != state.written {
            info!(schema = state.written, "another schema version is written from now on");
        }
        let notices: BTreeSet<String> = state.notices().into_iter().collect();
        for notice in notices.difference(&self.told) {
            warn!("{notice}");
        }
        self.told = notices;
    }

    /// Reserves all cameras, raises the version if still nobody of the release before is there, and makes the
    /// reservations last.
    async fn raise(&mut self) -> Result<(), StreamError> {
        let reply = self.redis.state.run(redis::cmd("HKEYS").arg(keys::CAMERAS)).await?;
        let names = value::list(reply).unwrap_or_default();
        let mut names: Vec<&str> = names.iter().filter_map(value::text).collect();
        names.sort_unstable();
        let cameras: Vec<CameraId> = names.iter().filter_map(|name| CameraId::new(name).ok()).collect();
        let sum = hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, names.join(" ").as_bytes()).as_ref());
        self.reserve_all(&cameras, &millis(WHILE_RAISING)).await?;
        let state = self.redis.agree(&sum).await?;
        self.take_note(&state);
        self.reserve_all(&cameras, if state.written >= SCHEMA { FOR_GOOD } else { "0" }).await
    }

    async fn reserve_all(&self, cameras: &[CameraId], time: &str) -> Result<(), StreamError> {
        for camera in cameras {
            for role in ROLES {
                self.redis.reserve(role, camera, time).await?;
            }
        }
        Ok(())
    }
}

impl Redis {
    /// The schema version to be written. The newest one, where nobody keeps an [`Agreement`].
    pub fn schema(&self) -> u16 {
        self.writes.load(Ordering::Relaxed)
    }

    /// The schema version that is written, for display.
    ///
    /// # Errors
    /// When the server does not answer or answers nonsense.
    pub async fn schema_state(&self) -> Result<SchemaState, StreamError> {
        self.agree("").await
    }

    async fn agree(&self, when: &str) -> Result<SchemaState, StreamError> {
        let keys = [
            keys::SCHEMA,
            keys::workers(Role::Processor),
            keys::workers(Role::Producer),
            keys::DAEMONS,
            keys::CAMERAS,
        ]
        .map(str::to_owned);
        let args = [SCHEMA.to_string(), millis(ANNOUNCED), when.to_owned()];
        let args: Vec<&[u8]> = args.iter().map(String::as_bytes).collect();
        let reply = script::AGREE.run(&self.state, &keys, &args).await?;
        let found = value::list(reply).unwrap_or_default();
        let mut found = found.iter();
        let stands = found.next().and_then(value::integer);
        let stands = stands.ok_or(StreamError::Answer { what: "AGREE", found: "no number".into() })?;
        let written = if stands >= i64::from(SCHEMA) { SCHEMA } else { OLDEST_SCHEMA };
        Ok(SchemaState { written, old: found.filter_map(value::text).filter_map(OldDaemon::of).collect() })
    }

    /// Keeps a camera from workers of the release before for so many milliseconds, and takes it from one that holds it;
    /// for "0" ends a reservation that is not for good.
    pub(crate) async fn reserve(&self, role: Role, camera: &CameraId, time: &str) -> Result<(), StreamError> {
        let keys = [keys::lease(role, camera)];
        let lost = script::RESERVE.run(&self.state, &keys, &[time.as_bytes()]).await?;
        if let Some(worker) = value::text(&lost).filter(|worker| !worker.is_empty()) {
            let worker = name_of(worker);
            warn!(%camera, worker, "this worker is of the release before and does not read what is written: it has lost the camera");
        }
        Ok(())
    }

    /// Before a camera is added: nobody of the release before takes it where schema 3 is written.
    pub(crate) async fn reserve_new(&self, camera: &CameraId) -> Result<(), StreamError> {
        if self.schema() >= SCHEMA {
            for role in ROLES {
                self.reserve(role, camera, FOR_GOOD).await?;
            }
        }
        Ok(())
    }
}
