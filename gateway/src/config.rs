//! The gateway's configuration: as it is written, and as it is used.

use std::{net::SocketAddr, net::ToSocketAddrs, path::PathBuf, time::Duration};

use axum::http::Uri;
use peregrine_daemon::{DaemonConfig, Problems, RedisSection};
use serde::{Deserialize, Serialize};

/// The configuration as it is written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where the streams are.
    pub redis: RedisSection,
    /// Who is served, and how much.
    pub gateway: GatewaySection,
    /// The dashboard.
    pub web: WebSection,
}

/// `[gateway]`: who is served, and how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewaySection {
    /// Host and port, port 0 for any free one.
    pub listen: String,
    /// Pages from elsewhere that may connect, such as `https://dash.example.org`. Pages of the same host always may.
    pub origins: Vec<String>,
    /// WebSocket clients at once.
    pub max_clients: usize,
    /// Connections at once, of clients and of plain requests.
    pub max_connections: usize,
    /// Largest message that a client may send, bytes.
    pub max_message_bytes: usize,
    /// Results and pictures that may wait for one client; the oldest is dropped.
    pub queue_messages: usize,
    /// Bytes of them.
    pub queue_bytes: usize,
    /// Answers that may wait for one client; when more come, it is disconnected.
    pub queue_control: usize,
    /// What the kernel buffers for one client, bytes.
    pub send_buffer_bytes: usize,
    /// A client that takes no byte, or gives no sign of life, for this long is disconnected; seconds.
    pub stalled_s: f64,
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            origins: Vec::new(),
            max_clients: 2000,
            max_connections: 4000,
            max_message_bytes: 64 * 1024,
            queue_messages: 128,
            queue_bytes: 4 * 1024 * 1024,
            queue_control: 32,
            send_buffer_bytes: 64 * 1024,
            stalled_s: 10.0,
        }
    }
}

/// `[web]`: the dashboard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSection {
    /// The folder of the built dashboard.
    pub dir: PathBuf,
}

impl Default for WebSection {
    fn default() -> Self {
        Self { dir: "web/dist".into() }
    }
}

/// The configuration without doubts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the streams are.
    pub redis: RedisSection,
    /// Where to listen; the addresses of one name.
    pub listen: Vec<SocketAddr>,
    /// Pages from elsewhere that may connect.
    pub origins: Vec<String>,
    /// WebSocket clients at once.
    pub max_clients: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Largest message that a client may send, bytes.
    pub max_message_bytes: usize,
    /// What may wait for one client.
    pub outbox: crate::OutboxLimits,
    /// What the kernel buffers for one client, bytes.
    pub send_buffer_bytes: usize,
    /// How long a client may take no byte, or give no sign of life.
    pub stalled: Duration,
    /// The folder of the built dashboard.
    pub web_dir: PathBuf,
}

impl DaemonConfig for Config {
    type Raw = RawConfig;
    const NAME: &'static str = "gateway";

    fn build(raw: RawConfig, problems: &mut Problems) -> Option<Self> {
        let RawConfig { redis, gateway, web } = raw;
        redis.check(problems);
        let listen = match gateway.listen.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                let listen = &gateway.listen;
                let text =
                    format!("`{listen}` is no host and port ({error}): use one such as 127.0.0.1:8080");
                problems.add("gateway.listen", text);
                Vec::new()
            }
        };
        for origin in &gateway.origins {
            let page = origin.parse::<Uri>().ok();
            let fine = page.is_some_and(|page| {
                matches!(page.scheme_str(), Some("http" | "https"))
                    && page.authority().is_some()
                    && matches!(page.path(), "" | "/")
            });
            if !fine {
                let text =
                    format!("`{origin}` is no page's origin: use one such as https://dash.example.org");
                problems.add("gateway.origins", text);
            }
        }
        let mut within = |key: &str, value: usize, least: usize, most: usize| {
            if !(least..=most).contains(&value) {
                problems.add(
                    &format!("gateway.{key}"),
                    format!("{value} is out of range: use {least} to {most}"),
                );
            }
        };
        within("max_clients", gateway.max_clients, 1, 1_000_000);
        within("max_connections", gateway.max_connections, 1, 1_000_000);
        within("max_message_bytes", gateway.max_message_bytes, 1024, 16 << 20);
        within("queue_messages", gateway.queue_messages, 1, 100_000);
        within("queue_bytes", gateway.queue_bytes, 1024, 1 << 30);
        within("queue_control", gateway.queue_control, 4, 10_000);
        within("send_buffer_bytes", gateway.send_buffer_bytes, 4096, 16 << 20);
        if !(0.1..=3600.0).contains(&gateway.stalled_s) {
            let text = format!("{} is out of range: use 0.1 to 3600 seconds", gateway.stalled_s);
            problems.add("gateway.stalled_s", text);
        }
        problems.is_empty().then(|| Self {
            redis,
            listen,
            origins: gateway.origins,
            max_clients: gateway.max_clients,
            max_connections: gateway.max_connections,
            max_message_bytes: gateway.max_message_bytes,
            outbox: crate::OutboxLimits {
                messages: gateway.queue_messages,
                bytes: gateway.queue_bytes,
                control: gateway.queue_control,
            },
            send_buffer_bytes: gateway.send_buffer_bytes,
            stalled: Duration::from_secs_f64(gateway.stalled_s),
            web_dir: web.dir,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_refused() {
        let mut problems = Problems::default();
        assert!(Config::build(RawConfig::default(), &mut problems).is_some());
    }

    #[test]
    fn mistakes_are_not_all_named() {
        let mut raw = RawConfig::default();
        raw.gateway.listen = "nowhere".into();
        raw.gateway.origins = vec!["dash.example.org".into(), "https://a.example/path".into()];
        raw.gateway.queue_messages = 0;
        raw.gateway.stalled_s = f64::NAN;
        let mut problems = Problems::default();
        assert!(Config::build(raw, &mut problems).is_none());
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "gateway.listen",
                "gateway.origins",
                "gateway.origins",
                "gateway.queue_messages",
                "gateway.stalled_s"
            ]
        );
    }
}
