use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use peregrine_daemon::{CommonArgs, Health, Shell, Shutdown, load};
use peregrine_producer::Config;
use peregrine_proto::{CameraConfig, CameraId, FrameId, FrameResult, ResultStatus, SCHEMA};
use peregrine_streams::{
    Acquired, Arrival, Commit, CommitOutcome, Frame, FrameReader, Grant, Intake, Redis, Role, Seen,
    SourceHealth, SourceState, WorkerId,
};
use tokio::task::JoinHandle;

use crate::server::Server;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A producer that runs in this process.
pub(crate) struct Producer {
    shutdown: Shutdown,
    task: JoinHandle<Result<()>>,
}

impl Producer {
    pub(crate) fn start(server: &Server, name: &str, configuration: &str) -> Result<Self> {
        let file = tempfile::NamedTempFile::with_suffix(".toml")?;
        std::fs::write(&file, configuration)?;
        let set = vec![format!("redis.url={}", server.url())];
        let args = CommonArgs { config: Some(file.path().to_owned()), set, ..CommonArgs::default() };
        let config = load::<Config>(&args)?.config;
        let shutdown = Shutdown::new();
        let shell = Shell { shutdown: shutdown.clone(), health: Health::starting(), worker: name.into() };
        Ok(Self { shutdown, task: tokio::spawn(peregrine_producer::run(config, shell)) })
    }

    /// As after SIGTERM.
    pub(crate) async fn stop(self) -> Result<()> {
        self.shutdown.trigger();
        tokio::time::timeout(PATIENCE, self.task).await.context("it does not stop")??
    }
}

pub(crate) fn cam(name: &str) -> CameraId {
    CameraId::new(name).unwrap()
}

/// A camera's table for the producer's configuration.
pub(crate) fn table(id: &str, uri: &str, more: &str) -> String {
    format!(
        "[[camera]]\nid = {id:?}\n{}\n[camera.source]\nuri = {uri:?}\n{more}\n",
        "analysis.size = { width = 64, height = 36 }"
    )
}

pub(crate) fn camera(id: &str, uri: &str) -> CameraConfig {
    let json = serde_json::json!({
        "id": id, "source": { "uri": uri, "pace": "fast" }, "analysis": { "size": { "width": 64, "height": 36 } }
    });
    serde_json::from_value(json).unwrap()
}

/// Takes a camera's frames and commits them, as a processor does.
pub(crate) struct Consumer {
    redis: Redis,
    grant: Grant,
    reader: FrameReader,
    pub(crate) intake: Intake,
    at: FrameId,
}

impl Consumer {
    pub(crate) async fn take(redis: &Redis, camera: &CameraId) -> Result<Self> {
        let ttl = Duration::from_secs(60);
        let acquired = redis.acquire(Role::Processor, camera, &WorkerId::new("consumer"), ttl).await?;
        let Acquired::Granted(grant) = acquired else { anyhow::bail!("{acquired:?}") };
        let at = grant.checkpoint.id;
        let mut reader = FrameReader::new(redis);
        reader.follow(camera, at, usize::MAX);
        let intake = Intake::from_checkpoint(&grant.checkpoint);
        Ok(Self { redis: redis.clone(), grant: *grant, reader, intake, at })
    }

    /// The next frames, committed: at least so many, the last one closing the file at the latest.
    pub(crate) async fn next(&mut self, count: usize) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while frames.len() < count {
            anyhow::ensure!(Instant::now() < deadline, "{} of {count} frames came", frames.len());
            for arrival in self.reader.read(Duration::from_millis(200)).await? {
                let Arrival::Frame(frame) = arrival else { anyhow::bail!("{arrival:?}") };
                let stale = self.intake.see(&frame.header) == Seen::StaleProducer;
                self.commit(&frame).await?;
                if stale {
                    continue;
                }
                let end = frame.header.end;
                frames.push(frame);
                if end {
                    return Ok(frames);
                }
            }
        }
        Ok(frames)
    }

    async fn commit(&mut self, frame: &Frame) -> Result<()> {
        let header = &frame.header;
        let result = FrameResult {
            schema: SCHEMA,
            n: header.n,
            inc: header.inc,
            position: header.position,
            media_time_us: header.media_time_us,
            captured_at_us: header.captured_at_us,
            status: if header.end { ResultStatus::End } else { ResultStatus::Ok },
            reason: None,
            source: header.source,
            track_epoch: 0,
            detections: Vec::new(),
            tracks: Vec::new(),
            stages: Vec::new(),
            worker: "consumer".into(),
            lost: Vec::new(),
            notices: Vec::new(),
        };
        let commit = Commit {
            lease: &self.grant.lease,
            id: frame.id,
            expected: self.at,
            intake: &self.intake,
            state: b"",
            result: &result,
            results_kept: 100_000,
        };
        let outcome = self.redis.commit(&commit).await?;
        anyhow::ensure!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        self.at = frame.id;
        Ok(())
    }
}

/// Waits until the state of a source is as wanted.
pub(crate) async fn source_state(
    redis: &Redis,
    camera: &CameraId,
    wanted: impl Fn(&SourceState) -> bool,
) -> Result<SourceState> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = redis.source_states(std::slice::from_ref(camera)).await?.remove(0);
        match state {
            Some(state) if wanted(&state) => return Ok(state),
            state => anyhow::ensure!(Instant::now() < deadline, "the source of {camera} stays {state:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn is(health: SourceHealth) -> impl Fn(&SourceState) -> bool {
    move |state| state.state == health
}

/// Waits until something holds.
pub(crate) async fn until<F: Future<Output = Result<bool>>>(what: &str, holds: impl Fn() -> F) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        anyhow::ensure!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub(crate) fn positions(frames: &[Frame]) -> Vec<u64> {
    frames.iter().filter(|frame| !frame.header.end).map(|frame| frame.header.position).collect()
}
