use ffmpeg_next::frame;
use peregrine_proto::{Colour, Size};

/// A decoded picture: planar YUV 4:2:0, the planes where the decoder put them. Rotation is already applied.
pub struct Picture {
    size: Size,
    colour: Colour,
    pixel_aspect: f32,
    rotation: u16,
    pixels: Pixels,
}

/// Where the planes lie.
enum Pixels {
    /// In the decoder's own frame (`yuv420p` or `yuvj420p`, every row stride positive).
    Frame(frame::Video),
    /// One after another without padding: Y, U, V.
    Tight(Vec<u8>),
}

// SAFETY: once wrapped, a frame is only read, through `&self`; libav keeps the buffers alive until it is dropped.
#[allow(unsafe_code)]
unsafe impl Sync for Pixels {}

/// One plane of a picture.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    /// The rows, each `stride` bytes after the one before; the last may end after `width` bytes.
    pub data: &'a [u8],
    /// Bytes from a row to the next.
    pub stride: usize,
    /// Samples in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl<'a> Plane<'a> {
    /// The samples of a row; empty outside the plane.
    pub fn row(&self, y: usize) -> &'a [u8] {
        let start = y * self.stride;
        self.data.get(start..start + self.width).unwrap_or_default()
    }
}

/// Why bytes are no picture.
#[derive(Debug, thiserror::Error)]
#[error("{found} bytes are no I420 picture of {size}: it has {expected}")]
pub struct PictureError {
    size: Size,
    found: usize,
    expected: usize,
}

/// Sizes of the three planes of a 4:2:0 picture: chroma is rounded up where a dimension is odd.
pub(crate) fn plane_sizes(size: Size) -> [(usize, usize); 3] {
    let (w, h) = (size.width as usize, size.height as usize);
    let chroma = (w.div_ceil(2), h.div_ceil(2));
    [(w, h), chroma, chroma]
}

/// Bytes of a tight I420 picture.
pub(crate) fn tight_len(size: Size) -> usize {
    plane_sizes(size).iter().map(|(w, h)| w * h).sum()
}

impl Picture {
    /// A picture from tight I420 bytes: Y, then U and V, each rounded up to half the size, rows without padding.
    ///
    /// # Errors
    /// When the number of bytes is not that of such a picture.
    pub fn from_i420(size: Size, colour: Colour, bytes: Vec<u8>) -> Result<Self, PictureError> {
        let expected = tight_len(size);
        if bytes.len() != expected || expected == 0 {
            return Err(PictureError { size, found: bytes.len(), expected });
        }
        Ok(Self::tight(size, colour, bytes))
    }

    /// Wraps bytes that are known to be as many as [`tight_len`] says.
    pub(crate) fn tight(size: Size, colour: Colour, bytes: Vec<u8>) -> Self {
        Self { size, colour, pixel_aspect: 1.0, rotation: 0, pixels: Pixels::Tight(bytes) }
    }

    /// Wraps a frame whose format and strides were checked: `yuv420p` or `yuvj420p`, no negative stride.
    pub(crate) fn from_frame(frame: frame::Video, colour: Colour, pixel_aspect: f32) -> Self {
        let size = Size { width: frame.width(), height: frame.height() };
        Self { size, colour, pixel_aspect, rotation: 0, pixels: Pixels::Frame(frame) }
    }

    /// Width and height of the picture as it should be seen, in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// How to turn its YUV into RGB.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// Width of a pixel over its height.
    pub fn pixel_aspect(&self) -> f32 {
        self.pixel_aspect
    }

    /// Clockwise degrees by which the stored picture was turned: 0, 90, 180 or 270.
    pub fn rotation(&self) -> u16 {
        self.rotation
    }

    /// The Y, U and V planes.
    pub fn planes(&self) -> [Plane<'_>; 3] {
        let sizes = plane_sizes(self.size);
        match &self.pixels {
            Pixels::Frame(frame) => std::array::from_fn(|i| Plane {
                data: frame.data(i),
                stride: frame.stride(i),
                width: sizes[i].0,
                height: sizes[i].1,
            }),
            Pixels::Tight(bytes) => {
                let mut rest = bytes.as_slice();
                sizes.map(|(width, height)| {
                    let (data, after) = rest.split_at(width * height);
                    rest = after;
                    Plane { data, stride: width, width, height }
                })
            }
        }
    }

    /// The picture turned clockwise by 90, 180 or 270 degrees; by anything else it stays as it is.
    pub(crate) fn turned(self, degrees: u16) -> Self {
        if !matches!(degrees, 90 | 180 | 270) {
            return self;
        }
        let mut bytes = Vec::with_capacity(tight_len(self.size));
        for plane in self.planes() {
            turn_plane(plane, degrees, &mut bytes);
        }
        let upright = degrees == 180;
        let (width, height) = (self.size.width, self.size.height);
        Self {
            size: if upright { self.size } else { Size { width: height, height: width } },
            pixel_aspect: if upright { self.pixel_aspect } else { 1.0 / self.pixel_aspect },
            rotation: degrees,
            colour: self.colour,
            pixels: Pixels::Tight(bytes),
        }
    }
}

/// Appends the plane, turned clockwise, without padding.
fn turn_plane(plane: Plane<'_>, degrees: u16, out: &mut Vec<u8>) {
    let (width, height) = (plane.width, plane.height);
    if degrees == 180 {
        for y in (0..height).rev() {
            out.extend(plane.row(y).iter().rev());
        }
        return;
    }
    // Written in strips of a few columns, so that the rows they come from stay in the cache.
    const STRIP: usize = 16;
    let start = out.len();
    out.resize(start + width * height, 0);
    let turned = &mut out[start..];
    for strip in (0..width).step_by(STRIP) {
        let columns = strip..(strip + STRIP).min(width);
        for y in 0..height {
            let row = plane.row(y);
            for x in columns.clone() {
                let to =
                    if degrees == 90 { x * height + height - 1 - y } else { (width - 1 - x) * height + y };
                turned[to] = row[x];
            }
        }
    }
}
