//! Asks daemons for their metrics.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use peregrine_daemon::{ask, metrics::Samples};
use tokio::task::spawn_blocking;

use super::samples::Observed;

/// A daemon's answer, and when it came.
struct Look {
    at: Instant,
    samples: Samples,
}

/// Looks at each daemon twice, so long apart. Beside what was seen: what cannot be reached, and why.
pub(super) async fn watch(addresses: Vec<String>, apart: Duration) -> (Vec<Observed>, Vec<String>) {
    let before = look(&addresses).await;
    tokio::time::sleep(apart).await;
    let after = look(&addresses).await;
    let (mut seen, mut silent) = (Vec::new(), Vec::new());
    for (address, looks) in addresses.into_iter().zip(before.into_iter().zip(after)) {
        match looks {
            (Ok(before), Ok(after)) => seen.push(Observed {
                address,
                seconds: after.at.duration_since(before.at).as_secs_f64(),
                before: before.samples,
                after: after.samples,
            }),
            (Err(why), _) | (_, Err(why)) => silent.push(format!("{address}: {why}")),
        }
    }
    (seen, silent)
}

async fn look(addresses: &[String]) -> Vec<Result<Look, String>> {
    let one = async |address: String| {
        let answer =
            spawn_blocking(move || ask(&address, "/metrics")).await.map_err(|error| error.to_string())?;
        match answer {
            Ok((200, text)) => Ok(Look { at: Instant::now(), samples: Samples::parse(&text) }),
            Ok((status, _)) => Err(format!("answers {status}")),
            Err(error) => Err(error.to_string()),
        }
    };
    join_all(addresses.iter().cloned().map(one)).await
}
