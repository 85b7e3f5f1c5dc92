//! `/ws/ingest/{camera}`: JPEG frames of a browser's camera or any other client, one in a binary message.
//!
//! A frame is taken when the camera's producer has asked for one. All others are skipped and counted, here and in the
//! answer that each frame gets: nothing queues up.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use peregrine_daemon::{
    Metric,
    metrics::{CameraSeries, Counter},
};
use peregrine_proto::{CameraHealth, CameraId, FrameAnswer};
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};
use tracing::debug;

use crate::{
    http::App,
    listen::Connection,
    rest::{self, CameraName, Refused},
    state::Known,
    websocket::{self, Pulse, Socket},
};

/// Largest frame, bytes.
const MOST_BYTES: usize = 4 << 20;
/// Clients that bring frames at a time: each may have one half sent, which is held here.
pub(crate) const MOST_BRINGERS: usize = 128;
/// A browser that offers its token as a subprotocol wants a real one in the answer.
const PROTOCOL: &str = "peregrine.frames";
/// What a socket reads at once.
const READ_BUFFER: usize = 64 * 1024;
/// Without an answer from Redis within this, the frame is skipped.
const SOON: Duration = Duration::from_millis(500);
/// A client that sends so much that is no JPEG has the wrong address.
const MOST_MISTAKES: u32 = 5;

/// A client connects.
pub(crate) async fn connect(
    State(app): State<Arc<App>>,
    CameraName(id): CameraName,
    Extension(connection): Extension<Connection>,
    mut request: Request,
) -> Result<Response, Refused> {
    let subprotocol = websocket::offered(request.headers()).find(|name| *name == PROTOCOL).map(|_| PROTOCOL);
    let (answer, upgrade) = websocket::accept(&mut request, subprotocol).map_err(|why| {
        let text = format!("this address takes frames over WebSocket, see docs/protocol.md ({why})");
        Refused::new(StatusCode::BAD_REQUEST, text)
    })?;
    let Known { state, config } = rest::known(&app, &id).await?;
    let camera = state.camera;
    if config.is_none_or(|config| !config.source.uri.is_ingest()) {
        let text = format!(
            "camera `{camera}` has a source of its own: bring frames to one with source.uri = \"ingest:\""
        );
        return Err(Refused::new(StatusCode::CONFLICT, text));
    }
    let bringer = app.bringers.clone().try_acquire_owned().map_err(|_| {
        Refused::unavailable(format!("{MOST_BRINGERS} clients bring frames already: use another gateway"))
    })?;
    let place = (app.place()?, bringer);
    tokio::spawn(async move {
        // It may be gone before it has the answer.
        let Ok(upgraded) = upgrade.await else { return };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(MOST_BYTES))
            .max_frame_size(Some(MOST_BYTES));
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        debug!(peer = %connection.peer, %camera, "frames come");
        let mut bringer = Bringer::new(app, camera, socket);
        let end = bringer.serve().await;
        bringer.say_farewell(end).await;
        debug!(peer = %connection.peer, skipped = bringer.skipped, ?end, "no more frames come");
        drop(place);
    });
    Ok(answer)
}

/// Why a client's frames end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Gone,
    Silent,
    NoJpeg,
    ShuttingDown,
}

/// A client that brings frames.
struct Bringer {
    app: Arc<App>,
    camera: CameraId,
    socket: WebSocketStream<Socket>,
    frames: u64,
    skipped: u64,
    mistakes: u32,
    counted: [Counter; 2],
    _series: CameraSeries,
}

impl Bringer {
    fn new(app: Arc<App>, camera: CameraId, socket: WebSocketStream<Socket>) -> Self {
        let series = CameraSeries::hold(camera.as_str());
        let counted =
            ["skipped", "taken"].map(|outcome| Metric::FramesIngested.counter([camera.as_str(), outcome]));
        Self { app, camera, socket, frames: 0, skipped: 0, mistakes: 0, counted, _series: series }
    }

    async fn serve(&mut self) -> End {
        let shutdown = self.app.shutdown.clone();
        let mut pulse = Pulse::new(self.app.session.stalled);
        loop {
            let received = tokio::select! {
                () = shutdown.requested() => return End::ShuttingDown,
                received = self.socket.next() => received,
                asked = pulse.ask() => {
                    if asked.is_err() {
                        return End::Silent;
                    }
                    if self.send(Message::Ping(Bytes::new())).await.is_err() {
                        return End::Gone;
                    }
                    continue;
                }
            };
            let message = match received {
                None | Some(Err(_) | Ok(Message::Close(_))) => return End::Gone,
                Some(Ok(message)) => message,
            };
            pulse.heard();
            let went_well = match message {
                Message::Binary(jpeg) => self.frame(jpeg).await,
                Message::Text(_) => self.text().await,
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
            };
            if went_well.is_err() {
                return End::Gone;
            }
            if self.mistakes >= MOST_MISTAKES {
                return End::NoJpeg;
            }
        }
    }

    /// Of all the frames that have arrived by now only the newest is offered.
    async fn frame(&mut self, mut newest: Bytes) -> Result<(), tungstenite::Error> {
        while let Some(next) = self.socket.next().now_or_never() {
            match next.unwrap_or(Err(tungstenite::Error::ConnectionClosed))? {
                Message::Binary(newer) => {
                    newest = newer;
                    self.answer(false, None).await?;
                }
                Message::Text(_) => self.text().await?,
                Message::Close(_) => return Err(tungstenite::Error::ConnectionClosed),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        if !newest.starts_with(&[0xff, 0xd8]) {
            return self.mistake("this is no JPEG: send one picture in each binary message".into()).await;
        }
        let redis = &self.app.redis;
        match timeout(SOON, redis.offer_frame(&self.camera, &newest)).await {
            Ok(Ok(taken)) => {
                let problem = if taken { None } else { self.what_is_missing().await };
                self.answer(taken, problem).await
            }
            Ok(Err(error)) => self.answer(false, Some(error.to_string())).await,
            Err(_) => {
                self.answer(
                    false,
                    Some("Redis does not answer: the frame is skipped; the next one is tried".into()),
                )
                .await
            }
        }
    }

    /// A pipeline that is busy needs no words.
    async fn what_is_missing(&mut self) -> Option<String> {
        let overview = timeout(SOON, self.app.states.fresh()).await.ok()?;
        let Some(known) = overview.cameras.get(&self.camera) else {
            return Some(format!("camera `{}` was removed", self.camera));
        };
        let waits = matches!(known.state.health, CameraHealth::NoProducer | CameraHealth::Failed);
        waits.then(|| known.state.error.clone().unwrap_or_else(|| "no producer reads this camera".into()))
    }

    async fn text(&mut self) -> Result<(), tungstenite::Error> {
        self.mistake("send a JPEG in a binary message, not text".into()).await
    }

    async fn mistake(&mut self, problem: String) -> Result<(), tungstenite::Error> {
        self.mistakes += 1;
        self.answer(false, Some(problem)).await
    }

    async fn answer(&mut self, taken: bool, problem: Option<String>) -> Result<(), tungstenite::Error> {
        self.frames += 1;
        self.skipped += u64::from(!taken);
        self.counted[usize::from(taken)].inc();
        let answer = FrameAnswer { frame: self.frames, taken, skipped: self.skipped, problem };
        let text = serde_json::to_string(&answer).unwrap_or_default();
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        let sent = timeout(self.app.session.stalled, self.socket.send(message)).await;
        sent.unwrap_or_else(|late| Err(io::Error::from(late).into()))
    }

    async fn say_farewell(&mut self, end: End) {
        let (code, reason): (u16, _) = match end {
            End::Gone => return,
            End::Silent => (1008, "no frame came and no ping was answered: connect again"),
            End::NoJpeg => (1007, "too many messages were no JPEG: see docs/protocol.md"),
            End::ShuttingDown => (1001, "the gateway is shutting down: connect again in a moment"),
        };
        let close = Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }));
        // Who does not read does not hear it either; the connection goes all the same.
        let _ = timeout(Duration::from_secs(1), self.socket.send(close)).await;
    }
}
