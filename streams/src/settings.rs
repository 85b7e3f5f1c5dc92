//! What in the settings of the servers endangers data, by what they say in INFO: servers of others refuse CONFIG GET.

use std::{collections::BTreeSet, fmt};

use crate::{Redis, StreamError};

/// Which of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerRole {
    /// That of `redis.url`.
    State,
    /// That of `redis.frames_url`, where frames have one of their own.
    Frames,
}

/// How a setting endangers data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DangerKind {
    /// Its `maxmemory-policy` is another than `noeviction`.
    Evicts,
    /// It has no `maxmemory`.
    NoLimit,
    /// It has no append-only file; no danger for frames.
    NotKept,
}

/// A setting that endangers data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Danger {
    /// Where.
    pub server: ServerRole,
    /// How.
    pub kind: DangerKind,
}

impl ServerRole {
    /// Both.
    pub const ALL: [Self; 2] = [Self::State, Self::Frames];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Frames => "frames",
        }
    }

    const fn setting(self) -> &'static str {
        match self {
            Self::State => "redis.url",
            Self::Frames => "redis.frames_url",
        }
    }
}

impl DangerKind {
    /// All.
    pub const ALL: [Self; 3] = [Self::Evicts, Self::NoLimit, Self::NotKept];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evicts => "evicts",
            Self::NoLimit => "no_limit",
            Self::NotKept => "not_kept",
        }
    }
}

impl Danger {
    /// All there can be.
    pub fn all() -> impl Iterator<Item = Self> {
        ServerRole::ALL
            .into_iter()
            .flat_map(|server| DangerKind::ALL.into_iter().map(move |kind| Self { server, kind }))
    }
}

/// A sentence with the way out.
impl fmt::Display for Danger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server.setting();
        match self.kind {
            DangerKind::Evicts => write!(
                f,
                "the Redis of {server} evicts keys when its memory is full, whole cameras and their results among them: set its \
                 `maxmemory-policy` to `noeviction`"
            ),
            DangerKind::NoLimit => write!(
                f,
                "the Redis of {server} has no limit and is killed when its machine has no memory left: set its `maxmemory`"
            ),
            DangerKind::NotKept => write!(
                f,
                "the Redis of {server} has no append-only file: cameras, results and progress are lost when it restarts: set its \
                 `appendonly` to `yes`"
            ),
        }
    }
}

impl Redis {
    /// What in the settings of the servers, and of each node of a cluster, endangers data.
    ///
    /// # Errors
    /// When a server does not answer.
    pub async fn dangers(&self) -> Result<BTreeSet<Danger>, StreamError> {
        let mut dangers = BTreeSet::new();
        let mut look = |server, infos: &[String]| {
            let kinds = infos.iter().flat_map(|info| kinds_in(info));
            dangers.extend(kinds.map(|kind| Danger { server, kind }));
        };
        look(ServerRole::State, &self.state.infos().await?);
        if self.split {
            look(ServerRole::Frames, &self.frames.infos().await?);
            dangers.remove(&Danger { server: ServerRole::Frames, kind: DangerKind::NotKept });
        }
        Ok(dangers)
    }
}

/// What a server does not say is taken for well.
fn kinds_in(info: &str) -> impl Iterator<Item = DangerKind> {
    let field = |name: &str| {
        info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':')).map(str::to_owned)
    };
    let found = [
        (DangerKind::Evicts, field("maxmemory_policy").is_some_and(|policy| policy != "noeviction")),
        (DangerKind::NoLimit, field("maxmemory").is_some_and(|limit| limit == "0")),
        (DangerKind::NotKept, field("aof_enabled").is_some_and(|enabled| enabled == "0")),
    ];
    found.into_iter().filter_map(|(kind, is_so)| is_so.then_some(kind))
}
