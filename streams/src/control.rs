//! Small wake-ups between daemons, so that nobody waits for a tick.
//!
//! They are hints: all they say can also be found by looking, and losing one costs a tick.

use std::time::Duration;

use peregrine_proto::{CameraId, FrameId};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::AbortHandle,
};

use crate::{Redis, Role, StreamError, keys, servers::Servers, value};

const BLOCK: Duration = Duration::from_secs(5);
/// Bundles of wake-ups that wait to be taken; more are dropped.
const MOST_WAITING: usize = 16;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// A camera was given up and is free.
    Released {
        /// What it was held for.
        role: Role,
        /// The camera.
        camera: CameraId,
    },
    /// A camera was added, changed or removed.
    CameraChanged {
        /// The camera.
        camera: CameraId,
    },
    /// Somebody began to watch a camera.
    Watched {
        /// The camera.
        camera: CameraId,
    },
    /// A processor announced a model.
    ModelAnnounced,
}

impl Redis {
    /// Wakes those who follow the control stream. Failing to is not an error: they look by themselves a little later.
    pub async fn wake(&self, what: &Wake) {
        let (kind, camera) = match what {
            Wake::Released { role: Role::Processor, camera } => ("processor_released", Some(camera)),
            Wake::Released { role: Role::Producer, camera } => ("producer_released", Some(camera)),
            Wake::CameraChanged { camera } => ("camera_changed", Some(camera)),
            Wake::Watched { camera } => ("watched", Some(camera)),
            Wake::ModelAnnounced => ("model_announced", None),
        };
        let mut command = redis::cmd("XADD");
        command.arg(keys::CONTROL).arg("MAXLEN").arg("~").arg(100).arg("*");
        command.arg("kind").arg(kind).arg("camera").arg(camera.map_or("", |c| c.as_str()));
        if let Err(error) = self.state.run(&command).await {
            tracing::debug!(kind, %error, "wake-up not sent");
        }
    }

    /// Follows the control stream from about now on, by a task of its own that ends with the returned value.
    pub fn control(&self) -> Control {
        let (sender, wakes) = mpsc::channel(MOST_WAITING);
        let follower = Follower { servers: self.state.blocking(BLOCK), after: None };
        Control { wakes, task: tokio::spawn(follower.run(sender)).abort_handle() }
    }
}

/// Follows the control stream.
pub struct Control {
    wakes: mpsc::Receiver<Result<Vec<Wake>, StreamError>>,
    task: AbortHandle,
}

impl Control {
    /// Waits for wake-ups. May be dropped while it waits; nothing is lost by it.
    ///
    /// # Errors
    /// When the connection is lost; it is made anew, after a growing pause.
    pub async fn next(&mut self) -> Result<Vec<Wake>, StreamError> {
        match self.wakes.recv().await {
            Some(wakes) => wakes,
            // The task ends only when the runtime does.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower {
    servers: Servers,
    /// The last entry read; none before the first look.
    after: Option<FrameId>,
}

impl Follower {
    async fn run(mut self, sender: mpsc::Sender<Result<Vec<Wake>, StreamError>>) {
        loop {
            let wakes = self.read().await;
            if matches!(&wakes, Ok(wakes) if wakes.is_empty()) {
                continue;
            }
            // Whoever is too busy to take them has enough to look at: they are hints.
            if let Err(TrySendError::Closed(_)) = sender.try_send(wakes) {
                return;
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<Wake>, StreamError> {
        let after = match self.after {
            Some(after) => after,
            // From an id on, not from "$", so that nothing between two reads is missed.
            None => {
                let mut newest = redis::cmd("XREVRANGE");
                newest.arg(keys::CONTROL).arg("+").arg("-").arg("COUNT").arg(1);
                let entries = value::entries(self.servers.run(&newest).await?).unwrap_or_default();
                *self.after.insert(entries.first().map_or(FrameId::ZERO, |entry| entry.id))
            }
        };
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(100).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        command.arg("STREAMS").arg(keys::CONTROL).arg(after.to_string());
        let streams = value::streams(self.servers.run(&command).await?).unwrap_or_default();
        if streams.is_empty() {
            // The stream may have been made anew, with ids that start again.
            self.after = None;
        }
        let entries: Vec<value::Entry> = streams.into_iter().flat_map(|(_, entries)| entries).collect();
        self.after = entries.last().map(|last| last.id).or(self.after);
        Ok(entries.into_iter().filter_map(parse).collect())
    }
}

fn parse(entry: value::Entry) -> Option<Wake> {
    let field = |name: &str| entry.fields.iter().find(|(f, _)| f == name).and_then(|(_, v)| value::text(v));
    let camera = || field("camera").and_then(|c| CameraId::new(c).ok());
    match field("kind")? {
        "processor_released" => Some(Wake::Released { role: Role::Processor, camera: camera()? }),
        "producer_released" => Some(Wake::Released { role: Role::Producer, camera: camera()? }),
        "camera_changed" => Some(Wake::CameraChanged { camera: camera()? }),
        "watched" => Some(Wake::Watched { camera: camera()? }),
        "model_announced" => Some(Wake::ModelAnnounced),
        _ => None,
    }
}
