//! A long way to Redis: relays bytes, each some time after it came.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// Pieces on their way in one direction; each is at most 64 KiB.
const ON_THE_WAY: usize = 1024;

/// A socket that leads to Redis, slowly.
pub struct SlowLink {
    entrance: PathBuf,
    delay_ms: Arc<AtomicU64>,
}

impl SlowLink {
    /// Listens at `entrance` until the process ends; `delay` is that of each direction.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(entrance: &Path, redis: PathBuf, delay: Duration) -> Result<Self> {
        let listener = UnixListener::bind(entrance)
            .with_context(|| format!("cannot listen at {}", entrance.display()))?;
        let link = Self { entrance: entrance.to_owned(), delay_ms: Arc::default() };
        link.set_delay(delay);
        let delay_ms = Arc::clone(&link.delay_ms);
        thread::Builder::new().name("slow link".into()).spawn(move || {
            for client in listener.incoming().flatten() {
                // Redis may be away: then this client is turned away, as Redis itself would.
                let _ = connect(client, &redis, &delay_ms);
            }
        })?;
        Ok(link)
    }

    /// The address to give to a daemon.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.entrance.display())
    }

    /// What comes from now on is delayed by so much.
    pub fn set_delay(&self, delay: Duration) {
        self.delay_ms.store(delay.as_millis().try_into().unwrap_or(0), Ordering::Relaxed);
    }
}

fn connect(client: UnixStream, redis: &Path, delay_ms: &Arc<AtomicU64>) -> io::Result<()> {
    let server = UnixStream::connect(redis)?;
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        let (sender, receiver) = sync_channel(ON_THE_WAY);
        let delay_ms = Arc::clone(delay_ms);
        thread::Builder::new().name("in".into()).spawn(move || take(&from, &sender, &delay_ms))?;
        thread::Builder::new().name("out".into()).spawn(move || give(&to, &receiver))?;
    }
    Ok(())
}

/// Whatever ends one direction ends both: a closed end is passed on by `give`.
fn take(mut from: &UnixStream, sender: &SyncSender<(Instant, Vec<u8>)>, delay_ms: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        let due = Instant::now() + Duration::from_millis(delay_ms.load(Ordering::Relaxed));
        if length == 0 || sender.send((due, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

fn give(mut to: &UnixStream, receiver: &Receiver<(Instant, Vec<u8>)>) {
    for (due, bytes) in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
