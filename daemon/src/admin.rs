use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    process,
    sync::{Arc, RwLock},
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::{Query, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tracing::{error, info, warn};

use crate::{Exit, Shell, host::AdminHosts, metrics, profile};

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("port {address} is taken: choose another with {flag} HOST:PORT, port 0 for any free one")]
    Taken {
        /// What was asked for.
        address: String,
        /// The flag that changes it.
        flag: &'static str,
    },
    /// Not an address, not one of this machine, or not allowed.
    #[error("cannot listen on {address}: {source}: give another with {flag} HOST:PORT")]
    Refused {
        /// What was asked for.
        address: String,
        /// The flag that changes it.
        flag: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// No thread could be started to serve it.
    #[error("cannot serve {address}: {source}")]
    Serve {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Binds a TCP port, ready for an asynchronous listener; `flag` is named in the error so that the reader knows the way out.
///
/// # Errors
/// When the port is taken, or the address is none of this machine.
pub fn bind(address: &str, flag: &'static str) -> Result<TcpListener, BindError> {
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { address: address.into(), flag },
        _ => BindError::Refused { address: address.into(), flag, source },
    };
    // Resolved here, because the standard library's message for a name without port names neither.
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(refused)?.collect();
    let listener = TcpListener::bind(addresses.as_slice()).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(listener)
}

/// What `/readyz` answers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health(Arc<RwLock<(bool, String)>>);

impl Health {
    /// Not ready yet.
    pub fn starting() -> Self {
        Self(Arc::new(RwLock::new((false, "starting".into()))))
    }

    /// Says whether work can be taken, and why (not).
    pub fn ready(&self, ready: bool, reason: impl Into<String>) {
        *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = (ready, reason.into());
    }

    /// What was said last.
    pub fn get(&self) -> (bool, String) {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

/// Serves health and metrics and listens to signals, on a thread and a runtime of their own: they answer however busy
/// the data path is, under these names only; profiles, too, of a daemon that is named for them. Returns the bound address.
///
/// # Errors
/// When the port cannot be had.
pub(crate) fn serve(
    listen: &str,
    profiles: Option<&'static str>,
    hosts: AdminHosts,
    shell: Shell,
    grace: Duration,
) -> Result<SocketAddr, BindError> {
    let listener = bind(listen, "--admin")?;
    let failed = |source| BindError::Serve { address: listen.into(), source };
    let address = listener.local_addr().map_err(failed)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    // Before the thread starts, so that no signal is lost between.
    let signals = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?)
    };
    thread::Builder::new()
        .name("admin".into())
        .spawn(move || {
            runtime.block_on(async move {
                tokio::spawn(watch_signals(signals, shell.clone()));
                tokio::spawn(enforce_grace(shell.clone(), grace));
                if let Err(problem) = answer(listener, profiles, hosts, shell).await {
                    error!(error = %problem, "health and metrics ended");
                }
            });
        })
        .map_err(failed)?;
    Ok(address)
}

async fn answer(
    listener: TcpListener,
    profiles: Option<&'static str>,
    hosts: AdminHosts,
    shell: Shell,
) -> io::Result<()> {
    let mut routes = Router::new()
        .route("/metrics", get(render))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready));
    if let Some(daemon) = profiles {
        routes = routes.route("/debug/pprof/flamegraph", get(move |over| flame_graph(daemon, over)));
    }
    let routes = routes.layer(middleware::from_fn_with_state(hosts, check_host));
    axum::serve(tokio::net::TcpListener::from_std(listener)?, routes.with_state(shell)).await
}

async fn check_host(State(hosts): State<AdminHosts>, request: Request, next: Next) -> Response {
    match hosts.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => (StatusCode::FORBIDDEN, why + "\n").into_response(),
    }
}

/// How long to look at the process.
#[derive(Deserialize)]
struct Over {
    #[serde(default = "ten")]
    seconds: f64,
}

fn ten() -> f64 {
    10.0
}

async fn flame_graph(daemon: &'static str, Query(Over { seconds }): Query<Over>) -> Response {
    let most = profile::LONGEST.as_secs();
    let over = match Duration::try_from_secs_f64(seconds) {
        Ok(over) if over <= profile::LONGEST => over,
        _ => {
            let text = format!("seconds={seconds} is no time to look at a process: use 0 to {most}\n");
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    // On a thread of its own: metrics and health are answered meanwhile.
    let drawn = tokio::task::spawn_blocking(move || profile::flame_graph(over, daemon)).await;
    match drawn.unwrap_or_else(|problem| Err(problem.to_string())) {
        Ok(svg) => ([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response(),
        Err(why) => (StatusCode::CONFLICT, why + "\n").into_response(),
    }
}

async fn render() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::page())
}

async fn ready(State(shell): State<Shell>) -> impl IntoResponse {
    let (ready, reason) = match shell.shutdown.is_requested() {
        true => (false, "draining".into()),
        false => shell.health.get(),
    };
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, reason + "\n")
}

/// The first SIGTERM or Ctrl-C drains; a second Ctrl-C kills. A SIGTERM after a Ctrl-C does not: a launcher in the same terminal
/// forwards its own.
async fn watch_signals((mut terminate, mut interrupt): (Signal, Signal), shell: Shell) {
    let mut interrupts = 0;
    loop {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => {
                interrupts += 1;
                "SIGINT"
            }
        };
        if interrupts >= 2 {
            warn!("killed by a second ctrl-c");
            process::exit(Exit::Killed as i32);
        }
        if !shell.shutdown.is_requested() {
            info!(signal = name, "draining; ctrl-c twice ends at once");
            shell.shutdown.trigger();
        }
    }
}

async fn enforce_grace(shell: Shell, grace: Duration) {
    shell.shutdown.requested().await;
    sleep(grace).await;
    error!(grace_s = grace.as_secs_f64(), "draining took longer than the grace period, leaving");
    process::exit(Exit::DrainTimeout as i32);
}
