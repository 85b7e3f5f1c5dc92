//! Accepts connections: how many, how long they may take to ask, how much the kernel buffers for them, and
//! whether bytes still move.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use peregrine_daemon::Shutdown;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::limit::{AddressPlace, Addresses};

/// What a request's headers may take to arrive; a client that trickles them is cut off.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long the other side may take to read our last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What bounds a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Connections at once from one address.
    pub(crate) per_address: usize,
    /// The kernel's send buffer, bytes; Linux doubles it for its own bookkeeping.
    pub(crate) send_buffer: usize,
    /// The kernel gives a connection up when sent bytes stay unacknowledged, or unsent, for this long.
    pub(crate) stalled: Duration,
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("{0} is taken: stop what listens there, or choose another with --set gateway.listen=HOST:PORT")]
    Taken(String),
    #[error("cannot listen on {address} ({source}): choose another with --set gateway.listen=HOST:PORT")]
    Failed { address: String, source: io::Error },
}

/// Binds the first of these addresses that can be had.
pub(crate) async fn bind(addresses: &[SocketAddr]) -> Result<TcpListener, ListenError> {
    TcpListener::bind(addresses).await.map_err(|source| {
        let shown: Vec<String> =
            addresses.iter().map(|a| format!("port {} on {}", a.port(), a.ip())).collect();
        let address = shown.join(", ");
        match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::Taken(address),
            _ => ListenError::Failed { address, source },
        }
    })
}

/// What a request handler may know about its connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    pub(crate) written: Arc<WrittenBytes>,
}

/// Bytes that the kernel took after it had no room for more: while somebody waits and this grows, the other side reads.
#[derive(Debug, Default)]
pub(crate) struct WrittenBytes(AtomicU64);

impl WrittenBytes {
    pub(crate) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection's share of the limits, given back with it.
struct Place {
    _place: OwnedSemaphorePermit,
    _of_address: AddressPlace,
}

/// Serves requests until the shutdown, then lets those in hand finish. WebSocket sessions end by themselves.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: ConnectionLimits,
    shutdown: Shutdown,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let addresses = Addresses::new(limits.per_address);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the peer went away: neither passes by trying at once.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            debug!(%peer, "connection refused: gateway.max_connections are open");
            connections.spawn(refuse(stream, tls.is_some(), "max_connections"));
            continue;
        };
        let Some(of_address) = addresses.place(peer.ip()) else {
            debug!(%peer, "connection refused: gateway.max_connections_per_address are open from there");
            connections.spawn(refuse(stream, tls.is_some(), "max_connections_per_address"));
            continue;
        };
        let place = Place { _place: place, _of_address: of_address };
        let (router, tls, shutdown) = (router.clone(), tls.clone(), shutdown.clone());
        connections.spawn(async move {
            if let Err(error) = serve_connection(stream, tls, place, peer, router, limits, shutdown).await {
                debug!(%peer, %error, "connection ended");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    place: Place,
    peer: SocketAddr,
    router: Router,
    limits: ConnectionLimits,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(&stream);
    socket.set_send_buffer_size(limits.send_buffer)?;
    socket.set_tcp_user_timeout(Some(limits.stalled))?;
    let written = Arc::new(WrittenBytes::default());
    let connection = Connection { peer, written: written.clone() };
    let stream = Metered::new(stream, written, place);
    match tls {
        None => answer(stream, connection, router, shutdown).await,
        Some(tls) => {
            let greeted = tokio::time::timeout(HEADER_TIME, tls.accept(stream)).await;
            let stream =
                greeted.context("no TLS greeting came in time")?.context("the TLS greeting failed")?;
            answer(stream, connection, router, shutdown).await
        }
    }
}

/// Answers the requests of one connection.
async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    connection: Connection,
    router: Router,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.clone().oneshot(request.map(Body::new))
    });
    let mut serving = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    tokio::select! {
        served = serving.as_mut() => served?,
        () = shutdown.requested() => {
            serving.as_mut().graceful_shutdown();
            serving.await?;
        }
    }
    Ok(())
}

/// Says no in a way that a browser shows, without spending anything on who asks; a TLS greeting would cost something.
async fn refuse(mut stream: TcpStream, tls: bool, limit: &str) {
    if tls {
        return;
    }
    let body = format!(
        r#"{{"title":"Service Unavailable","status":503,"detail":"too many connections are open: try again in a moment, or raise gateway.{limit}"}}"#
    );
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\n\
         content-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    })
    .await;
}

/// A TCP stream that counts what it wrote after it had to wait, and that is closed so that the other side reads our last words.
struct Metered {
    /// Taken only when this is dropped.
    stream: Option<TcpStream>,
    written: Arc<WrittenBytes>,
    /// The kernel had no room when it was asked last.
    waited: bool,
    /// The other side has closed, or the connection is broken.
    ended: bool,
    /// Given back with the connection, also when it has become a WebSocket.
    place: Option<Place>,
}

impl Metered {
    fn new(stream: TcpStream, written: Arc<WrittenBytes>, place: Place) -> Self {
        Self { stream: Some(stream), written, waited: false, ended: false, place: Some(place) }
    }

    fn poll<T>(
        &mut self,
        poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let polled = match &mut self.stream {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        self.ended |= matches!(polled, Poll::Ready(Err(_)));
        polled
    }

    /// The count is touched only where somebody looks at it: where a write had to wait.
    fn count(&mut self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &wrote
            && self.waited
        {
            self.written.0.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        self.waited = wrote.is_pending();
        wrote
    }
}

impl Drop for Metered {
    /// Closing while unread bytes come in would make the kernel reset the connection and throw away what we said
    /// last: so the rest is read, for a moment.
    fn drop(&mut self) {
        let (stream, place) = (self.stream.take(), self.place.take());
        if let (Some(mut stream), false, Ok(runtime)) = (stream, self.ended, Handle::try_current()) {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(LAST_WORDS, async {
                    stream.shutdown().await?;
                    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
                })
                .await;
                drop(place);
            });
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.poll(|stream| stream.poll_read(cx, buf));
        self.ended |= polled.is_ready() && buf.filled().len() == before && buf.remaining() > 0;
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = self.poll(|stream| stream.poll_write(cx, buf));
        self.count(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = self.poll(|stream| stream.poll_write_vectored(cx, bufs));
        self.count(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }
}
