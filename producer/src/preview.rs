//! JPEG pictures for people, off the frames' path and only while somebody watches.

use std::{
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
};

use peregrine_daemon::{Metric, metrics::Counter};
use peregrine_media::{Jpeg, Picture};
use peregrine_proto::{CameraId, FrameId};
use peregrine_streams::Redis;
use tokio::runtime::Handle;
use tracing::warn;

use crate::{camera::Shared, lookout::Lookout};

/// Hands pictures to a thread that encodes and publishes them.
pub(crate) struct Previews {
    camera: CameraId,
    lookout: Lookout,
    /// One picture waits at most: a later one is dropped and counted.
    encoder: SyncSender<Job>,
    dropped: Counter,
}

struct Job {
    id: FrameId,
    picture: Picture,
    damaged: bool,
    width: u32,
}

impl Previews {
    /// Starts the thread; it ends with the returned value.
    pub(crate) fn start(shared: &Shared, camera: &CameraId) -> std::io::Result<Self> {
        let (encoder, jobs) = sync_channel(1);
        let worker = Encoder {
            redis: shared.redis.clone(),
            runtime: shared.runtime.clone(),
            camera: camera.clone(),
            quality: shared.config.preview_quality,
            kept: shared.config.previews_kept,
            encoded: Metric::PreviewsEncoded.counter([camera.as_str()]),
            dropped: Metric::PreviewsDropped.counter([camera.as_str()]),
        };
        let dropped = worker.dropped.clone();
        thread::Builder::new().name(format!("preview {camera}")).spawn(move || worker.run(&jobs))?;
        Ok(Self { camera: camera.clone(), lookout: shared.lookout.clone(), encoder, dropped })
    }

    /// Takes the picture of a published frame, or a damaged one that is no frame, if somebody watches.
    pub(crate) fn offer(&self, id: FrameId, picture: Picture, damaged: bool) {
        let Some(width) = self.lookout.watched_width(&self.camera) else { return };
        if let Err(TrySendError::Full(_)) = self.encoder.try_send(Job { id, picture, damaged, width }) {
            self.dropped.inc();
        }
    }
}

struct Encoder {
    redis: Redis,
    runtime: Handle,
    camera: CameraId,
    quality: u8,
    kept: u32,
    encoded: Counter,
    dropped: Counter,
}

impl Encoder {
    fn run(self, jobs: &Receiver<Job>) {
        let camera = &self.camera;
        let mut jpeg = match Jpeg::new() {
            Ok(jpeg) => jpeg,
            Err(error) => return warn!(%camera, %error, "no pictures can be shown"),
        };
        while let Ok(Job { id, picture, damaged, width }) = jobs.recv() {
            let encoded = match jpeg.encode(&picture, width, self.quality) {
                Ok(encoded) => encoded,
                Err(error) => {
                    warn!(%camera, frame = %id, %error, "picture left out");
                    self.dropped.inc();
                    continue;
                }
            };
            self.encoded.inc();
            let put = self.redis.put_preview(camera, id, encoded.size, &encoded.bytes, damaged, self.kept);
            if let Err(error) = self.runtime.block_on(put) {
                tracing::debug!(%camera, frame = %id, %error, "picture not published");
                self.dropped.inc();
            }
        }
    }
}
