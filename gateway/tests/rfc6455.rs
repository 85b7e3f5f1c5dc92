//! What RFC 6455 demands of a server, section by section, on both sockets, by a client that writes its own bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

#[allow(dead_code, reason = "shared with the other tests, which need more of it")]
mod stand;

use std::time::Duration;

use peregrine_proto::{CameraId, SourceConfig};
use stand::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// The key of section 1.3, and what is to be answered.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// One of the gateway's sockets, with a message that it answers.
#[derive(Debug, Clone, Copy)]
struct Endpoint {
    path: &'static str,
    kind: u8,
    message: &'static [u8],
    answer: &'static str,
}

const ENDPOINTS: [Endpoint; 2] = [
    Endpoint {
        path: "/ws",
        kind: TEXT,
        message: br#"{"ping":{"client_time_us":7}}"#,
        answer: r#""client_time_us":7"#,
    },
    Endpoint {
        path: "/ws/ingest/phone",
        kind: BINARY,
        message: &[0xff, 0xd8, 0xff, 0xd9],
        answer: r#""taken""#,
    },
];

struct Frame {
    kind: u8,
    is_final: bool,
    is_masked: bool,
    reserved: u8,
    payload: Vec<u8>,
}

impl Frame {
    fn new(kind: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { kind, is_final: true, is_masked: true, reserved: 0, payload: payload.as_ref().to_vec() }
    }

    fn not_final(self) -> Self {
        Self { is_final: false, ..self }
    }

    /// Section 5.2.
    fn bytes(&self) -> Vec<u8> {
        let first = u8::from(self.is_final) << 7 | self.reserved << 4 | self.kind;
        let masked = u8::from(self.is_masked) << 7;
        let mut bytes = vec![first];
        match self.payload.len() {
            length @ 0..=125 => bytes.push(masked | length as u8),
            length @ 126..=0xffff => {
                bytes.push(masked | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        let key = if self.is_masked { [0x37, 0xfa, 0x21, 0x3d] } else { [0; 4] };
        if self.is_masked {
            bytes.extend(key);
        }
        bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }
}

/// A close frame with a code and a reason.
fn close(code: u16, reason: &[u8]) -> Frame {
    Frame::new(CLOSE, [&code.to_be_bytes()[..], reason].concat())
}

struct Raw(TcpStream);

impl Raw {
    async fn open(stand: &Stand, endpoint: Endpoint) -> Self {
        let protocol = "sec-websocket-protocol: peregrine.json, peregrine.frames\r\n";
        let head = handshake(stand, endpoint.path).replace("\r\n\r\n", &format!("\r\n{protocol}\r\n"));
        let mut raw = Self(TcpStream::connect(stand.address).await.unwrap());
        raw.0.write_all(head.as_bytes()).await.unwrap();
        let answer = raw.head().await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        raw
    }

    /// Up to the empty line.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, self.0.read_u8()).await.unwrap().unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    async fn send(&mut self, frames: &[Frame]) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        // The gateway may have ended it meanwhile.
        let _ = self.0.write_all(&bytes).await;
    }

    /// The next frame; none at the connection's end. Each is one that a server may send: not masked, without reserved bits,
    /// with its length in the shortest form (sections 5.1 and 5.2).
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = timeout(PATIENCE, self.0.read_u8()).await.expect("a frame in time").ok()?;
        let length = self.0.read_u8().await.unwrap();
        assert_eq!((first & 0x70, length & 0x80), (0, 0), "a reserved bit or a mask");
        let length = match length {
            126 => {
                let length = self.0.read_u16().await.unwrap();
                assert!(length > 125);
                usize::from(length)
            }
            127 => {
                let length = self.0.read_u64().await.unwrap();
                assert!(length > 0xffff);
                length as usize
            }
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.unwrap();
        Some((first & 0xf, payload))
    }

    /// The first frame of a kind.
    async fn next_of(&mut self, kind: u8) -> Vec<u8> {
        loop {
            match self.frame().await {
                Some((found, payload)) if found == kind => return payload,
                Some((CLOSE, payload)) => panic!("closed: {payload:?}"),
                Some(_) => {}
                None => panic!("the connection ended"),
            }
        }
    }

    /// The answer to the endpoint's own message.
    async fn answered(&mut self, endpoint: Endpoint) {
        while !String::from_utf8(self.next_of(TEXT).await).unwrap().contains(endpoint.answer) {}
    }

    /// A text that says what was wrong.
    async fn told_a_problem(&mut self) {
        while !String::from_utf8(self.next_of(TEXT).await).unwrap().contains("problem") {}
    }

    /// The code of the close frame, 0 where it has none; then the server ends the connection (section 7.1.1).
    async fn closed(&mut self) -> u16 {
        loop {
            let (kind, payload) = self.frame().await.expect("a close frame");
            if kind == CLOSE {
                assert!(self.frame().await.is_none(), "nothing comes behind a close frame");
                return payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
            }
        }
    }
}

fn handshake(stand: &Stand, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-key: {KEY}\r\nsec-websocket-version: 13\r\n\r\n",
        stand.address
    )
}

async fn stand() -> Stand {
    let stand = Stand::start().await;
    let mut camera = camera_config(&CameraId::new("phone").unwrap());
    camera.source = SourceConfig::new("ingest:");
    stand.redis.connect().await.put_camera(&camera).await.unwrap();
    eventually("the camera is known", async || {
        (stand.get("/api/cameras/phone").await.status == 200).then_some(())
    })
    .await;
    stand
}

/// Sends the frames to each endpoint, and gives what it closes with.
async fn closes_with(stand: &Stand, what: &str, code: u16, frames: &[Frame]) {
    for endpoint in ENDPOINTS {
        let mut raw = Raw::open(stand, endpoint).await;
        raw.send(frames).await;
        assert_eq!(raw.closed().await, code, "{what} on {}", endpoint.path);
    }
}

#[tokio::test]
async fn handshake_is_answered_otherwise_than_section_4_says() {
    let stand = stand().await;
    for endpoint in ENDPOINTS {
        let sound = handshake(&stand, endpoint.path);
        let answer = async |head: String| {
            let mut raw = Raw(TcpStream::connect(stand.address).await.unwrap());
            raw.0.write_all(head.as_bytes()).await.unwrap();
            let head = raw.head().await.to_lowercase();
            let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
            (status, head)
        };
        let with = |from: &str, to: &str| {
            let changed = sound.replace(from, to);
            assert_ne!(changed, sound);
            answer(changed)
        };
        for sound in [
            sound.clone(),
            sound.replace("upgrade: websocket", "UPGRADE: h2c, WebSocket"),
            sound.replace("connection: Upgrade", "Connection: keep-alive, upgrade"),
            sound.replace("\r\n\r\n", "\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n"),
        ] {
            let (status, head) = answer(sound).await;
            assert_eq!(status, 101, "{head}");
            assert!(head.contains(&format!("sec-websocket-accept: {}", ACCEPT.to_lowercase())), "{head}");
            assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
            // Neither was offered and taken.
            assert!(!head.contains("extensions") && !head.contains("sec-websocket-protocol"), "{head}");
        }
        for (what, refused) in [
            ("no upgrade", with("upgrade: websocket\r\n", "").await),
            ("another upgrade", with("websocket\r\n", "h2c\r\n").await),
            ("no connection", with("connection: Upgrade\r\n", "").await),
            ("no key", with(&format!("sec-websocket-key: {KEY}\r\n"), "").await),
            ("a short key", with(KEY, "c2hvcnQ=").await),
            ("a key that is no Base64", with(KEY, "dGhlIHNhbXBsZSBub25jZQ!!").await),
            ("HTTP/1.0", with("HTTP/1.1", "HTTP/1.0").await),
            ("POST", with("GET", "POST").await),
        ] {
            assert!((400..500).contains(&refused.0), "{what} on {}: {}", endpoint.path, refused.1);
        }
        for version in ["sec-websocket-version: 8\r\n", "sec-websocket-version: 14\r\n", ""] {
            let (status, head) = with("sec-websocket-version: 13\r\n", version).await;
            assert_eq!(status, 426, "{head}");
            assert!(head.contains("sec-websocket-version: 13"), "section 4.4: {head}");
        }
    }
}

#[tokio::test]
async fn frame_that_may_not_stand_there_is_taken() {
    let stand = stand().await;
    let text = || Frame::new(TEXT, "x");
    let protocol_errors = [
        ("a frame without a mask", vec![Frame { is_masked: false, ..text() }]),
        ("the first reserved bit", vec![Frame { reserved: 4, ..text() }]),
        ("the second reserved bit", vec![Frame { reserved: 2, ..text() }]),
        ("the third reserved bit", vec![Frame { reserved: 1, ..text() }]),
        ("opcode 3", vec![Frame::new(3, "x")]),
        ("opcode 7", vec![Frame::new(7, "x")]),
        ("opcode 11", vec![Frame::new(11, "x")]),
        ("opcode 15", vec![Frame::new(15, "x")]),
        ("a ping of 126 bytes", vec![Frame::new(PING, [0; 126])]),
        ("a ping in parts", vec![Frame::new(PING, "x").not_final()]),
        ("a close frame in parts", vec![close(1000, b"").not_final()]),
        ("a continuation of nothing", vec![Frame::new(CONTINUATION, "x")]),
        ("a text in the middle of another", vec![text().not_final(), text()]),
    ];
    for (what, frames) in protocol_errors {
        closes_with(&stand, what, 1002, &frames).await;
    }
}

#[tokio::test]
async fn message_in_parts_is_not_put_together() {
    let stand = stand().await;
    for endpoint in ENDPOINTS {
        let mut raw = Raw::open(&stand, endpoint).await;
        let (begin, rest) = endpoint.message.split_at(1);
        let (middle, end) = rest.split_at(2);
        raw.send(&[
            Frame::new(endpoint.kind, begin).not_final(),
            Frame::new(PING, "between"),
            Frame::new(CONTINUATION, middle).not_final(),
            Frame::new(CONTINUATION, "").not_final(),
            Frame::new(CONTINUATION, end),
        ])
        .await;
        assert_eq!(raw.next_of(PONG).await, b"between", "section 5.4: control frames may stand between");
        raw.answered(endpoint).await;
    }
}

#[tokio::test]
async fn ping_comes_back_changed_or_an_unasked_pong_does_harm() {
    let stand = stand().await;
    for endpoint in ENDPOINTS {
        let mut raw = Raw::open(&stand, endpoint).await;
        for ping in [&b""[..], b"x", &[0xff; 125]] {
            raw.send(&[Frame::new(PONG, "nobody asked"), Frame::new(PING, ping)]).await;
            assert_eq!(raw.next_of(PONG).await, ping);
        }
        raw.send(&[Frame::new(endpoint.kind, endpoint.message)]).await;
        raw.answered(endpoint).await;
    }
}

#[tokio::test]
async fn goodbye_is_not_answered_as_section_7_says() {
    let stand = stand().await;
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        closes_with(&stand, "a close code", code, &[close(code, "auf Wiedersehen, été".as_bytes())]).await;
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        closes_with(&stand, "a code that may not be sent", 1002, &[close(code, b"")]).await;
    }
    closes_with(&stand, "a code of one byte", 1002, &[Frame::new(CLOSE, [3])]).await;
    closes_with(&stand, "a reason that is no text", 1007, &[close(1000, b"\xff")]).await;
    let heard_no_more = [close(1000, b""), Frame::new(TEXT, b"\xff"), Frame::new(3, "x")];
    closes_with(&stand, "what comes behind a goodbye", 1000, &heard_no_more).await;
    for endpoint in ENDPOINTS {
        let mut raw = Raw::open(&stand, endpoint).await;
        raw.send(&[Frame::new(CLOSE, "")]).await;
        assert!([0, 1000].contains(&raw.closed().await), "a goodbye without a code");
    }
}

#[tokio::test]
async fn text_that_is_no_utf8_is_taken() {
    let stand = stand().await;
    for text in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf"] {
        closes_with(&stand, "no UTF-8", 1007, &[Frame::new(TEXT, text)]).await;
    }
    let parts = [Frame::new(TEXT, b"\xc3").not_final(), Frame::new(CONTINUATION, b"x")];
    closes_with(&stand, "no UTF-8 over two parts", 1007, &parts).await;
    for endpoint in ENDPOINTS {
        let mut raw = Raw::open(&stand, endpoint).await;
        raw.send(&[Frame::new(TEXT, b"\xc3").not_final(), Frame::new(CONTINUATION, b"\xa9")]).await;
        // A letter in two parts is one, and not what the gateway expects.
        raw.told_a_problem().await;
    }
}

#[tokio::test]
async fn message_over_the_limit_ends_without_1009() {
    let stand = stand().await;
    for (endpoint, bytes) in ENDPOINTS.into_iter().zip([70_000, (4 << 20) + 1]) {
        let mut raw = Raw::open(&stand, endpoint).await;
        raw.send(&[Frame::new(BINARY, vec![0; bytes])]).await;
        assert_eq!(raw.closed().await, 1009, "{}", endpoint.path);
        let mut raw = Raw::open(&stand, endpoint).await;
        let part = |kind| Frame::new(kind, vec![b' '; bytes / 8 + 1]).not_final();
        raw.send(&[part(BINARY)]).await;
        for _ in 0..8 {
            raw.send(&[part(CONTINUATION)]).await;
        }
        assert_eq!(raw.closed().await, 1009, "in parts on {}", endpoint.path);
    }
}
