//! The server that a key lives on: one for all, or the nodes of a cluster.

use std::time::Duration;

use redis::{Cmd, Pipeline, RedisError, ServerErrorKind, Value};

use crate::{
    StreamError,
    address::{Address, masked},
    cluster::Cluster,
    link::{Link, Target, command_name, refusal},
    trouble, value,
};

/// One server, or the nodes of a cluster.
///
/// A command goes to where its key lives. As with [`Link`], one that fails is not sent again here, for only the caller
/// knows whether that is safe; one that a node passes on to another was not executed, and follows.
pub(crate) struct Servers {
    /// The address as it was given, masked.
    pub(crate) url: String,
    kind: Kind,
}

enum Kind {
    One(Box<Link>),
    Cluster(Cluster),
}

/// What a server answered, and its clock then, microseconds since the Unix epoch.
pub(crate) struct Answer {
    pub(crate) now_us: i64,
    pub(crate) value: Value,
}

impl Servers {
    pub(crate) fn new(url: &str) -> Result<Self, StreamError> {
        let shown = masked(url);
        let link = |target| Kind::One(Box::new(Link::new(target, shown.clone())));
        let kind = match Address::parse(url)? {
            Address::Server(client) => link(Target::Server(client)),
            Address::Master(sentinels) => link(Target::Master(sentinels)),
            Address::Cluster(seeds) => Kind::Cluster(Cluster::new(seeds, &shown)),
        };
        Ok(Self { url: shown, kind })
    }

    /// Checks that a server answers, is what the address says, and is new enough.
    pub(crate) async fn check(&self) -> Result<(), StreamError> {
        let reply = self.run(redis::cmd("INFO").arg("server")).await?;
        let text = value::text(&reply).ok_or_else(|| value::unexpected("INFO", &reply))?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let found = match (&self.kind, field("redis_mode:")) {
            (Kind::One(_), Some("cluster")) => Some(("a node of a cluster", "redis+cluster://host:port")),
            (Kind::One(_), Some("sentinel")) => {
                Some(("a sentinel", "redis+sentinel://host:port/master-name"))
            }
            _ => None,
        };
        if let Some((found, form)) = found {
            return Err(StreamError::Kind { url: self.url.clone(), found, form });
        }
        let found = field("redis_version:").unwrap_or("unknown");
        let major = found.split('.').next().and_then(|v| v.parse::<u32>().ok());
        match major {
            Some(0..7) => Err(StreamError::Version { url: self.url.clone(), found: found.to_owned() }),
            _ => Ok(()),
        }
    }

    /// What the server, or each node of a cluster that is there, says of its memory and persistence.
    pub(crate) async fn infos(&self) -> Result<Vec<String>, StreamError> {
        let mut command = redis::cmd("INFO");
        command.arg("memory").arg("persistence");
        let replies = match &self.kind {
            Kind::One(_) => vec![self.run(&command).await?],
            Kind::Cluster(cluster) => cluster.each(&command).await?,
        };
        let text =
            |reply| value::text(reply).map(str::to_owned).ok_or_else(|| value::unexpected("INFO", reply));
        replies.iter().map(text).collect()
    }

    /// Connections of their own to the same servers, for commands that block up to `block`.
    pub(crate) fn blocking(&self, block: Duration) -> Self {
        let kind = match &self.kind {
            Kind::One(link) => Kind::One(Box::new(link.blocking(block))),
            Kind::Cluster(cluster) => Kind::Cluster(cluster.blocking(block)),
        };
        Self { url: self.url.clone(), kind }
    }

    /// The only server, where one command may name keys of many cameras.
    pub(crate) fn only(&self) -> Option<&Link> {
        match &self.kind {
            Kind::One(link) => Some(link),
            Kind::Cluster(_) => None,
        }
    }

    /// Whether the server of a key is away, and this is not the moment to try it again.
    pub(crate) fn is_down(&self, key: &str) -> bool {
        match &self.kind {
            Kind::One(link) => link.is_down(),
            Kind::Cluster(cluster) => cluster.is_down(key.as_bytes()),
        }
    }

    /// Sends a command. Of its errors, `NOSCRIPT` comes as [`Value::ServerError`], all others as errors.
    pub(crate) async fn run(&self, command: &Cmd) -> Result<Value, StreamError> {
        let answer = match &self.kind {
            Kind::One(link) => link.send(command).await?,
            Kind::Cluster(cluster) => cluster.send(key_of(command).unwrap_or(ANY), command).await?,
        };
        match answer {
            Value::ServerError(error) if error.kind() != Some(ServerErrorKind::NoScript) => {
                Err(self.refusal(error, command_name(command)))
            }
            value => Ok(value),
        }
    }

    /// Sends commands together, all for one camera. Each answer may be a [`Value::ServerError`], see
    /// [`Servers::refusal`].
    pub(crate) async fn run_all(&self, commands: &Pipeline) -> Result<Vec<Value>, StreamError> {
        match &self.kind {
            Kind::One(link) => link.send_all(commands).await,
            Kind::Cluster(cluster) => {
                let key = commands.cmd_iter().next().and_then(key_of).unwrap_or(ANY);
                cluster.send_all(key, commands).await
            }
        }
    }

    /// Asks about many cameras, each with one command. None where the camera's server does not answer although
    /// another does: its cameras must not hide the others.
    pub(crate) async fn survey(&self, commands: &Pipeline) -> Result<Vec<Option<Answer>>, StreamError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        match &self.kind {
            Kind::One(link) => Ok(timed(link, commands).await?.into_iter().map(Some).collect()),
            Kind::Cluster(cluster) => cluster.survey(commands).await,
        }
    }

    /// The clock of the server that a key lives on, microseconds since the Unix epoch.
    pub(crate) async fn time_us(&self, key: &str) -> Result<i64, StreamError> {
        let command = redis::cmd("TIME");
        let reply = match &self.kind {
            Kind::One(link) => link.send(&command).await?,
            Kind::Cluster(cluster) => cluster.send(key.as_bytes(), &command).await?,
        };
        match reply {
            Value::ServerError(error) => Err(self.refusal(error, "TIME".into())),
            reply => value::time_us(&reply).ok_or_else(|| value::unexpected("TIME", &reply)),
        }
    }

    /// What a server's error means to us.
    pub(crate) fn refusal(&self, error: impl Into<RedisError>, what: String) -> StreamError {
        trouble::noticed(refusal(&self.url, error.into(), what))
    }
}

/// Sends commands behind a look at the server's clock.
pub(crate) async fn timed(link: &Link, commands: &Pipeline) -> Result<Vec<Answer>, StreamError> {
    let mut all = redis::pipe();
    all.cmd("TIME");
    commands.cmd_iter().for_each(|command| {
        all.add_command(command.clone());
    });
    let mut answers = link.send_all(&all).await?.into_iter();
    let now_us = match answers.next().unwrap_or_default() {
        Value::ServerError(error) => return Err(link.refusal(error, "TIME".into())),
        time => value::time_us(&time).ok_or_else(|| value::unexpected("TIME", &time))?,
    };
    Ok(answers.map(|value| Answer { now_us, value }).collect())
}

/// Stands for the key of a command that has none: any node would do, but always the same.
const ANY: &[u8] = crate::keys::CAMERAS.as_bytes();

/// The first key of a command, as far as this crate uses them.
pub(crate) fn key_of(command: &Cmd) -> Option<&[u8]> {
    let mut words = command.args_iter().map(|word| match word {
        redis::Arg::Simple(word) => word,
        _ => b"",
    });
    match words.next()? {
        b"PING" | b"INFO" | b"TIME" => None,
        // The script and the number of keys come before them.
        b"EVAL" | b"EVALSHA" => words.nth(2),
        b"XINFO" => words.nth(1),
        b"XREAD" => words.find(|word| *word == b"STREAMS").and_then(|_| words.next()),
        _ => words.next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_not_found() {
        for (words, key) in [
            ("PING", None),
            ("TIME", None),
            ("INFO server", None),
            ("XLEN k", Some("k")),
            ("XADD k * f v", Some("k")),
            ("XINFO STREAM k", Some("k")),
            ("XREAD COUNT 1 BLOCK 5 STREAMS k 0-0", Some("k")),
            ("EVALSHA hash 2 k l argument", Some("k")),
        ] {
            let mut all = words.split(' ');
            let mut command = redis::cmd(all.next().unwrap());
            all.for_each(|word| {
                command.arg(word);
            });
            assert_eq!(key_of(&command), key.map(str::as_bytes), "{words}");
        }
    }
}
