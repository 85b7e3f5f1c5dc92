//! A private stack for one test.

use std::{
    env, fs,
    future::Future,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peregrine_proto::{CameraConfig, CameraId, FrameId, FrameResult, Pace};
use peregrine_stack::{Builder, Daemon, Stack, demo_clip, project_root};
use peregrine_streams::{Redis, SourceState};

use crate::{onnx::Model, programs, results};

/// Input of the [watcher](Model::watcher).
pub const WATCHER_INPUT: (u32, u32) = (96, 64);

/// An empty folder of this test's own, kept afterwards for its logs: `target/tmp/<name>`.
///
/// # Errors
/// When it cannot be made.
pub fn folder(name: &str) -> Result<PathBuf> {
    let me = env::current_exe()?;
    let target = me.ancestors().nth(3).context("no target folder")?;
    let folder = target.join("tmp").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The [watcher](Model::watcher) in a file.
///
/// # Errors
/// When it cannot be written.
pub fn watcher(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("watcher.onnx");
    Model::watcher(WATCHER_INPUT.0, WATCHER_INPUT.1).write(&path)?;
    Ok(path)
}

/// A camera; `more` is TOML that goes on in its `[source]`.
///
/// # Errors
/// When the TOML is none.
pub fn camera(id: &str, uri: &str, more: &str) -> Result<CameraConfig> {
    let text = format!("id = '{id}'\n[source]\nuri = '''{uri}'''\n{more}");
    toml::from_str(&text).with_context(|| text.clone())
}

/// The demo's camera, on its clip's first frames: as fast as there is room, once.
///
/// # Errors
/// When the clip was not fetched.
pub fn demo_camera(frames: u64) -> Result<CameraConfig> {
    let mut camera: CameraConfig =
        toml::from_str(&fs::read_to_string(project_root().join("stack/demo.toml"))?)?;
    camera.source.uri = programs::fetched(demo_clip())?.display().to_string().into();
    camera.source.pace = Pace::Fast;
    camera.source.repeat = false;
    camera.source.max_frames = Some(frames);
    Ok(camera)
}

/// A stack whose logs stay in the folder, with one processor that runs the watcher.
///
/// # Errors
/// When the model cannot be written, or ONNX Runtime is missing.
pub fn stack(folder: &Path, cameras: Vec<CameraConfig>) -> Result<Builder> {
    let library = programs::onnx_runtime()?;
    Ok(Stack::builder()
        .cameras(cameras)
        .model(watcher(folder)?)
        .set(Daemon::Processor, format!("model.library={}", library.display()))
        // Its input decides the analysed size: on a busy machine, loading takes longer than a producer usually waits.
        .set(Daemon::Producer, "producer.model_wait_ms=120000")
        .ready_within(Duration::from_secs(120))
        .run_dir(folder.join("run")))
}

/// Runs a piece of asynchronous code to its end.
///
/// # Errors
/// Its own.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// A client of the stack's Redis, which may be starting again.
///
/// # Errors
/// When it does not answer within twenty seconds.
pub async fn redis(stack: &Stack) -> Result<Redis> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match Redis::open(&stack.redis_urls()).await {
            Ok(redis) => return Ok(redis),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Sends a command of its words to the stack's Redis, which may be on its way back from a fault.
///
/// # Errors
/// With its last answer, when it does not do it within half a minute.
pub fn command(stack: &Stack, words: &[&str]) -> Result<()> {
    let client = redis::Client::open(stack.redis_urls().state)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = client
            .get_connection()
            .and_then(|mut connection| redis::cmd(words[0]).arg(&words[1..]).exec(&mut connection));
        match answer {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error).context(words.join(" ")),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// A camera's results from the first on, until its source has ended or there are `enough`.
///
/// # Errors
/// When that takes longer than `longest`.
pub fn results(
    stack: &Stack,
    camera: &str,
    enough: usize,
    longest: Duration,
) -> Result<Vec<(FrameId, FrameResult)>> {
    let camera = CameraId::new(camera)?;
    block_on(async { results::collect(&redis(stack).await?, &camera, enough, longest).await })
}

/// What the producer says of a camera's source, once it is as expected.
///
/// # Errors
/// When that takes longer than `longest`: with what it said last.
pub fn source_state(
    stack: &Stack,
    camera: &str,
    longest: Duration,
    expected: impl Fn(&SourceState) -> bool,
) -> Result<SourceState> {
    let camera = CameraId::new(camera)?;
    block_on(async {
        let redis = redis(stack).await?;
        let deadline = Instant::now() + longest;
        loop {
            let state = redis.source_states(std::slice::from_ref(&camera)).await?.pop().flatten();
            match state {
                Some(state) if expected(&state) => return Ok(state),
                state => {
                    ensure!(Instant::now() < deadline, "source of {camera} after {longest:?}: {state:?}")
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}
