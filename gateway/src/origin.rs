//! Which pages may open a WebSocket here, and under which names this gateway answers.
//!
//! A browser lets any page open a WebSocket to any address, so the gateway looks at `Origin` itself. And a
//! page whose own name is made to point at 127.0.0.1 (DNS rebinding) would pass as "the same host": a
//! gateway that listens on localhost only therefore answers to local names only.

use axum::http::{HeaderMap, Uri, header, uri::Authority};
use peregrine_daemon::is_local_name;

/// The rules, from configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins {
    /// Other pages that may connect, such as `https://dash.example.org`.
    allowed: Vec<String>,
    /// Whether only this machine can reach the gateway.
    local_only: bool,
}

/// Why a request is refused, as a sentence with the way out.
pub(crate) type Refusal = String;

impl Origins {
    pub(crate) fn new(allowed: &[String], local_only: bool) -> Self {
        let allowed =
            allowed.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
        Self { allowed, local_only }
    }

    /// Checks the name under which the gateway was called.
    pub(crate) fn check_host(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        if !self.local_only {
            return Ok(());
        }
        match host(headers, uri) {
            Some(host) if is_local_name(host.host()) || self.lists_host(&host) => Ok(()),
            Some(host) => Err(format!(
                "this gateway listens on localhost only and does not answer to the name `{}`: \
                 add that page's address to gateway.origins if it is yours",
                host.host()
            )),
            None => Err("the request does not say which host it is for (no valid Host header)".into()),
        }
    }

    /// Checks the page that wants to connect. Clients that are no browsers send no origin.
    pub(crate) fn check_origin(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        let page = origin.parse::<Uri>().ok().and_then(|page| page.authority().cloned());
        let same_host = page.is_some() && page == host(headers, uri);
        if same_host || self.allowed.contains(&origin) {
            return Ok(());
        }
        let shown: String = origin.chars().take(120).collect();
        Err(format!("pages of `{shown}` may not connect: add it to gateway.origins if it is yours"))
    }

    fn lists_host(&self, host: &Authority) -> bool {
        let host = host.as_str().to_ascii_lowercase();
        self.allowed.iter().any(|origin| origin.split_once("://").is_some_and(|(_, listed)| listed == host))
    }
}

fn host(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match named {
        Some(host) => host.to_ascii_lowercase().parse().ok(),
        None => uri.authority().cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    fn may_connect(origins: &Origins, host: &str, origin: Option<&str>) -> bool {
        let headers = headers(host, origin);
        origins.check_origin(&headers, &Uri::default()).is_ok()
            && origins.check_host(&headers, &Uri::default()).is_ok()
    }

    #[test]
    fn foreign_page_is_refused_and_own_page_is_not() {
        let open = Origins::new(&["https://dash.example.org/".into()], false);
        assert!(may_connect(&open, "cam.example.org", None));
        assert!(may_connect(&open, "cam.example.org:8080", Some("http://cam.example.org:8080")));
        assert!(may_connect(&open, "cam.example.org", Some("https://dash.example.org")));
        assert!(!may_connect(&open, "cam.example.org", Some("https://evil.example")));
        assert!(!may_connect(&open, "cam.example.org:8080", Some("http://cam.example.org:9090")));
        assert!(!may_connect(&open, "cam.example.org", Some("null")));
        assert!(!may_connect(&open, "cam.example.org", Some("http://cam.example.org.evil.example")));
    }

    #[test]
    fn rebound_name_is_refused_on_localhost() {
        let local = Origins::new(&["http://lab.test:8080".into()], true);
        for fine in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "peregrine.localhost", "lab.test:8080"]
        {
            assert!(may_connect(&local, fine, Some(&format!("http://{fine}"))), "{fine}");
        }
        assert!(!may_connect(&local, "evil.example:8080", Some("http://evil.example:8080")));
        assert!(!may_connect(&local, "localhost.evil.example", None));
        assert!(!may_connect(&local, "not a host", None));
    }
}
