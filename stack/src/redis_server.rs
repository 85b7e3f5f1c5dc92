//! The private Redis: on a socket in a folder that nobody else can enter, on no port.

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::supervisor::{Program, Supervisor};

/// How a private Redis keeps its data.
#[derive(Debug, Clone, Copy)]
pub struct RedisOptions {
    /// Write refused beyond this, megabytes: nothing is evicted.
    pub maxmemory_mb: u32,
    /// Keep an append-only file, written before each answer, so that a restart loses nothing that was acknowledged. (Synced
    /// each second it may: while one sync takes its time, Redis answers before it writes.)
    pub append_only: bool,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { maxmemory_mb: 512, append_only: false }
    }
}

/// The address of the server on this socket.
pub(crate) fn url(socket: &Path) -> String {
    format!("redis+unix://{}", socket.display())
}

/// Starts a server called `name` on a socket of that name in `sockets`, its data in `folder`, and waits until it answers.
pub(crate) fn start(
    supervisor: &Supervisor,
    name: &str,
    sockets: &Path,
    folder: &Path,
    options: RedisOptions,
) -> anyhow::Result<PathBuf> {
    let Some(executable) = find("redis-server") else {
        bail!("redis-server is not installed: ./dev setup installs it, or apt-get install -y redis-server");
    };
    let data = folder.join(format!("{name}-data"));
    // Addresses of cameras lie in it, passwords and all.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&data);
    made.with_context(|| format!("cannot make the folder {}", data.display()))?;
    let socket = sockets.join(format!("{name}.sock"));
    let setting = |key: &str, value: &str| [format!("--{key}"), value.to_owned()];
    let args = [
        setting("port", "0"),
        setting("unixsocket", &socket.display().to_string()),
        setting("unixsocketperm", "700"),
        setting("dir", &data.display().to_string()),
        setting("daemonize", "no"),
        setting("save", ""),
        setting("appendonly", if options.append_only { "yes" } else { "no" }),
        setting("appendfsync", "always"),
        setting("maxmemory", &format!("{}mb", options.maxmemory_mb)),
        setting("maxmemory-policy", "noeviction"),
    ];
    let log = folder.join(format!("{name}.log"));
    supervisor.start(Program {
        name: name.into(),
        executable,
        args: args.concat(),
        env: Vec::new(),
        log: log.clone(),
    });
    await_answer(&socket).with_context(|| format!("Redis does not answer; its log is {}", log.display()))?;
    Ok(socket)
}

/// Waits until the server answers: at once where it is new, later where it reads an append-only file first.
pub(crate) fn await_answer(socket: &Path) -> anyhow::Result<()> {
    let client = redis::Client::open(url(socket))?;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.get_connection().and_then(|mut c| redis::cmd("PING").query::<String>(&mut c));
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The executable of that name in the search path.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}
