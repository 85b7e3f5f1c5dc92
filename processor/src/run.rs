//! The daemon's wiring: which cameras are ours, and the tasks between which their frames travel.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use peregrine_daemon::{Metric, Shell};
use peregrine_proto::{CameraConfig, CameraId};
use peregrine_streams::{
    Balance, Cameras, FrameReader, Grant, ModelAnnouncement, Redis, Role, StreamError, Unfit, WorkerId,
};
use tokio::sync::{Notify, mpsc};
use tracing::{error, info, warn};

use crate::{
    commit::{Commits, Committer},
    config::Config,
    help::Helper,
    journey::{self, Journey},
    leased::{LeasedCamera, Load},
    model::{Detector, ModelInfo},
    offload::Offload,
    read::Reader,
};

/// Runs until shutdown, then finishes what is in hand, commits it, and gives every camera up.
///
/// # Errors
/// When Redis cannot be reached at the start, the model cannot be used, or the analysis breaks down.
pub async fn run(config: Config, shell: Shell) -> anyhow::Result<()> {
    let redis = config.redis.open().await?;
    shell.agree(&redis).await?;
    let model = config.model.clone();
    let detector = tokio::task::spawn_blocking(move || Detector::open(&model))
        .await
        .context("loading the model broke off")??;
    let info = Arc::clone(detector.info());
    Metric::ModelInfo.gauge([&info.name, info.head.as_str(), &config.model.provider.to_string()]).set(1.0);
    info!(model = info.name, input = %info.input, classes = info.classes.len(), "model loaded");
    announce(&redis, &info).await?;

    let batching = detector.session.batching();
    let inference = detector.inference();
    Metric::BatchLimit.gauge([]).set(batching.frames as f64);
    Metric::BatchWait.gauge([]).set(batching.wait.as_secs_f64());
    let Journey { frames, inferred, finished } =
        journey::start(detector, redis.clone(), shell.worker.clone(), config.deadline)
            .context("cannot start the analysis threads")?;
    let progress = Arc::new(Progress::new());
    let load = Arc::new(Load::default());
    let worker = WorkerId::new(&shell.worker);
    let offload = Arc::new(Offload::new(&redis, &info.name, inference, worker.to_string()));
    let returns = tokio::spawn(Arc::clone(&offload).run(frames.clone(), inferred));
    let helper = Helper {
        redis: redis.clone(),
        model: info.name.clone(),
        worker: shell.worker.clone(),
        load: Arc::clone(&load),
        journey: frames.clone(),
        shutdown: shell.shutdown.clone(),
    };
    let helper = config.offload.then(|| tokio::spawn(helper.run()));
    // As many as are ever taken in one go without the reader noticing; a full queue only makes the taking wait.
    let (taken, to_read) = mpsc::channel(64);
    let reader = Reader {
        frames: FrameReader::new(&redis),
        redis: redis.clone(),
        taken: to_read,
        journey: frames,
        offload: Arc::clone(&offload),
        load,
        block: config.block,
        progress: Arc::clone(&progress),
        shutdown: shell.shutdown.clone(),
    };
    let wake_reader = reader.frames.waker();
    let commits =
        Commits { redis: redis.clone(), results_kept: config.results_kept, progress: Arc::clone(&progress) };
    let committer = Committer { finished, commits };
    let reader = tokio::spawn(reader.run());
    let mut committer = tokio::spawn(committer.run());

    let mut leases = Leases {
        balance: Balance::new(&redis, Role::Processor, worker, config.lease_ttl),
        offload: config.offload.then(|| Arc::clone(&offload)),
        model: Arc::clone(&info),
        held: BTreeMap::new(),
        unusable: BTreeMap::new(),
        unfit: Unfit::new(Role::Processor, &shell.worker),
        attention: Arc::new(Notify::new()),
        redis: redis.clone(),
        ttl: config.lease_ttl,
        counted: None,
    };
    let mut control = redis.control();
    loop {
        let next = match leases.tick(&progress).await {
            Ok((next, new)) => {
                shell.health.ready(true, "leases are kept");
                for camera in new {
                    // The reader leaves only at shutdown.
                    let _ = taken.send(camera).await;
                }
                wake_reader.wake();
                next
            }
            Err(error) => {
                warn!(%error, "leases cannot be kept: trying again");
                shell.health.ready(false, format!("leases cannot be kept: {error}"));
                config.lease_ttl / 10
            }
        };
        tokio::select! {
            () = shell.shutdown.requested() => break,
            _ = &mut committer => bail!("an analysis thread broke down; what was in hand is left to another worker"),
            () = tokio::time::sleep(next) => {}
            () = leases.attention.notified() => {}
            wake = control.next() => if let Err(error) = wake {
                warn!(%error, "wake-ups cannot be read: looking by the clock");
                tokio::time::sleep(Duration::from_millis(100)).await;
            },
        }
    }
    shell.health.ready(false, "draining");
    info!("finishing what is in hand");
    reader.await.context("the reading task broke down")?;
    if let Some(helper) = helper {
        helper.await.context("helping other workers broke down")?;
    }
    offload.close();
    returns.await.context("the task of offloaded frames broke down")?;
    committer.await.context("the committing task broke down")?;
    leases
        .balance
        .leave()
        .await
        .context("cannot release the cameras: they are taken over when their leases run out")?;
    Ok(())
}

/// How often the frames that wait are counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Makes the model known, so that producers fit their pictures to its input.
async fn announce(redis: &Redis, model: &ModelInfo) -> Result<(), StreamError> {
    redis.look_at_clock().await?;
    redis
        .announce_model(&ModelAnnouncement {
            name: model.name.clone(),
            input: model.input,
            classes: model.classes.clone(),
            default: true,
            announced_at_us: redis.now_us(),
        })
        .await
}

/// The cameras that are ours, and how they come and go.
struct Leases {
    redis: Redis,
    balance: Balance,
    /// Told of other workers; none where they are not to be asked for help.
    offload: Option<Arc<Offload>>,
    model: Arc<ModelInfo>,
    held: BTreeMap<CameraId, Arc<LeasedCamera>>,
    /// Cameras whose configuration cannot be used, until it changes.
    unusable: BTreeMap<CameraId, CameraConfig>,
    /// Says which ones have keys that this release does not know.
    unfit: Unfit,
    attention: Arc<Notify>,
    ttl: Duration,
    /// When the backlogs were last counted.
    counted: Option<Instant>,
}

impl Leases {
    /// Lets go of what is lost, wanted by others or configured anew, and takes what is free: when to come again, and what was taken.
    async fn tick(&mut self, progress: &Progress) -> Result<(Duration, Vec<Arc<LeasedCamera>>), StreamError> {
        let Cameras { cameras: known, broken } = self.redis.cameras().await?;
        self.unfit.say(&self.redis, broken).await?;
        for camera in self.held.values().cloned().collect::<Vec<_>>() {
            let id = camera.id();
            if camera.take_committed() {
                self.balance.committed(id);
            }
            let changed = known.get(id).is_some_and(|config| config != camera.config());
            let handed_over = camera.take_wanted() && self.balance.hand_over(id);
            if camera.is_lost() || changed || handed_over {
                self.let_go(
                    id,
                    if handed_over {
                        "handed_over"
                    } else if changed {
                        "changed"
                    } else {
                        "lost"
                    },
                )
                .await?;
            }
        }
        self.unusable.retain(|id, config| known.get(id) == Some(config));
        let cameras: Vec<CameraId> =
            known.keys().filter(|id| !self.unusable.contains_key(id)).cloned().collect();
        let tick = self.balance.tick(&cameras, progress.within(self.ttl)).await?;
        if let Some(offload) = &self.offload {
            offload.set_others(tick.live.saturating_sub(1));
        }
        if tick.forgotten {
            warn!("redis has lost its data: announcing the model again");
            announce(&self.redis, &self.model).await?;
        }
        for id in tick.release {
            self.let_go(&id, "handed_over").await?;
        }
        for id in tick.lost {
            if let Some(camera) = self.held.remove(&id) {
                camera.lose();
                Metric::LeasesLost.counter(["processor", "fenced"]).inc();
                info!(camera = %id, "camera lost: another worker has it, or it was removed");
            }
        }
        let mut new = Vec::new();
        for grant in tick.taken {
            if let Some(config) = known.get(&grant.lease.camera) {
                new.extend(self.take(config, grant).await?);
            }
        }
        Metric::LeasesHeld.gauge(["processor"]).set(self.held.len() as f64);
        if self.counted.is_none_or(|counted| counted.elapsed() >= COUNT_EVERY) {
            self.count_backlogs().await;
        }
        Ok((tick.next, new))
    }

    /// How many frames of each camera wait in its stream, and for how long the oldest has.
    async fn count_backlogs(&mut self) {
        self.counted = Some(Instant::now());
        let cameras: Vec<CameraId> = self.held.keys().cloned().collect();
        // Where Redis does not answer, the next tick says so.
        let Ok(backlogs) = self.redis.backlogs(&cameras).await else { return };
        let Ok(()) = self.redis.look_at_clock().await else { return };
        for (id, waiting) in cameras.iter().zip(backlogs) {
            let (Some(waiting), Some(camera)) = (waiting, self.held.get(id)) else { continue };
            Metric::BacklogFrames.gauge([id.as_str()]).set(waiting as f64);
            let oldest = match camera.oldest() {
                None if waiting > 0 => self.redis.oldest_waiting(id).await.ok().flatten(),
                oldest => oldest,
            };
            let age = oldest.map(|id| self.redis.since(i64::try_from(id.ms).unwrap_or(0) * 1000));
            Metric::BacklogAge.gauge([id.as_str()]).set(age.unwrap_or_default().as_secs_f64());
        }
    }

    async fn take(
        &mut self,
        config: &CameraConfig,
        grant: Grant,
    ) -> Result<Option<Arc<LeasedCamera>>, StreamError> {
        let (epoch, after) = (grant.lease.epoch, grant.checkpoint.id);
        match LeasedCamera::new(config, &self.model.classes, grant, Arc::clone(&self.attention)) {
            Ok(camera) => {
                info!(camera = %config.id, epoch, %after, "camera taken");
                Metric::LeasesAcquired.counter(["processor"]).inc();
                let camera = Arc::new(camera);
                self.held.insert(config.id.clone(), Arc::clone(&camera));
                Ok(Some(camera))
            }
            Err(problems) => {
                for problem in problems {
                    error!(camera = %config.id, problem, "camera cannot be analysed");
                }
                self.unusable.insert(config.id.clone(), config.clone());
                self.balance.release(&config.id).await?;
                Ok(None)
            }
        }
    }

    async fn let_go(&mut self, id: &CameraId, reason: &'static str) -> Result<(), StreamError> {
        if let Some(camera) = self.held.remove(id) {
            camera.lose();
            Metric::LeasesLost.counter(["processor", reason]).inc();
            info!(camera = %id, reason, "camera released");
        }
        self.balance.release(id).await
    }
}

/// When this worker last showed that it is not wedged: a commit, or a read that found nothing to do.
pub(crate) struct Progress(Mutex<Instant>);

impl Progress {
    fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    pub(crate) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn within(&self, age: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < age
    }
}
