//! Looks out, for all cameras at once, for who watches them and which model analyses them.

use std::{collections::BTreeMap, time::Duration};

use peregrine_daemon::Shutdown;
use peregrine_proto::{CameraId, Size};
use peregrine_streams::{Redis, StreamError};
use tokio::sync::{Notify, watch};
use tracing::debug;

/// Somebody who begins to watch is also told of by a wake-up; this is how soon the end of watching is seen.
const EVERY: Duration = Duration::from_secs(1);

/// What was seen last; cheap to read, from any thread.
#[derive(Debug, Clone)]
pub(crate) struct Lookout {
    seen: watch::Receiver<Seen>,
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// The widest picture that anybody watches, by camera.
    widths: BTreeMap<CameraId, u32>,
    /// The input of the model that cameras use.
    model_input: Option<Size>,
}

impl Lookout {
    /// The widest picture that anybody watches now; none for nobody.
    pub(crate) fn watched_width(&self, camera: &CameraId) -> Option<u32> {
        self.seen.borrow().widths.get(camera).copied()
    }

    /// The input of the model that cameras use, as processors announced it.
    pub(crate) fn model_input(&self) -> Option<Size> {
        self.seen.borrow().model_input
    }
}

/// Does the looking.
pub(crate) struct Watchman {
    redis: Redis,
    seen: watch::Sender<Seen>,
}

impl Watchman {
    pub(crate) fn new(redis: &Redis) -> (Self, Lookout) {
        let (sender, seen) = watch::channel(Seen::default());
        (Self { redis: redis.clone(), seen: sender }, Lookout { seen })
    }

    /// Looks every second and when told to, until shutdown.
    pub(crate) async fn run(
        self,
        cameras: watch::Receiver<Vec<CameraId>>,
        look_now: &Notify,
        shutdown: Shutdown,
    ) {
        loop {
            let hosted = cameras.borrow().clone();
            match self.look(&hosted).await {
                Ok(seen) => {
                    self.seen.send_if_modified(|last| {
                        let changed = *last != seen;
                        *last = seen;
                        changed
                    });
                }
                Err(error) => debug!(%error, "cannot see who watches: looking again"),
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = look_now.notified() => {}
                () = shutdown.requested() => return,
            }
        }
    }

    async fn look(&self, cameras: &[CameraId]) -> Result<Seen, StreamError> {
        let watched = self.redis.watched(cameras).await?;
        let widest =
            |(camera, widths): (&CameraId, Vec<u32>)| Some((camera.clone(), widths.into_iter().max()?));
        let widths = cameras.iter().zip(watched).filter_map(widest).collect();
        let model = self.redis.models().await?.into_iter().find(|model| model.default);
        Ok(Seen { widths, model_input: model.map(|model| model.input) })
    }
}
