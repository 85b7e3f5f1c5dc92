//! The address of a source, from the door to the decoder.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    CameraConfig,
    ingest::INGEST_URI,
    is_readable_line,
    mask::{HIDDEN, Parts, mask},
};

/// Where frames come from: a path, an address or a pipeline, as a person wrote it. It may hold credentials.
///
/// Debug, Display and serde have its masked form. Whoever opens it asks for [`SourceUri::in_full`]; whoever stores a whole
/// configuration, for [`CameraConfig::in_full`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceUri {
    text: String,
    /// Whether serde writes it in full; only inside of [`InFull`].
    in_full: bool,
}

/// An address that has `***` where the one before has nothing, or another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{HIDDEN}` stands for what is hidden in the address before, and this is another host, port or scheme, or another setting: give the credentials again"
)]
pub struct NothingToKeep;

impl SourceUri {
    /// The address as it was written.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), in_full: false }
    }

    /// With its credentials: for the call that opens it, and for nobody else (clippy knows this method).
    pub fn in_full(&self) -> &str {
        &self.text
    }

    /// Whether there is nothing in it.
    pub fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// Whether it is a line of at most so many characters that can all be seen.
    pub fn is_line_of(&self, most: usize) -> bool {
        is_readable_line(&self.text, most)
    }

    /// Whether clients bring the frames: nothing is opened.
    pub fn is_ingest(&self) -> bool {
        self.text == INGEST_URI
    }

    /// Whether anything in it is hidden where people see it.
    pub fn has_secrets(&self) -> bool {
        self.to_string() != self.text
    }

    /// Whether it has `***` where credentials were: it was read somewhere, not written by who knows them.
    pub fn is_masked(&self) -> bool {
        self.text.contains(HIDDEN)
    }

    /// Whether a text with `***` for some of it may be this address.
    pub fn fits(&self, masked: &str) -> bool {
        let mut pieces = masked.split(HIDDEN);
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = self.text.strip_prefix(first) else { return false };
        let mut pieces: Vec<&str> = pieces.collect();
        let Some(last) = pieces.pop() else { return rest.is_empty() };
        for piece in pieces {
            match rest.find(piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }

    /// This address, as a person edited its masked form, with what was hidden: at the same place (scheme, host, port) each
    /// `***` stands for what it stood for before.
    ///
    /// # Errors
    /// Where it is another place, or has `***` where the other has nothing to keep.
    pub fn keeping(&self, before: Option<&Self>) -> Result<Self, NothingToKeep> {
        if !self.is_masked() {
            return Ok(self.clone());
        }
        let before = before.ok_or(NothingToKeep)?;
        if before.to_string() == self.text {
            return Ok(before.clone());
        }
        let filled = Parts::of(&self.text).filled_from(&Parts::of(&before.text)).map(Self::new);
        filled.filter(|filled| !filled.is_masked()).ok_or(NothingToKeep)
    }

    /// A text of somebody else's code about this address, without its credentials. Upper and lower case are the same: hosts are
    /// written in lower case, and a cut address may have its secret where a host stands.
    pub fn scrub(&self, text: &str) -> String {
        let mut text = text.replace(&self.text, &self.to_string());
        for secret in Parts::of(&self.text).secrets() {
            text = hide(&text, &secret);
        }
        mask(&text).into_owned()
    }
}

/// The text with [`HIDDEN`] for each occurrence of a secret, in upper or lower case.
fn hide(text: &str, secret: &str) -> String {
    // Letters outside ASCII stay as they are, so that places are the same in both.
    let (lower, secret) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let (mut hidden, mut copied) = (String::with_capacity(text.len()), 0);
    for (at, found) in lower.match_indices(&secret) {
        hidden.push_str(&text[copied..at]);
        hidden.push_str(HIDDEN);
        copied = at + found.len();
    }
    hidden.push_str(&text[copied..]);
    hidden
}

impl From<&str> for SourceUri {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for SourceUri {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Parts::of(&self.text).masked())
    }
}

impl fmt::Debug for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl Serialize for SourceUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.in_full {
            true => serializer.serialize_str(&self.text),
            false => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for SourceUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// A camera's configuration that serde writes with the credentials in its address: for the registry in Redis, and for
/// files that only their owner can read.
#[derive(Debug)]
pub struct InFull(CameraConfig);

impl Serialize for InFull {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl CameraConfig {
    /// The form in which it is stored, credentials and all (clippy knows this method).
    pub fn in_full(&self) -> InFull {
        let mut config = self.clone();
        config.source.uri.in_full = true;
        InFull(config)
    }
}
