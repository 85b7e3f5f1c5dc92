//! Writes into Redis where this daemon's metrics are, so that whoever looks at all daemons finds every replica.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use peregrine_streams::{Redis, RunningDaemon, StreamError};
use tracing::debug;

use crate::{RedisSection, Shutdown, host, redis_settings::RedisSettings};

/// Between two signs of life; a daemon counts as gone after three that are missing.
const EVERY: Duration = Duration::from_secs(5);

/// Announces a daemon until its shutdown. Redis may come and go: whoever needs it for the work says so.
pub(crate) async fn keep(section: RedisSection, daemon: RunningDaemon, shutdown: Shutdown) {
    let mut redis = None;
    let mut settings = RedisSettings::default();
    loop {
        if let Err(error) = announce(&mut redis, &section, &daemon).await {
            debug!(%error, "where the metrics are could not be written");
        }
        if let Some(redis) = &redis {
            settings.look(redis).await;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.requested() => break,
        }
    }
    if let Some(redis) = redis
        && let Err(error) = redis.withdraw_daemon(&daemon).await
    {
        debug!(%error, "not taken off the list of daemons: it is forgotten there by itself");
    }
}

async fn announce(
    redis: &mut Option<Redis>,
    section: &RedisSection,
    daemon: &RunningDaemon,
) -> Result<(), StreamError> {
    let redis = match redis {
        Some(redis) => redis,
        None => redis.insert(section.open().await?),
    };
    redis.announce_daemon(daemon).await
}

/// Where others reach a port that is open on every address of this machine: at the address of its name. Containers have
/// one; none where the name leads nowhere.
pub(crate) fn reachable(listening: SocketAddr) -> Option<SocketAddr> {
    if !listening.ip().is_unspecified() {
        return Some(listening);
    }
    let host = host::machine_name()?;
    let addresses = (host.as_str(), listening.port()).to_socket_addrs().ok()?;
    addresses.reduce(|best, next| if best.ip().is_loopback() { next } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_that_nobody_can_reach_is_announced() {
        let fixed: SocketAddr = "192.0.2.7:9100".parse().unwrap();
        assert_eq!(reachable(fixed), Some(fixed));
        let any = reachable("0.0.0.0:9100".parse().unwrap());
        assert!(
            any.is_none_or(|address| !address.ip().is_unspecified() && address.port() == 9100),
            "{any:?}"
        );
    }
}
