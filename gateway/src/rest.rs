//! What is asked over plain HTTP: JSON, pictures, and refusals as problem documents (RFC 9457).

pub(crate) mod calibration;
pub(crate) mod cameras;
pub(crate) mod results;
pub(crate) mod system;

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use peregrine_proto::{CameraHealth, CameraId, CameraState, FrameId, SCHEMA, brief, without_values};
use peregrine_streams::StreamError;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
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
/// How long a request's body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);
const LIVE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// `GET /api/version`: which gateway this is.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({ "name": "peregrine-gateway", "version": env!("CARGO_PKG_VERSION"), "schema": SCHEMA }))
}

/// `GET /api/cameras`: the state of each camera.
pub(crate) async fn cameras(State(app): State<Arc<App>>) -> Result<Response, Refused> {
    let overview = overview(&app).await?;
    let states: Vec<&CameraState> = overview.cameras.values().map(|known| &known.state).collect();
    Ok(([LIVE], Json(states)).into_response())
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
    State(app): State<Arc<App>>,
    CameraName(id): CameraName,
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
pub(crate) async fn known(app: &App, camera: &CameraId) -> Result<Known, Refused> {
    let overview = overview(app).await?;
    overview.cameras.get(camera).cloned().ok_or_else(|| {
        Refused::not_found(format!("there is no camera `{camera}`: /api/cameras lists those that there are"))
    })
}

/// The camera that the address names.
pub(crate) struct CameraName(pub(crate) CameraId);

impl<S: Send + Sync> FromRequestParts<S> for CameraName {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Refused::not_found(rejection.body_text()))?;
        CameraId::new(&id).map(Self).map_err(|error| Refused::not_found(error.to_string()))
    }
}

/// A request's body as JSON, if it arrives in time.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        match tokio::time::timeout(BODY_TIME, Json::<T>::from_request(request, state)).await {
            Ok(Ok(Json(value))) => Ok(Self(value)),
            // What is wrong with a value may quote it.
            Ok(Err(rejection)) => {
                Err(Refused::new(rejection.status(), without_values(&rejection.body_text())))
            }
            Err(_) => {
                Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time"))
            }
        }
    }
}

/// JSON that rarely changes: the client keeps it, and is told whether it still holds.
pub(crate) fn not_modified<T: Serialize>(headers: &HeaderMap, value: &T) -> Response {
    not_modified_since(headers, etag(value), value)
}

/// As [`not_modified`], with a tag that covers more than what is shown.
pub(crate) fn not_modified_since<T: Serialize>(headers: &HeaderMap, tag: HeaderValue, value: &T) -> Response {
    let fresh = headers.get(header::IF_NONE_MATCH).is_some_and(|known| lists(known, &tag));
    let caching = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if fresh {
        (StatusCode::NOT_MODIFIED, [caching, (header::ETAG, tag)]).into_response()
    } else {
        ([caching, (header::ETAG, tag)], Json(value)).into_response()
    }
}

/// A tag that is the same for the same JSON.
fn etag<T: Serialize>(value: &T) -> HeaderValue {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let sum = digest(&SHA256, &json);
    quoted(&sum.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn quoted(digits: &str) -> HeaderValue {
    // Digits and quotes always make a header.
    HeaderValue::from_str(&format!("\"{digits}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether a list of tags, as in `If-Match`, has this one.
pub(crate) fn lists(tags: &HeaderValue, tag: &HeaderValue) -> bool {
    let tags = tags.to_str().unwrap_or_default();
    tags == "*"
        || tags.split(',').any(|each| each.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes())
}

/// A request that was refused: a status and a sentence with the way out.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    /// Everything that is wrong, where it can be more than one thing.
    problems: Vec<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: brief(detail.into()), problems: Vec::new(), headers: Vec::new() }
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// What was sent is well-formed and cannot be used; at least one sentence says why.
    pub(crate) fn invalid(problems: Vec<String>) -> Self {
        Self {
            problems: problems.iter().map(brief).collect(),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, problems.join("; "))
        }
    }

    /// With a header in the answer.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
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
        let mut problem = json!({ "title": title, "status": self.status.as_u16(), "detail": self.detail });
        if !self.problems.is_empty() {
            problem["problems"] = self.problems.into();
        }
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut answer = (self.status, [kind, LIVE], problem.to_string()).into_response();
        answer.headers_mut().extend(self.headers);
        answer
    }
}
