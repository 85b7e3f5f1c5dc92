//! Reads what the clients want, and only that: results and pictures over one blocking connection each, and the
//! sign to producers that somebody watches. Without wishes nothing is read and no picture is encoded anywhere.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use peregrine_daemon::{Backoff, Shutdown};
use peregrine_proto::{CameraId, FrameId};
use peregrine_streams::{
    LONGEST_BLOCK, PreviewEntry, PreviewReader, Redis, ResultEntry, ResultReader, StreamError, Waker,
};
use tokio::sync::watch;
use tracing::{debug, info};

use crate::relay::{Demand, Hub, Picture};

/// Producers encode for this long after the last sign that somebody watches.
const WATCHED_FOR: Duration = Duration::from_secs(3);
/// How often the sign is given.
const STILL_WATCHED: Duration = Duration::from_secs(1);

/// A reader of one kind of stream.
pub(crate) trait Follow {
    type Entry;
    /// What hands entries to the clients.
    type Hub;
    /// What the clients want of it.
    type Demand;
    const WHAT: &'static str;
    /// The cameras to follow, each with a number that changes whenever it is to be joined anew.
    fn wanted(demand: &Self::Demand) -> BTreeMap<CameraId, u64>;
    /// Follows a camera from its newest entry on, and gives that one.
    async fn join(&mut self, camera: &CameraId) -> Result<Option<Self::Entry>, StreamError>;
    fn leave(&mut self, camera: &CameraId);
    fn waker(&self) -> Waker;
    async fn read(&mut self) -> Result<Vec<Self::Entry>, StreamError>;
    /// Hands an entry to the clients; `joined` tells the one that was there before.
    fn relay(hub: &Self::Hub, entry: Self::Entry, joined: bool);
    /// Says that a camera has no entry yet.
    fn nothing_yet(_: &Self::Hub, _: &CameraId) {}
}

/// Follows the results of all cameras that a client wants.
pub(crate) async fn results(redis: Redis, hub: Arc<Hub>, shutdown: Shutdown) {
    follow(ResultReader::new(&redis), &*hub, hub.demand(), &shutdown).await;
}

/// Follows the pictures of all cameras that a client watches.
pub(crate) async fn pictures(redis: Redis, hub: Arc<Hub>, shutdown: Shutdown) {
    let reader = Pictures { reader: PreviewReader::new(&redis), redis };
    follow(reader, &*hub, hub.demand(), &shutdown).await;
}

/// Reads what is wanted until the shutdown.
pub(crate) async fn follow<R: Follow>(
    mut reader: R,
    hub: &R::Hub,
    mut demand: watch::Receiver<R::Demand>,
    shutdown: &Shutdown,
) {
    let mut following = BTreeMap::new();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    while !shutdown.is_requested() {
        match turn(&mut reader, &mut following, hub, &mut demand, shutdown).await {
            Ok(()) => {
                if backoff.failures() > 0 {
                    info!(what = R::WHAT, "reading again");
                }
                backoff.healthy();
            }
            Err(error) => {
                if backoff.failures() == 0 {
                    info!(what = R::WHAT, %error, "reading interrupted, trying again");
                }
                let wait = backoff.failed();
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = shutdown.requested() => {}
                }
            }
        }
    }
}

/// Brings what is followed in line with what is wanted, and reads once.
async fn turn<R: Follow>(
    reader: &mut R,
    following: &mut BTreeMap<CameraId, u64>,
    hub: &R::Hub,
    demand: &mut watch::Receiver<R::Demand>,
    shutdown: &Shutdown,
) -> Result<(), StreamError> {
    let wanted = R::wanted(&demand.borrow_and_update());
    following.retain(|camera, since| {
        let stays = wanted.get(camera) == Some(since);
        if !stays {
            reader.leave(camera);
        }
        stays
    });
    for (camera, since) in &wanted {
        if !following.contains_key(camera) {
            let newest = reader.join(camera).await?;
            following.insert(camera.clone(), *since);
            match newest {
                Some(newest) => R::relay(hub, newest, true),
                None => R::nothing_yet(hub, camera),
            }
        }
    }
    if wanted.is_empty() {
        tokio::select! {
            _ = demand.changed() => {}
            () = shutdown.requested() => {}
        }
        return Ok(());
    }
    let waker = reader.waker();
    let mut read = std::pin::pin!(reader.read());
    // A read is woken and not dropped: dropping it would cost the connection.
    let entries = loop {
        tokio::select! {
            entries = &mut read => break entries?,
            _ = demand.changed() => waker.wake(),
            () = shutdown.requested() => return Ok(()),
        }
    };
    for entry in entries {
        R::relay(hub, entry, false);
    }
    Ok(())
}

impl Follow for ResultReader {
    type Entry = ResultEntry;
    type Hub = Hub;
    type Demand = Demand;
    const WHAT: &'static str = "results";

    fn wanted(demand: &Demand) -> BTreeMap<CameraId, u64> {
        demand.results.clone()
    }

    async fn join(&mut self, camera: &CameraId) -> Result<Option<ResultEntry>, StreamError> {
        ResultReader::join(self, camera).await
    }

    fn leave(&mut self, camera: &CameraId) {
        self.unfollow(camera);
    }

    fn waker(&self) -> Waker {
        ResultReader::waker(self)
    }

    async fn read(&mut self) -> Result<Vec<ResultEntry>, StreamError> {
        ResultReader::read(self, LONGEST_BLOCK).await
    }

    fn relay(hub: &Hub, entry: ResultEntry, _: bool) {
        hub.result(&entry.camera, entry.id, &entry.encoded);
    }

    fn nothing_yet(hub: &Hub, camera: &CameraId) {
        hub.no_result_yet(camera);
    }
}

struct Pictures {
    reader: PreviewReader,
    redis: Redis,
}

impl Follow for Pictures {
    type Entry = PreviewEntry;
    type Hub = Hub;
    type Demand = Demand;
    const WHAT: &'static str = "pictures";

    fn wanted(demand: &Demand) -> BTreeMap<CameraId, u64> {
        demand.pictures.iter().map(|(camera, watching)| (camera.clone(), watching.since)).collect()
    }

    async fn join(&mut self, camera: &CameraId) -> Result<Option<PreviewEntry>, StreamError> {
        let newest = self.redis.latest_preview(camera).await?;
        self.reader.follow(camera, newest.as_ref().map_or(FrameId::ZERO, |newest| newest.id));
        Ok(newest)
    }

    fn leave(&mut self, camera: &CameraId) {
        self.reader.unfollow(camera);
    }

    fn waker(&self) -> Waker {
        self.reader.waker()
    }

    async fn read(&mut self) -> Result<Vec<PreviewEntry>, StreamError> {
        self.reader.read(LONGEST_BLOCK).await
    }

    fn relay(hub: &Hub, entry: PreviewEntry, joined: bool) {
        let came = (!joined).then(Instant::now);
        let PreviewEntry { camera, id, size, jpeg, damaged } = entry;
        hub.picture(&camera, Picture { id, size, jpeg, damaged, came });
    }
}

/// Tells producers which cameras are watched, and how wide: at once when it begins, then every second.
pub(crate) async fn keep_watched(redis: Redis, hub: Arc<Hub>, shutdown: Shutdown) {
    let mut demand = hub.demand();
    let mut told = BTreeMap::new();
    let mut tick = tokio::time::interval(STILL_WATCHED);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let due = tokio::select! {
            _ = tick.tick() => true,
            _ = demand.changed() => false,
            () = shutdown.requested() => return,
        };
        let watched = demand.borrow_and_update().pictures.clone();
        told.retain(|camera, _| watched.contains_key(camera));
        for (camera, watching) in watched {
            if due || told.get(&camera) != Some(&watching) {
                match redis.watch(&camera, watching.width, WATCHED_FOR).await {
                    Ok(()) => drop(told.insert(camera, watching)),
                    Err(error) => debug!(%camera, %error, "cannot say that somebody watches"),
                }
            }
        }
    }
}
