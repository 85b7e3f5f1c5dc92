//! The system: workers with what they hold, where frames ended, models, and who is asking.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use peregrine_proto::{CameraId, LossCount};
use peregrine_streams::{Account, Losses, Reasons, Redis, Role, SourceHealth, SourceState, StreamError};
use serde::Serialize;
use serde_json::json;

use super::{LIVE, Refused, not_modified, overview};
use crate::{
    access::Caller,
    http::{App, in_time},
    ledger::published,
};

/// Who is asking, what they may do, and where else they may look.
#[derive(Debug, Serialize)]
struct Session {
    #[serde(flatten)]
    caller: Caller,
    grafana: Option<String>,
}

/// `GET /api/session`
pub(crate) async fn session(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Response {
    ([LIVE], Json(Session { caller, grafana: app.grafana.clone() })).into_response()
}

/// `GET /api/models`: the models that processors announced, with their classes; changes only with them.
pub(crate) async fn models(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Refused> {
    let mut models = in_time(app.redis.models()).await??;
    models.sort_by(|a, b| a.name.cmp(&b.name));
    let models: Vec<_> = models
        .into_iter()
        .map(|m| json!({ "name": m.name, "input": m.input, "classes": m.classes, "default": m.default }))
        .collect();
    Ok(not_modified(&headers, &json!({ "models": models })))
}

#[derive(Debug, Serialize)]
struct Worker {
    worker: String,
    role: &'static str,
    seen_ms_ago: u64,
    /// The cameras that it holds.
    cameras: Vec<CameraId>,
    /// Cameras that it cannot have, and why.
    unfit: Reasons,
}

/// `GET /api/workers`: who gave a sign of life within the last minute, which cameras they hold, and what is to be known of
/// their releases and of Redis.
pub(crate) async fn workers(State(app): State<Arc<App>>) -> Result<Response, Refused> {
    let cameras: Vec<CameraId> = overview(&app).await?.cameras.keys().cloned().collect();
    let redis = &app.redis;
    let all = async {
        tokio::try_join!(
            of_role(redis, Role::Producer, &cameras),
            of_role(redis, Role::Processor, &cameras),
            redis.schema_state(),
            redis.dangers()
        )
    };
    let (mut workers, processors, schema, dangers) = in_time(all).await??;
    workers.extend(processors);
    let mut notices = schema.notices();
    notices.extend(dangers.iter().map(ToString::to_string));
    Ok(([LIVE], Json(json!({ "workers": workers, "notices": notices }))).into_response())
}

async fn of_role(redis: &Redis, role: Role, cameras: &[CameraId]) -> Result<Vec<Worker>, StreamError> {
    let (heartbeats, holders, mut unfit) =
        tokio::try_join!(redis.heartbeats(role), redis.holders(role, cameras), redis.unfit(role))?;
    let mut held: BTreeMap<String, BTreeSet<CameraId>> = BTreeMap::new();
    for (camera, holder) in cameras.iter().zip(holders) {
        if let Some(holder) = holder {
            held.entry(holder.worker).or_default().insert(camera.clone());
        }
    }
    let name = match role {
        Role::Producer => "producer",
        Role::Processor => "processor",
    };
    let worker = |heartbeat: peregrine_streams::Heartbeat| Worker {
        cameras: held.remove(&heartbeat.worker).into_iter().flatten().collect(),
        unfit: unfit.remove(&heartbeat.worker).unwrap_or_default(),
        seen_ms_ago: u64::try_from(heartbeat.seen_ago.as_millis()).unwrap_or(u64::MAX),
        role: name,
        worker: heartbeat.worker,
    };
    Ok(heartbeats.into_iter().map(worker).collect())
}

#[derive(Debug, Serialize)]
struct Balance {
    camera: CameraId,
    /// Frames given to the stream, as the producer counts them.
    published: u64,
    /// Analysed frames.
    processed: u64,
    /// Frames left out before inference or given up, by reason.
    skipped: Vec<LossCount>,
    /// Frames that were published and never came, by reason.
    lost: Vec<LossCount>,
    /// Entries of the stream that wait.
    waiting: u64,
    /// Whether published is the sum of the others. While frames flow, up to what flowed between the looks.
    balanced: bool,
    /// Frames that were never published, by reason: no part of the sum.
    unpublished: Vec<LossCount>,
}

/// `GET /api/ledger`: where the frames of each camera ended.
pub(crate) async fn ledger(State(app): State<Arc<App>>) -> Result<Response, Refused> {
    let ids: Vec<CameraId> = overview(&app).await?.cameras.keys().cloned().collect();
    // The producer's count first: what is published meanwhile is then in the other one.
    let both = async {
        let sources = app.redis.source_states(&ids).await?;
        Ok::<_, StreamError>((sources, app.redis.accounts(&ids).await?))
    };
    let (sources, accounts) = in_time(both).await??;
    let balances: Vec<Balance> = ids
        .into_iter()
        .zip(sources)
        .zip(accounts)
        .map(|((camera, source), account)| balance(camera, source.unwrap_or_default(), &account))
        .collect();
    Ok(([LIVE], Json(json!({ "cameras": balances }))).into_response())
}

fn balance(camera: CameraId, source: SourceState, account: &Account) -> Balance {
    let published = published(&source);
    let counts = |losses: &Losses| losses.to_vec().into_iter().filter(|loss| loss.count > 0).collect();
    Balance {
        camera,
        published,
        processed: account.processed(),
        skipped: counts(&account.skipped),
        lost: counts(&account.lost),
        waiting: account.waiting,
        balanced: published.abs_diff(account.accounted()) <= slack(&source, account),
        unpublished: source.lost,
    }
}

/// How far the counts may be apart because they are of different moments.
fn slack(source: &SourceState, account: &Account) -> u64 {
    /// The producer writes its count within a second, and the looks follow each other within another. How old its count is
    /// would be a matter of two clocks.
    const APART: Duration = Duration::from_secs(2);
    // The entry that closes a file waits, too, but is no frame.
    let closing = u64::from(account.waiting > 0);
    if matches!(source.state, SourceHealth::Ended | SourceHealth::Failed) {
        return closing;
    }
    closing + (source.fps.clamp(0.0, 1000.0) * APART.as_secs_f64()).ceil() as u64
}

#[cfg(test)]
mod tests {
    use peregrine_proto::LossReason;

    use super::*;

    fn losses(reason: LossReason, count: u64) -> Losses {
        [LossCount { reason, count }].into_iter().collect()
    }

    #[test]
    fn frame_that_vanished_does_not_show_in_the_ledger() {
        let account = Account {
            results: 95,
            ended: 1,
            skipped: losses(LossReason::TooOld, 4),
            lost: losses(LossReason::QueueFull, 6),
            waiting: 0,
        };
        let ended = |published| SourceState {
            state: SourceHealth::Ended,
            first_n: 1,
            published,
            ..SourceState::default()
        };
        let camera = CameraId::new("yard").unwrap();
        let fine = balance(camera.clone(), ended(100), &account);
        assert!(fine.balanced);
        assert_eq!((fine.published, fine.processed), (100, 90));
        assert!(!balance(camera.clone(), ended(101), &account).balanced);
        let live = SourceState { state: SourceHealth::Live, fps: 10.0, ..ended(118) };
        assert!(balance(camera.clone(), live.clone(), &account).balanced, "frames on their way");
        let much = SourceState { published: 121, ..live };
        assert!(!balance(camera, much, &account).balanced);
    }
}
