//! The detector: an ONNX file, what is known about it, and the three stages that turn a frame into detections.
//!
//! [`Detector`] is three pieces that may live on three threads, so that frame n+1 is preprocessed while frame n
//! is inferred and frame n−1 becomes boxes. [`ModelInput`] and [`RawOutput`] travel between them.

use std::{path::PathBuf, sync::Arc};

use peregrine_proto::Size;
use serde::{Deserialize, Serialize};

pub use crate::{
    infer::{InferError, ModelInput, RawOutput, Session},
    postprocess::{Postprocessor, Wanted},
    preprocess::{Letterbox, PreprocessError, Preprocessor},
};

/// Which model to run and how: the `[model]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The ONNX file.
    pub path: PathBuf,
    /// Its sidecar; `<model>.toml` beside the file where it is not given and exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<PathBuf>,
    /// Threads that one inference may use; 0 for one a core.
    pub threads: u16,
    /// What runs the model.
    pub provider: Provider,
    /// ONNX Runtime's shared library; `ORT_DYLIB_PATH` where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<PathBuf>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self { path: PathBuf::new(), sidecar: None, threads: 2, provider: Provider::Cpu, library: None }
    }
}

/// Execution providers of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// ONNX Runtime's own kernels.
    #[default]
    Cpu,
    /// Intel OpenVINO.
    OpenVino,
    /// NVIDIA CUDA.
    Cuda,
    /// NVIDIA TensorRT.
    TensorRt,
}

/// What is known about a model: from its sidecar, its metadata, or the shape of its output, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// The file's name without `.onnx`: what cameras and announcements call the model.
    pub name: String,
    /// Width and height of its input in pixels.
    pub input: Size,
    /// Class names by class id.
    pub classes: Vec<String>,
}

/// A model, ready to run.
#[derive(Debug)]
pub struct Detector {
    /// I420 to the model's input. Cheap to clone.
    pub preprocessor: Preprocessor,
    /// The model itself.
    pub session: Session,
    /// The model's output to detections. Cheap to clone.
    pub postprocessor: Postprocessor,
    info: Arc<ModelInfo>,
}

/// Why a model cannot be used; each message names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {}

impl Detector {
    /// Loads ONNX Runtime and the model, finds out its head, and runs it once to warm up. Takes a second or so:
    /// not for an async thread.
    ///
    /// # Errors
    /// When the library or the file cannot be loaded, or the model is none that is understood.
    pub fn open(config: &ModelConfig) -> Result<Self, ModelError> {
        let _ = config;
        let info = Arc::new(ModelInfo {
            name: String::new(),
            input: Size { width: 416, height: 416 },
            classes: Vec::new(),
        });
        Ok(Self { preprocessor: Preprocessor {}, session: Session {}, postprocessor: Postprocessor {}, info })
    }

    /// What is known about the model.
    pub fn info(&self) -> &Arc<ModelInfo> {
        &self.info
    }
}
