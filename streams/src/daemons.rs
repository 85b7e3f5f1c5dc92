//! Which daemons run, and where their metrics are: written by each, read by whoever looks at all of them.

use std::time::Duration;

use peregrine_proto::SCHEMA;

use crate::{Redis, StreamError, keys, lease::latest_real_ms, value};

/// After this long without a sign of life a daemon is not listed any more.
const LISTED: Duration = Duration::from_secs(15);
/// After this long it is taken off the list.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// A daemon that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningDaemon {
    /// `producer`, `processor` or `gateway`.
    pub daemon: String,
    /// Its name among its peers, without spaces.
    pub worker: String,
    /// Host and port of its metrics.
    pub address: String,
}

impl RunningDaemon {
    /// As it stands in Redis: with the newest schema version that it reads, which the release before does not say.
    fn entry(&self) -> String {
        format!("{} {} {} {SCHEMA}", self.daemon, self.worker, self.address)
    }

    fn of(entry: &str) -> Option<Self> {
        let mut words = entry.split(' ').map(str::to_owned);
        Some(Self { daemon: words.next()?, worker: words.next()?, address: words.next()? })
    }
}

impl Redis {
    /// Says that a daemon runs; to be repeated every few seconds.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn announce_daemon(&self, daemon: &RunningDaemon) -> Result<(), StreamError> {
        let now_ms = self.state.time_us(keys::DAEMONS).await? / 1000;
        let mut commands = redis::pipe();
        commands.cmd("ZADD").arg(keys::DAEMONS).arg(now_ms).arg(daemon.entry());
        commands.cmd("ZREMRANGEBYSCORE").arg(keys::DAEMONS).arg("-inf").arg(ago(now_ms, FORGOTTEN_AFTER));
        self.state.run_all(&commands).await.map(drop)
    }

    /// Takes a daemon that ends off the list.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn withdraw_daemon(&self, daemon: &RunningDaemon) -> Result<(), StreamError> {
        self.state.run(redis::cmd("ZREM").arg(keys::DAEMONS).arg(daemon.entry())).await.map(drop)
    }

    /// The daemons that gave a sign of life lately, by name.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn daemons(&self) -> Result<Vec<RunningDaemon>, StreamError> {
        let now_ms = self.state.time_us(keys::DAEMONS).await? / 1000;
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(keys::DAEMONS).arg(ago(now_ms, LISTED)).arg(latest_real_ms(now_ms));
        let entries = value::list(self.state.run(&command).await?).unwrap_or_default();
        let mut entries: Vec<&str> = entries.iter().filter_map(value::text).collect();
        entries.sort_unstable();
        Ok(entries.into_iter().filter_map(RunningDaemon::of).collect())
    }
}

fn ago(now_ms: i64, age: Duration) -> i64 {
    now_ms - i64::try_from(age.as_millis()).unwrap_or(0)
}
