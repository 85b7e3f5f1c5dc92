//! What is asked over plain HTTP: JSON, pictures, and refusals as problem documents (RFC 9457).

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use peregrine_proto::{CameraHealth, CameraId, CameraState, FrameId, SCHEMA, mask};
use peregrine_streams::{ResultReader, StreamError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    http::{App, in_time},
    relay::Picture,
    state::{Known, Overview},
};

/// Which frame an answer is about.
const FRAME_ID: HeaderName = HeaderName::from_static("peregrine-frame-id");
/// How long a snapshot waits for the next picture.
const NEXT_PICTURE: Duration = Duration::from_secs(1);
const SNAPSHOT_WIDTH: u32 = 1280;
const LIVE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// `GET /api/version`
pub(crate) async fn version() -> Json<Value> {
    Json(json!({ "name": "peregrine-gateway", "version": env!("CARGO_PKG_VERSION"), "schema": SCHEMA }))
}

/// `GET /api/cameras`: the state of each camera.
pub(crate) async fn cameras(State(app): State<App>) -> Result<Response, Refused> {
    let overview = overview(&app).await?;
    let states: Vec<&CameraState> = overview.cameras.values().map(|known| &known.state).collect();
    Ok(([LIVE], Json(states)).into_response())
}

/// `GET /api/cameras/{id}`: its state and its configuration, credentials masked.
pub(crate) async fn camera(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Refused> {
    let Known { state, config } = known(&app, &id).await?;
    let config = config.map(|mut config| {
        config.source.uri = mask(&config.source.uri).into_owned();
        config
    });
    Ok(([LIVE], Json(json!({ "state": state, "config": config }))).into_response())
}

/// `GET /api/cameras/{id}/results/latest`: the newest result, and its frame's id in a header.
pub(crate) async fn latest_result(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let camera = known(&app, &id).await?.state.camera;
    let newest = in_time(async { ResultReader::new(&app.redis).join(&camera).await }).await??;
    let newest = newest.ok_or_else(|| Refused::not_found(format!("camera `{camera}` has no result yet")))?;
    let result = newest.decode().map_err(|error| Refused::new(StatusCode::BAD_GATEWAY, error.to_string()))?;
    Ok(([LIVE, (FRAME_ID, frame_header(newest.id))], Json(result)).into_response())
}

/// What a snapshot may ask for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnapshotQuery {
    width: Option<u32>,
}

/// `GET /api/cameras/{id}/snapshot?width=1280`: the picture of now as JPEG, and its frame's id in a header.
///
/// Counts as somebody who watches, and waits up to a second for the picture.
pub(crate) async fn snapshot(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Result<Query<SnapshotQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(query) = query.map_err(|rejection| {
        Refused::new(StatusCode::BAD_REQUEST, format!("{}: use ?width=1280", rejection.body_text()))
    })?;
    let width = query.width.unwrap_or(SNAPSHOT_WIDTH);
    if !(16..=8192).contains(&width) {
        return Err(Refused::new(StatusCode::BAD_REQUEST, format!("width is {width}: use 16 to 8192")));
    }
    let state = known(&app, &id).await?.state;
    let camera = &state.camera;
    let gone = || Refused::not_found(format!("camera `{camera}` was just removed"));
    let mut look = app.hub.look(camera, width).ok_or_else(gone)?;
    let is_new = |picture: &Picture| picture.came.is_some_and(|came| came.elapsed() < NEXT_PICTURE);
    match tokio::time::timeout(NEXT_PICTURE, look.picture(is_new)).await {
        Ok(Some(picture)) => Ok(jpeg(picture.id, picture.jpeg)),
        Ok(None) => Err(gone()),
        // Of a file that has ended, the last picture is the newest that there can be.
        Err(_) if state.health == CameraHealth::Ended => {
            match in_time(app.redis.latest_preview(camera)).await?? {
                Some(last) => Ok(jpeg(last.id, last.jpeg)),
                None => Err(Refused::unavailable(no_picture(&state))),
            }
        }
        Err(_) => Err(Refused::unavailable(no_picture(&state))),
    }
}

fn no_picture(state: &CameraState) -> String {
    let camera = &state.camera;
    let error = state.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    format!("camera `{camera}` gave no picture within a second; it is {}{error}", state.health.as_str())
}

fn jpeg(id: FrameId, jpeg: bytes::Bytes) -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    ([kind, LIVE, (FRAME_ID, frame_header(id))], jpeg).into_response()
}

fn frame_header(id: FrameId) -> HeaderValue {
    // Digits and a hyphen always make a header.
    HeaderValue::from_str(&id.to_string()).unwrap_or(HeaderValue::from_static(""))
}

async fn overview(app: &App) -> Result<Arc<Overview>, Refused> {
    let overview = in_time(app.states.fresh()).await?;
    match &overview.unreachable {
        Some(why) => Err(Refused::unavailable(format!("the gateway cannot reach Redis now: {why}"))),
        None => Ok(overview),
    }
}

/// A camera as it is known now.
pub(crate) async fn known(app: &App, id: &str) -> Result<Known, Refused> {
    let camera = CameraId::new(id).map_err(|error| Refused::not_found(error.to_string()))?;
    let overview = overview(app).await?;
    overview.cameras.get(&camera).cloned().ok_or_else(|| {
        Refused::not_found(format!("there is no camera `{camera}`: /api/cameras lists those that there are"))
    })
}

/// A request that was refused: a status and a sentence with the way out.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl From<StreamError> for Refused {
    fn from(error: StreamError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Refused");
        let problem = json!({ "title": title, "status": self.status.as_u16(), "detail": self.detail });
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (self.status, [kind, LIVE], problem.to_string()).into_response()
    }
}
