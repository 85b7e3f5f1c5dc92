//! Results: the newest, and ranges of what the stream still holds.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use peregrine_proto::{FrameId, Gap};
use peregrine_streams::{ResultEntry, ResultReader};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CameraName, FRAME_ID, LIVE, Refused, frame_header, known};
use crate::http::{App, in_time};

/// Results of a page unless asked otherwise, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 500;

/// `GET /api/cameras/{id}/results/latest`: the newest result, and its frame's id in a header.
pub(crate) async fn latest(
    State(app): State<Arc<App>>,
    CameraName(id): CameraName,
) -> Result<Response, Refused> {
    let camera = known(&app, &id).await?.state.camera;
    let newest = in_time(async { ResultReader::new(&app.redis).join(&camera).await }).await??;
    let newest = newest.ok_or_else(|| Refused::not_found(format!("camera `{camera}` has no result yet")))?;
    let result = newest.decode().map_err(|error| Refused::new(StatusCode::BAD_GATEWAY, error.to_string()))?;
    Ok(([LIVE, (FRAME_ID, frame_header(newest.id))], Json(result)).into_response())
}

/// What a range may ask for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    /// The first id; the oldest result where it is not given.
    from: Option<FrameId>,
    /// The last id; the newest result where it is not given.
    to: Option<FrameId>,
    limit: Option<usize>,
}

/// `GET /api/cameras/{id}/results?from=ID&to=ID&limit=N`: results in order, and where the next page begins.
pub(crate) async fn range(
    State(app): State<Arc<App>>,
    CameraName(id): CameraName,
    query: Result<Query<Range>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(Range { from, to, limit }) = query.map_err(|rejection| {
        let text =
            format!("{}: use ?from=1700000000000-0&to=1700000060000-0&limit=100", rejection.body_text());
        Refused::new(StatusCode::BAD_REQUEST, text)
    })?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        let text = format!("limit is {limit}: use 1 to {LARGEST_PAGE}");
        return Err(Refused::new(StatusCode::BAD_REQUEST, text));
    }
    let camera = known(&app, &id).await?.state.camera;
    let (from, to) = (from.unwrap_or(FrameId::ZERO), to.unwrap_or(FrameId { ms: u64::MAX, seq: u64::MAX }));
    let entries = in_time(app.redis.results_between(&camera, from, to, limit)).await??;
    // Hundreds of results take their time to be put into words.
    let page = tokio::task::spawn_blocking(move || page(&entries, limit)).await;
    page.unwrap_or_else(|_| Err("the results cannot be put into JSON".into()))
        .map(|page| ([LIVE], Json(page)).into_response())
        .map_err(|why| Refused::new(StatusCode::BAD_GATEWAY, why))
}

/// A shorter stretch without results is no gap: sources pause.
const LEAST_GAP: Duration = Duration::from_secs(2);
/// Nor is one that is a smaller part of what is held: nobody would see it on a timeline.
const GAP_PARTS: u64 = 200;

/// `GET /api/cameras/{id}/results/gaps`: the stretches of what is held that have no results.
pub(crate) async fn gaps(
    State(app): State<Arc<App>>,
    CameraName(id): CameraName,
) -> Result<Response, Refused> {
    let camera = known(&app, &id).await?.state.camera;
    let found = in_time(app.redis.result_gaps(&camera, GAP_PARTS, LEAST_GAP)).await??;
    let gaps =
        found.into_iter().map(|(after, first)| Gap { camera: camera.clone(), after, first: Some(first) });
    Ok(([LIVE], Json(json!({ "gaps": gaps.collect::<Vec<_>>() }))).into_response())
}

fn page(entries: &[ResultEntry], limit: usize) -> Result<Value, String> {
    let next = entries.last().filter(|_| entries.len() == limit).map(|last| last.id.next());
    let result = |entry: &ResultEntry| {
        let result = entry.decode().map_err(|error| format!("result {}: {error}", entry.id))?;
        Ok::<_, String>(json!({ "id": entry.id, "result": result }))
    };
    let results = entries.iter().map(result).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "results": results, "next": next }))
}
