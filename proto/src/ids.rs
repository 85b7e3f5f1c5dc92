use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::describe::{Wire, WireType};

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A camera id has letters, digits, `-`, `_` and `.` only, 1 to 64 of them.
    #[error(
        "`{0}` is no camera id: use 1 to 64 letters, digits, `-`, `_` or `.`, starting with a letter or digit"
    )]
    Camera(String),
    /// A frame id is `<milliseconds>-<sequence>`.
    #[error("`{0}` is no frame id: it should look like 1700000000000-0")]
    Frame(String),
}

/// The name of a camera: 1 to 64 letters, digits, `-`, `_` or `.`; safe in keys, labels and addresses.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CameraId(std::sync::Arc<str>);

impl CameraId {
    /// Checks and wraps a camera's name.
    ///
    /// # Errors
    /// When the text is empty, too long, or has other characters.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts_well && text.len() <= 64 && text.chars().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::Camera(text.chars().take(80).collect()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl FromStr for CameraId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}
impl Serialize for CameraId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for CameraId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}
impl Wire for CameraId {
    fn wire_type() -> WireType {
        WireType::Text
    }
}

/// The id of a frame and of its result: the Redis stream id, capture time in wall-clock milliseconds and a sequence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FrameId {
    /// Milliseconds since the Unix epoch.
    pub ms: u64,
    /// Tells frames of one millisecond apart.
    pub seq: u64,
}

impl FrameId {
    /// Before every frame.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    /// After every frame.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The first of this moment, microseconds since the Unix epoch.
    pub fn at_us(us: i64) -> Self {
        Self { ms: (us / 1000).max(0).unsigned_abs(), seq: 0 }
    }

    /// The smallest id after this one.
    pub fn next(self) -> Self {
        match self.seq.checked_add(1) {
            Some(seq) => Self { ms: self.ms, seq },
            None => Self { ms: self.ms.saturating_add(1), seq: 0 },
        }
    }
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}
impl fmt::Debug for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for FrameId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Frame(text.chars().take(80).collect());
        let (ms, seq) = text.split_once('-').ok_or_else(wrong)?;
        Ok(Self { ms: ms.parse().map_err(|_| wrong())?, seq: seq.parse().map_err(|_| wrong())? })
    }
}
impl Serialize for FrameId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for FrameId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
impl Wire for FrameId {
    fn wire_type() -> WireType {
        WireType::Text
    }
}
