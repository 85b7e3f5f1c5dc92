//! `infer`: the model itself, through ONNX Runtime.

use crate::preprocess::Letterbox;

/// The model's input: 1x3xHxW float, planar, letterboxed. Send it to the inferring thread and back to use it again.
#[derive(Debug)]
pub struct ModelInput {
    /// How its pixels correspond to the source's.
    pub letterbox: Letterbox,
}

/// The model's output as ONNX Runtime left it; not copied.
#[derive(Debug)]
pub struct RawOutput {
    /// How the model's pixels correspond to the source's.
    pub letterbox: Letterbox,
}

/// Why an inference failed.
#[derive(Debug, thiserror::Error)]
#[error("inference failed: {0}")]
pub struct InferError(String);

/// A loaded model.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// Runs the model once. Blocks; CPU work.
    ///
    /// # Errors
    /// What ONNX Runtime says.
    pub fn run(&mut self, input: &ModelInput) -> Result<RawOutput, InferError> {
        Ok(RawOutput { letterbox: input.letterbox })
    }
}
