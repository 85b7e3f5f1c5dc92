//! How a client wants its messages written: chosen when it connects, by WebSocket subprotocol, and written once for
//! all who chose the same.

use std::sync::{Arc, OnceLock};

use axum::http::HeaderMap;
use bytes::Bytes;
use peregrine_proto::{ClientMessage, Problem, ServerMessage, brief, decode, encode};
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

use crate::websocket::{framed, offered};

/// A way to write messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// MessagePack, with results in their compact form.
    #[default]
    Compact,
    /// MessagePack throughout, results as they stand in the stream.
    Msgpack,
    /// JSON, in text messages.
    Json,
}

/// None of the offered subprotocols is ours. What was offered is not repeated: it may hold a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "none of the WebSocket subprotocols that the client offers is known: offer peregrine.compact, peregrine.msgpack or \
     peregrine.json, or none for peregrine.compact"
)]
pub(crate) struct UnknownSubprotocol;

impl Encoding {
    const ALL: [Self; 3] = [Self::Compact, Self::Msgpack, Self::Json];

    /// The WebSocket subprotocol by which it is chosen.
    pub(crate) fn subprotocol(self) -> &'static str {
        match self {
            Self::Compact => "peregrine.compact",
            Self::Msgpack => "peregrine.msgpack",
            Self::Json => "peregrine.json",
        }
    }

    /// The first that a client offers and we know; none where it offers none.
    pub(crate) fn choose(headers: &HeaderMap) -> Result<Option<Self>, UnknownSubprotocol> {
        let mut offered = offered(headers).peekable();
        if offered.peek().is_none() {
            return Ok(None);
        }
        let known = offered.find_map(|name| Self::ALL.into_iter().find(|known| known.subprotocol() == name));
        known.map(Some).ok_or(UnknownSubprotocol)
    }

    /// Writes a message, as a WebSocket frame.
    pub(crate) fn write(self, message: &ServerMessage) -> Bytes {
        let (kind, written) = match (self, message) {
            (Self::Compact, ServerMessage::Result(result)) => {
                (Data::Binary, encode(&ServerMessage::Result(result.to_compact())))
            }
            (Self::Compact | Self::Msgpack, message) => (Data::Binary, encode(message)),
            (Self::Json, message) => (Data::Text, json(message)),
        };
        framed(Frame::message(written, OpCode::Data(kind), true))
    }
}

/// Only a result that is none cannot be written.
fn json(message: &ServerMessage) -> Vec<u8> {
    let written = serde_json::to_vec(message).or_else(|error| {
        let message = format!("a message cannot be written as JSON, take another encoding: {error}");
        serde_json::to_vec(&ServerMessage::Problem(Problem { message }))
    });
    written.unwrap_or_default()
}

/// Reads what a client sends, whatever it receives: MessagePack in binary messages, JSON in text ones.
pub(crate) fn read_binary(bytes: &[u8]) -> Result<ClientMessage, String> {
    decode(bytes).map_err(|error| error.to_string())
}

/// See [`read_binary`].
pub(crate) fn read_text(text: &str) -> Result<ClientMessage, String> {
    serde_json::from_str(text).map_err(|error| format!("not a valid client message: {}", brief(error)))
}

/// A message for many clients: written and framed when the first of them takes it, once for each encoding.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Written>);

#[derive(Debug)]
struct Written {
    message: ServerMessage,
    by_encoding: [OnceLock<Bytes>; 3],
}

impl Shared {
    pub(crate) fn new(message: ServerMessage) -> Self {
        Self(Arc::new(Written { message, by_encoding: Default::default() }))
    }

    pub(crate) fn message(&self) -> &ServerMessage {
        &self.0.message
    }

    pub(crate) fn frame(&self, encoding: Encoding) -> &Bytes {
        let message = self.message();
        // Only results have a compact form.
        let encoding = match (encoding, message) {
            (Encoding::Compact, ServerMessage::Result(_)) => encoding,
            (Encoding::Compact, _) => Encoding::Msgpack,
            (Encoding::Msgpack | Encoding::Json, _) => encoding,
        };
        self.0.by_encoding[encoding as usize].get_or_init(|| encoding.write(message))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
    use peregrine_proto::{CameraId, FrameId, ResultMessage};

    use super::*;
    use crate::websocket::tests::payload;

    fn offers(lists: &[&'static str]) -> Result<Option<Encoding>, UnknownSubprotocol> {
        let list = |list: &&'static str| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(list));
        Encoding::choose(&lists.iter().map(list).collect())
    }

    #[test]
    fn client_does_not_get_its_first_choice() {
        assert_eq!(offers(&[]), Ok(None));
        assert_eq!(offers(&["peregrine.json"]), Ok(Some(Encoding::Json)));
        assert_eq!(offers(&["chat, peregrine.msgpack,peregrine.compact"]), Ok(Some(Encoding::Msgpack)));
        assert_eq!(offers(&["chat", "peregrine.json"]), Ok(Some(Encoding::Json)), "in two headers");
        for unknown in ["chat", "peregrine.cbor, s3cret", "PEREGRINE.JSON"] {
            let refusal = offers(&[unknown]).unwrap_err().to_string();
            assert!(refusal.contains("peregrine.compact") && !refusal.contains("s3cret"), "{refusal}");
        }
    }

    #[test]
    fn result_of_another_release_is_swallowed() {
        let camera = CameraId::new("yard").unwrap();
        let result = b"from the future".to_vec().into();
        let message =
            ServerMessage::Result(ResultMessage { camera, id: FrameId::ZERO, seen_at_us: 0, result });
        let shared = Shared::new(message.clone());
        assert_eq!(
            decode::<ServerMessage>(&payload(shared.frame(Encoding::Compact))).unwrap(),
            message,
            "passed on as it is"
        );
        let told = String::from_utf8(payload(shared.frame(Encoding::Json)).to_vec()).unwrap();
        assert!(told.starts_with(r#"{"problem":{"message":"a message cannot be written as JSON"#), "{told}");
    }

    #[test]
    fn message_is_written_again_for_each_client() {
        let shared = Shared::new(ServerMessage::Problem(Problem { message: "x".into() }));
        let first = shared.frame(Encoding::Msgpack).as_ptr();
        assert_eq!(shared.clone().frame(Encoding::Msgpack).as_ptr(), first);
        assert_eq!(shared.frame(Encoding::Compact).as_ptr(), first, "the same bytes serve both");
        assert_eq!(payload(shared.frame(Encoding::Json)), r#"{"problem":{"message":"x"}}"#);
    }
}
