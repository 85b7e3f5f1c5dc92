//! Between the processors and Redis: relays bytes; can swallow all that one connection says; can swap one script for
//! another under way.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};

/// A script's hash as EVALSHA names it.
pub(super) type Hash = [u8; 40];

/// A socket that leads to Redis.
pub(super) struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    redis: PathBuf,
    /// Those that are open, oldest first.
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Which script is replaced by which.
    swap: OnceLock<(Hash, Hash)>,
}

#[derive(Default)]
struct Connection {
    /// Nothing passes any more, and neither end is told.
    blackholed: AtomicBool,
    closed: AtomicBool,
}

impl Proxy {
    /// Listens; it ends with the process.
    pub(super) fn start(entrance: &Path, redis: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(entrance)
            .with_context(|| format!("cannot listen at {}", entrance.display()))?;
        let shared = Arc::new(Shared { redis, connections: Mutex::default(), swap: OnceLock::new() });
        let served = Arc::clone(&shared);
        thread::Builder::new().name("proxy".into()).spawn(move || {
            for client in listener.incoming().flatten() {
                // Redis may be away: then this client is turned away, as Redis itself would.
                let _ = served.connect(client);
            }
        })?;
        Ok(Self { shared })
    }

    /// From now on swallows what an open connection says, in both directions. The `index` is taken modulo their number.
    pub(super) fn blackhole(&self, index: usize) {
        let connections = self.shared.connections();
        if let Some(connection) = connections.get(index % connections.len().max(1)) {
            connection.blackholed.store(true, Ordering::Relaxed);
        }
    }

    /// From now on sends the second script where the first was meant.
    pub(super) fn swap(&self, scripts: (Hash, Hash)) {
        // Only ever set once, before anybody connects.
        let _ = self.shared.swap.set(scripts);
    }
}

impl Shared {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Connection>>> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.closed.load(Ordering::Relaxed));
        connections
    }

    fn connect(self: &Arc<Self>, client: UnixStream) -> io::Result<()> {
        let server = UnixStream::connect(&self.redis)?;
        let connection = Arc::<Connection>::default();
        self.connections().push(Arc::clone(&connection));
        let (to_server, to_client) = (server.try_clone()?, client.try_clone()?);
        for (from, to, swap) in [(client, to_server, self.swap.get().copied()), (server, to_client, None)] {
            let connection = Arc::clone(&connection);
            thread::Builder::new().name("relay".into()).spawn(move || {
                // Whatever ends one direction ends both.
                let _ = relay(&from, &to, swap, &connection);
                connection.closed.store(true, Ordering::Relaxed);
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            })?;
        }
        Ok(())
    }
}

fn relay(
    mut from: &UnixStream,
    mut to: &UnixStream,
    swap: Option<(Hash, Hash)>,
    connection: &Connection,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        if connection.blackholed.load(Ordering::Relaxed) {
            continue;
        }
        let bytes = &mut buffer[..length];
        if let Some((meant, sent)) = swap
            && let Some(at) = bytes.windows(meant.len()).position(|window| window == meant)
        {
            // Equally long, so that nothing else of the command changes.
            bytes[at..at + sent.len()].copy_from_slice(&sent);
        }
        to.write_all(bytes)?;
    }
}
