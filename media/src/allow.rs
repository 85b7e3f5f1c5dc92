use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use peregrine_proto::SourceUri;

use crate::{SourceError, address::Address};

/// Which sources may be opened: nothing but what is named here and what the local configuration itself uses.
/// The synthetic scene and frames that clients bring open nothing and are always allowed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AllowConfig {
    /// Folders whose files may be read, at any depth.
    pub folders: Vec<PathBuf>,
    /// Hosts that may be connected to: `host` (any port), `host:port`, `*.domain`, or `*` for every host. An HTTP server
    /// may redirect to others: name only those that you trust.
    pub hosts: Vec<String>,
    /// Further schemes that may be used: `v4l2` for every video device of this machine, `opencv` for anything that
    /// OpenCV can open. The latter includes pipelines that read and write files: as good as a shell.
    pub schemes: Vec<String>,
}

/// Decides whether a source may be opened.
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    anything: bool,
    config: AllowConfig,
    exact: BTreeSet<SourceUri>,
}

/// A source outside the allow-list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{uri} is not allowed here: add {missing} to the [allow] section of the producer's configuration")]
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
    pub fn trust(&mut self, uri: &SourceUri) {
        self.exact.insert(uri.clone());
    }

    /// Whether the address may be opened. Opening it checks again.
    ///
    /// # Errors
    /// An address that makes no sense, or what would have to be allowed.
    pub fn check(&self, uri: &SourceUri) -> Result<(), SourceError> {
        let address =
            Address::parse(uri).map_err(|why| SourceError::Address { uri: uri.to_string(), why })?;
        self.admit(uri, address)?;
        Ok(())
    }

    /// The address as it is to be opened, if it may be: paths come back without links and `..`.
    pub(crate) fn admit(&self, uri: &SourceUri, address: Address) -> Result<Address, Denied> {
        if self.anything || self.exact.contains(uri) {
            return Ok(address);
        }
        let denied = |missing: String| Denied { uri: uri.to_string(), missing: uri.scrub(&missing) };
        match address {
            Address::Synthetic(_) | Address::Ingest => Ok(address),
            Address::File(path) => self.inside(&path).map(Address::File).map_err(denied),
            Address::Images(path) => self.inside(&path).map(Address::Images).map_err(denied),
            Address::Device(path) => {
                let real = resolve(&path);
                let is_video = real.parent() == Some(Path::new("/dev"))
                    && real.file_name().is_some_and(|name| name.to_string_lossy().starts_with("video"));
                if is_video && self.has_scheme("v4l2") {
                    Ok(Address::Device(real))
                } else {
                    Err(denied("schemes = [\"v4l2\"] (which allows /dev/video*)".into()))
                }
            }
            Address::Capture(_) if self.has_scheme("opencv") => Ok(address),
            Address::Capture(_) => Err(denied("schemes = [\"opencv\"]".into())),
            Address::Network { ref scheme, ref host, port, .. } => {
                if self.config.hosts.iter().any(|entry| host_matches(entry, scheme, host, port)) {
                    Ok(address)
                } else {
                    Err(denied(format!("hosts = [\"{host}\"]")))
                }
            }
        }
    }

    fn has_scheme(&self, scheme: &str) -> bool {
        self.config.schemes.iter().any(|known| known.trim_end_matches(':').eq_ignore_ascii_case(scheme))
    }

    /// The real path where it lies in one of the folders, or what would have to be added.
    fn inside(&self, path: &Path) -> Result<PathBuf, String> {
        let real = resolve(path);
        if self.config.folders.iter().any(|folder| real.starts_with(resolve(folder))) {
            return Ok(real);
        }
        let folder = if real.is_dir() { Some(real.as_path()) } else { real.parent() };
        Err(format!("folders = [{:?}]", folder.unwrap_or(&real)))
    }
}

/// The path with links and `..` resolved as far as it exists; the rest is taken by its words.
fn resolve(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut real = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                real.pop();
            }
            Component::CurDir => {}
            part => {
                real.push(part);
                if let Ok(resolved) = real.canonicalize() {
                    real = resolved;
                }
            }
        }
    }
    real
}

/// Whether an entry of `hosts` covers the host.
fn host_matches(entry: &str, scheme: &str, host: &str, port: Option<u16>) -> bool {
    let entry = entry.trim().to_ascii_lowercase();
    let plain = |pattern: &str| match pattern.strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|front| front.ends_with('.')),
        None => pattern == "*" || pattern.trim_matches(['[', ']']) == host,
    };
    let usual = match scheme {
        "rtsp" => 554,
        "rtsps" => 322,
        "https" => 443,
        _ => 80,
    };
    // `host:port`; an IPv6 address without brackets has more than one colon.
    match entry.rsplit_once(':') {
        Some((name, wanted)) if !name.contains(':') || name.ends_with(']') => {
            plain(name) && wanted.parse() == Ok(port.unwrap_or(usual))
        }
        _ => plain(&entry),
    }
}
