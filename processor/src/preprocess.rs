//! `preprocess`: I420 to the model's letterboxed planar float input, in one pass.
//!
//! A pixel is converted as OpenCV's `COLOR_YUV2RGB_I420` does it (each chroma sample stands for its 2x2 pixels, values
//! below black count as black, the result is rounded to 8 bits: what detectors were trained on), but with the matrix and
//! range that the frame's header names. Where the picture has to be scaled, it is scaled bilinearly afterwards, with
//! pixel centres at half-integers, as `cv2.resize` does.
//!
//! All inner loops run over plain slices of equal length, so that the compiler turns them into SIMD.

use peregrine_proto::{Colour, ColourMatrix, ColourRange, FrameHeader, Size};

use crate::model::{ColourOrder, ModelInfo, Placement, ValueRange};

/// Fills model inputs.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    input: Size,
    colour: ColourOrder,
    placement: Placement,
    pad: f32,
    /// Input value for one of 255 steps.
    step: f32,
}

/// The model's input: 1x3xHxW float, planar, letterboxed. Send it to the inferring thread and back to use it again.
#[derive(Debug)]
pub struct ModelInput {
    size: Size,
    pixels: Vec<f32>,
    letterbox: Letterbox,
    /// Where the picture lies; everything else holds padding.
    picture: Option<Area>,
    scratch: Scratch,
}

/// How source pixels and model pixels correspond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    /// Where the picture begins in the model's input: left and top in model pixels.
    pub offset: [f64; 2],
    /// Source pixels per model pixel along x and y.
    pub source_per_model: [f64; 2],
}

/// Why a frame cannot be preprocessed: the frame is to be skipped as malformed.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PreprocessError {
    /// The pixels are too few or too many.
    #[error("the frame has {found} bytes of pixels, {wanted} were announced")]
    Length {
        /// Bytes there.
        found: usize,
        /// Bytes that the header implies.
        wanted: usize,
    },
    /// The entry that closes a file.
    #[error("the frame only says that its source ended: it has no picture")]
    NoPicture,
    /// An input of another model.
    #[error("the input was made for a model of {found}, not {wanted}")]
    OtherModel {
        /// The input's size.
        found: Size,
        /// The model's.
        wanted: Size,
    },
}

impl Preprocessor {
    /// The preprocessing that a model needs.
    pub fn new(info: &ModelInfo) -> Self {
        let step = match info.range {
            ValueRange::Unit => 1.0 / 255.0,
            ValueRange::Byte => 1.0,
        };
        Self {
            input: info.input,
            colour: info.colour,
            placement: info.placement,
            pad: f32::from(info.pad) * step,
            step,
        }
    }

    /// A new input: memory for one picture, to be used again and again.
    pub fn new_input(&self) -> ModelInput {
        ModelInput::new(self.input, self.pad)
    }

    /// Puts a frame's picture into `input`.
    ///
    /// # Errors
    /// When header and bytes do not agree.
    pub fn run(
        &self,
        header: &FrameHeader,
        i420: &[u8],
        input: &mut ModelInput,
    ) -> Result<(), PreprocessError> {
        let wanted = header.data_len();
        let analysed = header.analysed;
        if header.end || analysed.width == 0 || analysed.height == 0 {
            return Err(PreprocessError::NoPicture);
        }
        if i420.len() != wanted {
            return Err(PreprocessError::Length { found: i420.len(), wanted });
        }
        if input.size != self.input {
            return Err(PreprocessError::OtherModel { found: input.size, wanted: self.input });
        }
        let area = self.place(analysed);
        if input.picture != Some(area) {
            input.pixels.fill(self.pad);
            input.picture = Some(area);
        }
        input.letterbox = Letterbox {
            offset: [area.left as f64, area.top as f64],
            source_per_model: [
                f64::from(analysed.width) / area.width as f64 * header.scale[0],
                f64::from(analysed.height) / area.height as f64 * header.scale[1],
            ],
        };
        let picture = Planes::of(analysed, i420);
        let to_rgb = ToRgb::new(header.colour);
        let ModelInput { pixels, scratch, .. } = input;
        let canvas = Canvas::new(pixels, self.input, self.colour, area);
        if (area.width, area.height) == (picture.width, picture.height) {
            convert(picture, &to_rgb, self.step, canvas, scratch);
        } else {
            convert_and_scale(picture, &to_rgb, self.step, canvas, scratch);
        }
        Ok(())
    }

    /// Where a picture of this size goes: as large as fits, aspect kept. Both placements round as their models' own
    /// code does: YOLOX rounds the size down, Ultralytics to the nearest, and its left and top margins down.
    fn place(&self, picture: Size) -> Area {
        let (width, height) = (f64::from(picture.width), f64::from(picture.height));
        let scale = (f64::from(self.input.width) / width).min(f64::from(self.input.height) / height);
        let round = |exact: f64, most: u32| {
            let side = match self.placement {
                Placement::Centre => exact.round(),
                // An exact ratio may come out a hair below the whole number that it is.
                Placement::TopLeft => (exact + 1e-6).floor(),
            };
            (side as usize).clamp(1, most as usize)
        };
        let width = round(width * scale, self.input.width);
        let height = round(height * scale, self.input.height);
        let (left, top) = match self.placement {
            Placement::Centre => {
                ((self.input.width as usize - width) / 2, (self.input.height as usize - height) / 2)
            }
            Placement::TopLeft => (0, 0),
        };
        Area { left, top, width, height }
    }
}

impl ModelInput {
    /// An input full of padding.
    pub(crate) fn new(size: Size, pad: f32) -> Self {
        let len = 3 * size.width as usize * size.height as usize;
        let letterbox = Letterbox { offset: [0.0; 2], source_per_model: [1.0; 2] };
        Self { size, pixels: vec![pad; len], letterbox, picture: None, scratch: Scratch::default() }
    }

    /// How its pixels correspond to the source's.
    pub fn letterbox(&self) -> Letterbox {
        self.letterbox
    }

    /// Three planes, row by row.
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// 1, 3, height, width.
    pub(crate) fn shape(&self) -> [usize; 4] {
        [1, 3, self.size.height as usize, self.size.width as usize]
    }
}

impl Letterbox {
    /// A box from model pixels to source pixels.
    pub fn to_source(&self, xyxy: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| {
            let axis = i % 2;
            ((f64::from(xyxy[i]) - self.offset[axis]) * self.source_per_model[axis]) as f32
        })
    }
}

/// A rectangle of the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Area {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// The three planes of an I420 picture.
#[derive(Clone, Copy)]
struct Planes<'a> {
    width: usize,
    height: usize,
    y: &'a [u8],
    u: &'a [u8],
    v: &'a [u8],
}

impl<'a> Planes<'a> {
    /// `bytes` has exactly the length of such a picture.
    fn of(size: Size, bytes: &'a [u8]) -> Self {
        let (width, height) = (size.width as usize, size.height as usize);
        let (y, chroma) = bytes.split_at(width * height);
        let (u, v) = chroma.split_at(chroma.len() / 2);
        Self { width, height, y, u, v }
    }

    fn luma(&self, row: usize) -> &'a [u8] {
        &self.y[row * self.width..][..self.width]
    }

    fn chroma(&self, row: usize) -> (&'a [u8], &'a [u8]) {
        let width = self.width.div_ceil(2);
        (&self.u[row * width..][..width], &self.v[row * width..][..width])
    }
}

/// The part of the model's input that the picture covers: red, green and blue planes, whatever their order.
struct Canvas<'a> {
    red: &'a mut [f32],
    green: &'a mut [f32],
    blue: &'a mut [f32],
    stride: usize,
    area: Area,
}

impl<'a> Canvas<'a> {
    fn new(pixels: &'a mut [f32], size: Size, order: ColourOrder, area: Area) -> Self {
        let plane = size.width as usize * size.height as usize;
        let (first, rest) = pixels.split_at_mut(plane);
        let (green, last) = rest.split_at_mut(plane);
        let (red, blue) = match order {
            ColourOrder::Rgb => (first, last),
            ColourOrder::Bgr => (last, first),
        };
        Self { red, green, blue, stride: size.width as usize, area }
    }

    fn row(&mut self, row: usize) -> [&mut [f32]; 3] {
        let start = (self.area.top + row) * self.stride + self.area.left;
        let row = start..start + self.area.width;
        [&mut self.red[row.clone()], &mut self.green[row.clone()], &mut self.blue[row]]
    }
}

/// Rows in the making; kept between frames.
#[derive(Debug, Default)]
struct Scratch {
    /// What chroma adds to red, green and blue, for each pixel of a row.
    chroma: Rows,
    /// A converted row.
    rgb: Rows,
    /// The two scaled rows between which an output row lies.
    above: Rows,
    below: Rows,
    /// For each output column: the left one of its two pixels, and how much of the right one to take.
    columns: Vec<(usize, f32)>,
}

/// A row each of red, green and blue.
#[derive(Debug, Default)]
struct Rows([Vec<f32>; 3]);

impl Rows {
    fn resize(&mut self, width: usize) {
        self.0.iter_mut().for_each(|row| row.resize(width, 0.0));
    }

    fn get(&self) -> [&[f32]; 3] {
        self.0.each_ref().map(Vec::as_slice)
    }

    fn get_mut(&mut self) -> [&mut [f32]; 3] {
        self.0.each_mut().map(Vec::as_mut_slice)
    }
}

/// The linear map from YUV to RGB.
struct ToRgb {
    black: u8,
    luma: f32,
    red_v: f32,
    green_u: f32,
    green_v: f32,
    blue_u: f32,
}

impl ToRgb {
    /// From the luma coefficients of ITU-R BT.601, BT.709 and BT.2020.
    fn new(colour: Colour) -> Self {
        let (red, blue) = match colour.matrix {
            ColourMatrix::Bt601 => (0.299, 0.114),
            ColourMatrix::Bt709 => (0.2126, 0.0722),
            ColourMatrix::Bt2020 => (0.2627, 0.0593),
        };
        let green = 1.0 - red - blue;
        let (black, luma, chroma) = match colour.range {
            ColourRange::Limited => (16, 255.0 / 219.0, 255.0 / 224.0),
            ColourRange::Full => (0, 1.0, 1.0),
        };
        let (red_v, blue_u) = (2.0 * (1.0 - red) * chroma, 2.0 * (1.0 - blue) * chroma);
        Self { black, luma, red_v, green_u: -blue_u * blue / green, green_v: -red_v * red / green, blue_u }
    }

    /// What a row of chroma adds to the two rows of pixels that share it.
    fn chroma_row(&self, (u, v): (&[u8], &[u8]), [red, green, blue]: [&mut [f32]; 3]) {
        let width = u.len();
        let (red, _) = red.as_chunks_mut::<2>();
        let (green, _) = green.as_chunks_mut::<2>();
        let (blue, _) = blue.as_chunks_mut::<2>();
        let (v, red, green, blue) = (&v[..width], &mut red[..width], &mut green[..width], &mut blue[..width]);
        for i in 0..width {
            let (u, v) = (f32::from(u[i]) - 128.0, f32::from(v[i]) - 128.0);
            red[i] = [self.red_v * v; 2];
            green[i] = [self.green_u * u + self.green_v * v; 2];
            blue[i] = [self.blue_u * u; 2];
        }
    }

    /// A row of pixels: rounded to 8 bits, then times `step`.
    fn row(&self, luma: &[u8], chroma: [&[f32]; 3], step: f32, out: [&mut [f32]; 3]) {
        for (chroma, out) in chroma.into_iter().zip(out) {
            add_row(luma, self.black, self.luma, chroma, step, out);
        }
    }
}

fn add_row(luma: &[u8], black: u8, gain: f32, chroma: &[f32], step: f32, out: &mut [f32]) {
    let width = out.len();
    let (luma, chroma) = (&luma[..width], &chroma[..width]);
    for i in 0..width {
        let value = f32::from(luma[i].saturating_sub(black)) * gain + chroma[i];
        out[i] = to_8_bits(value) * step;
    }
}

/// Clamps to 0..=255 and rounds to the nearest whole number, in the few instructions that every SIMD has.
fn to_8_bits(value: f32) -> f32 {
    // Adding 1.5·2²³ leaves no bits for a fraction: the sum is rounded by the addition itself.
    const ROUND: f32 = 12_582_912.0;
    (value.clamp(0.0, 255.0) + ROUND) - ROUND
}

/// The picture at its own size.
fn convert(picture: Planes<'_>, to_rgb: &ToRgb, step: f32, mut canvas: Canvas<'_>, scratch: &mut Scratch) {
    scratch.chroma.resize(2 * picture.width.div_ceil(2));
    for row in 0..picture.height {
        if row % 2 == 0 {
            to_rgb.chroma_row(picture.chroma(row / 2), scratch.chroma.get_mut());
        }
        to_rgb.row(picture.luma(row), scratch.chroma.get(), step, canvas.row(row));
    }
}

/// The picture at the size of the canvas: rows are converted once each and scaled along x, then blended along y.
fn convert_and_scale(
    picture: Planes<'_>,
    to_rgb: &ToRgb,
    step: f32,
    mut canvas: Canvas<'_>,
    scratch: &mut Scratch,
) {
    let Area { width, height, .. } = canvas.area;
    let Scratch { chroma, rgb, above, below, columns } = scratch;
    chroma.resize(2 * picture.width.div_ceil(2));
    rgb.resize(picture.width);
    above.resize(width);
    below.resize(width);
    columns.clear();
    columns.extend((0..width).map(|column| between(column, width, picture.width)));

    let mut fill = |row: usize, into: &mut Rows| {
        to_rgb.chroma_row(picture.chroma(row / 2), chroma.get_mut());
        to_rgb.row(picture.luma(row), chroma.get(), 1.0, rgb.get_mut());
        for (from, into) in rgb.get().into_iter().zip(into.get_mut()) {
            scale_row(from, columns, into);
        }
    };
    let (mut above_is, mut below_is) = (usize::MAX, usize::MAX);
    for row in 0..height {
        let (top, share) = between(row, height, picture.height);
        let bottom = (top + 1).min(picture.height - 1);
        if above_is != top {
            if below_is == top {
                std::mem::swap(above, below);
                below_is = usize::MAX;
            } else {
                fill(top, above);
            }
            above_is = top;
        }
        if below_is != bottom {
            fill(bottom, below);
            below_is = bottom;
        }
        let rows = above.get().into_iter().zip(below.get());
        for ((above, below), out) in rows.zip(canvas.row(row)) {
            blend_rows(above, below, share, step, out);
        }
    }
}

/// Which source pixel lies left of (or above) an output pixel's centre, and how much of its neighbour to take.
fn between(out: usize, out_size: usize, source_size: usize) -> (usize, f32) {
    let centre = (out as f64 + 0.5) * source_size as f64 / out_size as f64 - 0.5;
    let centre = centre.clamp(0.0, (source_size - 1) as f64);
    (centre as usize, centre.fract() as f32)
}

fn scale_row(from: &[f32], columns: &[(usize, f32)], into: &mut [f32]) {
    let last = from.len() - 1;
    for (out, &(left, share)) in into.iter_mut().zip(columns) {
        let (a, b) = (from[left], from[(left + 1).min(last)]);
        *out = a + (b - a) * share;
    }
}

fn blend_rows(above: &[f32], below: &[f32], share: f32, step: f32, out: &mut [f32]) {
    let width = out.len();
    let (above, below) = (&above[..width], &below[..width]);
    for i in 0..width {
        out[i] = to_8_bits(above[i] + (below[i] - above[i]) * share) * step;
    }
}
