use std::{fmt, fs, process, sync::OnceLock, time::Duration};

use serde::{Deserialize, Serialize};

use peregrine_proto::mask;
use peregrine_streams::{
    Operation, Redis, RedisUrls, StreamError, Trouble, observe_round_trips, observe_trouble,
};

use super::{Problems, ShellConfig, telemetry};
use crate::{Metric, metrics::Histogram};

/// The sections that the shell handles itself.
pub(super) const NAMES: &[&str] = &["daemon", "log", "admin", "metrics", "spans"];

/// `[daemon]`: the process itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DaemonSection {
    /// This process among its peers; `<hostname>-<pid>` where it is not given.
    pub name: Option<String>,
    /// How long draining may take after SIGTERM or Ctrl-C, seconds.
    pub grace_s: f64,
}

impl Default for DaemonSection {
    fn default() -> Self {
        Self { name: None, grace_s: 10.0 }
    }
}

/// `[log]`: what is logged to standard error, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// Least level, or directives such as `info,peregrine_streams=debug`.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Human }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// `[admin]`: health and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminSection {
    /// Host and port, port 0 for any free one; the daemon's own default where it is not given.
    pub listen: Option<String>,
    /// Whether `/debug/pprof/flamegraph?seconds=10` draws where the process spends its time. Whoever may ask for metrics may ask
    /// for that, too.
    pub profiles: bool,
    /// Names under which they are served, beside addresses, `localhost` and this machine's own: pages that have their name point here
    /// read nothing.
    pub hosts: Vec<String>,
}

/// `[metrics]`: what is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSection {
    /// Whether anything is: without, `/metrics` is empty.
    pub enabled: bool,
}

impl Default for MetricsSection {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// `[spans]`: frames followed through the daemons, for a collector that speaks OTLP over HTTP. Nothing is sent unless a collector is
/// named, here or by the standard variable `OTEL_EXPORTER_OTLP_ENDPOINT`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpansSection {
    /// The collector, such as `http://localhost:4318`.
    pub endpoint: Option<String>,
    /// The part of all frames that is followed, 0 to 1; to be the same in all daemons.
    pub ratio: f64,
}

impl Default for SpansSection {
    fn default() -> Self {
        Self { endpoint: None, ratio: 0.01 }
    }
}

/// `[redis]`: where the streams are. Embedded in the raw configuration of each daemon that uses them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSection {
    /// Everything that must survive: leases, checkpoints, results, and the frames unless `frames_url` is given.
    /// One server, a cluster or the sentinels of a master: `redis://`, `redis+unix://`, `redis+cluster://` or
    /// `redis+sentinel://`.
    pub url: String,
    /// A second server for frames and pictures, without persistence.
    pub frames_url: Option<String>,
}

impl Default for RedisSection {
    fn default() -> Self {
        Self { url: "redis://127.0.0.1:6379".into(), frames_url: None }
    }
}

impl fmt::Debug for RedisSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames_url = self.frames_url.as_deref().map(mask);
        f.debug_struct("RedisSection")
            .field("url", &mask(&self.url))
            .field("frames_url", &frames_url)
            .finish()
    }
}

impl RedisSection {
    /// Connects, and counts from now on how long Redis takes to answer, and what trouble there is with it.
    ///
    /// # Errors
    /// When an address makes no sense, nothing answers there, or the server is too old.
    pub async fn open(&self) -> Result<Redis, StreamError> {
        observe_trouble(|trouble| {
            let counter = match trouble {
                Trouble::Error(kind) => Metric::RedisErrors.counter([kind]),
                Trouble::Reconnected => Metric::RedisReconnects.counter([]),
            };
            counter.inc();
        });
        observe_round_trips(|operation, took| {
            static FOUND: [OnceLock<Histogram>; Operation::ALL.len()] =
                [const { OnceLock::new() }; Operation::ALL.len()];
            if let Some(found) = FOUND.get(operation as usize) {
                let find = || Metric::RedisRoundTrip.histogram([operation.as_str()]);
                found.get_or_init(find).observe(took.as_secs_f64());
            }
        });
        Redis::open(&RedisUrls { state: self.url.clone(), frames: self.frames_url.clone() }).await
    }

    /// Checks what can be said without connecting.
    pub fn check(&self, problems: &mut Problems) {
        const SCHEMES: [&str; 8] = [
            "redis://",
            "rediss://",
            "redis+unix://",
            "unix://",
            "redis+cluster://",
            "rediss+cluster://",
            "redis+sentinel://",
            "rediss+sentinel://",
        ];
        let urls = [("redis.url", Some(&self.url)), ("redis.frames_url", self.frames_url.as_ref())];
        for (key, url) in urls.into_iter().filter_map(|(key, url)| Some((key, url?))) {
            if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
                problems.add(
                    key,
                    format!(
                        "`{url}` is no address of Redis: use redis://host:6379, redis+unix:///path/to/socket, \
                         redis+cluster://host:6379,host:6379 or redis+sentinel://host:26379/master-name"
                    ),
                );
            }
        }
    }
}

/// The shell's sections as they are written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) daemon: DaemonSection,
    pub(super) log: LogSection,
    pub(super) admin: AdminSection,
    pub(super) metrics: MetricsSection,
    pub(super) spans: SpansSection,
}

impl Raw {
    pub(super) fn build(self, default_admin: &str, problems: &mut Problems) -> ShellConfig {
        let Self { daemon, log, admin, metrics, spans } = self;
        if !telemetry::is_level(&log.level) {
            let text = format!(
                "`{}` is no log level: use off, error, warn, info, debug or trace, or `info,<module>=debug`",
                log.level
            );
            problems.add("log.level", text);
        }
        if let Some(name) = &daemon.name
            && (name.is_empty() || name.len() > 64 || name != &plain(name))
        {
            problems
                .add("daemon.name", format!("`{name}` is no name: use 1 to 64 letters, digits, `-` or `_`"));
        }
        if !(0.0..=3600.0).contains(&daemon.grace_s) {
            problems.add(
                "daemon.grace_s",
                format!("{} is no grace period: use 0 to 3600 seconds", daemon.grace_s),
            );
        }
        if !(0.0..=1.0).contains(&spans.ratio) {
            problems.add("spans.ratio", format!("{} is no part of all frames: use 0 to 1", spans.ratio));
        }
        if let Some(endpoint) = spans.endpoint.as_deref().filter(|endpoint| !endpoint.starts_with("http://"))
        {
            problems.add(
                "spans.endpoint",
                format!("`{endpoint}` is no address of a collector: use one such as http://localhost:4318"),
            );
        }
        let listen = admin.listen.clone().unwrap_or_else(|| default_admin.into());
        let port =
            listen.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>()));
        if !matches!(port, Some(Ok(_))) {
            problems.add(
                "admin.listen",
                format!("`{listen}` is no host and port: use one such as 127.0.0.1:9100"),
            );
        }
        ShellConfig {
            log,
            admin: AdminSection { listen: Some(listen), ..admin },
            metrics,
            spans,
            worker: daemon.name.unwrap_or_else(own_name),
            grace: Duration::try_from_secs_f64(daemon.grace_s).unwrap_or_default(),
        }
    }
}

fn own_name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = plain(host.trim()).chars().take(48).collect();
    format!("{}-{}", if host.is_empty() { "worker" } else { &host }, process::id())
}

/// Only what is safe in keys, fences and labels.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).collect()
}
