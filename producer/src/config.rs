//! The producer's configuration.

use std::{collections::BTreeSet, time::Duration};

use peregrine_daemon::{DaemonConfig, Problems, RedisSection};
use peregrine_media::{AllowConfig, AllowList};
use peregrine_proto::CameraConfig;
use serde::{Deserialize, Serialize};

/// As it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where the streams are.
    pub redis: RedisSection,
    /// How frames are read and published.
    pub producer: ProducerSection,
    /// Which sources may be opened, beside those of the cameras below.
    pub allow: AllowConfig,
    /// Cameras that this producer registers when it starts.
    pub camera: Vec<CameraConfig>,
}

/// `[producer]`: how frames are read and published.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProducerSection {
    /// How long a camera stays ours without a sign of life, milliseconds.
    pub lease_ttl_ms: u64,
    /// Frames of a live camera that may wait in its stream; the oldest goes.
    pub live_queue: u32,
    /// Frames of a file that may wait in its stream; then the file waits.
    pub file_queue: u32,
    /// Longest wait for a source to open, and for each frame of a live one, milliseconds.
    pub source_timeout_ms: u64,
    /// Longest pause before a lost source is tried again, milliseconds; the first is a quarter of a second.
    pub reconnect_ms: u64,
    /// Threads of each file's decoder.
    pub decode_threads: usize,
    /// Longest wait for a processor to announce its model, whose input decides the analysed size, milliseconds.
    pub model_wait_ms: u64,
    /// JPEG quality of the pictures that people watch, 1 to 100.
    pub preview_quality: u8,
    /// About how many such pictures each camera keeps.
    pub previews_kept: u32,
}

impl Default for ProducerSection {
    fn default() -> Self {
        Self {
            lease_ttl_ms: 3000,
            live_queue: 8,
            file_queue: 16,
            source_timeout_ms: 10_000,
            reconnect_ms: 10_000,
            decode_threads: 1,
            model_wait_ms: 10_000,
            preview_quality: 80,
            previews_kept: 600,
        }
    }
}

/// Checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) redis: RedisSection,
    pub(crate) lease_ttl: Duration,
    pub(crate) live_queue: u32,
    pub(crate) file_queue: u32,
    pub(crate) source_timeout: Duration,
    pub(crate) longest_pause: Duration,
    pub(crate) decode_threads: usize,
    pub(crate) model_wait: Duration,
    pub(crate) preview_quality: u8,
    pub(crate) previews_kept: u32,
    pub(crate) allow: AllowList,
    pub(crate) cameras: Vec<CameraConfig>,
}

impl DaemonConfig for Config {
    type Raw = RawConfig;
    const NAME: &'static str = "producer";

    fn redis(&self) -> Option<&RedisSection> {
        Some(&self.redis)
    }

    fn build(raw: RawConfig, problems: &mut Problems) -> Option<Self> {
        let RawConfig { redis, producer, allow, camera: cameras } = raw;
        redis.check(problems);
        for (key, value, range) in [
            ("producer.lease_ttl_ms", producer.lease_ttl_ms, 200..=600_000),
            ("producer.live_queue", producer.live_queue.into(), 1..=1_000),
            ("producer.file_queue", producer.file_queue.into(), 1..=1_000),
            ("producer.source_timeout_ms", producer.source_timeout_ms, 100..=600_000),
            ("producer.reconnect_ms", producer.reconnect_ms, 250..=600_000),
            ("producer.decode_threads", producer.decode_threads as u64, 1..=64),
            ("producer.model_wait_ms", producer.model_wait_ms, 0..=600_000),
            ("producer.preview_quality", producer.preview_quality.into(), 1..=100),
            ("producer.previews_kept", producer.previews_kept.into(), 1..=100_000),
        ] {
            if !range.contains(&value) {
                problems.add(key, format!("is {value}: use {} to {}", range.start(), range.end()));
            }
        }
        let mut allow = AllowList::new(allow);
        let mut ids = BTreeSet::new();
        for camera in &cameras {
            camera.problems().into_iter().for_each(|problem| problems.add("camera", problem));
            if !ids.insert(camera.id.clone()) {
                problems.add(
                    "camera",
                    format!("camera {} is there twice: give each an id of its own", camera.id),
                );
            }
            if camera.source.uri.is_masked() {
                problems.add(
                    "camera",
                    format!(
                        "camera {}: source.uri has `***` where its credentials were when it was read: put them back",
                        camera.id
                    ),
                );
            }
            // Whoever writes this file may open what it names.
            allow.trust(&camera.source.uri);
            if let Err(error) = allow.check(&camera.source.uri) {
                problems.add("camera", format!("camera {}: {error}", camera.id));
            }
        }
        Some(Self {
            redis,
            lease_ttl: Duration::from_millis(producer.lease_ttl_ms),
            live_queue: producer.live_queue,
            file_queue: producer.file_queue,
            source_timeout: Duration::from_millis(producer.source_timeout_ms),
            longest_pause: Duration::from_millis(producer.reconnect_ms),
            decode_threads: producer.decode_threads,
            model_wait: Duration::from_millis(producer.model_wait_ms),
            preview_quality: producer.preview_quality,
            previews_kept: producer.previews_kept,
            allow,
            cameras,
        })
    }
}
