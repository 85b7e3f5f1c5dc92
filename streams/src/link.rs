//! One connection that comes back by itself.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, ServerError, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};
use tokio::sync::Mutex;

use crate::{StreamError, round_trip, sentinel::Sentinels, trouble, value};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A server that takes longer for a small command is as good as away. Not shorter: on a busy machine seconds pass.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond the time for which a command asked the server to wait.
const BLOCK_MARGIN: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One connection to one server, made when it is first needed and made again when it is lost.
///
/// A command that fails is not sent again here: only the caller knows whether that is safe. While the server is
/// away, attempts to connect are spaced by a growing pause, which the commands wait out.
pub(crate) struct Link {
    /// The address as errors show it, masked.
    url: String,
    target: Target,
    answer_timeout: Duration,
    /// Whether commands wait for something to happen: what their replies take says nothing about the server.
    blocks: bool,
    /// The last attempt failed.
    away: AtomicBool,
    inner: Mutex<Inner>,
}

/// Where a link leads to.
#[derive(Clone)]
pub(crate) enum Target {
    /// Always the same server.
    Server(Client),
    /// The one that is the master when the connection is made.
    Master(Sentinels),
}

struct Inner {
    connection: Option<MultiplexedConnection>,
    generation: u64,
    pause: Duration,
    retry_at: Option<Instant>,
}

impl Link {
    /// A link for commands that are answered at once. `url` is the address to show, masked.
    pub(crate) fn new(target: Target, url: String) -> Self {
        Self::with(target, url, ANSWER_TIMEOUT, false)
    }

    /// A second connection to the same server, for commands that block up to `block`.
    pub(crate) fn blocking(&self, block: Duration) -> Self {
        Self::with(self.target.clone(), self.url.clone(), block + BLOCK_MARGIN, true)
    }

    fn with(target: Target, url: String, answer_timeout: Duration, blocks: bool) -> Self {
        let inner = Mutex::new(Inner { connection: None, generation: 0, pause: FIRST_PAUSE, retry_at: None });
        Self { url, target, answer_timeout, blocks, away: AtomicBool::new(false), inner }
    }

    /// The address as errors show it, masked.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether the last attempt to reach the server failed.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
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

    /// Sends a command. An error that the server answers comes as [`Value::ServerError`], see [`Link::refusal`].
    pub(crate) async fn send(&self, command: &Cmd) -> Result<Value, StreamError> {
        let (mut connection, generation) = self.connection().await?;
        let began = Instant::now();
        let sent = tokio::time::timeout(self.answer_timeout, connection.send_packed_command(command)).await;
        let answer = self.settle(sent, generation, || command_name(command)).await?;
        self.answered(std::iter::once(command), began);
        self.notice(&answer, generation).await;
        Ok(answer)
    }

    /// Sends commands together. Each answer may be a [`Value::ServerError`], see [`Link::refusal`].
    pub(crate) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, StreamError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let (mut connection, generation) = self.connection().await?;
        let began = Instant::now();
        let answers = connection.send_packed_commands(commands, 0, commands.len());
        let sent = tokio::time::timeout(self.answer_timeout, answers).await;
        let what = || commands.cmd_iter().next().map_or_else(String::new, command_name);
        let answers = self.settle(sent, generation, what).await?;
        self.answered(commands.cmd_iter(), began);
        for answer in &answers {
            self.notice(answer, generation).await;
        }
        if answers.len() == commands.len() {
            Ok(answers)
        } else {
            Err(StreamError::Answer { what: "a pipeline", found: format!("{} answers", answers.len()) })
        }
    }

    fn answered<'a>(&self, commands: impl Iterator<Item = &'a Cmd>, began: Instant) {
        if !self.blocks {
            round_trip::answered(commands, began.elapsed());
        }
    }

    /// What a server's error means to us.
    pub(crate) fn refusal(&self, error: impl Into<RedisError>, what: String) -> StreamError {
        trouble::noticed(refusal(&self.url, error.into(), what))
    }

    /// The server's number for this connection, by which another can wake it. Connects where needed.
    pub(crate) async fn client_id(&self) -> Result<i64, StreamError> {
        match self.send(redis::cmd("CLIENT").arg("ID")).await? {
            Value::ServerError(error) => Err(self.refusal(error, "CLIENT ID".into())),
            reply => value::integer(&reply).ok_or_else(|| value::unexpected("CLIENT ID", &reply)),
        }
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

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), StreamError> {
        let mut inner = self.inner.lock().await;
        if let Some(connection) = &inner.connection {
            return Ok((connection.clone(), inner.generation));
        }
        if let Some(at) = inner.retry_at {
            tokio::time::sleep_until(at.into()).await;
        }
        let problem = match self.connect().await {
            Ok(connection) => {
                inner.generation += 1;
                if inner.generation > 1 {
                    trouble::reconnected();
                }
                inner.retry_at = None;
                self.away.store(false, Ordering::Relaxed);
                inner.connection = Some(connection.clone());
                return Ok((connection, inner.generation));
            }
            Err(problem) => problem,
        };
        self.away.store(true, Ordering::Relaxed);
        let jitter = rand::random_range(0.75..1.25);
        inner.retry_at = Some(Instant::now() + inner.pause.mul_f64(jitter));
        inner.pause = (inner.pause * 2).min(LONGEST_PAUSE);
        Err(problem)
    }

    async fn connect(&self) -> Result<MultiplexedConnection, StreamError> {
        match &self.target {
            Target::Server(client) => self.connect_to(client, "").await,
            Target::Master(sentinels) => {
                let master = sentinels.master(&self.url).await?;
                let at = format!("master {}: ", master.get_connection_info().addr());
                let mut connection = self.connect_to(&master, &at).await?;
                // While they fail over, sentinels still name the one that was the master before.
                let role = redis::cmd("ROLE");
                let role = tokio::time::timeout(CONNECT_TIMEOUT, connection.send_packed_command(&role)).await;
                match role {
                    Ok(Ok(Value::Array(parts)))
                        if parts.first().and_then(value::text).is_some_and(|role| role != "master") =>
                    {
                        let why = format!("{at}it is a replica, and its sentinels do not know yet");
                        Err(trouble::noticed(StreamError::NotServing { url: self.url.clone(), why }))
                    }
                    Ok(Ok(_)) => Ok(connection),
                    Ok(Err(error)) => Err(self.unreachable(format!("{at}{error}"))),
                    Err(_) => Err(self.silent(&at)),
                }
            }
        }
    }

    /// Connects; `at` says where, in errors, where the address does not.
    async fn connect_to(&self, client: &Client, at: &str) -> Result<MultiplexedConnection, StreamError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(self.answer_timeout));
        let attempt = client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) if error.is_io_error() || error.is_timeout() => {
                Err(self.unreachable(format!("{at}{error}")))
            }
            Ok(Err(error)) if error.kind() == ErrorKind::AuthenticationFailed => {
                Err(trouble::noticed(StreamError::Refused {
                    url: self.url.clone(),
                    what: "the user name or password".into(),
                    why: format!("{at}{error}"),
                }))
            }
            Ok(Err(error)) => Err(self.refusal(error, "the connection".into())),
            Err(_) => Err(self.silent(at)),
        }
    }

    fn silent(&self, at: &str) -> StreamError {
        self.unreachable(format!("{at}no answer within {} s", CONNECT_TIMEOUT.as_secs()))
    }

    fn unreachable(&self, why: String) -> StreamError {
        trouble::noticed(StreamError::Unreachable { url: self.url.clone(), why })
    }

    /// Leaves a server that was demoted: its successor may stand behind the same name.
    async fn notice(&self, answer: &Value, generation: u64) {
        if matches!(answer, Value::ServerError(error) if was_demoted(error)) {
            self.lose(generation).await;
        }
    }

    /// The connection cannot be trusted any more; the next one is made after a pause.
    async fn lose(&self, generation: u64) {
        let mut inner = self.inner.lock().await;
        if inner.generation == generation && inner.connection.is_some() {
            self.away.store(true, Ordering::Relaxed);
            inner.connection = None;
            let pause = inner.pause;
            inner.retry_at = Some(Instant::now() + pause);
            inner.pause = (pause * 2).min(LONGEST_PAUSE);
        }
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
                self.unreachable(error.to_string())
            }
            Ok(Err(error)) => self.refusal(error, what()),
            Err(_) => self.timed_out(),
        };
        if matches!(
            problem,
            StreamError::Timeout { .. } | StreamError::Unreachable { .. } | StreamError::NotServing { .. }
        ) {
            self.lose(generation).await;
        }
        Err(problem)
    }

    fn timed_out(&self) -> StreamError {
        trouble::noticed(StreamError::Timeout { url: self.url.clone(), waited: self.answer_timeout })
    }
}

pub(crate) fn command_name(command: &Cmd) -> String {
    match command.args_iter().next() {
        Some(redis::Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => "a command".into(),
    }
}

/// What a server's error means to us. `url` is the address to show, masked.
pub(crate) fn refusal(url: &str, error: RedisError, what: String) -> StreamError {
    let (url, why) = (url.to_owned(), error.to_string());
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown,
        ) => StreamError::NotServing { url, why },
        _ => match error.code() {
            Some("OOM") => StreamError::Full { url },
            // The last two: blocked while the server was demoted, and a master without its replicas.
            Some("MISCONF" | "BUSY" | "UNBLOCKED" | "NOREPLICAS") => StreamError::NotServing { url, why },
            _ => StreamError::Refused { url, what, why },
        },
    }
}

fn was_demoted(error: &ServerError) -> bool {
    error.kind() == Some(ServerErrorKind::ReadOnly) || error.code() == "UNBLOCKED"
}
