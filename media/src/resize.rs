use peregrine_proto::Size;

use crate::Picture;

/// The size at which a picture is analysed by a model: as large as fits its input, aspect kept, never larger than the
/// source, both dimensions even. Rounds as a letterbox does, to the nearest even number.
pub fn fit(source: Size, model_input: Size) -> Size {
    let (w, h) = (f64::from(source.width.max(1)), f64::from(source.height.max(1)));
    let scale = (f64::from(model_input.width) / w).min(f64::from(model_input.height) / h).min(1.0);
    let even = |exact: f64, most: u32| {
        let nearest = 2.0 * (exact / 2.0).round();
        (nearest as u32).min(most & !1).max(2)
    };
    Size {
        width: even(w * scale, model_input.width.min(source.width)),
        height: even(h * scale, model_input.height.min(source.height)),
    }
}

/// Source pixels per analysed pixel along x and y, as the frame header carries them.
pub fn scale(source: Size, analysed: Size) -> [f64; 2] {
    [
        f64::from(source.width) / f64::from(analysed.width.max(1)),
        f64::from(source.height) / f64::from(analysed.height.max(1)),
    ]
}

/// Makes small pictures; keeps its buffers between frames.
#[derive(Default)]
pub struct Resizer {}

/// A picture could not be resized.
#[derive(Debug, thiserror::Error)]
#[error("cannot resize {from} to {to}: {why}")]
pub struct ResizeError {
    from: Size,
    to: Size,
    why: String,
}

impl Resizer {
    /// A resizer without any buffers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes the picture at the given even size into `out` as tight I420, replacing what was there.
    ///
    /// # Errors
    /// When `to` is odd or empty.
    pub fn resize(&mut self, picture: &Picture, to: Size, out: &mut Vec<u8>) -> Result<(), ResizeError> {
        out.clear();
        Err(ResizeError { from: picture.size(), to, why: "not yet".into() })
    }
}
