//! Finds what a stack needs: executables, a model, a port; says what to do where something is missing.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rand::Rng;

use crate::Daemon;

/// The folder of the project: PEREGRINE_ROOT, or where it was built.
pub fn project_root() -> PathBuf {
    match std::env::var_os("PEREGRINE_ROOT") {
        Some(root) => root.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).into(),
    }
}

/// The default model, NanoDet, as `./dev setup` makes it.
pub fn default_model() -> PathBuf {
    project_root().join(".cache/models/nanodet.onnx")
}

/// The demo clip, as `./dev setup` fetches it.
pub fn demo_clip() -> PathBuf {
    project_root().join(".cache/clips/vtest.avi")
}

/// The folder with these daemons: the given one, or that of the running program (a test lies one deeper).
pub(crate) fn executables(given: Option<PathBuf>, daemons: &[Daemon]) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let candidates: Vec<PathBuf> = match given {
        Some(folder) => vec![folder],
        None => own.ancestors().skip(1).take(2).map(Path::to_path_buf).collect(),
    };
    let daemons: Vec<&str> = daemons.iter().map(|daemon| daemon.executable()).collect();
    let complete = |folder: &&PathBuf| daemons.iter().all(|daemon| folder.join(daemon).is_file());
    if let Some(folder) = candidates.iter().find(complete) {
        return Ok(folder.clone());
    }
    let folder = candidates.last().cloned().unwrap_or_default();
    bail!(
        "{} has not all of {}: build them first, with cargo build --bins",
        folder.display(),
        daemons.join(", ")
    )
}

/// The model to run.
pub(crate) fn model(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match given {
        Some(model) if model.to_str().is_some_and(|path| path.starts_with("simulated:")) => Ok(model),
        Some(model) if model.is_file() => Ok(model),
        Some(model) => bail!("there is no model {}: give the path of an ONNX file", model.display()),
        None if default_model().is_file() => Ok(default_model()),
        None => bail!(
            "the default model is not there yet ({}): ./dev setup fetches it",
            default_model().display()
        ),
    }
}

/// A free address of localhost: this port or one of the next, any for 0.
///
/// Somebody else may take it before the daemon does. So for 0 it is none that the system gives to those who ask for any.
pub(crate) fn port(first: u16) -> anyhow::Result<SocketAddr> {
    const TRIES: u16 = 100;
    const NOT_GIVEN_BY_LINUX: std::ops::Range<u16> = 20_000..32_000;
    let ports = (0..=TRIES).map(|next| match first {
        0 => rand::rng().random_range(NOT_GIVEN_BY_LINUX),
        _ => first.saturating_add(next),
    });
    for port in ports {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener.local_addr()?);
        }
    }
    match first {
        0 => bail!("{TRIES} ports were tried, and none is free"),
        _ => bail!("no port from {first} to {} is free", first.saturating_add(TRIES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_picked() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().unwrap().port();
        let picked = port(taken).unwrap();
        assert!(picked.port() > taken && picked.ip().is_loopback());
    }

    #[test]
    fn a_missing_model_is_not_named() {
        let problem = model(Some("/nowhere/model.onnx".into())).unwrap_err().to_string();
        assert!(problem.contains("/nowhere/model.onnx"));
    }

    #[test]
    fn missing_executables_are_not_named() {
        let folder = tempfile::tempdir().unwrap();
        let problem = executables(Some(folder.path().into()), &[Daemon::Producer, Daemon::Gateway])
            .unwrap_err()
            .to_string();
        assert!(problem.contains("cargo build") && problem.contains("gateway"));
    }
}
