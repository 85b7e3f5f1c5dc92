//! Serves the built dashboard, and says how to build it where it is not.

use std::path::{Path, PathBuf};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use tower::ServiceExt;
use tower_http::services::ServeDir;

use crate::rest::Refused;

/// Vite writes a hash of the content into the names of everything in this folder.
const HASHED: &str = "/assets/";
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// Scripts, styles and workers come from this gateway only, none is inline, and nobody frames the dashboard.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The dashboard's folder.
#[derive(Debug, Clone)]
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
pub(crate) async fn page(State(web): State<Web>, request: Request) -> Response {
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
    let Ok(answer) = ServeDir::new(&web.dir).oneshot(request).await;
    let names_a_file = path.rsplit('/').next().is_some_and(|last| last.contains('.'));
    let mut answer = match answer.status() {
        StatusCode::NOT_FOUND if names_a_file => {
            return Refused::not_found(format!("there is no file `{path}`")).into_response();
        }
        StatusCode::NOT_FOUND if web.is_built() => {
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

/// Adds the headers that keep other pages out.
pub(crate) async fn with_security_headers(mut answer: Response) -> Response {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            header::HeaderName::from_static("permissions-policy"),
            "camera=(self), geolocation=(), microphone=()",
        ),
    ] {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// Tells browsers to come back by https only.
pub(crate) async fn with_strict_transport(mut answer: Response) -> Response {
    let year = HeaderValue::from_static("max-age=31536000");
    answer.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, year);
    answer
}
