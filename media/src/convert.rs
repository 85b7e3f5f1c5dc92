use ffmpeg_next::{
    color, ffi, format,
    format::Pixel,
    frame,
    software::scaling::{self, flag::Flags},
};
use peregrine_proto::{Colour, ColourMatrix, ColourRange};

use crate::Picture;

/// Makes pictures of decoded frames: as they are where they are 4:2:0 already, through swscale otherwise.
#[derive(Default)]
pub(crate) struct Converter {
    scaler: Option<Scaler>,
}

struct Scaler {
    context: scaling::Context,
    colour: Colour,
}

// SAFETY: swscale's context is plain memory owned by this value alone; libswscale keeps no thread-local state.
#[allow(unsafe_code)]
unsafe impl Send for Scaler {}

impl Converter {
    /// The picture of a frame.
    ///
    /// # Errors
    /// When libav cannot convert the frame's pixel format.
    pub(crate) fn picture(&mut self, frame: frame::Video) -> Result<Picture, ffmpeg_next::Error> {
        let colour = colour_of(&frame);
        if is_plain(&frame) {
            return Ok(Picture::from_frame(frame, colour));
        }
        let scaler = match &mut self.scaler {
            Some(scaler) if scaler.takes(&frame, colour) => scaler,
            stale => stale.insert(Scaler::new(&frame, colour)?),
        };
        let mut converted = frame::Video::empty();
        scaler.context.run(&frame, &mut converted)?;
        Ok(Picture::from_frame(converted, colour))
    }
}

impl Scaler {
    fn new(frame: &frame::Video, colour: Colour) -> Result<Self, ffmpeg_next::Error> {
        let (width, height) = (frame.width(), frame.height());
        let flags = Flags::BILINEAR | Flags::ACCURATE_RND | Flags::FULL_CHR_H_INP;
        let mut context =
            scaling::Context::get(frame.format(), width, height, Pixel::YUV420P, width, height, flags)?;
        let full = i32::from(colour.range == ColourRange::Full);
        let matrix = match colour.matrix {
            // Nothing here makes a colour of a later release.
            ColourMatrix::Bt601 | ColourMatrix::Other(_) => ffi::SWS_CS_ITU601,
            ColourMatrix::Bt709 => ffi::SWS_CS_ITU709,
            ColourMatrix::Bt2020 => ffi::SWS_CS_BT2020,
        };
        // RGB is always full; YUV keeps its range and matrix, only its sampling changes.
        let source_full = if is_rgb(frame.format()) { 1 } else { full };
        // SAFETY: the context is valid and owned here, and the coefficient tables are static in libswscale.
        #[allow(unsafe_code)]
        unsafe {
            let table = ffi::sws_getCoefficients(matrix);
            let one = 1 << 16;
            ffi::sws_setColorspaceDetails(context.as_mut_ptr(), table, source_full, table, full, 0, one, one);
        }
        Ok(Self { context, colour })
    }

    fn takes(&self, frame: &frame::Video, colour: Colour) -> bool {
        let input = self.context.input();
        self.colour == colour
            && (input.format, input.width, input.height) == (frame.format(), frame.width(), frame.height())
    }
}

/// Whether the planes can be used where they lie.
fn is_plain(frame: &frame::Video) -> bool {
    let rows_run_down = || {
        // SAFETY: the frame is valid; reading its line sizes as the signed numbers they are.
        #[allow(unsafe_code)]
        let sizes = unsafe { (*frame.as_ptr()).linesize };
        sizes[..3].iter().all(|size| *size > 0)
    };
    matches!(frame.format(), Pixel::YUV420P | Pixel::YUVJ420P) && rows_run_down()
}

fn is_rgb(pixel: Pixel) -> bool {
    // SAFETY: libav returns a pointer to a static table, or null for a format it does not know.
    #[allow(unsafe_code)]
    let descriptor = unsafe { ffi::av_pix_fmt_desc_get(pixel.into()).as_ref() };
    descriptor.is_some_and(|found| {
        found.flags & u64::from(ffi::AV_PIX_FMT_FLAG_RGB as u32 | ffi::AV_PIX_FMT_FLAG_PAL as u32) != 0
    })
}

/// Matrix and range as the stream says, or as is usual where it says nothing: BT.601 below 720 rows, BT.709 from there on;
/// limited range. RGB becomes BT.601 limited.
fn colour_of(frame: &frame::Video) -> Colour {
    if is_rgb(frame.format()) {
        return Colour { matrix: ColourMatrix::Bt601, range: ColourRange::Limited };
    }
    use color::Space;
    let matrix = match frame.color_space() {
        Space::BT709 | Space::SMPTE240M => ColourMatrix::Bt709,
        Space::BT470BG | Space::SMPTE170M | Space::FCC => ColourMatrix::Bt601,
        Space::BT2020NCL | Space::BT2020CL => ColourMatrix::Bt2020,
        _ if frame.height() >= 720 => ColourMatrix::Bt709,
        _ => ColourMatrix::Bt601,
    };
    use format::Pixel::{YUVJ411P, YUVJ420P, YUVJ422P, YUVJ440P, YUVJ444P};
    let full_format = matches!(frame.format(), YUVJ411P | YUVJ420P | YUVJ422P | YUVJ440P | YUVJ444P);
    let full = full_format || frame.color_range() == color::Range::JPEG;
    Colour { matrix, range: if full { ColourRange::Full } else { ColourRange::Limited } }
}
