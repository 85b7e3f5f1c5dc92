//! The daemon's wiring: which cameras are ours, and a thread for each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context;
use peregrine_daemon::{Metric, Shell, Shutdown, metrics::Takeover};
use peregrine_proto::{CameraConfig, CameraId};
use peregrine_streams::{
    Balance, Cameras, Grant, Lease, Redis, Role, SourceHealth, SourceState, StreamError, Unfit, Wake,
    WorkerId, wall_clock_us,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};
use tracing::{error, info, warn};

use crate::{
    camera::{Camera, Shared, Stop},
    config::Config,
    lookout::Watchman,
};

/// Runs until shutdown, then finishes the frames in hand and gives every camera up.
///
/// # Errors
/// When Redis cannot be reached at the start.
pub async fn run(config: Config, shell: Shell) -> anyhow::Result<()> {
    let redis = config.redis.open().await?;
    shell.agree(&redis).await?;
    register(&redis, &config.cameras).await?;
    let (watchman, lookout) = Watchman::new(&redis);
    let (hosting, hosted) = watch::channel(Vec::new());
    let look_now = Arc::new(Notify::new());
    let watching = tokio::spawn({
        let (look_now, shutdown) = (Arc::clone(&look_now), shell.shutdown.clone());
        async move { watchman.run(hosted, &look_now, shutdown).await }
    });
    let ttl = config.lease_ttl;
    let worker = WorkerId::new(&shell.worker);
    let shared = Arc::new(Shared {
        redis: redis.clone(),
        config,
        lookout,
        worker: shell.worker.clone(),
        runtime: Handle::current(),
    });
    let mut hosts = Hosts {
        balance: Balance::new(&redis, Role::Producer, worker, ttl),
        hosted: BTreeMap::new(),
        refused: BTreeMap::new(),
        unfit: Unfit::new(Role::Producer, &shell.worker),
        ended: Arc::new(Notify::new()),
        shutdown: shell.shutdown.clone(),
        redis: redis.clone(),
        shared,
    };
    let mut control = redis.control();
    while !shell.shutdown.is_requested() {
        let ticked = tokio::select! {
            ticked = hosts.tick() => ticked,
            () = shell.shutdown.requested() => break,
        };
        let next = match ticked {
            Ok(next) => {
                shell.health.ready(true, "leases are kept");
                next
            }
            Err(error) => {
                warn!(%error, "leases cannot be kept: trying again");
                shell.health.ready(false, format!("leases cannot be kept: {error}"));
                ttl / 10
            }
        };
        hosting.send_if_modified(|cameras| {
            let now: Vec<CameraId> = hosts.hosted.keys().cloned().collect();
            let changed = *cameras != now;
            *cameras = now;
            changed
        });
        tokio::select! {
            () = shell.shutdown.requested() => {}
            () = tokio::time::sleep(next) => {}
            () = hosts.ended.notified() => {}
            wakes = control.next() => match wakes {
                Ok(wakes) if wakes.iter().any(|wake| matches!(wake, Wake::Watched { .. } | Wake::ModelAnnounced)) => {
                    look_now.notify_one();
                }
                Ok(_) => {}
                Err(error) => warn!(%error, "wake-ups cannot be read: looking by the clock"),
            },
        }
    }
    shell.health.ready(false, "draining");
    info!("finishing the frames in hand");
    hosts.leave().await?;
    watching.await.context("looking out for viewers broke down")
}

/// Makes the configured cameras known to everybody.
async fn register(redis: &Redis, cameras: &[CameraConfig]) -> anyhow::Result<()> {
    for camera in cameras {
        if redis
            .register_camera(camera)
            .await
            .with_context(|| format!("cannot register camera {}", camera.id))?
        {
            info!(camera = %camera.id, "camera registered");
        }
    }
    Ok(())
}

/// The cameras that are ours, and how they come and go.
struct Hosts {
    redis: Redis,
    balance: Balance,
    shared: Arc<Shared>,
    hosted: BTreeMap<CameraId, Hosted>,
    /// Cameras that may not be opened here, and which configuration of theirs was refused.
    refused: BTreeMap<CameraId, CameraConfig>,
    /// Says which ones have keys that this release does not know.
    unfit: Unfit,
    /// Told when a camera's thread has ended.
    ended: Arc<Notify>,
    shutdown: Shutdown,
}

/// A camera with its thread.
struct Hosted {
    config: CameraConfig,
    lease: Lease,
    stop: Stop,
    thread: JoinHandle<()>,
    /// What to do once the thread has ended.
    afterwards: Afterwards,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Afterwards {
    /// It ended by itself: somebody else writes the camera.
    Forget,
    /// Give the lease up.
    Release,
    /// Start again, with the configuration as it is then.
    Restart,
}

impl Hosts {
    /// Lets go of what is lost, wanted by others or configured anew, and takes what is free; says when to come again.
    async fn tick(&mut self) -> Result<Duration, StreamError> {
        let Cameras { cameras: mut known, broken } = self.redis.cameras().await?;
        self.unfit.say(&self.redis, broken).await?;
        self.refuse(&mut known).await?;
        for (id, hosted) in &mut self.hosted {
            if let Some(config) = known.get(id)
                && hosted.needs_restart(config)
            {
                info!(camera = %id, "camera configured anew: opening its source again");
                hosted.stop(Afterwards::Restart);
            }
        }
        self.tidy_up(&known).await;
        let cameras: Vec<CameraId> = known.keys().cloned().collect();
        let tick = self.balance.tick(&cameras, true).await?;
        if tick.forgotten {
            warn!("redis has lost its data: registering the configured cameras again");
            if let Err(error) = register(&self.redis, &self.shared.config.cameras).await {
                error!(error = format!("{error:#}"), "not registered: start this producer again");
            }
        }
        for id in tick.release {
            self.hosted.get_mut(&id).into_iter().for_each(|hosted| hosted.stop(Afterwards::Release));
        }
        for id in tick.lost {
            Metric::LeasesLost.counter(["producer", "fenced"]).inc();
            info!(camera = %id, "camera lost: another producer has it, or it was removed");
            self.hosted.get_mut(&id).into_iter().for_each(|hosted| hosted.stop(Afterwards::Forget));
        }
        for Grant { lease, silent_for, .. } in tick.taken {
            Metric::LeasesAcquired.counter(["producer"]).inc();
            match known.get(&lease.camera) {
                Some(config) if !self.hosted.contains_key(&lease.camera) => {
                    let takeover = silent_for.map(|silent_for| Takeover::begin("producer", silent_for));
                    self.start(config.clone(), lease, takeover).await
                }
                // It is gone by now, or the thread of an earlier lease has yet to end.
                _ => self.release(&lease.camera).await,
            }
        }
        Metric::LeasesHeld.gauge(["producer"]).set(self.hosted.len() as f64);
        Ok(tick.next)
    }

    /// Takes out what may not be opened here, and says so where nobody else can.
    async fn refuse(&mut self, known: &mut BTreeMap<CameraId, CameraConfig>) -> Result<(), StreamError> {
        self.refused.retain(|id, config| known.get(id) == Some(config));
        let allow = &self.shared.config.allow;
        let mut problems = BTreeMap::new();
        known.retain(|id, config| match allow.check(&config.source.uri) {
            Ok(()) => true,
            Err(error) => {
                problems.insert(id.clone(), (config.clone(), error.to_string()));
                false
            }
        });
        for (id, (config, problem)) in problems {
            if self.refused.contains_key(&id) {
                continue;
            }
            // Another producer may be allowed to; what it says of the source counts.
            if self.redis.holders(Role::Producer, std::slice::from_ref(&id)).await? == [None] {
                warn!(camera = %id, problem, "camera refused");
                let state = SourceState {
                    state: SourceHealth::Failed,
                    error: problem,
                    worker: self.shared.worker.clone(),
                    updated_us: wall_clock_us(),
                    ..SourceState::default()
                };
                self.redis.put_source_state(&id, &state).await?;
            }
            self.refused.insert(id, config);
        }
        Ok(())
    }

    /// Does what is due for cameras whose thread has ended.
    async fn tidy_up(&mut self, known: &BTreeMap<CameraId, CameraConfig>) {
        let ended = self.hosted.iter().filter(|(_, hosted)| hosted.thread.is_finished());
        let ended: BTreeSet<CameraId> = ended.map(|(id, _)| id.clone()).collect();
        for id in ended {
            let Some(Hosted { lease, thread, afterwards, .. }) = self.hosted.remove(&id) else { continue };
            if thread.join().is_err() {
                error!(camera = %id, "its thread broke down");
            }
            match (afterwards, known.get(&id)) {
                (Afterwards::Restart, Some(config)) => self.start(config.clone(), lease, None).await,
                (Afterwards::Release | Afterwards::Restart, _) => {
                    Metric::LeasesLost.counter(["producer", "handed_over"]).inc();
                    info!(camera = %id, "camera released");
                    self.release(&id).await;
                }
                (Afterwards::Forget, _) => self.release(&id).await,
            }
        }
    }

    /// Gives a lease up. Where that fails, it runs out by itself.
    async fn release(&mut self, id: &CameraId) {
        if let Err(error) = self.balance.release(id).await {
            warn!(camera = %id, %error, "camera not released: its lease runs out by itself");
        }
    }

    async fn start(&mut self, config: CameraConfig, lease: Lease, takeover: Option<Takeover>) {
        let id = config.id.clone();
        info!(camera = %id, epoch = lease.epoch, "camera taken");
        let stop = Stop::new(&self.shutdown);
        let camera = Camera {
            config: config.clone(),
            lease: lease.clone(),
            takeover,
            stop: stop.clone(),
            shared: Arc::clone(&self.shared),
        };
        let ended = Arc::clone(&self.ended);
        let started = thread::Builder::new().name(format!("camera {id}")).spawn(move || {
            camera.run();
            ended.notify_one();
        });
        match started {
            Ok(thread) => {
                self.hosted
                    .insert(id, Hosted { config, lease, stop, thread, afterwards: Afterwards::Forget });
            }
            Err(error) => {
                error!(camera = %id, %error, "cannot start a thread: giving the camera up");
                self.release(&id).await;
            }
        }
    }

    /// Stops all cameras, waits for the frames in hand, and signs off.
    async fn leave(mut self) -> anyhow::Result<()> {
        self.hosted.values_mut().for_each(|hosted| hosted.stop(Afterwards::Release));
        while self.hosted.values().any(|hosted| !hosted.thread.is_finished()) {
            tokio::select! {
                () = self.ended.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
        self.balance
            .leave()
            .await
            .context("cannot release the cameras: they are taken over when their leases run out")
    }
}

impl Hosted {
    /// Asks the thread to end. What was asked first stands, unless nothing was.
    fn stop(&mut self, afterwards: Afterwards) {
        if !self.stop.shutdown.is_requested() || afterwards == Afterwards::Forget {
            self.afterwards = afterwards;
        }
        self.stop.stop();
    }

    /// Whether what has changed concerns the frames.
    fn needs_restart(&self, config: &CameraConfig) -> bool {
        let stops_already = self.stop.shutdown.is_requested();
        !stops_already
            && (self.config.source != config.source || self.config.analysis.size != config.analysis.size)
    }
}
