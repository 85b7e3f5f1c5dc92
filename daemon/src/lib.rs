//! The shell that every daemon shares: configuration, telemetry, shutdown and drain, backoff, health and metrics.
//!
//! A daemon is one `run(config, shell)` and a `main` that calls [`start`]; see the README beside this crate.
//! Nothing here knows a stage.

mod admin;
mod announce;
mod ask;
mod backoff;
mod config;
mod host;
pub mod metrics;
mod profile;
mod redis_settings;
mod shutdown;
pub mod spans;
mod telemetry;

use std::{process::ExitCode, time::Duration};

use peregrine_proto::mask;
use peregrine_streams::{Agreement, Redis, RunningDaemon, StreamError};
use tokio::runtime;
use tracing::{error, info};

use host::AdminHosts;

pub use admin::{BindError, Health, bind};
pub use ask::ask;
pub use backoff::Backoff;
pub use config::{
    AdminSection, CommonArgs, ConfigErrors, DaemonConfig, DaemonSection, Loaded, LogFormat, LogSection,
    MetricsSection, Problem, Problems, RedisSection, ShellConfig, SpansSection, load,
};
pub use host::is_local_name;
pub use metrics::Metric;
pub use shutdown::Shutdown;
pub use telemetry::init as init_telemetry;

/// How a daemon's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Drained and left.
    Clean = 0,
    /// `run` gave up; the reason is in the log.
    Failed = 1,
    /// The configuration or the command line is wrong, or the admin port is taken; nothing was started.
    Configuration = 2,
    /// Draining took longer than the grace period; what was in hand is left to whoever takes over.
    DrainTimeout = 3,
    /// A second Ctrl-C.
    Killed = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// What a daemon's `run` gets beside its own configuration.
#[derive(Debug, Clone)]
pub struct Shell {
    /// Says when to stop taking work.
    pub shutdown: Shutdown,
    /// What `/readyz` answers; not ready until `run` says so.
    pub health: Health,
    /// This process among its peers: the configured name, or `<hostname>-<pid>`.
    pub worker: String,
}

impl Shell {
    /// Keeps the schema version that this handle and its clones write, see [`Agreement`]. To be called before anything is written.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn agree(&self, redis: &Redis) -> Result<(), StreamError> {
        let agreement = Agreement::reach(redis).await?;
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = agreement.keep() => {}
                () = shutdown.requested() => {}
            }
        });
        Ok(())
    }
}

/// Runs a daemon from its arguments to its exit code.
///
/// Loads the configuration (defaults < file < environment < flags) and reports everything wrong with it at once, installs
/// telemetry, binds the admin port, and runs `run` on a multi-threaded runtime. SIGTERM or Ctrl-C requests the
/// shutdown; `run` then has the grace period to finish what it has in hand. A second Ctrl-C ends the process at once.
pub fn start<C, F>(args: &CommonArgs, run: F) -> ExitCode
where
    C: DaemonConfig,
    F: AsyncFnOnce(C, Shell) -> anyhow::Result<()>,
{
    let loaded = match load::<C>(args) {
        Ok(loaded) => loaded,
        Err(errors) => {
            telemetry::complain(&errors.to_string());
            return Exit::Configuration.into();
        }
    };
    if args.check_config {
        telemetry::say(&loaded.effective);
        return Exit::Clean.into();
    }
    telemetry::init(&loaded.shell.log);
    if !loaded.unread.is_empty() {
        info!(variables = ?loaded.unread, "variables that begin with PEREGRINE_ and that nobody reads");
    }
    run_loaded(loaded, run).into()
}

fn run_loaded<C, F>(loaded: Loaded<C>, run: F) -> Exit
where
    C: DaemonConfig,
    F: AsyncFnOnce(C, Shell) -> anyhow::Result<()>,
{
    let Loaded { config, shell: settings, .. } = loaded;
    let shell =
        Shell { shutdown: Shutdown::new(), health: Health::starting(), worker: settings.worker.clone() };
    if settings.metrics.enabled {
        metrics::begin(C::NAME, &shell.worker);
    } else {
        metrics::turn_off();
    }
    if let Err(problem) = spans::begin(&settings.spans, C::NAME, &shell.worker) {
        error!(error = %mask(&problem), "set spans.endpoint to where a collector listens, such as http://localhost:4318");
        return Exit::Configuration;
    }
    let listen = settings.admin.listen.as_deref().unwrap_or(C::ADMIN);
    let profiles = settings.admin.profiles.then_some(C::NAME);
    let hosts = AdminHosts::new(&settings.admin.hosts);
    let admin = match admin::serve(listen, profiles, hosts, shell.clone(), settings.grace) {
        Ok(address) => address,
        Err(problem) => {
            error!(error = %problem, "cannot serve health and metrics");
            return Exit::Configuration;
        }
    };
    let runtime = match runtime::Builder::new_multi_thread().enable_all().thread_name("async").build() {
        Ok(runtime) => runtime,
        Err(problem) => {
            error!(error = %problem, "cannot start the asynchronous runtime");
            return Exit::Failed;
        }
    };
    info!(
        daemon = C::NAME,
        version = env!("CARGO_PKG_VERSION"),
        worker = shell.worker,
        admin = %format_args!("http://{admin}"),
        "started"
    );
    if let (Some(redis), Some(address)) = (config.redis(), announce::reachable(admin)) {
        let (daemon, worker) = (C::NAME.to_owned(), shell.worker.clone());
        let me = RunningDaemon { daemon, worker, address: address.to_string() };
        runtime.spawn(announce::keep(redis.clone(), me, shell.shutdown.clone()));
    }
    let outcome = runtime.block_on(run(config, shell.clone()));
    shell.health.ready(false, "stopped");
    // Blocking work that ignores its shutdown must not hold the process: the grace period is over for it.
    runtime.shutdown_timeout(Duration::from_millis(200));
    spans::finish();
    match outcome {
        Ok(()) => {
            info!(daemon = C::NAME, "stopped");
            Exit::Clean
        }
        Err(problem) => {
            error!(daemon = C::NAME, error = %mask(&format!("{problem:#}")), "failed");
            Exit::Failed
        }
    }
}
