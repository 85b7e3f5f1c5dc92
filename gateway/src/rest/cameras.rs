//! Cameras: added, read, changed, removed.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use peregrine_geometry::Calibration;
use peregrine_proto::{CameraConfig, CameraId, mask};
use serde_json::json;
use tracing::{info, warn};

use super::{CameraName, JsonBody, LIVE, Refused, calibration::warnings, known, not_modified_since, quoted};
use crate::{
    access::Caller,
    http::{App, in_time},
    state::Known,
};

/// `GET /api/cameras/{id}`: its state and its configuration, credentials masked. The tag is that of the whole configuration.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    CameraName(id): CameraName,
) -> Result<Response, Refused> {
    shown(&app, StatusCode::OK, known(&app, &id).await?).await
}

/// `GET /api/cameras/{id}/config`: its configuration alone, which changes only when somebody changes it.
pub(crate) async fn config(
    State(app): State<Arc<App>>,
    CameraName(id): CameraName,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let Some(config) = known(&app, &id).await?.config else {
        let text = format!("the configuration of camera `{id}` cannot be read: change it to one that can");
        return Err(Refused::new(StatusCode::BAD_GATEWAY, text));
    };
    Ok(not_modified_since(&headers, tag(&app, &config).await?, &config))
}

/// `POST /api/cameras`: adds a camera.
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    JsonBody(mut config): JsonBody<CameraConfig>,
) -> Result<Response, Refused> {
    check(&app, &config).await?;
    keep_credentials(&mut config, None)?;
    let id = config.id.clone();
    if !in_time(app.redis.add_camera(&config)).await?? {
        let text =
            format!("there is a camera `{id}` already: choose another id, or change that one with PUT");
        return Err(Refused::new(StatusCode::CONFLICT, text));
    }
    info!(camera = %id, by = caller.name(), "camera added");
    let camera = anew(&app, &id).await?;
    log_warnings(&camera);
    let mut answer = shown(&app, StatusCode::CREATED, camera).await?;
    if let Ok(place) = HeaderValue::from_str(&format!("/api/cameras/{id}")) {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    Ok(answer)
}

/// `PUT /api/cameras/{id}`: replaces its configuration; with `If-Match` only where nobody else did meanwhile. What
/// is `***` in the address stays what it was, at the same host, port and scheme.
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    CameraName(id): CameraName,
    headers: HeaderMap,
    JsonBody(mut config): JsonBody<CameraConfig>,
) -> Result<Response, Refused> {
    if config.id != id {
        let text =
            format!("the configuration has the id `{}`, the address `{id}`: make them the same", config.id);
        return Err(Refused::invalid(vec![text]));
    }
    check(&app, &config).await?;
    let stored = in_time(app.redis.stored_camera(&id)).await??.ok_or_else(|| not_there(&id))?;
    match_tag(&app, &headers, &id, stored.config.as_ref()).await?;
    keep_credentials(&mut config, stored.config.as_ref())?;
    if !in_time(app.redis.replace_camera(&stored, &config)).await?? {
        return Err(changed_meanwhile(&id));
    }
    info!(camera = %id, by = caller.name(), "camera changed");
    let camera = anew(&app, &id).await?;
    log_warnings(&camera);
    shown(&app, StatusCode::OK, camera).await
}

/// `DELETE /api/cameras/{id}`: removes it. Its results stay until they are as old as any.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    CameraName(id): CameraName,
    headers: HeaderMap,
) -> Result<StatusCode, Refused> {
    if headers.contains_key(header::IF_MATCH) {
        let stored = in_time(app.redis.stored_camera(&id)).await??.ok_or_else(|| not_there(&id))?;
        match_tag(&app, &headers, &id, stored.config.as_ref()).await?;
    }
    if !in_time(app.redis.remove_camera(&id)).await?? {
        return Err(not_there(&id));
    }
    info!(camera = %id, by = caller.name(), "camera removed");
    in_time(app.states.anew()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn not_there(id: &CameraId) -> Refused {
    Refused::not_found(format!("there is no camera `{id}`: /api/cameras lists those that there are"))
}

fn changed_meanwhile(id: &CameraId) -> Refused {
    let text = format!("camera `{id}` was changed meanwhile: read it again, and change what you find");
    Refused::new(StatusCode::PRECONDITION_FAILED, text)
}

/// A camera after it was written.
async fn anew(app: &App, id: &CameraId) -> Result<Known, Refused> {
    let overview = in_time(app.states.anew()).await?;
    overview.cameras.get(id).cloned().ok_or_else(|| not_there(id))
}

async fn shown(app: &App, status: StatusCode, Known { state, config }: Known) -> Result<Response, Refused> {
    let warnings = config.as_ref().map_or_else(Vec::new, |config| warnings(config, state.source));
    let body = Json(json!({ "state": state, "config": config, "warnings": warnings }));
    let mut answer = (status, [LIVE], body).into_response();
    if let Some(config) = &config {
        answer.headers_mut().insert(header::ETAG, tag(app, config).await?);
    }
    Ok(answer)
}

fn log_warnings(Known { state, config }: &Known) {
    for warning in config.iter().flat_map(|config| warnings(config, state.source)) {
        warn!(camera = %state.camera, warning, "this can hardly be right");
    }
}

/// Changes with whatever is configured, also with what is hidden.
async fn tag(app: &App, config: &CameraConfig) -> Result<HeaderValue, Refused> {
    Ok(quoted(&in_time(app.redis.config_tag(config)).await??))
}

/// Everything wrong with a configuration that can be said here. Whether its source may be opened, only the producers
/// know: what they say shows in the camera's state.
async fn check(app: &App, config: &CameraConfig) -> Result<(), Refused> {
    let mut problems = config.problems();
    if problems.is_empty()
        && let Some(Err(error)) = config.calibration.as_ref().map(Calibration::new)
    {
        problems.push(format!("camera {}: {error}", config.id));
    }
    problems.extend(unknown_classes(config, &classes(app).await?));
    // They may quote what was sent.
    let problems: Vec<String> = problems.iter().map(|problem| mask(problem).into_owned()).collect();
    if problems.is_empty() { Ok(()) } else { Err(Refused::invalid(problems)) }
}

/// The classes of the model that cameras use; none while no processor has announced one.
async fn classes(app: &App) -> Result<Vec<String>, Refused> {
    let models = in_time(app.redis.models()).await??;
    let model = models.iter().find(|model| model.default).or(models.first());
    Ok(model.map(|model| model.classes.clone()).unwrap_or_default())
}

fn unknown_classes(config: &CameraConfig, known: &[String]) -> Option<String> {
    let wanted = &config.analysis.classes;
    let unknown: Vec<&str> =
        wanted.iter().filter(|class| !known.contains(class)).map(String::as_str).collect();
    (!known.is_empty() && !unknown.is_empty()).then(|| {
        format!(
            "camera {}: the model knows no class `{}`: use some of {}",
            config.id,
            unknown.join("`, `"),
            known.join(", ")
        )
    })
}

async fn match_tag(
    app: &App,
    headers: &HeaderMap,
    id: &CameraId,
    stored: Option<&CameraConfig>,
) -> Result<(), Refused> {
    let Some(expected) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let matches = match stored {
        _ if expected.as_bytes() == b"*" => true,
        Some(stored) => super::lists(expected, &tag(app, stored).await?),
        None => false,
    };
    if matches { Ok(()) } else { Err(changed_meanwhile(id)) }
}

/// Only a client that knows the credentials may have them sent to another host.
fn keep_credentials(config: &mut CameraConfig, stored: Option<&CameraConfig>) -> Result<(), Refused> {
    let kept = config.source.uri.keeping(stored.map(|stored| &stored.source.uri));
    config.source.uri = kept.map_err(|why| Refused::invalid(vec![format!("source.uri: {why}")]))?;
    Ok(())
}
