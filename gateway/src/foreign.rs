//! What a stranger's bytes meet in this daemon, for the program that throws any bytes at it (`./dev fuzz`). Each takes
//! whatever comes, and refuses with the sentence that the stranger would get.

use std::{net::Ipv4Addr, sync::LazyLock};

use axum::{
    extract::Query,
    http::{HeaderMap, HeaderName, HeaderValue, Uri},
};

use peregrine_proto::{SCHEMA, brief};

use crate::{
    access::{Access, Role, Token, sum_of, take_token},
    encoding::{self, Encoding},
    ingest::{Format, read_steps},
    limit::Writes,
    origin::Origins,
    rest::{Refused, calibration::try_out, lists, results::Range},
};

/// A binary message of a WebSocket client.
///
/// # Errors
/// What is wrong with it.
pub fn binary_message(bytes: &[u8]) -> Result<(), String> {
    encoding::read_binary(bytes).map(drop)
}

/// A text message of a WebSocket client; what is no UTF-8 never gets that far.
///
/// # Errors
/// What is wrong with it.
pub fn text_message(bytes: &[u8]) -> Result<(), String> {
    encoding::read_text(&String::from_utf8_lossy(bytes)).map(drop)
}

/// The body of a `POST /ingest/{stream}` in JSON.
///
/// # Errors
/// What is wrong with it.
pub fn steps_as_json(bytes: &[u8]) -> Result<(), String> {
    read_steps(Format::Json, bytes, SCHEMA).map(drop).map_err(detail)
}

/// The body of a `POST /ingest/{stream}` in MessagePack.
///
/// # Errors
/// What is wrong with it.
pub fn steps_as_message_pack(bytes: &[u8]) -> Result<(), String> {
    read_steps(Format::MessagePack, bytes, SCHEMA).map(drop).map_err(detail)
}

/// The body of a `POST /api/calibration`.
///
/// # Errors
/// What is wrong with it.
pub fn calibration(bytes: &[u8]) -> Result<(), String> {
    try_out(serde_json::from_slice(bytes).map_err(brief)?).map(drop)
}

/// The head of a request, as lines: its target, then its headers. What the parser before us does not let through is left out.
///
/// # Errors
/// What is wrong with it.
pub fn request_head(bytes: &[u8]) -> Result<(), String> {
    static ACCESS: LazyLock<Access> = LazyLock::new(|| {
        let token = Token::new("hand", Role::Operator, sum_of("a-token-of-some-length"));
        Access::new(vec![token], Writes::new(1e9))
    });
    static ORIGINS: LazyLock<Origins> =
        LazyLock::new(|| Origins::new(&["https://dash.example.org".to_owned()], true));
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let target = Uri::try_from(lines.next().unwrap_or_default()).map_err(|error| error.to_string())?;
    let mut headers = HeaderMap::new();
    for (name, value) in lines.take(100).filter_map(header_line) {
        headers.append(name, value);
    }
    let token = take_token(&mut headers);
    let is_listed = headers.values().any(|tags| lists(tags, &HeaderValue::from_static("\"0123456789ab\"")));
    // Each is asked, whatever the others say.
    [
        ACCESS.caller(Ipv4Addr::LOCALHOST.into(), token.as_deref()).map(drop).map_err(detail),
        ORIGINS.check_host(&headers, &target),
        ORIGINS.check_origin(&headers, &target),
        Encoding::choose(&headers).map(drop).map_err(|error| error.to_string()),
        Format::of(&headers).map(drop).map_err(detail),
        Query::<Range>::try_from_uri(&target).map(drop).map_err(|rejection| rejection.body_text()),
        if is_listed { Err("not modified".into()) } else { Ok(()) },
    ]
    .into_iter()
    .collect::<Result<(), String>>()
    .map_err(brief)
}

fn header_line(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
}

fn detail(refused: Refused) -> String {
    refused.detail
}
