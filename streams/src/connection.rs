//! The handle that everything else is done with.

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicU16},
    time::Duration,
};

use peregrine_proto::{CameraId, SCHEMA};

use crate::{StreamError, address::masked, clock::Look, keys, servers::Servers, value};

/// The most that this machine's clock may differ from the server's.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// Where Redis is. Frames may live on a server of their own (no persistence, no replica); by default they share
/// the server of leases, checkpoints and results.
///
/// | address | what it means |
/// |---|---|
/// | `redis://[user:password@]host[:6379][/db]` | one server |
/// | `redis+unix:///path/to/socket` | one server on this machine |
/// | `redis+cluster://[user:password@]host:port[,host:port…]` | a cluster: some of its nodes; user and password are those of all |
/// | `redis+sentinel://[user:password@]host[:26379][,host…]/master-name[/db][?sentinel_user=…&sentinel_pass=…]` | whichever server these sentinels call the master; user and password are its own |
///
/// `rediss` instead of `redis` means TLS; `?tls_ca=FILE` names certificates to trust instead of the system's.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrls {
    /// Leases, checkpoints, results, configuration: worth an append-only file.
    pub state: String,
    /// Frames and previews, where they live elsewhere.
    pub frames: Option<String>,
}

impl RedisUrls {
    /// Everything on one server.
    pub fn single(url: impl Into<String>) -> Self {
        Self { state: url.into(), frames: None }
    }
}

impl fmt::Debug for RedisUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisUrls")
            .field("state", &masked(&self.state))
            .field("frames", &self.frames.as_deref().map(masked))
            .finish()
    }
}

/// Handle to the server or servers; cheap to clone.
///
/// Commands share two connections: one for state, one for frames, so that a commit never queues behind pixels.
/// Everything that blocks has a connection of its own.
#[derive(Clone)]
pub struct Redis {
    pub(crate) state: Arc<Servers>,
    pub(crate) frames: Arc<Servers>,
    /// Whether frames live on another server than the checkpoint.
    pub(crate) split: bool,
    /// The schema version that is written.
    pub(crate) writes: Arc<AtomicU16>,
    /// The last look at the clock of the server where frames go.
    pub(crate) look: Arc<Mutex<Option<Look>>>,
}

impl Redis {
    /// Connects, and checks that each server answers and is new enough.
    ///
    /// # Errors
    /// When an address makes no sense or is of something else, nothing answers, or the server is older than 7.0.
    pub async fn open(urls: &RedisUrls) -> Result<Self, StreamError> {
        let state = Arc::new(Servers::new(&urls.state)?);
        state.check().await?;
        let frames_url = urls.frames.as_deref().unwrap_or(&urls.state);
        let frames = Arc::new(Servers::new(frames_url)?);
        let split = frames_url != urls.state;
        if split {
            frames.check().await?;
        }
        Ok(Self { state, frames, split, writes: Arc::new(AtomicU16::new(SCHEMA)), look: Arc::default() })
    }

    /// Asks the state server for an answer: the proof of health behind `/readyz`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ping(&self) -> Result<(), StreamError> {
        self.state.run(&redis::cmd("PING")).await.map(drop)
    }

    /// The state server's clock, microseconds since the Unix epoch.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn time_us(&self) -> Result<i64, StreamError> {
        self.state.time_us(keys::CAMERAS).await
    }

    /// This machine's clock minus the state server's, microseconds: the middle of the round trip counts.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn clock_offset_us(&self) -> Result<i64, StreamError> {
        let before = wall_clock_us();
        let server = self.time_us().await?;
        Ok((before + wall_clock_us()) / 2 - server)
    }

    /// The address of the state server, without credentials.
    pub fn address(&self) -> &str {
        &self.state.url
    }

    /// Frames lying in the camera's stream: its exact backlog, as a commit trims what it finished.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn backlog(&self, camera: &CameraId) -> Result<u64, StreamError> {
        let reply = self.frames.run(redis::cmd("XLEN").arg(keys::frames(camera))).await?;
        value::unsigned(&reply).ok_or_else(|| value::unexpected("XLEN", &reply))
    }

    /// The backlogs of many cameras, by one question. None where a camera's node of a cluster is away, or its stream is none.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn backlogs(&self, cameras: &[CameraId]) -> Result<Vec<Option<u64>>, StreamError> {
        let mut commands = redis::pipe();
        for camera in cameras {
            commands.cmd("XLEN").arg(keys::frames(camera));
        }
        let answers = self.frames.survey(&commands).await?;
        Ok(answers.into_iter().map(|answer| value::unsigned(&answer?.value)).collect())
    }
}

/// The wall clock of this machine, microseconds since the Unix epoch.
pub fn wall_clock_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
