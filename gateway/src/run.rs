//! Wires the parts of the gateway: the readers of Redis, the hubs between, and the connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use peregrine_daemon::Shell;
use peregrine_streams::Redis;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time::timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::{
    Config,
    access::Access,
    client::SessionLimits,
    frames,
    http::{App, router},
    ingest::Ingest,
    ledger,
    limit::Writes,
    listen::{self, ConnectionLimits},
    origin::Origins,
    relay::Hub,
    state::States,
    steps::{self, Steps},
    subscribe, tls,
    web::Web,
};

/// At a shutdown, how long requests in hand may still take.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// Runs the gateway until the shutdown: connects, listens, serves, says goodbye.
///
/// # Errors
/// When Redis does not answer, the port cannot be had, or a part ends that should not.
pub async fn run(config: Config, shell: Shell) -> anyhow::Result<()> {
    Gateway::bind(config, shell).await?.serve().await
}

/// A gateway that has its port and its Redis.
pub struct Gateway {
    config: Config,
    shell: Shell,
    redis: Redis,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
}

impl Gateway {
    /// Connects to Redis and takes the port.
    ///
    /// # Errors
    /// When either cannot be had, with the way out.
    pub async fn bind(config: Config, shell: Shell) -> anyhow::Result<Self> {
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let listener = listen::bind(&config.listen).await?;
        let address = listener.local_addr().context("the port was taken away at once")?;
        let redis = config.redis.open().await?;
        shell.agree(&redis).await?;
        Ok(Self { config, shell, redis, listener, tls, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the shutdown, then waits until every client has been told.
    ///
    /// # Errors
    /// When a part ends that should not.
    pub async fn serve(self) -> anyhow::Result<()> {
        let Self { config, shell, redis, listener, tls, address } = self;
        let local_only = address.ip().is_loopback();
        match (config.tokens.is_empty(), local_only) {
            (true, true) => {
                info!("no gateway.tokens: whoever uses this machine may see and change every camera")
            }
            (true, false) => warn!("gateway.open: whoever reaches this port may see and change every camera"),
            (false, false) if config.tls.is_none() => {
                warn!(
                    "tokens and pictures travel unencrypted: give gateway.tls_cert and gateway.tls_key, or put TLS before it"
                );
            }
            (false, _) => {}
        }
        let web = Web::new(&config.web_dir);
        if !web.is_built() {
            warn!(folder = %config.web_dir.display(), "no dashboard in web.dir: build it with `npm run build` in web/");
        }
        let (hub, states) = (Hub::new(), States::new());
        let all_steps = Steps::new(hub.clone());
        let (health, shutdown) = (shell.health, shell.shutdown);
        let mut parts = JoinSet::new();
        parts.spawn(subscribe::results(redis.clone(), hub.clone(), shutdown.clone()));
        parts.spawn(subscribe::pictures(redis.clone(), hub.clone(), shutdown.clone()));
        parts.spawn(subscribe::keep_watched(redis.clone(), hub.clone(), shutdown.clone()));
        parts.spawn(steps::steps(redis.clone(), all_steps.clone(), shutdown.clone()));
        parts.spawn(steps::list(redis.clone(), all_steps.clone(), shutdown.clone()));
        parts.spawn(states.clone().watch(redis.clone(), hub.clone(), health.clone(), shutdown.clone()));
        parts.spawn(ledger::export(redis.clone(), shutdown.clone()));
        let app = App {
            redis,
            hub: hub.clone(),
            states,
            steps: all_steps,
            ingest: Ingest::default(),
            web,
            grafana: config.grafana,
            origins: Origins::new(&config.origins, local_only),
            access: Access::new(config.tokens, Writes::new(config.writes_per_second)),
            encrypted: tls.is_some(),
            session: SessionLimits { outbox: config.outbox, stalled: config.stalled },
            max_message_bytes: config.max_message_bytes,
            places: Arc::new(Semaphore::new(config.max_clients)),
            bringers: Arc::new(Semaphore::new(frames::MOST_BRINGERS)),
            shutdown: shutdown.clone(),
        };
        let limits = ConnectionLimits {
            connections: config.max_connections,
            per_address: config.max_connections_per_address,
            send_buffer: config.send_buffer_bytes,
            // The session notices first, and knows the reason; the kernel gives up what is left of it.
            stalled: config.stalled * 2,
        };
        health.ready(true, "serving");
        let scheme = if tls.is_some() { "https" } else { "http" };
        info!(url = %format_args!("{scheme}://{address}/"), "serving");
        let serving = listen::serve(listener, tls, router(app), limits, shutdown.clone());
        tokio::pin!(serving);
        tokio::select! {
            () = &mut serving => {}
            ended = parts.join_next() => {
                if !shutdown.is_requested() {
                    bail!("a part of the gateway ended by itself: {ended:?}");
                }
                if timeout(FINISH_WITHIN, serving).await.is_err() {
                    warn!("requests in hand were not finished within {FINISH_WITHIN:?}: they are cut off");
                }
            }
        }
        let mut members = hub.members();
        let _ = members.wait_for(|members| *members == 0).await;
        while parts.join_next().await.is_some() {}
        Ok(())
    }
}
