//! Wall clocks that jump: libfaketime (Debian's package of that name) stands between the daemons and the system's clock.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use peregrine_stack::{Builder, Daemon};

/// The clocks of the daemons' machines.
pub struct Clocks {
    folder: PathBuf,
}

impl Clocks {
    /// Clocks that are right, for now; files in the folder say so.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(folder: &Path) -> Result<Self> {
        let clocks = Self { folder: folder.to_owned() };
        clocks.set(Daemon::Producer, 0.0)?;
        clocks.set(Daemon::Processor, 0.0)?;
        Ok(clocks)
    }

    /// Gives the daemons these clocks.
    ///
    /// # Errors
    /// When libfaketime is missing.
    pub fn give(&self, stack: Builder) -> Result<Builder> {
        let library = library()?.display().to_string();
        Ok([Daemon::Producer, Daemon::Processor].into_iter().fold(stack, |stack, daemon| {
            stack
                .env(daemon, "LD_PRELOAD", &library)
                .env(daemon, "FAKETIME_TIMESTAMP_FILE", self.file(daemon).display().to_string())
                // How soon a jump is seen, seconds.
                .env(daemon, "FAKETIME_CACHE_DURATION", "1")
                // Only the wall clock jumps: waiting goes by the other.
                .env(daemon, "FAKETIME_DONT_FAKE_MONOTONIC", "1")
        }))
    }

    /// From now on a daemon's clock is wrong by so many seconds.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn set(&self, daemon: Daemon, seconds: f64) -> Result<()> {
        let file = self.file(daemon);
        // Renamed, so that nobody reads half of it.
        let new = file.with_extension("new");
        fs::write(&new, format!("{seconds:+.3}\n"))
            .and_then(|()| fs::rename(&new, &file))
            .context("setting a clock")
    }

    fn file(&self, daemon: Daemon) -> PathBuf {
        self.folder.join(format!("clock-of-{}", daemon.executable()))
    }
}

fn library() -> Result<PathBuf> {
    let found =
        fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    found
        .into_iter()
        .find(|path| path.exists())
        .context("libfaketime is missing, by which clocks jump: apt-get install libfaketime, or ./dev test, which does it")
}
