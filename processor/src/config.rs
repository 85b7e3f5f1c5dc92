//! The processor's configuration.

use std::time::Duration;

use peregrine_daemon::{DaemonConfig, Problems, RedisSection};
use serde::{Deserialize, Serialize};

use crate::model::ModelConfig;

/// As it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where the streams are.
    pub redis: RedisSection,
    /// Which model runs, and how.
    pub model: ModelConfig,
    /// How frames are read and results written.
    pub processor: ProcessorSection,
}

/// `[processor]`: how frames are read and results written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessorSection {
    /// How long a camera stays ours without a sign of life, milliseconds. A dead worker's cameras are taken over after it.
    pub lease_ttl_ms: u64,
    /// The longest wait for frames in one read, milliseconds.
    pub block_ms: u64,
    /// Live frames older than this are skipped before inference, milliseconds.
    pub deadline_ms: u64,
    /// About how many results each camera keeps in its stream.
    pub results_kept: u64,
    /// Whether idle workers help with cameras that are too much for their owner: this one asks them, and helps.
    pub offload: bool,
}

impl Default for ProcessorSection {
    fn default() -> Self {
        let results_kept = peregrine_streams::RESULTS_KEPT;
        Self { lease_ttl_ms: 3000, block_ms: 100, deadline_ms: 1000, results_kept, offload: true }
    }
}

/// Checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) redis: RedisSection,
    pub(crate) model: ModelConfig,
    pub(crate) lease_ttl: Duration,
    pub(crate) block: Duration,
    pub(crate) deadline: Duration,
    pub(crate) results_kept: u64,
    pub(crate) offload: bool,
}

impl DaemonConfig for Config {
    type Raw = RawConfig;
    const NAME: &'static str = "processor";

    fn redis(&self) -> Option<&RedisSection> {
        Some(&self.redis)
    }

    fn build(raw: RawConfig, problems: &mut Problems) -> Option<Self> {
        let RawConfig { redis, model, processor } = raw;
        redis.check(problems);
        if model.path.as_os_str().is_empty() {
            problems.add(
                "model.path",
                "no model is given: set it to an ONNX file, such as --set model.path=nanodet.onnx",
            );
        }
        for (key, value, range) in [
            ("processor.lease_ttl_ms", processor.lease_ttl_ms, 200..=600_000),
            ("processor.block_ms", processor.block_ms, 1..=5_000),
            ("processor.deadline_ms", processor.deadline_ms, 1..=3_600_000),
            ("processor.results_kept", processor.results_kept, 1..=10_000_000),
        ] {
            if !range.contains(&value) {
                problems.add(key, format!("is {value}: use {} to {}", range.start(), range.end()));
            }
        }
        Some(Self {
            redis,
            model,
            lease_ttl: Duration::from_millis(processor.lease_ttl_ms),
            block: Duration::from_millis(processor.block_ms),
            deadline: Duration::from_millis(processor.deadline_ms),
            results_kept: processor.results_kept,
            offload: processor.offload,
        })
    }
}
