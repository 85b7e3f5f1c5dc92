//! The built binaries, run for their answer.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use peregrine_stack::project_root;

/// A binary of this workspace, of the profile that the tests were built with.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let me = env::current_exe()?;
    // Beside a running binary; tests lie one deeper, in `deps`.
    let mut places = me.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    places
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not beside {}: cargo build --workspace --bins", me.display()))
}

/// Something that `./dev setup test` fetches or makes.
///
/// # Errors
/// When it is not there.
pub fn fetched(path: PathBuf) -> Result<PathBuf> {
    ensure!(path.exists(), "{} is missing: ./dev setup test", path.display());
    Ok(path)
}

/// Data that is no part of the project, in the folder that `PEREGRINE_SHARED` names or in `../shared` beside the checkout; none, and a
/// word about it, where there is none.
pub fn shared(name: &str) -> Option<PathBuf> {
    let folder =
        env::var_os("PEREGRINE_SHARED").map_or_else(|| project_root().join("../shared"), PathBuf::from);
    let path = folder.join(name).canonicalize().ok();
    if path.is_none() {
        eprintln!(
            "skipped: there is no {} (set PEREGRINE_SHARED to its folder)",
            folder.join(name).display()
        );
    }
    path
}

/// Tells this process and all it starts where ONNX Runtime is, unless the environment does.
///
/// # Errors
/// When it was not fetched.
pub fn onnx_runtime() -> Result<PathBuf> {
    match env::var_os("ORT_DYLIB_PATH") {
        Some(path) => Ok(path.into()),
        None => fetched(project_root().join(".cache/onnxruntime/libonnxruntime.so.1.31.1")),
    }
}

/// Runs a binary to its end.
///
/// # Errors
/// When it was not built or cannot be started.
pub fn run<S: AsRef<std::ffi::OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Result<Output> {
    let mut command = Command::new(binary(name)?);
    command.env("ORT_DYLIB_PATH", onnx_runtime()?).stdin(Stdio::null());
    Ok(command.args(arguments).output()?)
}

/// Runs `processor analyze`; returns what it said where it failed.
///
/// # Errors
/// When it was not built or cannot be started.
pub fn analyze(video: &Path, model: &Path, out: &Path, more: &[&str]) -> Result<Result<(), String>> {
    let mut arguments: Vec<String> = vec!["analyze".into()];
    for (flag, path) in [("--video", video), ("--model", model), ("--out", out)] {
        arguments.extend([flag.to_owned(), path.display().to_string()]);
    }
    arguments.extend(more.iter().map(|text| (*text).to_owned()));
    let output = run("processor", &arguments)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(if output.status.success() { Ok(()) } else { Err(said) })
}
