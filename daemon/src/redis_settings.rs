//! Looks once a minute whether a setting of Redis endangers data, and says so.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use peregrine_streams::{Danger, Redis};
use tracing::{debug, info, warn};

use crate::Metric;

const EVERY: Duration = Duration::from_secs(60);

/// What was found last.
#[derive(Debug, Default)]
pub(crate) struct RedisSettings {
    looked: Option<Instant>,
    told: BTreeSet<Danger>,
}

impl RedisSettings {
    /// Looks, where it is time: to be called every few seconds. A danger is logged when it begins and when it ends.
    pub(crate) async fn look(&mut self, redis: &Redis) {
        if self.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return;
        }
        let dangers = match redis.dangers().await {
            Ok(dangers) => dangers,
            Err(error) => {
                debug!(%error, "the settings of Redis could not be read");
                return;
            }
        };
        self.looked = Some(Instant::now());
        for danger in Danger::all() {
            let is_so = dangers.contains(&danger);
            Metric::RedisDanger
                .gauge([danger.server.as_str(), danger.kind.as_str()])
                .set(f64::from(u8::from(is_so)));
            match (self.told.contains(&danger), is_so) {
                (false, true) => warn!("{danger}"),
                (true, false) => info!(
                    server = danger.server.as_str(),
                    danger = danger.kind.as_str(),
                    "a setting of Redis no longer endangers data"
                ),
                _ => {}
            }
        }
        self.told = dangers;
    }
}
