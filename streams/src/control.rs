//! Small wake-ups between daemons, so that nobody waits for a tick.
//!
//! They are hints: all they say can also be found by looking, and losing one costs a tick.

use std::time::Duration;

use peregrine_proto::CameraId;

use crate::{Redis, Role, StreamError, connection::Link, keys, value};

const BLOCK: Duration = Duration::from_secs(5);

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

    /// Follows the control stream from now on.
    pub fn control(&self) -> Control {
        Control { link: self.state.blocking(BLOCK), after: "$".into() }
    }
}

/// Follows the control stream on a connection of its own.
pub struct Control {
    link: Link,
    after: String,
}

impl Control {
    /// Waits for wake-ups, five seconds at most. May be dropped while it waits, but then reconnects.
    ///
    /// # Errors
    /// When the connection is lost; the next call makes a new one, after a growing pause.
    pub async fn next(&mut self) -> Result<Vec<Wake>, StreamError> {
        if self.after == "$" {
            // From an id on, so that nothing between two calls is missed.
            let newest =
                redis::cmd("XREVRANGE").arg(keys::CONTROL).arg("+").arg("-").arg("COUNT").arg(1).take();
            let reply = self.link.run(&newest).await?;
            let newest = value::entries(reply).unwrap_or_default();
            self.after = newest.first().map_or_else(|| "0-0".to_owned(), |entry| entry.id.to_string());
        }
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(100).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        command.arg("STREAMS").arg(keys::CONTROL).arg(&self.after);
        let reply = self.link.run(&command).await?;
        let streams = value::streams(reply).unwrap_or_default();
        let entries = streams.into_iter().flat_map(|(_, entries)| entries).collect::<Vec<_>>();
        if let Some(last) = entries.last() {
            self.after = last.id.to_string();
        }
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
