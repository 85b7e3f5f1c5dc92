//! How long the servers take to answer, told to whoever counts it.

use std::{sync::OnceLock, time::Duration};

use redis::{Arg, Cmd};

use crate::script;

static OBSERVER: OnceLock<fn(&'static str, Duration)> = OnceLock::new();

/// From now on, `observer` is told of every command, script or pipeline of this process that was answered: by what it
/// was for (`commit`, `publish`, `lease`, `read`, `state`, `offload`), from being sent to its reply. Reads that block are
/// left out. The first observer stays.
pub fn observe_round_trips(observer: fn(&'static str, Duration)) {
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
fn operation<'a>(commands: impl Iterator<Item = &'a Cmd>) -> &'static str {
    let mut operations = commands.map(|command| {
        let mut words = command.args_iter().map(|word| match word {
            Arg::Simple(word) => word,
            _ => b"",
        });
        match words.next().unwrap_or_default() {
            b"TIME" | b"ASKING" => None,
            b"EVALSHA" | b"EVAL" => Some(script::operation(words.next().unwrap_or_default())),
            b"XADD" | b"XTRIM" => Some("publish"),
            b"XRANGE" | b"XREVRANGE" | b"XREAD" | b"XLEN" | b"XINFO" => Some("read"),
            b"ZADD" => Some("lease"),
            b"RPUSH" => Some("offload"),
            _ => Some("state"),
        }
    });
    operations.find_map(|operation| operation).unwrap_or("state")
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
            ("XTRIM k MAXLEN = 7; XADD k 1-0 h x", "publish"),
            ("TIME; HMGET l owner exp epoch", "state"),
            ("TIME; XLEN k", "read"),
            ("TIME", "state"),
            ("ZADD w 1 me; ZRANGEBYSCORE w 1 +inf", "lease"),
            ("RPUSH q x; LTRIM q -9 -1", "offload"),
            ("EVALSHA 0123 1 k", "state"),
        ] {
            assert_eq!(operation(commands(lines).iter()), expected, "{lines}");
        }
        for (script, expected) in
            [(&script::COMMIT, "commit"), (&script::RENEW, "lease"), (&script::REPLACE, "state")]
        {
            let command = redis::cmd("EVALSHA").arg(script.hash()).arg(1).arg("k").take();
            assert_eq!(operation([&command].into_iter()), expected);
        }
    }
}
