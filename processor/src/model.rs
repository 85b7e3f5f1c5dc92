//! The detector: an ONNX file, what is known about it, and the three stages that turn a frame into detections.
//!
//! [`Detector`] is three pieces that may live on three threads, so that frame n+1 is preprocessed while frame n
//! is inferred and frame n−1 becomes boxes. [`ModelInput`] and [`RawOutput`] travel between them.

mod coco;
mod error;
mod head;
mod input;
mod metadata;
mod outputs;
mod runtime;
mod sidecar;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use peregrine_proto::{Detection, FrameHeader, Size};
use serde::{Deserialize, Serialize};

pub(crate) use self::head::{grid, strides};
pub use self::{
    error::ModelError,
    head::Head,
    sidecar::{ColourOrder, Placement, Sidecar, ValueRange},
};
use self::{
    metadata::{Metadata, UnusableNames},
    outputs::{Chosen, Known},
};
use crate::infer::Simulation;
pub use crate::{
    infer::{Batching, InferError, RawOutput, Session},
    postprocess::{Postprocessor, Wanted},
    preprocess::{Letterbox, ModelInput, PreprocessError, Preprocessor},
};

/// The last layer of Ultralytics' RT-DETR, as its metadata says; it gives centre and size as shares of the picture.
const HEAD_OF_SHARES: &str = "RTDETRDecoder";
/// What a path begins with where no model is to run.
const SIMULATED: &str = "simulated:";

/// Which model to run and how: the `[model]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The ONNX file; or `simulated:40`, which runs no model and waits 40 ms for each frame: for tests and measurements.
    pub path: PathBuf,
    /// Its sidecar; `<model>.toml` beside the file where it is not given and exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<PathBuf>,
    /// Threads that one inference may use; 0 for one a core.
    pub threads: u16,
    /// Most frames in one call of the model, 1 to 32; 0 for what is fastest, measured at start. Only for models whose batch
    /// is open, all others take one.
    pub batch: u16,
    /// What runs the model.
    pub provider: Provider,
    /// ONNX Runtime's shared library; `ORT_DYLIB_PATH` where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<PathBuf>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            sidecar: None,
            threads: 2,
            batch: 0,
            provider: Provider::Cpu,
            library: None,
        }
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

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::OpenVino => "openvino",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        })
    }
}

/// What is known about a model: from its sidecar, its metadata, or the shape of its output, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// The file's name without `.onnx`: what cameras and announcements call the model.
    pub name: String,
    /// Width and height of its input in pixels.
    pub input: Size,
    /// Layout of its output.
    pub head: Head,
    /// Other outputs that could be read as well, for people; empty where it is clear which is meant.
    pub rivals: Vec<String>,
    /// Class names by class id.
    pub classes: Vec<String>,
    /// Order of the input's channels.
    pub colour: ColourOrder,
    /// Scale of the input's values.
    pub range: ValueRange,
    /// Where the picture lies in the input.
    pub placement: Placement,
    /// Value of the input around the picture, 0 to 255 whatever the range.
    pub pad: u8,
    /// Under which licence the model may be used, where that is known.
    pub licence: Option<String>,
}

/// One is read, one waits for that, one is made.
const OUTPUTS_AT_ONCE: usize = 3;

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
    inference: Duration,
}

impl Detector {
    /// Loads ONNX Runtime and the model, finds out its head, and runs it once to warm up. Takes a second or so:
    /// not for an async thread.
    ///
    /// # Errors
    /// When the library or the file cannot be loaded, or the model is none that is understood.
    pub fn open(config: &ModelConfig) -> Result<Self, ModelError> {
        let path = config.path.as_path();
        if let Some(takes_ms) = path.to_str().and_then(|path| path.strip_prefix(SIMULATED)) {
            return Self::simulated(path, takes_ms);
        }
        check_file(path)?;
        let sidecar = Sidecar::load(path, config.sidecar.as_deref())?;
        let loaded = runtime::load(config)?;
        let metadata = Metadata::read(&loaded)?;
        if let Some(task) = metadata.task.clone().filter(|task| task != "detect") {
            return Err(ModelError::Task { path: path.into(), task, evidence: String::new() });
        }
        if let Some(head) = metadata.head.clone().filter(|head| head == HEAD_OF_SHARES) {
            return Err(ModelError::Shares { path: path.into(), head });
        }
        let input = input::size(path, &loaded, &sidecar, &metadata)?;
        let batch = batch(config, &loaded)?;
        let (mut session, outputs) =
            Session::start(loaded, input).map_err(|why| ModelError::WarmUp { path: path.into(), why })?;
        let classes = names(path, &sidecar, &metadata)?;
        let chosen = outputs::choose(
            &outputs,
            Known {
                path,
                input,
                output: sidecar.output.as_deref(),
                head: sidecar.head,
                classes: classes.as_ref().map(|classes| classes.names.len()),
                end_to_end: metadata.end_to_end,
            },
        )?;
        session.read(chosen.index);
        let info = Arc::new(describe(path, input, &chosen, classes, sidecar, metadata)?);
        let preprocessor = Preprocessor::new(&info);
        let unknown = |why| ModelError::UnknownHead {
            path: path.into(),
            found: format!("{why}; {}", outputs[chosen.index]),
            sidecar: sidecar::beside(path),
        };
        let postprocessor = Postprocessor::new(&info, chosen.shape).map_err(unknown)?;
        let blank = preprocessor.new_input();
        let failed = |why| ModelError::WarmUp { path: path.into(), why };
        // Outputs that are there at the same time take memory; taken now, it does not grow when the first burst comes.
        let mut outputs = Vec::with_capacity(OUTPUTS_AT_ONCE);
        let mut inference = Duration::ZERO;
        while outputs.len() < OUTPUTS_AT_ONCE {
            // The last run allocates least: it is as fast as every later one.
            let started = Instant::now();
            outputs.push(session.run(&blank).map_err(failed)?);
            inference = started.elapsed();
        }
        drop(outputs);
        if batch != Some(1) {
            session.choose_batch(&blank, batch).map_err(failed)?;
        }
        Ok(Self { preprocessor, session, postprocessor, info, inference })
    }

    /// No model: waits so many milliseconds for each frame.
    fn simulated(path: &Path, takes_ms: &str) -> Result<Self, ModelError> {
        let takes_ms = takes_ms.parse().ok().filter(|ms: &u64| *ms <= 60_000);
        let takes_ms = takes_ms.ok_or_else(|| ModelError::Simulated { path: path.into() })?;
        tracing::warn!(takes_ms, "inference is SIMULATED: no model runs, what is detected means nothing");
        let info = Arc::new(ModelInfo {
            name: "simulated".into(),
            input: Size { width: 416, height: 416 },
            head: Head::EndToEnd,
            rivals: Vec::new(),
            classes: coco::names_or_numbers(coco::NAMES.len()),
            colour: ColourOrder::Rgb,
            range: ValueRange::Unit,
            placement: Placement::Centre,
            pad: 114,
            licence: None,
        });
        let postprocessor = Postprocessor::new(&info, Simulation::SHAPE).map_err(|found| {
            ModelError::UnknownHead { path: path.into(), found, sidecar: sidecar::beside(path) }
        })?;
        let inference = Duration::from_millis(takes_ms);
        let session = Session::simulated(Simulation { takes: inference });
        let preprocessor = Preprocessor::new(&info);
        Ok(Self { preprocessor, session, postprocessor, info, inference })
    }

    /// What is known about the model.
    pub fn info(&self) -> &Arc<ModelInfo> {
        &self.info
    }

    /// What one inference took at the start, once warm.
    pub fn inference(&self) -> Duration {
        self.inference
    }

    /// All three stages, one after another, into the given input's memory.
    ///
    /// # Errors
    /// When the frame's header and bytes do not agree, or inference fails.
    pub fn detect(
        &mut self,
        header: &FrameHeader,
        i420: &[u8],
        input: &mut ModelInput,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Detection>, DetectError> {
        self.preprocessor.run(header, i420, input)?;
        let output = self.session.run(input)?;
        Ok(self.postprocessor.run(&output, wanted)?)
    }
}

/// Why a frame has no detections.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The frame makes no sense.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The model failed.
    #[error(transparent)]
    Infer(#[from] InferError),
}

/// The frames of one call: those configured, one where the graph takes no more, none where it is to be measured.
fn batch(config: &ModelConfig, loaded: &ort::session::Session) -> Result<Option<usize>, ModelError> {
    let open = loaded
        .inputs()
        .iter()
        .any(|input| input.dtype().tensor_shape().and_then(|shape| shape.first().copied()) == Some(-1));
    match (usize::from(config.batch), open) {
        (0, true) => Ok(None),
        (0 | 1, _) => Ok(Some(1)),
        (2..=32, true) => Ok(Some(config.batch.into())),
        (wanted, _) => Err(ModelError::Batch { path: config.path.clone(), wanted }),
    }
}

/// Says early and kindly what ONNX Runtime would say late.
fn check_file(path: &Path) -> Result<(), ModelError> {
    use std::io::Read;
    let unreadable = |why: &dyn fmt::Display| ModelError::File { path: path.into(), why: why.to_string() };
    if path.as_os_str().is_empty() {
        return Err(unreadable(&"model.path is not set"));
    }
    if sidecar::beside(path) == path {
        let why = "it is a sidecar, or another TOML file: give the ONNX file that it describes";
        return Err(ModelError::NotOnnx { path: path.into(), why: why.into() });
    }
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    file.take(16).read_to_end(&mut start).map_err(|error| unreadable(&error))?;
    let guess = match start.as_slice() {
        [] => "the file is empty: fetch it again",
        [b'P', b'K', ..] => "it looks like a PyTorch checkpoint: export it to ONNX first",
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' ', ..] => {
            "it looks like a Git LFS pointer: fetch the file itself with `git lfs pull`"
        }
        _ => return Ok(()),
    };
    Err(ModelError::NotOnnx { path: path.into(), why: guess.into() })
}

/// Class names, and who gave them.
struct Names {
    names: Vec<String>,
    source: &'static str,
}

/// The sidecar's class names, or the metadata's.
fn names(path: &Path, sidecar: &Sidecar, metadata: &Metadata) -> Result<Option<Names>, ModelError> {
    if let Some(names) = sidecar.classes.clone() {
        return Ok(Some(Names { names, source: "the sidecar" }));
    }
    match metadata.names.clone() {
        None => Ok(None),
        Some(Ok(names)) => Ok(Some(Names { names, source: "the file's metadata" })),
        Some(Err(UnusableNames { why, found })) => {
            let quoted: Vec<String> = found.iter().map(|name| format!("{name:?}")).collect();
            let example =
                if quoted.is_empty() { "\"person\", \"car\", …".into() } else { quoted.join(", ") };
            Err(ModelError::Names { path: path.into(), why, example, sidecar: sidecar::beside(path) })
        }
    }
}

/// Puts together what sidecar, metadata and shape tell.
fn describe(
    path: &Path,
    input: Size,
    chosen: &Chosen,
    names: Option<Names>,
    sidecar: Sidecar,
    metadata: Metadata,
) -> Result<ModelInfo, ModelError> {
    let head = chosen.head;
    let classes = match (names, head.classes(chosen.shape)) {
        (Some(Names { names, source }), Some(found)) if names.len() != found => {
            return Err(ModelError::Classes {
                path: path.into(),
                found,
                names: names.len(),
                source_of_names: source,
                sidecar: sidecar::beside(path),
            });
        }
        (Some(names), _) => names.names,
        (None, Some(found)) => coco::names_or_numbers(found),
        (None, None) => {
            tracing::warn!(model = %path.display(), "no class names known: taking those of COCO");
            coco::names_or_numbers(coco::NAMES.len())
        }
    };
    let as_yolox = head == Head::YoloX;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(ModelInfo {
        name,
        input,
        head,
        rivals: chosen.rivals.clone(),
        classes,
        colour: sidecar.colour.unwrap_or(if as_yolox { ColourOrder::Bgr } else { ColourOrder::Rgb }),
        range: sidecar.range.unwrap_or(if as_yolox { ValueRange::Byte } else { ValueRange::Unit }),
        placement: sidecar.placement.unwrap_or(if as_yolox { Placement::TopLeft } else { Placement::Centre }),
        pad: sidecar.pad.unwrap_or(114),
        licence: sidecar.licence.or(metadata.licence),
    })
}
