//! The routes, and what every request passes.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, FromRef, MatchedPath, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper_util::rt::TokioIo;
use peregrine_daemon::{Metric, Shutdown};
use peregrine_streams::Redis;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    access::{self, Access},
    client::{self, SessionLimits},
    encoding::Encoding,
    frames,
    ingest::{self, Ingest},
    listen::Connection,
    openapi,
    origin::Origins,
    relay::Hub,
    rest::{self, Refused, calibration, cameras, results, system},
    state::States,
    steps::Steps,
    web::{self, Web},
    websocket,
};

/// Largest body of a request, bytes: a camera with a region and calibration points.
const LARGEST_BODY: usize = 64 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) redis: Redis,
    pub(crate) hub: Arc<Hub>,
    pub(crate) states: Arc<States>,
    pub(crate) steps: Arc<Steps>,
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) web: Web,
    /// The address of Grafana, for a link.
    pub(crate) grafana: Option<String>,
    pub(crate) origins: Arc<Origins>,
    pub(crate) access: Arc<Access>,
    /// Whether the gateway answers to https only.
    pub(crate) encrypted: bool,
    pub(crate) session: SessionLimits,
    pub(crate) max_message_bytes: usize,
    /// One permit for each client that may still come.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) shutdown: Shutdown,
}

impl App {
    /// Room for one more client, until it is dropped.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Refused> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            Refused::unavailable(
                "as many clients as gateway.max_clients allows are connected: try again later",
            )
        })
    }
}

impl FromRef<App> for Web {
    fn from_ref(app: &App) -> Self {
        app.web.clone()
    }
}

/// All routes.
pub(crate) fn router(app: App) -> Router {
    let encrypted = app.encrypted;
    let router = Router::new()
        .route("/ws", get(connect))
        .route("/ws/ingest/{camera}", get(frames::connect))
        .route("/ingest/{stream}", post(ingest::take_steps).fallback(ingest::post_only))
        .route("/api/version", get(rest::version))
        .route("/api/openapi.json", get(openapi::document))
        .route("/api/session", get(system::session))
        .route("/api/cameras", get(rest::cameras).post(cameras::add))
        .route("/api/cameras/{id}", get(cameras::get).put(cameras::change).delete(cameras::remove))
        .route("/api/cameras/{id}/config", get(cameras::config))
        .route("/api/cameras/{id}/results", get(results::range))
        .route("/api/cameras/{id}/results/latest", get(results::latest))
        .route("/api/cameras/{id}/results/gaps", get(results::gaps))
        .route("/api/cameras/{id}/snapshot", get(rest::snapshot))
        .route("/api/calibration", post(calibration::fit))
        .route("/api/models", get(system::models))
        .route("/api/workers", get(system::workers))
        .route("/api/ledger", get(system::ledger))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .method_not_allowed_fallback(async || {
            let text = "this address does not answer to this method: see the header `allow`";
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, text)
        })
        .fallback(web::page)
        .layer(middleware::from_fn_with_state(app.clone(), access::check))
        .layer(middleware::from_fn_with_state(app.clone(), check_host))
        .layer(middleware::map_response(web::with_security_headers))
        .layer(middleware::from_fn(count))
        .with_state(app);
    if encrypted { router.layer(middleware::map_response(web::with_strict_transport)) } else { router }
}

/// A client connects to `/ws`.
async fn connect(
    State(app): State<App>,
    Extension(connection): Extension<Connection>,
    mut request: Request,
) -> Result<Response, Refused> {
    let wrong = |text: String| Refused::new(StatusCode::BAD_REQUEST, text);
    let chosen = Encoding::choose(request.headers()).map_err(|unknown| wrong(unknown.to_string()))?;
    let (answer, upgrade) =
        websocket::accept(&mut request, chosen.map(Encoding::subprotocol)).map_err(|why| {
            wrong(format!("this address is for WebSocket clients, see docs/protocol.md ({why})"))
        })?;
    let place = app.place()?;
    tokio::spawn(async move {
        // It may be gone before it has the answer.
        if let Ok(upgraded) = upgrade.await {
            client::serve(TokioIo::new(upgraded), app, connection, chosen.unwrap_or_default()).await;
        }
        drop(place);
    });
    Ok(answer)
}

/// See [`Origins::check_host`].
async fn check_host(State(app): State<App>, request: Request, next: Next) -> Response {
    match app.origins.check_host(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(reason) => Refused::new(StatusCode::FORBIDDEN, reason).into_response(),
    }
}

async fn count(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let answer = next.run(request).await;
    let route = route.as_ref().map_or("web", |route| route.as_str());
    Metric::HttpRequests.counter([route, answer.status().as_str()]).inc();
    answer
}

/// Waits for an answer, but not for ever.
pub(crate) async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, Refused> {
    const PATIENCE: Duration = Duration::from_secs(4);
    tokio::time::timeout(PATIENCE, answer)
        .await
        .map_err(|_| Refused::unavailable("Redis does not answer: look at its log, and at redis.url"))
}
