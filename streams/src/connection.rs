//! Connections that come back by themselves.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use peregrine_proto::{CameraId, mask};
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};
use tokio::sync::Mutex;

use crate::{StreamError, value};

/// The most that this machine's clock may differ from the server's.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A server that takes longer for a small command is as good as away. Not shorter: on a busy machine seconds pass.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond the time for which a command asked the server to wait.
const BLOCK_MARGIN: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where Redis is. Frames may live on a server of their own (no persistence, no replica); by default they share
/// the server of leases, checkpoints and results.
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
    pub(crate) state: Arc<Link>,
    pub(crate) frames: Arc<Link>,
    /// Whether frames live on another server than the checkpoint.
    pub(crate) split: bool,
}

impl Redis {
    /// Connects, and checks that each server answers and is new enough.
    ///
    /// # Errors
    /// When an address makes no sense, nothing answers within two seconds, or the server is older than 7.0.
    pub async fn open(urls: &RedisUrls) -> Result<Self, StreamError> {
        let state = Arc::new(Link::new(&urls.state)?);
        state.check_version().await?;
        let frames_url = urls.frames.as_deref().unwrap_or(&urls.state);
        let frames = Arc::new(Link::new(frames_url)?);
        let split = frames_url != urls.state;
        if split {
            frames.check_version().await?;
        }
        Ok(Self { state, frames, split })
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
        self.state.time_us().await
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
        let reply = self.frames.run(redis::cmd("XLEN").arg(crate::keys::frames(camera))).await?;
        value::integer(&reply).map(|n| n.max(0) as u64).ok_or_else(|| value::unexpected("XLEN", &reply))
    }
}

/// The wall clock of this machine, microseconds since the Unix epoch.
pub fn wall_clock_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// One connection to one server, made when it is first needed and made again when it is lost.
///
/// A command that fails is not sent again here: only the caller knows whether that is safe. While the server is
/// away, attempts to connect are spaced by a growing pause, which the commands wait out.
pub(crate) struct Link {
    pub(crate) url: String,
    client: redis::Client,
    answer_timeout: Duration,
    /// The last attempt failed.
    away: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    connection: Option<MultiplexedConnection>,
    generation: u64,
    pause: Duration,
    retry_at: Option<Instant>,
}

impl Link {
    pub(crate) fn new(url: &str) -> Result<Self, StreamError> {
        let client = redis::Client::open(url)
            .map_err(|e| StreamError::Address { url: masked(url), why: mask_in(&e.to_string(), url) })?;
        Ok(Self::with(client, masked(url), ANSWER_TIMEOUT))
    }

    /// A second connection to the same server, for commands that block up to `block`.
    pub(crate) fn blocking(&self, block: Duration) -> Self {
        Self::with(self.client.clone(), self.url.clone(), block + BLOCK_MARGIN)
    }

    fn with(client: redis::Client, url: String, answer_timeout: Duration) -> Self {
        let inner = Mutex::new(Inner { connection: None, generation: 0, pause: FIRST_PAUSE, retry_at: None });
        Self { url, client, answer_timeout, away: AtomicBool::new(false), inner }
    }

    /// Whether the server is away, and this is not the moment to try it again: the pause before the next attempt
    /// still runs, or somebody else is trying.
    pub(crate) fn is_down(&self) -> bool {
        self.away.load(Ordering::Relaxed)
            && self
                .inner
                .try_lock()
                .map_or(true, |inner| inner.retry_at.is_some_and(|at| at > Instant::now()))
    }

    /// Sends a command. Of its errors, `NOSCRIPT` comes as [`Value::ServerError`], all others as errors.
    pub(crate) async fn run(&self, command: &Cmd) -> Result<Value, StreamError> {
        let (mut connection, generation) = self.connection().await?;
        let sent = tokio::time::timeout(self.answer_timeout, connection.send_packed_command(command)).await;
        let what = || command_name(command);
        match self.settle(sent, generation, what).await? {
            Value::ServerError(error) if error.kind() != Some(ServerErrorKind::NoScript) => {
                Err(self.refusal(error.into(), what()))
            }
            value => Ok(value),
        }
    }

    /// Sends commands together. Each answer may be a [`Value::ServerError`], see [`Link::refusal`].
    pub(crate) async fn run_all(&self, commands: &Pipeline) -> Result<Vec<Value>, StreamError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let (mut connection, generation) = self.connection().await?;
        let answers = connection.send_packed_commands(commands, 0, commands.len());
        let sent = tokio::time::timeout(self.answer_timeout, answers).await;
        let what = || commands.cmd_iter().next().map_or_else(String::new, command_name);
        let answers = self.settle(sent, generation, what).await?;
        if answers.len() == commands.len() {
            Ok(answers)
        } else {
            Err(StreamError::Answer { what: "a pipeline", found: format!("{} answers", answers.len()) })
        }
    }

    /// What a server's error means to us.
    pub(crate) fn refusal(&self, error: RedisError, what: String) -> StreamError {
        let url = self.url.clone();
        let why = error.to_string();
        match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown,
            ) => StreamError::NotServing { url, why },
            _ if error.code() == Some("OOM") => StreamError::Full { url },
            _ if matches!(error.code(), Some("MISCONF" | "BUSY")) => StreamError::NotServing { url, why },
            _ => StreamError::Refused { url, what, why },
        }
    }

    pub(crate) async fn time_us(&self) -> Result<i64, StreamError> {
        let reply = self.run(&redis::cmd("TIME")).await?;
        value::time_us(&reply).ok_or_else(|| value::unexpected("TIME", &reply))
    }

    /// The server's number for this connection, by which another can wake it. Connects where needed.
    pub(crate) async fn client_id(&self) -> Result<i64, StreamError> {
        let reply = self.run(redis::cmd("CLIENT").arg("ID")).await?;
        value::integer(&reply).ok_or_else(|| value::unexpected("CLIENT ID", &reply))
    }

    /// Which connection is in use: changes with each reconnect.
    pub(crate) async fn generation(&self) -> u64 {
        let inner = self.inner.lock().await;
        if inner.connection.is_some() { inner.generation } else { 0 }
    }

    /// Makes the next command connect anew.
    pub(crate) async fn drop_connection(&self) {
        self.inner.lock().await.connection = None;
    }

    async fn check_version(&self) -> Result<(), StreamError> {
        let reply = self.run(redis::cmd("INFO").arg("server")).await?;
        let text = value::text(&reply).ok_or_else(|| value::unexpected("INFO", &reply))?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let found = field("redis_version:").unwrap_or("unknown");
        let major = found.split('.').next().and_then(|v| v.parse::<u32>().ok());
        match major {
            Some(0..7) => Err(StreamError::Version { url: self.url.clone(), found: found.to_owned() }),
            _ => Ok(()),
        }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), StreamError> {
        let mut inner = self.inner.lock().await;
        if let Some(connection) = &inner.connection {
            return Ok((connection.clone(), inner.generation));
        }
        if let Some(at) = inner.retry_at {
            tokio::time::sleep_until(at.into()).await;
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(self.answer_timeout));
        let attempt = self.client.get_multiplexed_async_connection_with_config(&config);
        let problem = match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => {
                inner.generation += 1;
                inner.retry_at = None;
                self.away.store(false, Ordering::Relaxed);
                inner.connection = Some(connection.clone());
                return Ok((connection, inner.generation));
            }
            Ok(Err(error)) if error.is_io_error() || error.is_timeout() => {
                StreamError::Unreachable { url: self.url.clone(), why: error.to_string() }
            }
            Ok(Err(error)) if error.kind() == ErrorKind::AuthenticationFailed => StreamError::Refused {
                url: self.url.clone(),
                what: "the user name or password".into(),
                why: error.to_string(),
            },
            Ok(Err(error)) => self.refusal(error, "the connection".into()),
            Err(_) => StreamError::Unreachable {
                url: self.url.clone(),
                why: format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            },
        };
        self.away.store(true, Ordering::Relaxed);
        let jitter = rand::random_range(0.75..1.25);
        inner.retry_at = Some(Instant::now() + inner.pause.mul_f64(jitter));
        inner.pause = (inner.pause * 2).min(LONGEST_PAUSE);
        Err(problem)
    }

    /// Sorts the outcome of a command and drops a connection that cannot be trusted any more.
    async fn settle<T>(
        &self,
        sent: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
        generation: u64,
        what: impl Fn() -> String,
    ) -> Result<T, StreamError> {
        let problem = match sent {
            Ok(Ok(answer)) => {
                // Only an answer proves health; a connection alone does not.
                let mut inner = self.inner.lock().await;
                inner.pause = FIRST_PAUSE;
                return Ok(answer);
            }
            Ok(Err(error)) if error.is_timeout() => self.timed_out(),
            Ok(Err(error)) if error.is_io_error() || error.is_unrecoverable_error() => {
                StreamError::Unreachable { url: self.url.clone(), why: error.to_string() }
            }
            Ok(Err(error)) => self.refusal(error, what()),
            Err(_) => self.timed_out(),
        };
        // A server that turned read-only was demoted: its successor may stand behind the same name.
        if matches!(
            problem,
            StreamError::Timeout { .. } | StreamError::Unreachable { .. } | StreamError::NotServing { .. }
        ) {
            let mut inner = self.inner.lock().await;
            if inner.generation == generation {
                self.away.store(true, Ordering::Relaxed);
                inner.connection = None;
                let pause = inner.pause;
                inner.retry_at = Some(Instant::now() + pause);
                inner.pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        Err(problem)
    }

    fn timed_out(&self) -> StreamError {
        StreamError::Timeout { url: self.url.clone(), waited: self.answer_timeout }
    }
}

fn command_name(command: &Cmd) -> String {
    match command.args_iter().next() {
        Some(redis::Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => "a command".into(),
    }
}

/// An address without its credentials, also where the scheme was forgotten.
fn masked(url: &str) -> String {
    if url.contains("://") {
        mask(url).into_owned()
    } else {
        mask(&format!("redis://{url}")).replacen("redis://", "", 1)
    }
}

/// A message that may quote the address, with the address masked.
fn mask_in(message: &str, url: &str) -> String {
    message.replace(url, &masked(url))
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn credentials_show() {
        for (url, shown) in [
            ("redis://user:secret@host:6379/1", "redis://***@host:6379/1"),
            ("redis://:se@c/ret@host/1", "redis://***@host/1"),
            ("redis+unix:///run/redis.sock?pass=secret", "redis+unix:///run/redis.sock?pass=***"),
            ("user:secret@host", "***@host"),
            ("localhost:6379", "localhost:6379"),
        ] {
            assert_eq!(masked(url), shown, "{}", url.len());
        }
    }
}
