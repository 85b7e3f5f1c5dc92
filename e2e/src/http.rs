//! The least of HTTP: one request.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// The lines before the body.
    pub head: String,
    /// What follows them.
    pub body: Vec<u8>,
}

impl Answer {
    /// Everything as text.
    pub fn text(&self) -> String {
        format!("{}\r\n\r\n{}", self.head, String::from_utf8_lossy(&self.body))
    }
}

/// Gets `path` from `http://host:port`.
///
/// # Errors
/// When nobody answers within ten seconds.
pub fn get(base: &str, path: &str) -> Result<Answer> {
    send(base, "GET", path, "")
}

/// Sends JSON to `path` of `http://host:port`.
///
/// # Errors
/// When nobody answers within ten seconds.
pub fn send(base: &str, method: &str, path: &str, json: &str) -> Result<Answer> {
    let address = base.trim_start_matches("http://");
    let mut connection =
        TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    connection.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(connection, "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n")?;
    write!(connection, "content-type: application/json\r\ncontent-length: {}\r\n\r\n{json}", json.len())?;
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).with_context(|| format!("{base}{path} does not answer"))?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("no end of the head")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    Ok(Answer { status, head, body: bytes[end + 4..].to_vec() })
}
