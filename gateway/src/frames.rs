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
use peregrine_streams::Offered;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{Role, WebSocketConfig},
    },
};
use tracing::debug;

use crate::{
    client::SessionEnd,
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
    let (answer, upgrade) =
        websocket::accept(&mut request, subprotocol, "this address takes frames over WebSocket")?;
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
        Metric::Disconnects.counter(["/ws/ingest/{camera}", end.label()]).inc();
        debug!(peer = %connection.peer, skipped = bringer.skipped, reason = end.label(), "no more frames come");
        drop(place);
    });
    Ok(answer)
}

/// A client that brings frames.
struct Bringer {
    app: Arc<App>,
    camera: CameraId,
    socket: WebSocketStream<Socket>,
    frames: u64,
    skipped: u64,
    mistakes: u32,
    /// Why the producer could not use the last frame that it took.
    refused: Option<String>,
    counted: [Counter; 2],
    _series: CameraSeries,
}

impl Bringer {
    fn new(app: Arc<App>, camera: CameraId, socket: WebSocketStream<Socket>) -> Self {
        let series = CameraSeries::hold(camera.as_str());
        let counted =
            ["skipped", "taken"].map(|outcome| Metric::FramesIngested.counter([camera.as_str(), outcome]));
        Self {
            app,
            camera,
            socket,
            frames: 0,
            skipped: 0,
            mistakes: 0,
            refused: None,
            counted,
            _series: series,
        }
    }

    async fn serve(&mut self) -> SessionEnd {
        let shutdown = self.app.shutdown.clone();
        let mut pulse = Pulse::new(self.app.session.stalled);
        loop {
            let received = tokio::select! {
                () = shutdown.requested() => return SessionEnd::ShuttingDown,
                received = self.socket.next() => received,
                asked = pulse.ask() => {
                    if asked.is_err() {
                        return SessionEnd::NoSignOfLife;
                    }
                    if let Err(error) = self.send(Message::Ping(Bytes::new())).await {
                        return SessionEnd::of(&error);
                    }
                    continue;
                }
            };
            pulse.heard();
            let went_well = match received {
                None => Err(SessionEnd::ConnectionLost),
                Some(Err(error)) => Err(SessionEnd::of(&error)),
                Some(Ok(message)) => self.take(message).await,
            };
            if let Err(end) = went_well {
                return end;
            }
            if self.mistakes >= MOST_MISTAKES {
                return SessionEnd::TooManyMistakes;
            }
        }
    }

    /// Takes a message; of all the frames that have arrived by now only the newest is offered.
    async fn take(&mut self, message: Message) -> Result<(), SessionEnd> {
        let Some(mut newest) = self.frame_in(message).await? else { return Ok(()) };
        while let Some(next) = self.socket.next().now_or_never() {
            let next = next.unwrap_or(Err(tungstenite::Error::ConnectionClosed));
            let next = next.map_err(|error| SessionEnd::of(&error))?;
            if let Some(newer) = self.frame_in(next).await? {
                newest = newer;
                self.answer(false, None).await?;
            }
        }
        self.offer(newest).await
    }

    /// The frame in a message, if there is one.
    async fn frame_in(&mut self, message: Message) -> Result<Option<Bytes>, SessionEnd> {
        match message {
            Message::Binary(jpeg) => return Ok(Some(jpeg)),
            Message::Text(_) => self.mistake("send a JPEG in a binary message, not text".into()).await?,
            Message::Close(close) => {
                return Err(SessionEnd::ClosedByClient(close.map(|close| close.code)));
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        Ok(None)
    }

    async fn offer(&mut self, newest: Bytes) -> Result<(), SessionEnd> {
        if !newest.starts_with(&[0xff, 0xd8]) {
            return self.mistake("this is no JPEG: send one picture in each binary message".into()).await;
        }
        let redis = &self.app.redis;
        match timeout(SOON, redis.offer_frame(&self.camera, &newest)).await {
            Ok(Ok(Offered::Taken { refused })) => {
                self.refused = refused;
                self.answer(true, self.refused.clone()).await
            }
            // Until a frame is taken again, what was wrong with the last one stands.
            Ok(Ok(Offered::NotAsked)) => {
                let missing = self.what_is_missing().await;
                self.answer(false, missing.or_else(|| self.refused.clone())).await
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

    async fn mistake(&mut self, problem: String) -> Result<(), SessionEnd> {
        self.mistakes += 1;
        self.answer(false, Some(problem)).await
    }

    async fn answer(&mut self, taken: bool, problem: Option<String>) -> Result<(), SessionEnd> {
        self.frames += 1;
        self.skipped += u64::from(!taken);
        self.counted[usize::from(taken)].inc();
        let answer = FrameAnswer { frame: self.frames, taken, skipped: self.skipped, problem };
        let text = serde_json::to_string(&answer).unwrap_or_default();
        self.send(Message::Text(text.into())).await.map_err(|error| SessionEnd::of(&error))
    }

    async fn send(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        let sent = timeout(self.app.session.stalled, self.socket.send(message)).await;
        sent.unwrap_or_else(|late| Err(io::Error::from(late).into()))
    }

    async fn say_farewell(&mut self, end: SessionEnd) {
        let Some(close) = end.close_frame() else { return };
        // The library answers a goodbye by itself, as soon as it is allowed to write.
        let farewell = async {
            match end {
                SessionEnd::ClosedByClient(_) => self.socket.flush().await,
                _ => self.socket.send(Message::Close(Some(close))).await,
            }
        };
        // Who does not read does not hear it either; the connection goes all the same.
        let _ = timeout(Duration::from_secs(1), farewell).await;
    }
}
