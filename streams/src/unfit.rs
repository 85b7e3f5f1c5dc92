//! Cameras that a worker cannot have, because it does not know a key of their configuration: said by the worker itself,
//! for as long as it lives, and left to those that know it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use crate::{Redis, Role, StreamError, keys, lease::millis, value};

/// What a worker said goes away by itself after this long.
const KEPT_FOR: Duration = Duration::from_secs(15);
/// Between two repetitions.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Cameras by id, with why a worker cannot have them.
pub type Reasons = BTreeMap<String, String>;

/// Says which cameras a worker cannot have.
#[derive(Debug)]
pub struct Unfit {
    role: Role,
    worker: String,
    said: Reasons,
    at: Option<Instant>,
}

impl Unfit {
    /// Of a worker, by its name; so far it can have all.
    pub fn new(role: Role, worker: impl Into<String>) -> Self {
        Self { role, worker: worker.into(), said: Reasons::new(), at: None }
    }

    /// Says it in the log once, and in Redis for as long as it is so.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn say(&mut self, redis: &Redis, reasons: Reasons) -> Result<(), StreamError> {
        let changed = reasons != self.said;
        if !changed && (reasons.is_empty() || self.at.is_some_and(|at| at.elapsed() < SAY_EVERY)) {
            return Ok(());
        }
        for (camera, why) in &reasons {
            if self.said.get(camera) != Some(why) {
                warn!(camera, why, "camera left to workers that can have it");
            }
        }
        for camera in self.said.keys().filter(|camera| !reasons.contains_key(*camera)) {
            info!(camera, "camera is not left to others any more");
        }
        let key = keys::unfit(self.role, &self.worker);
        let command = if reasons.is_empty() {
            redis::cmd("DEL").arg(key).take()
        } else {
            let json = serde_json::to_string(&reasons).unwrap_or_default();
            redis::cmd("SET").arg(key).arg(json).arg("PX").arg(millis(KEPT_FOR)).take()
        };
        redis.state.run(&command).await?;
        (self.said, self.at) = (reasons, Some(Instant::now()));
        Ok(())
    }
}

impl Redis {
    /// The cameras that each worker of a role said it cannot have; only of workers that said so.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn unfit(&self, role: Role) -> Result<BTreeMap<String, Reasons>, StreamError> {
        let workers = self.heartbeats(role).await?;
        if workers.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut read = redis::cmd("MGET");
        for heartbeat in &workers {
            read.arg(keys::unfit(role, &heartbeat.worker));
        }
        let said = value::list(self.state.run(&read).await?).unwrap_or_default();
        let reasons = |said: &redis::Value| serde_json::from_str(value::text(said)?).ok();
        let by_worker = workers.into_iter().zip(&said);
        Ok(by_worker.filter_map(|(heartbeat, said)| Some((heartbeat.worker, reasons(said)?))).collect())
    }
}
