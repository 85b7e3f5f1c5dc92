//! When a stack's Redis executes what, by its own clock: a witness that no daemon has a hand in.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result};
use peregrine_stack::Stack;

/// Follows Redis' MONITOR until it is gone.
pub struct Monitor(Arc<Mutex<BTreeMap<(String, String), i64>>>);

impl Monitor {
    /// Notes from now on when each entry is added to a stream.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub fn start(stack: &Stack) -> Result<Self> {
        let url = stack.redis_urls().state;
        let socket = url.strip_prefix("redis+unix://").context("the stack's Redis has no socket")?;
        let mut connection = UnixStream::connect(socket)?;
        connection.write_all(b"MONITOR\r\n")?;
        let mut lines = BufReader::with_capacity(1 << 20, connection);
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line)?;
        let added = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let noted = Arc::clone(&added);
        thread::spawn(move || {
            loop {
                line.clear();
                match lines.read_until(b'\n', &mut line) {
                    Ok(1..) => noted.lock().unwrap_or_else(PoisonError::into_inner).extend(entry(&line)),
                    _ => return,
                }
            }
        });
        Ok(Self(added))
    }

    /// When an entry was added to the stream of this key, microseconds since the Unix epoch.
    pub fn added_us(&self, key: &str, id: &str) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(key.to_owned(), id.to_owned())).copied()
    }
}

/// The stream and the id of a line such as `+1700000000.123456 [0 lua] "XADD" "key" "MAXLEN" "~" "100" "1-0" "field" …`.
fn entry(line: &[u8]) -> Option<((String, String), i64)> {
    // Before the pixels.
    let line = String::from_utf8_lossy(&line[..line.len().min(400)]).into_owned();
    let (time, rest) = line.strip_prefix('+')?.split_once(' ')?;
    let mut words = rest.split_once("] ")?.1.split(' ').map(|word| word.trim_matches('"'));
    if words.next()? != "XADD" {
        return None;
    }
    let key = words.next()?.to_owned();
    let id = words.find(|word| word.split_once('-').is_some_and(|(ms, _)| ms.parse::<u64>().is_ok()))?;
    let (seconds, micros) = time.split_once('.')?;
    Some(((key, id.to_owned()), seconds.parse::<i64>().ok()? * 1_000_000 + micros.parse::<i64>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_the_monitor_is_misread() {
        let read = |line: &str| entry(line.as_bytes()).map(|((key, id), us)| (key, id, us));
        let frame =
            r#"+1700000000.000042 [0 unix:/tmp/redis.sock] "XADD" "peregrine:{a}:frames" "17-3" "h" "\x93"#;
        assert_eq!(read(frame), Some(("peregrine:{a}:frames".into(), "17-3".into(), 1_700_000_000_000_042)));
        let result = r#"+1.5 [0 lua] "XADD" "r" "MAXLEN" "~" "36000" "18-0" "r" "x""#;
        assert_eq!(read(result), Some(("r".into(), "18-0".into(), 1_000_005)));
        assert_eq!(read(r#"+1.000001 [0 lua] "HSET" "r" "18-0" "r" "x""#), None);
        assert_eq!(read("OK"), None);
    }
}
