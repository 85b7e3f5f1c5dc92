use ffmpeg_next::{format::Pixel, frame};
use turbojpeg::{Decompressor, Image, PixelFormat};

use crate::{Picture, convert::Converter};

/// Most pixels of a picture: a small file may claim to be huge.
const MOST_PIXELS: usize = 32 << 20;
/// Most scans of a progressive picture: each costs as much as a whole one.
const MOST_SCANS: u32 = 64;

/// Decodes JPEG files from wherever they come; keeps its buffers between frames.
pub struct JpegDecoder {
    decompressor: Decompressor,
    converter: Converter,
}

/// Bytes that are no picture.
#[derive(Debug, thiserror::Error)]
#[error("it is no JPEG that can be read: {0}")]
pub struct JpegUnreadable(String);

impl JpegDecoder {
    /// A decoder.
    ///
    /// # Errors
    /// When libjpeg-turbo cannot start.
    pub fn new() -> Result<Self, JpegUnreadable> {
        Ok(Self { decompressor: decompressor()?, converter: Converter::default() })
    }

    /// The picture of a file.
    ///
    /// # Errors
    /// When the bytes are no JPEG, a damaged or a far too large one.
    pub fn decode(&mut self, jpeg: &[u8]) -> Result<Picture, JpegUnreadable> {
        let decoded = self.decode_next(jpeg);
        if decoded.is_err() {
            // After an error libjpeg-turbo is still in the middle of that file, and would refuse every later one.
            self.decompressor = decompressor()?;
        }
        decoded
    }

    fn decode_next(&mut self, jpeg: &[u8]) -> Result<Picture, JpegUnreadable> {
        let header = self.decompressor.read_header(jpeg).map_err(unreadable)?;
        let (width, height) = (header.width, header.height);
        if width == 0 || height == 0 || width.saturating_mul(height) > MOST_PIXELS {
            return Err(JpegUnreadable(format!(
                "{width}x{height} is not between 1 and {MOST_PIXELS} pixels"
            )));
        }
        let mut decoded = frame::Video::new(Pixel::BGR24, width as u32, height as u32);
        let pitch = decoded.stride(0);
        let pixels = decoded.data_mut(0);
        let output = Image { pixels, width, pitch, height, format: PixelFormat::BGR };
        self.decompressor.decompress(jpeg, output).map_err(unreadable)?;
        self.converter.picture(decoded).map_err(|error| JpegUnreadable(error.to_string()))
    }
}

fn decompressor() -> Result<Decompressor, JpegUnreadable> {
    let mut decompressor = Decompressor::new().map_err(unreadable)?;
    decompressor.set_scan_limit(MOST_SCANS).map_err(unreadable)?;
    Ok(decompressor)
}

fn unreadable(error: turbojpeg::Error) -> JpegUnreadable {
    JpegUnreadable(error.to_string())
}
