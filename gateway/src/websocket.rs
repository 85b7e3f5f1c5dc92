//! WebSockets (RFC 6455) as far as they are ours: the handshake, and what is written. That is framed once for all who
//! get the same, and leaves through one writer. What clients send, tungstenite takes apart.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE},
    },
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Buf, Bytes, BytesMut};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, Join, ReadHalf, Sink, WriteHalf, join, sink};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self,
        error::ProtocolError,
        handshake::server::create_response_with_body,
        protocol::{Role, WebSocketConfig, frame::Frame},
    },
};

use crate::rest::Refused;

/// What a client's socket reads at once: clients send little.
const READ_BUFFER: usize = 4 * 1024;
/// A client is asked for a sign of life at least this often,
const PING_EVERY: Duration = Duration::from_secs(3);
/// and so many times before it counts as silent.
const LEAST_PINGS: u32 = 3;

/// A connection that has become a WebSocket.
pub(crate) type Socket = TokioIo<Upgraded>;

/// The messages that a client sends.
pub(crate) type Messages<S> = WebSocketStream<Join<ReadHalf<S>, Sink>>;

/// The subprotocols that a client offers.
pub(crate) fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// Answers who asks for a WebSocket (section 4.2.2). Its connection is one as soon as the answer is sent.
///
/// # Errors
/// When it did not ask for one as it should; `address` says what the address is for.
pub(crate) fn accept(
    request: &mut Request,
    subprotocol: Option<&'static str>,
    address: &str,
) -> Result<(Response, OnUpgrade), Refused> {
    let is_websocket = |list: &HeaderValue| {
        let list = list.to_str().unwrap_or_default();
        list.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
    };
    if request.headers().get_all(UPGRADE).iter().any(is_websocket) {
        // Others may stand beside it, which the library does not expect.
        request.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    let answered = create_response_with_body(request, Body::empty);
    let mut answer = answered.map_err(|why| refusal(&why, address))?;
    let key = request.headers().get(SEC_WEBSOCKET_KEY).and_then(|key| BASE64_STANDARD.decode(key).ok());
    if key.is_none_or(|key| key.len() != 16) {
        let text =
            format!("{address}: Sec-WebSocket-Key is not the Base64 of 16 bytes (RFC 6455, section 4.2.1)");
        return Err(Refused::new(StatusCode::BAD_REQUEST, text));
    }
    if let Some(name) = subprotocol {
        answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    Ok((answer, hyper::upgrade::on(request)))
}

/// Another version is told ours (section 4.4).
fn refusal(why: &tungstenite::Error, address: &str) -> Refused {
    let text = format!("{address}, see docs/protocol.md ({why})");
    match why {
        tungstenite::Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
            Refused::new(StatusCode::UPGRADE_REQUIRED, text)
                .with(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
                .with(UPGRADE, HeaderValue::from_static("websocket"))
                .with(CONNECTION, HeaderValue::from_static("upgrade"))
        }
        _ => Refused::new(StatusCode::BAD_REQUEST, text),
    }
}

/// A client's messages of at most so many bytes, and who writes to it.
///
/// What tungstenite would answer by itself goes nowhere: who takes the messages also answers pings, and says goodbye.
pub(crate) async fn split<S>(socket: S, most_bytes: usize) -> (Messages<S>, Writer<WriteHalf<S>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, connection) = tokio::io::split(socket);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(most_bytes))
        .max_frame_size(Some(most_bytes));
    let messages = WebSocketStream::from_raw_socket(join(reader, sink()), Role::Server, Some(config)).await;
    (messages, Writer { connection, unwritten: Bytes::new(), is_flushed: true })
}

/// A frame as it is written (section 5.2). Servers do not mask theirs, so it is the same for every client.
pub(crate) fn framed(frame: Frame) -> Bytes {
    let mut written = Vec::with_capacity(frame.len());
    // Memory takes every write.
    let _ = frame.format(&mut written);
    written.into()
}

/// Writes whole frames, one behind the other.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    connection: W,
    /// Whole frames, but for the part of the first that is written already.
    unwritten: Bytes,
    /// Nothing was added since all was written.
    is_flushed: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// The same, whatever it writes to.
    pub(crate) fn boxed(self) -> Writer<Box<dyn AsyncWrite + Send + Unpin>>
    where
        W: Send + 'static,
    {
        let Self { connection, unwritten, is_flushed } = self;
        Writer { connection: Box::new(connection), unwritten, is_flushed }
    }

    /// Adds a frame to what is to be written.
    pub(crate) fn add(&mut self, frame: &Bytes) {
        self.is_flushed = false;
        if self.unwritten.is_empty() {
            // One that many clients get is not copied for each.
            self.unwritten = frame.clone();
        } else {
            let mut gathered = BytesMut::from(std::mem::take(&mut self.unwritten));
            gathered.extend_from_slice(frame);
            self.unwritten = gathered.freeze();
        }
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) async fn write(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_write(cx)).await
    }

    /// The same, as far as it goes now, perhaps to the middle of a frame. The next call goes on there.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_flushed {
            return Poll::Ready(Ok(()));
        }
        while !self.unwritten.is_empty() {
            match ready!(Pin::new(&mut self.connection).poll_write(cx, &self.unwritten))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unwritten.advance(written),
            }
        }
        // Its memory goes as well.
        self.unwritten = Bytes::new();
        ready!(Pin::new(&mut self.connection).poll_flush(cx))?;
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }
}

/// Asks a client for signs of life, which is whatever arrives, a pong included.
///
/// Silence is counted in pings, not in time: where this process itself got no time for a while, it was not the client
/// who was silent.
#[derive(Debug)]
pub(crate) struct Pulse {
    pings: Interval,
    unanswered: u32,
    most_unanswered: u32,
}

/// A client let all its pings unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silent;

impl Pulse {
    /// For a client that may be silent for so long.
    pub(crate) fn new(stalled: Duration) -> Self {
        let pings = stalled.as_millis().div_ceil(PING_EVERY.as_millis());
        let most_unanswered = u32::try_from(pings).unwrap_or(u32::MAX).max(LEAST_PINGS);
        let mut pings = interval(stalled / most_unanswered);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { pings, unanswered: 0, most_unanswered }
    }

    /// Waits until the client is to be sent a ping.
    ///
    /// # Errors
    /// When it answered none of those before.
    pub(crate) async fn ask(&mut self) -> Result<(), Silent> {
        self.pings.tick().await;
        if self.unanswered == self.most_unanswered {
            return Err(Silent);
        }
        self.unanswered += 1;
        Ok(())
    }

    /// Something arrived.
    pub(crate) fn heard(&mut self) {
        self.unanswered = 0;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use futures_util::{FutureExt, StreamExt};
    use tokio_tungstenite::tungstenite::{
        Message,
        protocol::frame::{
            CloseFrame, FrameSocket,
            coding::{CloseCode, Data, OpCode},
        },
    };

    use super::*;

    /// What is in a frame.
    pub(crate) fn payload(frame: &[u8]) -> Bytes {
        FrameSocket::new(frame).read(None).unwrap().expect("a whole frame").into_payload()
    }

    fn binary(size: usize) -> Bytes {
        framed(Frame::message(vec![7; size], OpCode::Data(Data::Binary), true))
    }

    #[tokio::test]
    async fn frame_of_some_size_is_read_as_another() {
        let sizes = [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)];
        let frames = sizes.map(|(size, header)| {
            let frame = binary(size);
            assert_eq!(frame.len(), header + size);
            frame
        });
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (_, mut writer) = split(ours, 100).await;
        frames.iter().for_each(|frame| writer.add(frame));
        writer.write().await.unwrap();
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        for (size, _) in sizes {
            assert_eq!(client.next().await.unwrap().unwrap(), Message::Binary(vec![7; size].into()));
        }
    }

    #[tokio::test]
    async fn pong_or_farewell_gets_into_the_middle_of_a_frame() {
        let (ours, theirs) = tokio::io::duplex(64);
        let (_, mut writer) = split(ours, 100).await;
        let pong = framed(Frame::pong("still there?"));
        let close = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
        writer.add(&binary(1000));
        assert!(writer.write().now_or_never().is_none(), "cut short in a frame");
        writer.add(&pong);
        assert!(writer.write().now_or_never().is_none(), "and once more");
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let farewell = async {
            writer.add(&binary(3));
            writer.add(&framed(Frame::close(Some(close.clone()))));
            writer.write().await.unwrap();
        };
        let read = async {
            let messages: Vec<Message> = client.by_ref().take(4).map(Result::unwrap).collect().await;
            messages
        };
        let both = async { tokio::join!(farewell, read) };
        let ((), read) = tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
        assert_eq!(
            read,
            [
                Message::Binary(vec![7; 1000].into()),
                Message::Pong("still there?".into()),
                Message::Binary(vec![7; 3].into()),
                Message::Close(Some(close)),
            ]
        );
    }
}
