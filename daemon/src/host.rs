//! Under which names a port answers.
//!
//! A web page can have its own name point at this machine (DNS rebinding), and would then read whatever answers to it.

use std::{fs, net::IpAddr};

use axum::http::{HeaderMap, header, uri::Authority};

/// Whether no name server can point this host elsewhere: it is `localhost`, or a plain address.
pub fn is_local_name(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.ends_with(".localhost") || bare.parse::<IpAddr>().is_ok()
}

/// This machine's name: containers and pods have one.
pub(crate) fn machine_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_ascii_lowercase())
}

/// The names under which health and metrics are served.
#[derive(Debug, Clone, Default)]
pub(crate) struct AdminHosts(Vec<String>);

impl AdminHosts {
    /// This machine's name, and those of the configuration (`admin.hosts`).
    pub(crate) fn new(configured: &[String]) -> Self {
        let configured = configured.iter().map(|host| host.to_ascii_lowercase());
        Self(configured.chain(machine_name()).collect())
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// A sentence with the way out.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), String> {
        // Browsers always name the host.
        let Some(named) = headers.get(header::HOST) else { return Ok(()) };
        let Some(host) =
            named.to_str().ok().and_then(|host| host.to_ascii_lowercase().parse::<Authority>().ok())
        else {
            return Err("the Host header names no host".into());
        };
        if !is_local_name(host.host()) && !self.0.iter().any(|name| name == host.host()) {
            return Err(format!(
                "health and metrics are not served under the name `{}`: ask by address, or add it to admin.hosts",
                host.host()
            ));
        }
        let page = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
        match page.map(|page| page.split_once("://").map_or("", |(_, page)| page).to_ascii_lowercase()) {
            Some(page) if page != host.as_str() => {
                Err("pages of another origin may not read health and metrics".into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_served(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        AdminHosts::new(&["Metrics.example.org".into()]).check(&headers).is_ok()
    }

    #[test]
    fn page_reads_metrics_under_its_own_name_or_from_elsewhere() {
        let own = machine_name().unwrap();
        for host in [
            "127.0.0.1:9100",
            "[fd00::7]:9100",
            "localhost:9100",
            "10.0.0.7",
            "metrics.example.org:9100",
            &own,
        ] {
            assert!(is_served(host, None), "{host}");
            assert!(is_served(host, Some(&format!("http://{host}"))), "{host}");
            assert!(!is_served(host, Some("http://evil.example")), "{host}");
            assert!(!is_served(host, Some("null")), "{host}");
        }
        for host in ["evil.example:9100", "localhost.evil.example", "127.0.0.1.evil.example", "not a host"] {
            assert!(!is_served(host, None), "{host}");
        }
    }
}
