//! A real Redis server for a test. Tests of other crates include this file as well.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use peregrine_streams::{Redis, RedisUrls};
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use tempfile::TempDir;

/// A Redis server of the test's own, ended with it.
pub(crate) struct Server {
    dir: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub(crate) async fn start() -> Result<Self> {
        Self::with(&["--save", "", "--appendonly", "no"]).await
    }

    pub(crate) async fn with(arguments: &[&str]) -> Result<Self> {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut server = Self { dir: TempDir::new()?, arguments, child: None };
        server.run().await?;
        Ok(server)
    }

    pub(crate) async fn run(&mut self) -> Result<()> {
        let _ = std::fs::remove_file(self.dir.path().join("redis.sock"));
        let log = std::fs::File::create(self.dir.path().join("redis.log"))?;
        let child = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", "redis.sock"])
            .args(&self.arguments)
            .current_dir(self.dir.path())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .context("redis-server is not installed: apt-get install redis-server")?;
        self.child = Some(child);
        for _ in 0..3000 {
            if self.command::<String>(&["PING"]).await.is_ok() {
                return Ok(());
            }
            if self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("redis-server did not start: {}", std::fs::read_to_string(self.dir.path().join("redis.log"))?)
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Stops or continues the process: to its clients, a server that hangs.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let child = self.child.as_ref().context("the server does not run")?;
        let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status()?;
        anyhow::ensure!(status.success(), "kill -{name}");
        Ok(())
    }

    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("redis.sock")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub(crate) async fn redis(&self) -> Result<Redis> {
        Ok(Redis::open(&RedisUrls::single(self.url())).await?)
    }

    /// A connection that goes round the crate, and waits as long as it takes.
    pub(crate) async fn raw(&self) -> Result<MultiplexedConnection> {
        let patient = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let client = redis::Client::open(self.url())?;
        Ok(client.get_multiplexed_async_connection_with_config(&patient).await?)
    }

    pub(crate) async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        Ok(command.query_async(&mut self.raw().await?).await?)
    }

    /// Waits until so many clients wait in a blocking read.
    pub(crate) async fn until_blocked(&self, clients: usize) -> Result<()> {
        let waiting = format!("blocked_clients:{clients}");
        while !self.command::<String>(&["INFO", "clients"]).await?.lines().any(|line| line.trim() == waiting)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
