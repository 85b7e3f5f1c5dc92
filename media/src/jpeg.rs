use peregrine_proto::Size;

use crate::Picture;

/// Encodes pictures as JPEG; keeps its buffers between frames.
pub struct Jpeg {}

/// An encoded picture.
#[derive(Debug, Clone)]
pub struct JpegPicture {
    /// Its size in pixels.
    pub size: Size,
    /// The JPEG file.
    pub bytes: Vec<u8>,
}

/// A picture could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode a JPEG of {size}: {why}")]
pub struct JpegError {
    size: Size,
    why: String,
}

impl Jpeg {
    /// An encoder.
    ///
    /// # Errors
    /// When libjpeg-turbo cannot start.
    pub fn new() -> Result<Self, JpegError> {
        Ok(Self {})
    }

    /// Encodes the picture at most `max_width` pixels wide (aspect kept, never enlarged), quality 1 to 100.
    ///
    /// # Errors
    /// When the picture is too large for JPEG.
    pub fn encode(
        &mut self,
        picture: &Picture,
        max_width: u32,
        quality: u8,
    ) -> Result<JpegPicture, JpegError> {
        let _ = (max_width, quality);
        Err(JpegError { size: picture.size(), why: "not yet".into() })
    }
}
