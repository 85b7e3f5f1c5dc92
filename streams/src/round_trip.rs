//! How long the servers take to answer, told to whoever counts it.

use std::{sync::OnceLock, time::Duration};

use redis::{Arg, Cmd};

use crate::script;

static OBSERVER: OnceLock<fn(Operation, Duration)> = OnceLock::new();

/// What a command, script or pipeline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A result, its checkpoint and its progress.
    Commit,
    /// Frames, pictures or steps into their streams.
    Publish,
    /// Leases and who is alive.
    Lease,
    /// From streams, without waiting.
    Read,
    /// All else that is kept: configurations, checkpoints, health.
    State,
    /// Frames of a camera too much for its owner.
    Offload,
}

impl Operation {
    /// All of them, each at its own number.
    pub const ALL: [Self; 6] =
        [Self::Commit, Self::Publish, Self::Lease, Self::Read, Self::State, Self::Offload];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Publish => "publish",
            Self::Lease => "lease",
            Self::Read => "read",
            Self::State => "state",
            Self::Offload => "offload",
        }
    }
}

/// From now on, `observer` is told of every command, script or pipeline of this process that was answered: what it was for,
/// and how long it took from being sent to its reply. Reads that block are left out. The first observer stays.
pub fn observe_round_trips(observer: fn(Operation, Duration)) {
    // Whoever comes later is a second `main` in one process, as in tests.
    let _ = OBSERVER.set(observer);
}

/// Tells of a reply to these commands.
pub(crate) fn answered<'a>(commands: impl Iterator<Item = &'a Cmd>, took: Duration) {
    if let Some(observer) = OBSERVER.get() {
        observer(operation(commands), took);
    }
}

/// What commands that are sent together are for: the first of them that does not only go along says it.
fn operation<'a>(commands: impl Iterator<Item = &'a Cmd>) -> Operation {
    let mut operations = commands.map(|command| {
        let mut words = command.args_iter().map(|word| match word {
            Arg::Simple(word) => word,
            _ => b"",
        });
        match words.next().unwrap_or_default() {
            b"TIME" | b"ASKING" => None,
            b"EVALSHA" | b"EVAL" => Some(script::operation(words.next().unwrap_or_default())),
            b"XADD" | b"XTRIM" => Some(Operation::Publish),
            b"XRANGE" | b"XREVRANGE" | b"XREAD" | b"XLEN" | b"XINFO" => Some(Operation::Read),
            b"ZADD" => Some(Operation::Lease),
            b"RPUSH" => Some(Operation::Offload),
            _ => Some(Operation::State),
        }
    });
    operations.find_map(|operation| operation).unwrap_or(Operation::State)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_is_misnamed() {
        let commands = |lines: &str| -> Vec<Cmd> {
            let command = |line: &str| {
                let mut words = line.split(' ');
                let mut command = redis::cmd(words.next().unwrap());
                words.for_each(|word| {
                    command.arg(word);
                });
                command
            };
            lines.split("; ").map(command).collect()
        };
        for (lines, expected) in [
            ("XTRIM k MAXLEN = 7; XADD k 1-0 h x", Operation::Publish),
            ("TIME; HMGET l owner exp epoch", Operation::State),
            ("TIME; XLEN k", Operation::Read),
            ("TIME", Operation::State),
            ("ZADD w 1 me; ZRANGEBYSCORE w 1 +inf", Operation::Lease),
            ("RPUSH q x; LTRIM q -9 -1", Operation::Offload),
            ("EVALSHA 0123 1 k", Operation::State),
        ] {
            assert_eq!(operation(commands(lines).iter()), expected, "{lines}");
        }
        for (script, expected) in [
            (&script::COMMIT, Operation::Commit),
            (&script::RENEW, Operation::Lease),
            (&script::REPLACE, Operation::State),
        ] {
            let command = redis::cmd("EVALSHA").arg(script.hash()).arg(1).arg("k").take();
            assert_eq!(operation([&command].into_iter()), expected);
        }
    }
}
