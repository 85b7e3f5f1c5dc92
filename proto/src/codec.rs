//! Bytes to values and back. Decoding never panics, whatever the bytes.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    ColourMatrix, ColourRange, FrameHeader, FrameResult, OLDEST_SCHEMA, PixelFormat, SCHEMA, is_read,
};

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not MessagePack of this type.
    #[error("not a valid {what}: {}", brief(source))]
    Malformed {
        /// The type's name.
        what: &'static str,
        /// What the decoder says.
        source: rmp_serde::decode::Error,
    },
    /// Written by another version.
    #[error(
        "{what} has schema version {found}, this build reads {OLDEST_SCHEMA} to {SCHEMA}: run the same release of every daemon"
    )]
    Schema {
        /// The type's name.
        what: &'static str,
        /// The version found.
        found: u16,
    },
    /// A value of the right type that makes no sense.
    #[error("not a valid {what}: {why}")]
    Invalid {
        /// The type's name.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Bytes follow the value.
    #[error("{extra} bytes follow the {what}")]
    Trailing {
        /// The type's name.
        what: &'static str,
        /// How many.
        extra: usize,
    },
}

/// Longest sentence about what strangers wrote, bytes.
const LONGEST_BRIEF: usize = 500;

/// A sentence in which strangers may be quoted, cut off where it becomes too long: they may have written much.
pub fn brief(sentence: impl fmt::Display) -> String {
    let mut text = sentence.to_string();
    if text.len() > LONGEST_BRIEF {
        text.truncate(text.floor_char_boundary(LONGEST_BRIEF));
        text.push('…');
    }
    text
}

/// A value that can be checked after decoding.
pub trait Checked: DeserializeOwned {
    /// The type's name in errors.
    const NAME: &'static str;
    /// The schema version it carries, if it does.
    fn schema(&self) -> u16 {
        SCHEMA
    }
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Checked for FrameHeader {
    const NAME: &'static str = "frame header";
    fn schema(&self) -> u16 {
        self.schema
    }
    fn check(&self) -> Result<(), String> {
        const MOST: u32 = 16_384;
        for (what, size) in [("source", self.source), ("analysed", self.analysed)] {
            if !self.end && (size.width == 0 || size.height == 0 || size.width > MOST || size.height > MOST) {
                return Err(format!("{what} size {size} is not between 1x1 and {MOST}x{MOST}"));
            }
        }
        if !self.end && self.scale.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            return Err(format!("scale {:?} is not positive", self.scale));
        }
        if matches!(self.format, PixelFormat::Other(_)) {
            return Err(format!("pixel format {} is of a later release", self.format));
        }
        if matches!(self.colour.matrix, ColourMatrix::Other(_))
            || matches!(self.colour.range, ColourRange::Other(_))
        {
            return Err(format!(
                "colour {} in the range {} is of a later release",
                self.colour.matrix, self.colour.range
            ));
        }
        if !matches!(self.rotation, 0 | 90 | 180 | 270) {
            return Err(format!("rotation {} is not 0, 90, 180 or 270", self.rotation));
        }
        Ok(())
    }
}

impl Checked for FrameResult {
    const NAME: &'static str = "frame result";
    fn schema(&self) -> u16 {
        self.schema
    }
}

impl Checked for crate::DetectRequest {
    const NAME: &'static str = "detection request";
    fn schema(&self) -> u16 {
        self.schema
    }
}

impl Checked for crate::DetectAnswer {
    const NAME: &'static str = "detection answer";
    fn schema(&self) -> u16 {
        self.schema
    }
}

impl Checked for crate::ClientMessage {
    const NAME: &'static str = "client message";
}

impl Checked for crate::ServerMessage {
    const NAME: &'static str = "server message";
}

/// Reads a value.
///
/// # Errors
/// When the bytes are no such value, of another schema version, or followed by others.
pub fn decode<T: Checked>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut rest = bytes;
    let mut reader = rmp_serde::Deserializer::new(&mut rest);
    reader.set_max_depth(16);
    let value =
        T::deserialize(&mut reader).map_err(|source| DecodeError::Malformed { what: T::NAME, source })?;
    drop(reader);
    if !rest.is_empty() {
        return Err(DecodeError::Trailing { what: T::NAME, extra: rest.len() });
    }
    if !is_read(value.schema()) {
        return Err(DecodeError::Schema { what: T::NAME, found: value.schema() });
    }
    value.check().map_err(|why| DecodeError::Invalid { what: T::NAME, why })?;
    Ok(value)
}

/// Writes a value. Writing into memory cannot fail for the types of this crate.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // The only errors of rmp-serde here are those of the writer and of sequences of unknown length: there are none.
    rmp_serde::to_vec(value).unwrap_or_default()
}
