//! Why a model cannot be used.

use std::path::PathBuf;

use super::{Provider, head};
use crate::infer::InferError;

/// Why a model cannot be used; each message names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// ONNX Runtime itself is missing.
    #[error(
        "ONNX Runtime cannot be loaded from {tried}: {why}. Set ORT_DYLIB_PATH (or model.library) to the \
         libonnxruntime.so of release 1.24 or newer; `./dev doctor` says how to get it"
    )]
    Library {
        /// Where it was looked for.
        tried: String,
        /// What the loader says.
        why: String,
    },
    /// The library was built without this provider, or its drivers are missing.
    #[error(
        "model.provider is {provider}, but the loaded ONNX Runtime cannot use it: {why}. Use a build of the library \
         that has it (ORT_DYLIB_PATH), or model.provider = \"cpu\""
    )]
    Provider {
        /// The one configured.
        provider: Provider,
        /// What the library says.
        why: String,
    },
    /// `simulated:` and no time.
    #[error("{path}: say how many milliseconds a frame takes, 0 to 60000, as in simulated:40")]
    Simulated {
        /// What was given.
        path: PathBuf,
    },
    /// No such file.
    #[error(
        "the model {path} cannot be read: {why}. Set model.path to an ONNX file; `./dev demo` fetches one"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// Not an ONNX file, or only a part of one.
    #[error("{path} is no whole ONNX model: {why}")]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// What it seems to be, and what to do.
        why: String,
    },
    /// ONNX Runtime does not accept the graph.
    #[error("ONNX Runtime does not accept the model {path}: {why}. {remedy}")]
    Graph {
        /// The file.
        path: PathBuf,
        /// What the library says.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The weights lie in another file, which is missing or not whole.
    #[error(
        "the weights of {path} lie in a second file that cannot be read: {why}. Fetch or export both together, and keep the \
         second one beside the model under the name that it had at the export"
    )]
    ExternalData {
        /// The file.
        path: PathBuf,
        /// What is wrong with the second file.
        why: String,
    },
    /// More frames in one call than the graph, or this program, takes.
    #[error(
        "model.batch is {wanted}, but {path} takes one frame a call, and no model more than 32: leave model.batch at 0, or \
         export the model with an open batch"
    )]
    Batch {
        /// The file.
        path: PathBuf,
        /// Frames in one call.
        wanted: usize,
    },
    /// Not one float picture as input.
    #[error("the model {path} takes {found}, but one float32 input of 1x3xHxW is needed: {why}")]
    Input {
        /// The file.
        path: PathBuf,
        /// Its inputs.
        found: String,
        /// What is wrong with them, and what to do.
        why: String,
    },
    /// The input's size is open and nothing tells it.
    #[error(
        "the model {path} leaves the size of its input open ({found}) and has no `imgsz` in its metadata: write \
         `input = [640, 640]` (width, height) into {sidecar}"
    )]
    OpenSize {
        /// The file.
        path: PathBuf,
        /// Its input.
        found: String,
        /// Where the sidecar would lie.
        sidecar: PathBuf,
    },
    /// Nothing known has such an output.
    #[error(
        "the head of {path} is unknown: {found}. Known are {known}. Where it is one of these, say so in {sidecar}, like \
         `head = \"yolov8\"`; for others, export with one of these outputs",
        known = head::KNOWN
    )]
    UnknownHead {
        /// The file.
        path: PathBuf,
        /// The outputs.
        found: String,
        /// Where the sidecar would lie.
        sidecar: PathBuf,
    },
    /// The names do not fit the output.
    #[error(
        "{path} has {found} classes by its output, but {names} names come from {source_of_names}: correct `classes` in \
         {sidecar}; where the names are right, other values follow the scores, such as mask coefficients, key points or an angle: \
         export a model that only detects"
    )]
    Classes {
        /// The file.
        path: PathBuf,
        /// Classes in the output.
        found: usize,
        /// Names given.
        names: usize,
        /// Who gave them.
        source_of_names: &'static str,
        /// Where the sidecar lies.
        sidecar: PathBuf,
    },
    /// The metadata's names are not numbered as classes are, or cannot be read.
    #[error(
        "the class names in the metadata of {path} cannot be used: {why}; write `classes = [{example}]` into {sidecar}"
    )]
    Names {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        why: String,
        /// Names, as the sidecar would have them.
        example: String,
        /// Where the sidecar would lie.
        sidecar: PathBuf,
    },
    /// Not a detector.
    #[error(
        "{path} was made for the task `{task}`{evidence}, only `detect` is understood: export a detection model"
    )]
    Task {
        /// The file.
        path: PathBuf,
        /// The task.
        task: String,
        /// What tells it, where that is not the metadata.
        evidence: String,
    },
    /// Boxes as shares of the picture.
    #[error(
        "{path} was exported with the head `{head}`, whose boxes are shares of the picture and not pixels: export another \
         model"
    )]
    Shares {
        /// The file.
        path: PathBuf,
        /// The head in its metadata.
        head: String,
    },
    /// The sidecar cannot be read.
    #[error("the sidecar {path} cannot be used: {why}")]
    Sidecar {
        /// The sidecar.
        path: PathBuf,
        /// What is wrong in it.
        why: String,
    },
    /// The first inference failed.
    #[error("the model {path} loads but does not run: {why}")]
    WarmUp {
        /// The file.
        path: PathBuf,
        /// What the library says.
        why: InferError,
    },
}
