//! An upgrade under load: one replica after the other is swapped from the release before to this one, in the order of
//! docs/operations.md, and back again while schema 2 is still written.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use peregrine_stack::Stack;

/// How far the upgrade is.
pub struct Rollout {
    /// The replicas in the order in which they are swapped.
    order: Vec<String>,
    /// How many of them are of this release.
    swapped: usize,
    before: PathBuf,
    now: PathBuf,
}

/// The folder with the daemons of a checkout.
///
/// # Errors
/// When they were not built there.
pub fn executables(checkout: &Path) -> Result<PathBuf> {
    let folders = ["release", "debug"].map(|profile| checkout.join("target").join(profile));
    let complete =
        |folder: &&PathBuf| ["producer", "processor", "gateway"].iter().all(|d| folder.join(d).is_file());
    folders.iter().find(complete).cloned().with_context(|| {
        format!("{} has no daemons: build them there with cargo build --release --bins", checkout.display())
    })
}

impl Rollout {
    /// Nothing is swapped yet. `before` is a checkout of the release before.
    ///
    /// # Errors
    /// When its daemons were not built.
    pub fn new(before: &Path, processors: usize) -> Result<Self> {
        let me = std::env::current_exe()?;
        let has_daemons = |folder: &&Path| folder.join("processor").is_file();
        let now = me.ancestors().skip(1).take(2).find(has_daemons).context("build the daemons first")?;
        let processors = (1..=processors).map(|number| format!("processor-{number}"));
        let order: Vec<String> = processors.chain(["gateway".into(), "producer".into()]).collect();
        Ok(Self { order, swapped: 0, before: executables(before)?, now: now.to_owned() })
    }

    /// The folder with the daemons of the release before, to start with.
    pub fn before(&self) -> &Path {
        &self.before
    }

    /// The folder with the daemons of this release.
    pub fn now(&self) -> &Path {
        &self.now
    }

    /// The next replica to be swapped; none when all are.
    pub fn next(&self) -> Option<&str> {
        self.order.get(self.swapped).map(String::as_str)
    }

    /// The replica that was swapped last; none when none is.
    pub fn last(&self) -> Option<&str> {
        self.order.get(self.swapped.checked_sub(1)?).map(String::as_str)
    }

    /// Swaps the next replica.
    ///
    /// # Errors
    /// When it does not start.
    pub fn go_on(&mut self, stack: &Stack) -> Result<()> {
        let Some(name) = self.next() else { return Ok(()) };
        stack.restart_from(name, &self.now).with_context(|| format!("{name} of this release"))?;
        self.swapped += 1;
        Ok(())
    }

    /// Swaps the last one back.
    ///
    /// # Errors
    /// When it does not start, or everything is swapped: then there is no way back.
    pub fn go_back(&mut self, stack: &Stack) -> Result<()> {
        ensure!(self.next().is_some(), "all replicas are of this release: there is no way back");
        let Some(name) = self.last() else { return Ok(()) };
        stack.restart_from(name, &self.before).with_context(|| format!("{name} of the release before"))?;
        self.swapped -= 1;
        Ok(())
    }
}
