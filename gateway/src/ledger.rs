//! Where the frames of each camera ended, as metrics: the figures of `/api/ledger`, asked of Redis every few seconds.

use std::{collections::BTreeMap, time::Duration};

use peregrine_daemon::{
    Metric, Shutdown,
    metrics::{CameraSeries, Gauge},
};
use peregrine_proto::CameraId;
use peregrine_streams::{Account, Redis, SourceState, StreamError};
use tracing::debug;

/// How often Redis is asked: more often than anybody scrapes.
const EVERY: Duration = Duration::from_secs(3);

/// Keeps the metrics of all cameras up to date until the shutdown.
pub(crate) async fn export(redis: Redis, shutdown: Shutdown) {
    let mut shown = BTreeMap::new();
    while !shutdown.is_requested() {
        if let Err(error) = look(&redis, &mut shown).await {
            // The states of the cameras are asked for as well, and say it louder.
            debug!(%error, "the ledger cannot be read");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.requested() => {}
        }
    }
}

/// Frames that a camera's stream was given, as the producer says.
pub(crate) fn published(source: &SourceState) -> u64 {
    // The stream's count begins before the source's where the camera had another source.
    source.first_n.saturating_sub(1) + source.published
}

async fn look(redis: &Redis, shown: &mut BTreeMap<CameraId, Ends>) -> Result<(), StreamError> {
    let ids: Vec<CameraId> = redis.cameras().await?.cameras.into_keys().collect();
    shown.retain(|camera, _| ids.contains(camera));
    // The producer's count first: what is published meanwhile is then in the other one.
    let sources = redis.source_states(&ids).await?;
    let accounts = redis.accounts(&ids).await?;
    for ((camera, source), account) in ids.into_iter().zip(sources).zip(accounts) {
        let ends = shown.entry(camera).or_insert_with_key(Ends::new);
        ends.show(published(&source.unwrap_or_default()), &account);
    }
    Ok(())
}

/// The gauges of one camera.
struct Ends {
    published: Gauge,
    processed: Gauge,
    skipped: Gauge,
    lost: Gauge,
    waiting: Gauge,
    _series: CameraSeries,
}

impl Ends {
    fn new(camera: &CameraId) -> Self {
        let series = CameraSeries::hold(camera.as_str());
        let gauge = |end: &str| Metric::LedgerFrames.gauge([camera.as_str(), end]);
        Self {
            published: gauge("published"),
            processed: gauge("processed"),
            skipped: gauge("skipped"),
            lost: gauge("lost"),
            waiting: gauge("waiting"),
            _series: series,
        }
    }

    fn show(&self, published: u64, account: &Account) {
        self.published.set(published as f64);
        self.processed.set(account.processed() as f64);
        self.skipped.set(account.skipped.total() as f64);
        self.lost.set(account.lost.total() as f64);
        self.waiting.set(account.waiting as f64);
    }
}
