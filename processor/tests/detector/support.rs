//! What the tests of the detector need from outside: Python, models, a clip.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{LazyLock, OnceLock},
};

/// The checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The path where it exists. Where it does not, the test says so and ends; in CI that is a failure.
pub(crate) fn needed(path: PathBuf, what: &str) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "{what} is missing: {}", path.display());
    eprintln!("skipped: {what} is missing ({}); `./dev test` provides it", path.display());
    None
}

/// Something that is not part of the project and may always be absent.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PEREGRINE_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let path = folder.join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

/// A Python with the packages of tools/requirements-test.txt.
pub(crate) fn python() -> Option<PathBuf> {
    let named = std::env::var_os("PEREGRINE_PYTHON").map(PathBuf::from);
    needed(
        named.unwrap_or_else(|| root().join(".cache/venv/bin/python")),
        "Python with the reference's packages",
    )
}

/// ONNX Runtime for this process and those that it starts. Before anything else that needs it.
pub(crate) fn onnx_runtime() -> Option<()> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
        let fetched = || root().join(".cache/onnxruntime/libonnxruntime.so.1.31.1");
        needed(named.unwrap_or_else(fetched), "ONNX Runtime")
    });
    library.as_ref().map(drop)
}

/// The library's path, see [`onnx_runtime`].
pub(crate) fn library() -> PathBuf {
    let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    named.unwrap_or_else(|| root().join(".cache/onnxruntime/libonnxruntime.so.1.31.1"))
}

/// The demo clip.
pub(crate) fn clip() -> Option<PathBuf> {
    needed(root().join(".cache/clips/vtest.avi"), "the demo clip")
}

/// The default model.
pub(crate) fn default_model() -> Option<PathBuf> {
    let named = std::env::var_os("PEREGRINE_MODEL").map(PathBuf::from);
    needed(named.unwrap_or_else(|| root().join(".cache/models/nanodet.onnx")), "the default model")
}

/// A model that e2e/reference/make_models.py builds.
pub(crate) fn small_model(name: &str) -> Option<PathBuf> {
    static FOLDER: LazyLock<Option<tempfile::TempDir>> = LazyLock::new(|| {
        let python = python()?;
        let folder = tempfile::tempdir().unwrap();
        reference(&python, "make_models.py", [folder.path()]);
        Some(folder)
    });
    Some(FOLDER.as_ref()?.path().join(name))
}

/// Runs a script of e2e/reference to its good end.
pub(crate) fn reference<A: AsRef<std::ffi::OsStr>>(
    python: &Path,
    script: &str,
    args: impl IntoIterator<Item = A>,
) -> String {
    let script = root().join("e2e/reference").join(script);
    let done = Command::new(python).arg(&script).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{} failed: {error}", script.display());
    String::from_utf8(done.stdout).unwrap()
}

/// A clip of 30 frames, 10 a second, with these arguments of ffmpeg's; none where ffmpeg is not installed.
pub(crate) fn small_clip(folder: &Path, arguments: &[&str]) -> Option<PathBuf> {
    let clip = folder.join("clip.mkv");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10"])
        .args(["-frames:v", "30", "-c:v", "libx264", "-bf", "0"])
        .args(arguments)
        .arg(&clip)
        .status();
    let Ok(status) = made else {
        eprintln!("skipped: no ffmpeg program is installed (apt-get install ffmpeg)");
        return None;
    };
    assert!(status.success(), "ffmpeg {arguments:?}: {status}");
    Some(clip)
}
