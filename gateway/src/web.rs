//! Serves the built dashboard, and says how to build it where it is not.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use tower::ServiceExt;
use tower_http::services::ServeDir;

use crate::{http::App, rest::Refused};

/// Vite writes a hash of the content into the names of everything in this folder.
const HASHED: &str = "/assets/";
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// Scripts, styles and workers come from this gateway only, none is inline, and nobody frames the dashboard.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The dashboard's folder.
#[derive(Debug)]
pub(crate) struct Web {
    dir: PathBuf,
}

impl Web {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Whether there is a dashboard to serve.
    pub(crate) fn is_built(&self) -> bool {
        self.dir.join("index.html").is_file()
    }
}

/// A file of the dashboard. The dashboard keeps its places behind the `#`: `/camera/yard` leads to `/#/camera/yard`.
pub(crate) async fn page(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path.starts_with("/api/") || path == "/api" {
        return Refused::not_found(format!(
            "there is no `{path}` here: see gateway/README.md for what there is"
        ))
        .into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Refused::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here")
            .with(header::ALLOW, HeaderValue::from_static("GET,HEAD"))
            .into_response();
    }
    let Ok(answer) =
        ServeDir::new(&app.web.dir).precompressed_br().precompressed_gzip().oneshot(request).await;
    let names_a_file = path.rsplit('/').next().is_some_and(|last| last.contains('.'));
    let mut answer = match answer.status() {
        StatusCode::NOT_FOUND if names_a_file => {
            return Refused::not_found(format!("there is no file `{path}`")).into_response();
        }
        StatusCode::NOT_FOUND if app.web.is_built() => {
            return Redirect::temporary(&format!("/#{}", path.replace("//", "/"))).into_response();
        }
        StatusCode::NOT_FOUND => (StatusCode::SERVICE_UNAVAILABLE, Html(NOT_BUILT)).into_response(),
        _ => answer.map(Body::new),
    };
    let caching = if answer.status().is_success() && path.starts_with(HASHED) { FOR_EVER } else { ASK_AGAIN };
    answer.headers_mut().insert(header::CACHE_CONTROL, caching);
    answer
}

const NOT_BUILT: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Peregrine</title>
<h1>The dashboard is not built yet</h1>
<p>The gateway runs, but the folder that <code>web.dir</code> names has no dashboard in it.</p>
<p>Build it in the folder of the project, then load this page again:</p>
<pre>cd web
npm ci
npm run build</pre>
<p>Where it is built elsewhere, start the gateway with <code>--set web.dir=FOLDER</code>.</p>
<p>Everything else works meanwhile: <a href=\"/api/cameras\">/api/cameras</a>.</p>
</html>
";

/// What keeps other pages out.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 7] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(self), geolocation=(), microphone=()"),
    ),
];
const COME_BACK_BY_HTTPS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Adds the headers that keep other pages out and, where the gateway answers to https only, have browsers come back by it.
pub(crate) fn add_security_headers(headers: &mut HeaderMap, encrypted: bool) {
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(value);
    }
    if encrypted {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, COME_BACK_BY_HTTPS);
    }
}
