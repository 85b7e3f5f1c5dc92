use peregrine_proto::{Colour, ColourMatrix, ColourRange, Size};
use turbojpeg::{Compressor, Subsamp, YuvPlanesImage};

use crate::{Picture, Plane, Resizer, picture::plane_sizes};

/// Encodes pictures as JPEG straight from their YUV; keeps its buffers between frames.
pub struct Jpeg {
    compressor: Compressor,
    resizer: Resizer,
    small: Vec<u8>,
    converted: Vec<u8>,
}

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
        let size = Size { width: 0, height: 0 };
        let compressor = Compressor::new().map_err(|error| JpegError { size, why: error.to_string() })?;
        Ok(Self { compressor, resizer: Resizer::smooth(), small: Vec::new(), converted: Vec::new() })
    }

    /// Encodes the picture in its true shape, at most `max_width` pixels wide, quality 1 to 100. It is never enlarged, but
    /// that pixels which are not square are stretched along their shorter side.
    ///
    /// # Errors
    /// When the picture is larger than JPEG can hold.
    pub fn encode(
        &mut self,
        picture: &Picture,
        max_width: u32,
        quality: u8,
    ) -> Result<JpegPicture, JpegError> {
        let size = viewing_size(picture, max_width);
        let error = |why: String| JpegError { size, why };
        let mut planes = picture.planes();
        if size != picture.size() {
            self.resizer.resize(picture, size, &mut self.small).map_err(|e| error(e.to_string()))?;
            planes = split(&self.small, size);
        }
        let even = Size { width: size.width.next_multiple_of(2), height: size.height.next_multiple_of(2) };
        // The encoder reads whole 2x2 blocks.
        if picture.colour() != JPEG || even != size {
            Change::to_jpeg(picture.colour()).apply(planes, &mut self.converted);
            planes = split(&self.converted, even);
        }
        let [y, u, v] = planes;
        let image = YuvPlanesImage {
            y_plane: y.data,
            u_plane: u.data,
            v_plane: v.data,
            width: size.width as usize,
            height: size.height as usize,
            y_stride: y.stride,
            u_stride: u.stride,
            v_stride: v.stride,
            subsamp: Subsamp::Sub2x2,
        };
        let quality = i32::from(quality.clamp(1, 100));
        self.compressor.set_quality(quality).map_err(|e| error(e.to_string()))?;
        let bytes =
            self.compressor.compress_yuv_planes_to_owned(&image).map_err(|e| error(e.to_string()))?.to_vec();
        Ok(JpegPicture { size, bytes })
    }
}

/// The source's size where it is narrow enough and its pixels are square, else an even size of the true shape.
fn viewing_size(picture: &Picture, max_width: u32) -> Size {
    let most = max_width.max(16);
    let [width, height] = picture.shown_size();
    if picture.pixel_aspect() == 1.0 && width <= f64::from(most) {
        return picture.size();
    }
    let scale = (f64::from(most & !1) / width).min(1.0);
    let even = |exact: f64| (2.0 * (exact / 2.0).round()).max(2.0) as u32;
    Size { width: even(width * scale), height: even(height * scale) }
}

fn split(bytes: &[u8], size: Size) -> [Plane<'_>; 3] {
    let mut rest = bytes;
    plane_sizes(size).map(|(width, height)| {
        let (data, after) = rest.split_at(width * height);
        rest = after;
        Plane { data, stride: width, width, height }
    })
}

/// What JPEG (JFIF) means by YUV, whatever the video means.
const JPEG: Colour = Colour { matrix: ColourMatrix::Bt601, range: ColourRange::Full };

/// A linear change of YUV.
/// Fixed-point numbers with 16 bits after the point.
struct Change {
    luma_zero: i32,
    luma: i32,
    /// What U and V add to Y, U and V.
    chroma: [[i32; 2]; 3],
}

impl Change {
    /// From this colour to JPEG's.
    fn to_jpeg(colour: Colour) -> Self {
        let (red, blue) = match colour.matrix {
            // Nothing here makes a colour of a later release.
            ColourMatrix::Bt601 | ColourMatrix::Other(_) => (0.299, 0.114),
            ColourMatrix::Bt709 => (0.2126, 0.0722),
            ColourMatrix::Bt2020 => (0.2627, 0.0593),
        };
        let green = 1.0 - red - blue;
        // What U and V (each from -1/2 to 1/2) add to R, G and B in the video's matrix …
        let r = [0.0, 2.0 * (1.0 - red)];
        let b = [2.0 * (1.0 - blue), 0.0];
        let g = [-2.0 * blue * (1.0 - blue) / green, -2.0 * red * (1.0 - red) / green];
        // … and from there to Y, U and V in JPEG's.
        let y = [0, 1].map(|i| 0.299 * r[i] + 0.587 * g[i] + 0.114 * b[i]);
        let u = [0, 1].map(|i| (b[i] - y[i]) / 1.772);
        let v = [0, 1].map(|i| (r[i] - y[i]) / 1.402);
        let (luma_zero, luma, chroma) = match colour.range {
            ColourRange::Full => (0, 1.0, 1.0),
            ColourRange::Limited | ColourRange::Other(_) => (16, 255.0 / 219.0, 255.0 / 224.0),
        };
        let fixed = |value: f64| (value * 65_536.0).round() as i32;
        Self {
            luma_zero,
            luma: fixed(luma),
            chroma: [y, u, v].map(|row| row.map(|value| fixed(value * chroma))),
        }
    }

    /// Writes the changed planes one after another, the luma's last column and row repeated where its size is odd.
    fn apply(&self, [y, u, v]: [Plane<'_>; 3], out: &mut Vec<u8>) {
        const HALF: i32 = 1 << 15;
        let (width, height) = (2 * u.width, 2 * u.height);
        out.resize(width * height * 3 / 2, 0);
        let (luma, chroma) = out.split_at_mut(width * height);
        let (u_out, v_out) = chroma.split_at_mut(u.width * u.height);
        let rows = luma.chunks_mut(2 * width).zip(u_out.chunks_mut(u.width)).zip(v_out.chunks_mut(u.width));
        // What chroma adds to the luma of the pixels around it.
        let mut added = vec![0_i32; u.width];
        for (row, ((luma, u_out), v_out)) in rows.enumerate() {
            for (i, (u, v)) in u.row(row).iter().zip(v.row(row)).enumerate() {
                let (u, v) = (i32::from(*u) - 128, i32::from(*v) - 128);
                let of = |weights: [i32; 2]| weights[0] * u + weights[1] * v;
                let centred = (128 << 16) + HALF;
                added[i] = of(self.chroma[0]) + HALF - self.luma_zero * self.luma;
                u_out[i] = ((of(self.chroma[1]) + centred) >> 16).clamp(0, 255) as u8;
                v_out[i] = ((of(self.chroma[2]) + centred) >> 16).clamp(0, 255) as u8;
            }
            for (dy, out) in luma.chunks_mut(width).enumerate() {
                let source = y.row((2 * row + dy).min(y.height - 1));
                for ((out, source), added) in out.chunks_mut(2).zip(source.chunks(2)).zip(&added) {
                    let of = |value: u8| ((i32::from(value) * self.luma + added) >> 16).clamp(0, 255) as u8;
                    out[0] = of(source[0]);
                    out[1] = of(source[source.len() - 1]);
                }
            }
        }
    }
}
