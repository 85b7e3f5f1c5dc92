//! The gateway's configuration: as it is written, and as it is used.

use std::{net::SocketAddr, net::ToSocketAddrs, path::PathBuf, time::Duration};

use axum::http::Uri;
use peregrine_daemon::{DaemonConfig, Problems, RedisSection};
use peregrine_proto::is_readable_line;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Role, Token, sum_of},
    tls::TlsFiles,
};

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
    /// Who may do what, see [`TokenSection`]. Without any, everybody who reaches the gateway may do everything: it then
    /// listens on this machine only, unless `open` says otherwise.
    pub tokens: Vec<TokenSection>,
    /// Without tokens, listen beyond this machine all the same: for a network where everybody may do everything.
    pub open: bool,
    /// Certificate in PEM format, followed by those that vouch for it; with `tls_key`, the gateway answers to https only.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM format.
    pub tls_key: Option<PathBuf>,
    /// Connections at once from one address; behind a proxy, all come from its address.
    pub max_connections_per_address: usize,
    /// Writes (cameras, calibrations) a second of one address and token, and wrong tokens of one address; three seconds'
    /// worth may come at once.
    pub writes_per_second: f64,
}

/// One of `gateway.tokens`: `{ name = "anna", role = "viewer", token_sha256 = "…" }`. The token itself stands nowhere, or
/// alone in a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenSection {
    /// Whose it is, for logs.
    pub name: String,
    /// `viewer` (reads and watches), `operator` (also sends frames and steps, tries calibrations) or `admin` (also adds,
    /// changes and removes cameras).
    pub role: Option<Role>,
    /// The token's SHA-256 sum in hexadecimal digits.
    pub token_sha256: Option<String>,
    /// Or a file with nothing in it but the token.
    pub token_file: Option<PathBuf>,
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
            tokens: Vec::new(),
            open: false,
            tls_cert: None,
            tls_key: None,
            max_connections_per_address: 1500,
            writes_per_second: 10.0,
        }
    }
}

/// `[web]`: the dashboard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSection {
    /// The folder of the built dashboard.
    pub dir: PathBuf,
    /// The address of Grafana as browsers reach it: the dashboard then links to it.
    pub grafana: Option<String>,
}

impl Default for WebSection {
    fn default() -> Self {
        Self { dir: "web/dist".into(), grafana: None }
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
    /// The address of Grafana, for a link.
    pub grafana: Option<String>,
    /// Who may do what; everybody everything where there is none.
    pub tokens: Vec<Token>,
    /// Certificate and key; none for plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Connections at once from one address.
    pub max_connections_per_address: usize,
    /// Writes a second of one address and token.
    pub writes_per_second: f64,
}

impl DaemonConfig for Config {
    type Raw = RawConfig;
    const NAME: &'static str = "gateway";

    fn redis(&self) -> Option<&RedisSection> {
        Some(&self.redis)
    }

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
            if !page(origin).is_some_and(|page| matches!(page.path(), "" | "/")) {
                let text =
                    format!("`{origin}` is no page's origin: use one such as https://dash.example.org");
                problems.add("gateway.origins", text);
            }
        }
        if let Some(address) = web.grafana.as_ref().filter(|address| page(address).is_none()) {
            let text =
                format!("`{address}` is no page's address: use one such as http://grafana.example.org:3000/");
            problems.add("web.grafana", text);
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
        within("max_connections_per_address", gateway.max_connections_per_address, 1, 1_000_000);
        within("max_message_bytes", gateway.max_message_bytes, 1024, 16 << 20);
        within("queue_messages", gateway.queue_messages, 1, 100_000);
        within("queue_bytes", gateway.queue_bytes, 1024, 1 << 30);
        within("queue_control", gateway.queue_control, 4, 10_000);
        within("send_buffer_bytes", gateway.send_buffer_bytes, 4096, 16 << 20);
        if !(0.1..=3600.0).contains(&gateway.stalled_s) {
            let text = format!("{} is out of range: use 0.1 to 3600 seconds", gateway.stalled_s);
            problems.add("gateway.stalled_s", text);
        }
        if !(0.01..=1e6).contains(&gateway.writes_per_second) {
            let text = format!("{} is out of range: use 0.01 to 1000000 a second", gateway.writes_per_second);
            problems.add("gateway.writes_per_second", text);
        }
        let tls = tls_files(gateway.tls_cert, gateway.tls_key, problems);
        let tokens = tokens(gateway.tokens, problems);
        let reachable = listen.iter().any(|address: &SocketAddr| !address.ip().is_loopback());
        if reachable && tokens.is_empty() && !gateway.open {
            problems.add("gateway.listen", UNGUARDED);
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
            grafana: web.grafana,
            tokens,
            tls,
            max_connections_per_address: gateway.max_connections_per_address,
            writes_per_second: gateway.writes_per_second,
        })
    }
}

/// An address that a browser can open.
fn page(address: &str) -> Option<Uri> {
    let page = address.parse::<Uri>().ok()?;
    (matches!(page.scheme_str(), Some("http" | "https")) && page.authority().is_some()).then_some(page)
}

const UNGUARDED: &str = "beyond this machine everybody could see and change every camera: make a token with \
    `openssl rand -hex 32`, give its sum (`printf %s TOKEN | sha256sum`) as \
    gateway.tokens = [{ name = \"me\", role = \"admin\", token_sha256 = \"SUM\" }], \
    or say that it is meant with gateway.open = true";

fn tls_files(cert: Option<PathBuf>, key: Option<PathBuf>, problems: &mut Problems) -> Option<TlsFiles> {
    match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (Some(_), None) => {
            problems.add("gateway.tls_cert", "there is no gateway.tls_key beside it: give both, or neither");
            None
        }
        (None, Some(_)) => {
            problems.add("gateway.tls_key", "there is no gateway.tls_cert beside it: give both, or neither");
            None
        }
        (None, None) => None,
    }
}

fn tokens(sections: Vec<TokenSection>, problems: &mut Problems) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::with_capacity(sections.len());
    for section in sections {
        let name = section.name.clone();
        match token(section) {
            Ok(token) if tokens.iter().any(|other| other.name == token.name) => {
                problems.add("gateway.tokens", format!("two tokens are called `{name}`: rename one"));
            }
            Ok(token) => tokens.push(token),
            Err(why) => problems.add("gateway.tokens", format!("token `{name}`: {why}")),
        }
    }
    tokens
}

fn token(section: TokenSection) -> Result<Token, String> {
    let TokenSection { name, role, token_sha256, token_file } = section;
    if name.trim().is_empty() || !is_readable_line(&name, 64) {
        return Err("give it a name of 1 to 64 characters".into());
    }
    let role = role.ok_or("give it a role: viewer, operator or admin")?;
    let sum = match (token_sha256, token_file) {
        (Some(sum), None) => parse_sum(&sum).ok_or(
            "token_sha256 has not 64 hexadecimal digits: use what `printf %s TOKEN | sha256sum` prints",
        )?,
        (None, Some(file)) => {
            let shown = file.display();
            let text = std::fs::read_to_string(&file)
                .map_err(|error| format!("{shown} cannot be read: {error}: correct token_file"))?;
            let token = text.trim();
            if token.len() < SHORTEST_TOKEN
                || !token.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c))
            {
                return Err(format!(
                    "{shown} has no usable token: use {SHORTEST_TOKEN} or more letters, digits, `-`, `.`, `_` or `~`, such as \
                     `openssl rand -hex 32` prints"
                ));
            }
            sum_of(token)
        }
        _ => return Err("give it token_sha256 or token_file, one of them".into()),
    };
    Ok(Token::new(name, role, sum))
}

/// A token that can be guessed is none.
const SHORTEST_TOKEN: usize = 16;

fn parse_sum(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut sum = [0; 32];
    for (byte, pair) in sum.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_refused() {
        let mut problems = Problems::default();
        assert!(Config::build(RawConfig::default(), &mut problems).is_some());
    }

    fn problems_of(change: impl FnOnce(&mut GatewaySection)) -> Vec<String> {
        let mut raw = RawConfig::default();
        change(&mut raw.gateway);
        let mut problems = Problems::default();
        let built = Config::build(raw, &mut problems);
        assert_eq!(built.is_none(), !problems.is_empty());
        problems.iter().map(ToString::to_string).collect()
    }

    fn section(name: &str, sum: &str) -> TokenSection {
        let (name, token_sha256) = (name.to_owned(), Some(sum.to_owned()));
        TokenSection { name, role: Some(Role::Viewer), token_sha256, token_file: None }
    }

    #[test]
    fn unguarded_gateway_listens_beyond_this_machine() {
        let found = problems_of(|gateway| gateway.listen = "0.0.0.0:8080".into());
        assert!(found[0].contains("openssl rand -hex 32") && found[0].contains("gateway.open"), "{found:?}");
        let fine: Vec<String> = problems_of(|gateway| {
            gateway.listen = "0.0.0.0:8080".into();
            gateway.open = true;
        });
        assert_eq!(fine, Vec::<String>::new());
        let fine = problems_of(|gateway| {
            gateway.listen = "0.0.0.0:8080".into();
            gateway.tokens = vec![section("me", &"0f".repeat(32))];
        });
        assert_eq!(fine, Vec::<String>::new());
    }

    #[test]
    fn wrong_tokens_are_taken_or_shown() {
        let folder = tempfile::tempdir().unwrap();
        let short = folder.path().join("short");
        std::fs::write(&short, "hunter2\n").unwrap();
        let found = problems_of(|gateway| {
            let both = TokenSection { token_file: Some(short.clone()), ..section("both", "") };
            let from_file = TokenSection { token_sha256: None, ..both.clone() };
            let no_role = TokenSection { role: None, ..section("no role", "") };
            let good = section("twice", &"0f".repeat(32));
            gateway.tokens =
                vec![section("", ""), section("sum", "secret"), both, from_file, no_role, good.clone(), good];
        });
        assert_eq!(found.len(), 6, "{found:?}");
        assert!(!found.iter().any(|text| text.contains("hunter2") || text.contains("secret`")), "{found:?}");
    }

    #[test]
    fn certificate_without_its_key_is_taken() {
        assert_eq!(problems_of(|gateway| gateway.tls_cert = Some("cert.pem".into())).len(), 1);
        assert_eq!(problems_of(|gateway| gateway.tls_key = Some("key.pem".into())).len(), 1);
    }

    #[test]
    fn mistakes_are_not_all_named() {
        let mut raw = RawConfig::default();
        raw.gateway.listen = "nowhere".into();
        raw.gateway.origins = vec!["dash.example.org".into(), "https://a.example/path".into()];
        raw.gateway.queue_messages = 0;
        raw.gateway.stalled_s = f64::NAN;
        raw.web.grafana = Some("javascript:alert(1)".into());
        let mut problems = Problems::default();
        assert!(Config::build(raw, &mut problems).is_none());
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "gateway.listen",
                "gateway.origins",
                "gateway.origins",
                "web.grafana",
                "gateway.queue_messages",
                "gateway.stalled_s"
            ]
        );
    }
}
