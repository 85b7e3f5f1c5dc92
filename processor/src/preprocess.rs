//! `preprocess`: I420 to the model's letterboxed planar float input, in one pass.
//!
//! A pixel is converted as OpenCV's `COLOR_YUV2RGB_I420` does it: each chroma sample stands for its 2x2 pixels, values
//! below black count as black, and the result has 8 bits, as the pictures that detectors were trained on; but with the
//! matrix and range that the frame's header names. Where the picture has to be scaled, that happens next, as
//! `cv2.resize` does it: bilinear, pixel centres at half-integers. Both in the same fixed-point arithmetic as OpenCV's,
//! so that a model gets the very input that a Python program would give it: quantised models turn a last bit into
//! another box.
//!
//! All inner loops but one run over plain slices of equal length, so that the compiler turns them into SIMD.

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
        let area = self.place(shown_size(header));
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

    /// Where a picture of this width and height goes: as large as fits, aspect kept. Both placements round as their models'
    /// own code does: YOLOX rounds the size down, Ultralytics to the nearest, and its left and top margins down.
    fn place(&self, [width, height]: [f64; 2]) -> Area {
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

/// Width and height of the picture in its true shape: the analysed size, with the side stretched along which its pixels
/// are shorter. Analysed sizes are whole and even numbers: what deviates by no more than that counts as square.
fn shown_size(header: &FrameHeader) -> [f64; 2] {
    let FrameHeader { analysed, scale: [x, y], .. } = header;
    let (width, height) = (f64::from(analysed.width), f64::from(analysed.height));
    let aspect = f64::from(header.picture().pixel_aspect) * x / y;
    let rounding = 1.0 / width + 1.0 / height;
    if (aspect - 1.0).abs() <= rounding {
        return [width, height];
    }
    [width * aspect.max(1.0), height / aspect.min(1.0)]
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
    /// Luma of a row of pixels, times its gain.
    luma: Vec<i32>,
    /// What chroma adds to red, green and blue, for each pixel of a row.
    chroma: Rows,
    /// A converted row.
    rgb: Rows,
    /// The two scaled rows between which an output row lies.
    above: Rows,
    below: Rows,
    /// For each output column, its two pixels.
    columns: Vec<Blend>,
}

/// A row each of red, green and blue.
#[derive(Debug, Default)]
struct Rows([Vec<i32>; 3]);

impl Rows {
    fn resize(&mut self, width: usize) {
        self.0.iter_mut().for_each(|row| row.resize(width, 0));
    }

    fn get(&self) -> [&[i32]; 3] {
        self.0.each_ref().map(Vec::as_slice)
    }

    fn get_mut(&mut self) -> [&mut [i32]; 3] {
        self.0.each_mut().map(Vec::as_mut_slice)
    }
}

/// The linear map from YUV to RGB, in fixed point.
struct ToRgb {
    black: u8,
    luma: i32,
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

impl ToRgb {
    /// Bits behind the point. The largest sum, full luma and chroma, stays below 2³⁰.
    const BITS: u32 = 20;

    /// From the luma coefficients of ITU-R BT.601, BT.709 and BT.2020.
    fn new(colour: Colour) -> Self {
        let (red, blue) = match colour.matrix {
            // The codec refuses colours of later releases.
            ColourMatrix::Bt601 | ColourMatrix::Other(_) => (0.299, 0.114),
            ColourMatrix::Bt709 => (0.2126, 0.0722),
            ColourMatrix::Bt2020 => (0.2627, 0.0593),
        };
        let green = 1.0 - red - blue;
        let (black, luma, chroma) = match colour.range {
            ColourRange::Limited | ColourRange::Other(_) => (16, 255.0 / 219.0, 255.0 / 224.0),
            ColourRange::Full => (0, 1.0, 1.0),
        };
        let (red_v, blue_u) = (2.0 * (1.0 - red) * chroma, 2.0 * (1.0 - blue) * chroma);
        let fixed = |exact: f64| (exact * f64::from(1 << Self::BITS)).round() as i32;
        match colour {
            // The usual case to the last bit as OpenCV has it, which rounds the factors to three decimals.
            Colour { matrix: ColourMatrix::Bt601, range: ColourRange::Limited } => Self {
                black,
                luma: fixed(1.164),
                red_v: fixed(1.596),
                green_u: fixed(-0.391),
                green_v: fixed(-0.813),
                blue_u: fixed(2.018),
            },
            _ => Self {
                black,
                luma: fixed(luma),
                red_v: fixed(red_v),
                green_u: fixed(-blue_u * blue / green),
                green_v: fixed(-red_v * red / green),
                blue_u: fixed(blue_u),
            },
        }
    }

    /// What a row of chroma adds to the two rows of pixels that share it, rounding included.
    fn chroma_row(&self, (u, v): (&[u8], &[u8]), [red, green, blue]: [&mut [i32]; 3]) {
        const HALF: i32 = 1 << (ToRgb::BITS - 1);
        let width = u.len();
        let (red, _) = red.as_chunks_mut::<2>();
        let (green, _) = green.as_chunks_mut::<2>();
        let (blue, _) = blue.as_chunks_mut::<2>();
        let (v, red, green, blue) = (&v[..width], &mut red[..width], &mut green[..width], &mut blue[..width]);
        for i in 0..width {
            let (u, v) = (i32::from(u[i]) - 128, i32::from(v[i]) - 128);
            red[i] = [HALF + self.red_v * v; 2];
            green[i] = [HALF + self.green_u * u + self.green_v * v; 2];
            blue[i] = [HALF + self.blue_u * u; 2];
        }
    }

    fn luma_row(&self, y: &[u8], luma: &mut [i32]) {
        for (y, luma) in y.iter().zip(luma) {
            *luma = i32::from(y.saturating_sub(self.black)) * self.luma;
        }
    }
}

/// The picture at its own size.
fn convert(picture: Planes<'_>, to_rgb: &ToRgb, step: f32, mut canvas: Canvas<'_>, scratch: &mut Scratch) {
    let Scratch { luma, chroma, .. } = scratch;
    luma.resize(picture.width, 0);
    chroma.resize(2 * picture.width.div_ceil(2));
    for row in 0..picture.height {
        if row % 2 == 0 {
            to_rgb.chroma_row(picture.chroma(row / 2), chroma.get_mut());
        }
        to_rgb.luma_row(picture.luma(row), luma);
        for (chroma, out) in chroma.get().into_iter().zip(canvas.row(row)) {
            add_rows(luma, chroma, out, |value| value as f32 * step);
        }
    }
}

/// Luma and chroma as an 8-bit value, written as `finish` makes it.
fn add_rows<T>(luma: &[i32], chroma: &[i32], out: &mut [T], finish: impl Fn(i32) -> T) {
    let width = out.len();
    let (luma, chroma) = (&luma[..width], &chroma[..width]);
    for i in 0..width {
        out[i] = finish(((luma[i] + chroma[i]) >> ToRgb::BITS).clamp(0, 255));
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
    let Scratch { luma, chroma, rgb, above, below, columns } = scratch;
    luma.resize(picture.width, 0);
    chroma.resize(2 * picture.width.div_ceil(2));
    rgb.resize(picture.width);
    above.resize(width);
    below.resize(width);
    columns.clear();
    columns.extend((0..width).map(|column| Blend::within(column, width, picture.width)));

    let mut fill = |row: usize, into: &mut Rows| {
        to_rgb.chroma_row(picture.chroma(row / 2), chroma.get_mut());
        to_rgb.luma_row(picture.luma(row), luma);
        for ((chroma, rgb), into) in chroma.get().into_iter().zip(rgb.get_mut()).zip(into.get_mut()) {
            add_rows(luma, chroma, rgb, |value| value);
            scale_row(rgb, columns, into);
        }
    };
    let (mut above_is, mut below_is) = (None, None);
    for row in 0..height {
        let blend = Blend::new(row, height, picture.height);
        if above_is != Some(blend.first) && below_is == Some(blend.first) {
            std::mem::swap(above, below);
            std::mem::swap(&mut above_is, &mut below_is);
        }
        if above_is != Some(blend.first) {
            fill(blend.first, above);
            above_is = Some(blend.first);
        }
        if below_is != Some(blend.second) {
            fill(blend.second, below);
            below_is = Some(blend.second);
        }
        let rows = above.get().into_iter().zip(below.get());
        for ((above, below), out) in rows.zip(canvas.row(row)) {
            blend_rows(above, below, blend.shares, step, out);
        }
    }
}

/// The two source pixels between which an output pixel's centre lies, and their shares in 2048ths.
#[derive(Debug, Clone, Copy)]
struct Blend {
    first: usize,
    second: usize,
    shares: [i32; 2],
}

impl Blend {
    const ONE: f32 = 2048.0;

    fn new(out: usize, out_size: usize, source_size: usize) -> Self {
        // In single precision from here on, as OpenCV.
        let scale = 1.0 / (out_size as f64 / source_size as f64);
        let centre = ((out as f64 + 0.5) * scale - 0.5) as f32;
        let floor = centre.floor();
        let share = centre - floor;
        let shares = [1.0 - share, share].map(|share| (share * Self::ONE).round_ties_even() as i32);
        let pixel = |index: f32| (index.max(0.0) as usize).min(source_size - 1);
        Self { first: pixel(floor), second: pixel(floor + 1.0), shares }
    }

    /// As [`Self::new`], but beyond the centres of the first and last pixels these count alone.
    fn within(out: usize, out_size: usize, source_size: usize) -> Self {
        let blend = Self::new(out, out_size, source_size);
        if blend.first == blend.second { Self { shares: [Self::ONE as i32, 0], ..blend } } else { blend }
    }
}

fn scale_row(from: &[i32], columns: &[Blend], into: &mut [i32]) {
    for (out, &Blend { first, second, shares }) in into.iter_mut().zip(columns) {
        *out = from[first] * shares[0] + from[second] * shares[1];
    }
}

fn blend_rows(above: &[i32], below: &[i32], shares: [i32; 2], step: f32, out: &mut [f32]) {
    let width = out.len();
    let (above, below) = (&above[..width], &below[..width]);
    for i in 0..width {
        // OpenCV drops low bits early so that 16-bit multiplications do.
        let share = |row: &[i32], share: i32| ((row[i] >> 4) * share) >> 16;
        let sum = share(above, shares[0]) + share(below, shares[1]);
        out[i] = ((sum + 2) >> 2) as f32 * step;
    }
}
