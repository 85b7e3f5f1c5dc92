//! The routes, and what every request passes.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper_util::rt::TokioIo;
use peregrine_daemon::{Metric, Shutdown};
use peregrine_streams::Redis;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer, Predicate,
        predicate::{NotForContentType, SizeAbove},
    },
};

use crate::{
    access::{self, Access, Asked},
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
/// Smallest answer that is compressed, bytes: smaller ones fit into a packet.
const LEAST_COMPRESSED: u64 = 1024;

/// What the handlers share.
pub(crate) struct App {
    pub(crate) redis: Redis,
    pub(crate) hub: Arc<Hub>,
    pub(crate) states: Arc<States>,
    pub(crate) steps: Arc<Steps>,
    pub(crate) ingest: Ingest,
    pub(crate) web: Web,
    /// The address of Grafana, for a link.
    pub(crate) grafana: Option<String>,
    pub(crate) origins: Origins,
    pub(crate) access: Access,
    /// Whether the gateway answers to https only.
    pub(crate) encrypted: bool,
    pub(crate) session: SessionLimits,
    pub(crate) max_message_bytes: usize,
    /// One permit for each client that may still come.
    pub(crate) places: Arc<Semaphore>,
    /// The same for those that bring frames.
    pub(crate) bringers: Arc<Semaphore>,
    pub(crate) shutdown: Shutdown,
}

impl App {
    /// Lets a request through to its handler, or refuses it.
    fn admit(&self, connection: &Connection, request: &mut Request) -> Result<(), Refused> {
        let forbidden = |reason| Refused::new(StatusCode::FORBIDDEN, reason);
        self.origins.check_host(request.headers(), request.uri()).map_err(forbidden)?;
        let presented = access::take_token(request.headers_mut());
        let route = request.extensions().get::<MatchedPath>();
        let asked = Asked { route: route.map(MatchedPath::as_str), method: request.method() };
        if asked.is_open_to_pages() {
            self.origins.check_origin(request.headers(), request.uri()).map_err(forbidden)?;
        }
        if let Some(caller) = self.access.admit(connection.peer.ip(), presented.as_deref(), &asked)? {
            request.extensions_mut().insert(caller);
        }
        Ok(())
    }

    /// Room for one more client, until it is dropped.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Refused> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            Refused::unavailable(
                "as many clients as gateway.max_clients allows are connected: try again later",
            )
        })
    }
}

/// All routes.
pub(crate) fn router(app: App) -> Router {
    let app = Arc::new(app);
    Router::new()
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
        .layer(
            CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(is_worth_compressing()),
        )
        .layer(middleware::from_fn_with_state(app.clone(), pass))
        .with_state(app)
}

/// Text that is not tiny: pictures are compressed already. The dashboard's own files are compressed when it is built.
fn is_worth_compressing() -> impl Predicate {
    SizeAbove::new(LEAST_COMPRESSED).and(NotForContentType::IMAGES)
}

/// What every request passes on its way to its handler and back, in one layer: each takes its share of every request.
async fn pass(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    mut request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut answer = match app.admit(&connection, &mut request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    web::add_security_headers(answer.headers_mut(), app.encrypted);
    let route = route.as_ref().map_or("web", |route| route.as_str());
    Metric::HttpRequests.counter([route, answer.status().as_str()]).inc();
    answer
}

/// A client connects to `/ws`.
async fn connect(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    mut request: Request,
) -> Result<Response, Refused> {
    let chosen = Encoding::choose(request.headers())
        .map_err(|unknown| Refused::new(StatusCode::BAD_REQUEST, unknown.to_string()))?;
    let subprotocol = chosen.map(Encoding::subprotocol);
    let (answer, upgrade) =
        websocket::accept(&mut request, subprotocol, "this address is for WebSocket clients")?;
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

/// Waits for an answer, but not for ever.
pub(crate) async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, Refused> {
    const PATIENCE: Duration = Duration::from_secs(4);
    tokio::time::timeout(PATIENCE, answer)
        .await
        .map_err(|_| Refused::unavailable("Redis does not answer: look at its log, and at redis.url"))
}
