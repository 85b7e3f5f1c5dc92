use ffmpeg_next::frame;
use peregrine_proto::{Colour, PIXEL_ASPECTS, Size};

/// A decoded picture: planar YUV 4:2:0, the planes where the decoder put them. Rotation is already applied.
pub struct Picture {
    size: Size,
    colour: Colour,
    pixel_aspect: f32,
    rotation: u16,
    pixels: Pixels,
}

/// How a stored picture becomes the one to be seen: mirrored left to right where it says so, then turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Orientation {
    /// Left and right change places.
    pub(crate) mirrored: bool,
    /// Clockwise: 0, 90, 180 or 270.
    pub(crate) degrees: u16,
}

impl Orientation {
    /// Whether width and height change places.
    pub(crate) fn is_sideways(self) -> bool {
        matches!(self.degrees, 90 | 270)
    }
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

/// Width and height with square pixels: the side along which they are shorter is stretched.
pub(crate) fn shown_size(size: Size, pixel_aspect: f32) -> [f64; 2] {
    let aspect = f64::from(pixel_aspect);
    [f64::from(size.width) * aspect.max(1.0), f64::from(size.height) / aspect.min(1.0)]
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
    pub(crate) fn from_frame(frame: frame::Video, colour: Colour) -> Self {
        let size = Size { width: frame.width(), height: frame.height() };
        Self { size, colour, pixel_aspect: 1.0, rotation: 0, pixels: Pixels::Frame(frame) }
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

    /// The picture with another width of its pixels over their height, where one is given: streams that are squeezed do
    /// not always say so. What no camera has counts as square.
    pub fn with_pixel_aspect(self, pixel_aspect: Option<f32>) -> Self {
        let plausible = |aspect: f32| if PIXEL_ASPECTS.contains(&aspect) { aspect } else { 1.0 };
        Self { pixel_aspect: pixel_aspect.map_or(self.pixel_aspect, plausible), ..self }
    }

    /// Width and height of the picture with square pixels: the side along which they are shorter is stretched.
    pub(crate) fn shown_size(&self) -> [f64; 2] {
        shown_size(self.size, self.pixel_aspect)
    }

    /// Clockwise degrees by which the stored picture was turned, after it was mirrored where it had to be: 0, 90, 180 or
    /// 270.
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

    /// The picture as it is to be seen; as it is where it is stored so.
    pub(crate) fn oriented(self, orientation: Orientation) -> Self {
        if orientation == Orientation::default() {
            return self;
        }
        let mut bytes = Vec::with_capacity(tight_len(self.size));
        for plane in self.planes() {
            orient_plane(plane, orientation, &mut bytes);
        }
        let sideways = orientation.is_sideways();
        let Size { width, height } = self.size;
        Self {
            size: if sideways { Size { width: height, height: width } } else { self.size },
            pixel_aspect: if sideways { 1.0 / self.pixel_aspect } else { self.pixel_aspect },
            rotation: orientation.degrees,
            colour: self.colour,
            pixels: Pixels::Tight(bytes),
        }
    }
}

/// Appends the plane, mirrored and turned, without padding.
fn orient_plane(plane: Plane<'_>, Orientation { mirrored, degrees }: Orientation, out: &mut Vec<u8>) {
    let (width, height) = (plane.width, plane.height);
    if !matches!(degrees, 90 | 270) {
        let upside_down = degrees == 180;
        for y in 0..height {
            let row = plane.row(if upside_down { height - 1 - y } else { y });
            // Turned by 180 degrees a row runs backwards, and mirrored forwards again.
            if mirrored == upside_down { out.extend(row) } else { out.extend(row.iter().rev()) }
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
                let column = if mirrored { width - 1 - x } else { x };
                let to = if degrees == 90 {
                    column * height + height - 1 - y
                } else {
                    (width - 1 - column) * height + y
                };
                turned[to] = row[x];
            }
        }
    }
}
