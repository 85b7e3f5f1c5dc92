//! One client's session over its WebSocket: a half that reads what it asks for, a half that writes what waits
//! for it, and one reason why it ends.

use std::{
    future::poll_fn,
    io::ErrorKind,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt};
use peregrine_daemon::Metric;
use peregrine_proto::{
    CameraId, ClientMessage, Pause, Play, PlaybackSpeed, PlaybackStep, Pong, Problem, SCHEMA, Seek,
    ServerMessage, Welcome,
};
use peregrine_streams::wall_clock_us;
use tokio_tungstenite::tungstenite::{
    self, Message,
    error::ProtocolError,
    protocol::{
        CloseFrame,
        frame::{Frame, coding::CloseCode},
    },
};
use tracing::{debug, info};

use crate::{
    encoding::{self, Encoding},
    http::{App, in_time},
    line::Line,
    listen::{Connection, WrittenBytes},
    outbox::{Outbox, OutboxLimits},
    playback::{Playbacks, Wish},
    relay::Member,
    steps::Following,
    websocket::{self, Messages, Pulse, Socket, framed},
};

/// A client that sends so many messages which make no sense is no client of ours.
const MOST_MISTAKES: u32 = 5;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What bounds a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionLimits {
    pub(crate) outbox: OutboxLimits,
    /// No byte written and no sign of life for this long ends the session.
    pub(crate) stalled: Duration,
}

/// Why a session ended: the label in metrics, the sentence in the log and to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// With the code of its close frame, if it gave one; 1002 where that was none that may be sent.
    ClosedByClient(Option<CloseCode>),
    ConnectionLost,
    NoWriteProgress,
    NoSignOfLife,
    ControlQueueFull,
    MessageTooLarge,
    /// What it sent is no frame of a WebSocket, or none that may stand there.
    ProtocolError,
    /// Its text is no UTF-8.
    InvalidText,
    TooManyMistakes,
    ShuttingDown,
}

impl SessionEnd {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::ClosedByClient(_) => "closed_by_client",
            Self::ConnectionLost => "connection_lost",
            Self::NoWriteProgress => "no_write_progress",
            Self::NoSignOfLife => "no_sign_of_life",
            Self::ControlQueueFull => "control_queue_full",
            Self::MessageTooLarge => "message_too_large",
            Self::ProtocolError => "protocol_error",
            Self::InvalidText => "invalid_text",
            Self::TooManyMistakes => "too_many_mistakes",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// The code of the close frame (section 7.4.1), and what the client is told with it; none where nobody listens any more.
    fn farewell(self) -> Option<(CloseCode, &'static str)> {
        Some(match self {
            Self::ConnectionLost => return None,
            Self::ClosedByClient(code) => (code.unwrap_or(CloseCode::Normal), ""),
            Self::NoWriteProgress => (CloseCode::Policy, "this client stopped reading: connect again"),
            Self::NoSignOfLife => (CloseCode::Policy, "this client did not answer pings: connect again"),
            Self::ControlQueueFull => {
                (CloseCode::Policy, "this client does not read the answers to what it sends")
            }
            Self::MessageTooLarge => (CloseCode::Size, "the message is too large: see docs/protocol.md"),
            Self::ProtocolError => {
                (CloseCode::Protocol, "this is no WebSocket frame, or none that may stand here (RFC 6455)")
            }
            Self::InvalidText => (CloseCode::Invalid, "a text is no UTF-8: send JSON, or binary messages"),
            Self::TooManyMistakes => {
                (CloseCode::Invalid, "too many messages made no sense: see docs/protocol.md")
            }
            Self::ShuttingDown => {
                (CloseCode::Away, "the gateway is shutting down: connect again in a moment")
            }
        })
    }

    /// What is written last; none where nobody listens any more.
    pub(crate) fn close_frame(self) -> Option<CloseFrame> {
        self.farewell().map(|(code, reason)| CloseFrame { code, reason: reason.into() })
    }

    /// Of a message that could not be read.
    pub(crate) fn of(error: &tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Capacity(_) => Self::MessageTooLarge,
            tungstenite::Error::Utf8(_) => Self::InvalidText,
            tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::ConnectionLost,
            tungstenite::Error::Protocol(_) => Self::ProtocolError,
            tungstenite::Error::Io(error) if error.kind() == ErrorKind::TimedOut => Self::NoWriteProgress,
            _ => Self::ConnectionLost,
        }
    }
}

/// Serves one client until either side ends it.
pub(crate) async fn serve(socket: Socket, app: Arc<App>, connection: Connection, encoding: Encoding) {
    let App { hub, session: limits, .. } = &*app;
    let peer = connection.peer;
    let member = Arc::new(hub.join(limits.outbox, encoding));
    hub.metrics.connected.inc();
    debug!(%peer, "client connected");
    let (messages, writer) = websocket::split(socket, app.max_message_bytes).await;
    member.outbox.connect(Line::new(writer, hub.metrics.clone()));
    member.outbox.control(&ServerMessage::Welcome(Welcome {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        server_time_us: wall_clock_us(),
    }));
    // On a task of its own: a result that is written, thirty times a second, makes nobody look for what there is to read.
    let receiving = tokio::spawn(receive(messages, app.clone(), member.clone()));
    let end = send(&member.outbox, limits.stalled, &connection.written).await;
    receiving.abort();
    member.outbox.end(end);
    if let Some(line) = member.outbox.disconnect() {
        say_farewell(line, &member.outbox, end).await;
    }
    hub.metrics.connected.dec();
    Metric::Disconnects.counter(["/ws", end.label()]).inc();
    drop(member);
    match end {
        SessionEnd::ClosedByClient(_) | SessionEnd::ConnectionLost | SessionEnd::ShuttingDown => {
            debug!(%peer, reason = end.label(), "client left");
        }
        _ => info!(%peer, reason = end.label(), "client disconnected"),
    }
}

/// The half that reads, and that ends the session when its time has come.
async fn receive(messages: Messages<Socket>, app: Arc<App>, member: Arc<Member>) {
    let end = listen(messages, &app, &member).await;
    member.outbox.end(end);
}

/// Does what the client asks for, and asks it now and then for a sign of life, which is whatever arrives, a pong included.
async fn listen(mut messages: Messages<Socket>, app: &App, member: &Arc<Member>) -> SessionEnd {
    let following = app.steps.join(member.outbox.clone());
    let mut playbacks = Playbacks::new(app.redis.clone(), member.clone());
    let mut pulse = Pulse::new(app.session.stalled);
    // So that the first choice of cameras meets those that there are now.
    let _ = in_time(app.states.fresh()).await;
    let mut mistakes = 0;
    loop {
        let next = tokio::select! {
            () = app.shutdown.requested() => return SessionEnd::ShuttingDown,
            next = messages.next() => next,
            asked = pulse.ask() => {
                if asked.is_err() {
                    return SessionEnd::NoSignOfLife;
                }
                member.outbox.ping();
                continue;
            }
        };
        let message = match next {
            None => return SessionEnd::ConnectionLost,
            Some(Ok(Message::Close(close))) => {
                return SessionEnd::ClosedByClient(close.map(|close| close.code));
            }
            Some(Err(error)) => return SessionEnd::of(&error),
            Some(Ok(message)) => message,
        };
        pulse.heard();
        let understood = match message {
            Message::Binary(bytes) => encoding::read_binary(&bytes)
                .and_then(|message| obey(message, member, &mut playbacks, &following)),
            Message::Text(text) => encoding::read_text(&text)
                .and_then(|message| obey(message, member, &mut playbacks, &following)),
            Message::Ping(brought) => {
                member.outbox.pong(brought);
                Ok(())
            }
            Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
        };
        if let Err(mistake) = understood {
            mistakes += 1;
            member.outbox.control(&problem(mistake));
            if mistakes >= MOST_MISTAKES {
                return SessionEnd::TooManyMistakes;
            }
        }
        // So that answers go before the next request is read: who asks for many things at once has room for all of them.
        tokio::task::yield_now().await;
    }
}

/// Does what a message asks for; an error is a sentence for the client.
fn obey(
    message: ClientMessage,
    member: &Member,
    playbacks: &mut Playbacks,
    following: &Following,
) -> Result<(), String> {
    match message {
        ClientMessage::Subscribe(choice) => {
            let resumed = match (choice.resume_after, &choice.cameras[..]) {
                (None, _) => None,
                (Some(after), [camera]) => Some((camera.clone(), after)),
                (Some(_), _) => {
                    return Err(
                        "resume_after goes with exactly one camera: subscribe to each by itself".into()
                    );
                }
            };
            if let Some((camera, _)) = &resumed {
                member.hold(camera);
            }
            let subscribed = member.subscribe(choice);
            match (&subscribed, resumed) {
                (Ok(_), Some((camera, after))) => playbacks.resume(&camera, after),
                (Err(_), Some((camera, _))) => playbacks.stay(&camera),
                (_, None) => {}
            }
            let unknown = subscribed.map_err(|error| error.to_string())?;
            if !unknown.is_empty() {
                let names: Vec<&str> = unknown.iter().take(5).map(CameraId::as_str).collect();
                let more = if unknown.len() > names.len() { " and others" } else { "" };
                member.outbox.control(&problem(format!(
                    "there is no camera `{}`{more} now: what you chose begins when it is added",
                    names.join("`, `")
                )));
            }
        }
        ClientMessage::Unsubscribe(choice) => {
            playbacks.leave(&choice.cameras);
            member.unsubscribe(choice).map_err(|error| error.to_string())?;
        }
        ClientMessage::Ping(ping) => member.outbox.control(&ServerMessage::Pong(Pong {
            client_time_us: ping.client_time_us,
            server_time_us: wall_clock_us(),
        })),
        ClientMessage::Painted(painted) => member.outbox.painted(&painted),
        ClientMessage::Pause(Pause { request_id, camera }) => playbacks.ask(camera, request_id, Wish::Pause),
        ClientMessage::Play(Play { request_id, camera }) => playbacks.ask(camera, request_id, Wish::Play),
        ClientMessage::Seek(Seek { request_id, camera, to, nearest }) => {
            playbacks.ask(camera, request_id, Wish::Seek { to, nearest });
        }
        ClientMessage::Step(PlaybackStep { request_id, camera, frames }) => {
            playbacks.ask(camera, request_id, Wish::Step(frames));
        }
        ClientMessage::Speed(PlaybackSpeed { request_id, camera, speed }) => {
            playbacks.ask(camera, request_id, Wish::Speed(speed));
        }
        ClientMessage::SubscribeSteps(choice) => {
            following.choose(choice.streams).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// The half that writes, until the session ends.
async fn send(outbox: &Outbox, stalled: Duration, written: &WrittenBytes) -> SessionEnd {
    loop {
        match while_bytes_move(written, stalled, outbox, poll_fn(|cx| outbox.poll_send(cx))).await {
            Ok(Ok(())) => outbox.filled().await,
            Ok(Err(end)) | Err(end) => return end,
        }
    }
}

/// Waits for a write, but only while the kernel still takes bytes now and then, and the session goes on.
async fn while_bytes_move<T>(
    written: &WrittenBytes,
    stalled: Duration,
    outbox: &Outbox,
    write: impl Future<Output = T>,
) -> Result<T, SessionEnd> {
    let mut write = std::pin::pin!(write);
    // The kernel takes most at once, and no clock is asked then.
    if let Some(done) = write.as_mut().now_or_never() {
        return Ok(done);
    }
    let (mut total, mut moved) = (written.total(), Instant::now());
    loop {
        if let Ok(done) = tokio::time::timeout(stalled / 10, &mut write).await {
            return Ok(done);
        }
        if let Some(end) = outbox.ended() {
            return Err(end);
        }
        if written.total() != total {
            (total, moved) = (written.total(), Instant::now());
        } else if moved.elapsed() >= stalled {
            return Err(SessionEnd::NoWriteProgress);
        }
    }
}

/// Says what was still to be said, and why the connection ends.
async fn say_farewell(line: Line, outbox: &Outbox, end: SessionEnd) {
    let Some(close) = end.close_frame() else { return };
    let mut writer = line.writer;
    // Who has said goodbye only waits for the same.
    if !matches!(end, SessionEnd::ClosedByClient(_)) {
        outbox.last_answers().iter().for_each(|answer| writer.add(answer));
        writer.add(&outbox.encoding.write(&problem(close.reason.to_string())));
    }
    writer.add(&framed(Frame::close(Some(close))));
    // Who does not read does not hear it either; the connection goes all the same.
    let _ = tokio::time::timeout(FAREWELL, writer.write()).await;
}

fn problem(message: String) -> ServerMessage {
    ServerMessage::Problem(Problem { message })
}
