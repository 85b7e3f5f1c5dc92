//! Which server is the master now: sentinels know.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionInfo, Value};

use crate::{StreamError, address::moved_to, value};

/// For one sentinel: another may answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sentinels, and the name by which they know the master.
#[derive(Clone)]
pub(crate) struct Sentinels {
    sentinels: Vec<Client>,
    name: String,
    /// How to connect to the master, but for its host.
    master: ConnectionInfo,
}

impl Sentinels {
    pub(crate) fn new(sentinels: Vec<Client>, name: String, master: ConnectionInfo) -> Self {
        Self { sentinels, name, master }
    }

    #[cfg(test)]
    pub(crate) fn parts(&self) -> (&[Client], &str, &ConnectionInfo) {
        (&self.sentinels, &self.name, &self.master)
    }

    /// The master, as the first sentinel that answers knows it. `url` is the address to show in errors.
    pub(crate) async fn master(&self, url: &str) -> Result<Client, StreamError> {
        let mut problems = Vec::new();
        let mut unknown = false;
        for sentinel in &self.sentinels {
            let at = sentinel.get_connection_info().addr();
            match tokio::time::timeout(PATIENCE, self.ask(sentinel)).await {
                Ok(Ok(Some((host, port)))) => {
                    return Client::open(moved_to(&self.master, &host, port))
                        .map_err(|e| StreamError::Address { url: url.to_owned(), why: e.to_string() });
                }
                Ok(Ok(None)) => unknown = true,
                Ok(Err(error)) => problems.push(format!("sentinel {at}: {error}")),
                Err(_) => problems.push(format!("sentinel {at}: no answer within {} s", PATIENCE.as_secs())),
            }
        }
        let url = url.to_owned();
        if unknown && problems.is_empty() {
            let what = format!("the master's name `{}`", self.name);
            return Err(StreamError::Refused { url, what, why: "its sentinels watch no such master".into() });
        }
        Err(StreamError::Unreachable { url, why: problems.join(", ") })
    }

    async fn ask(&self, sentinel: &Client) -> redis::RedisResult<Option<(String, u16)>> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut connection = sentinel.get_multiplexed_async_connection_with_config(&config).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let answer: Value = command.query_async(&mut connection).await?;
        let parts = value::list(answer).unwrap_or_default();
        let host = parts.first().and_then(value::text).map(str::to_owned);
        let port = parts.get(1).and_then(value::unsigned).and_then(|port| u16::try_from(port).ok());
        Ok(host.zip(port))
    }
}
