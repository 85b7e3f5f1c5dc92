//! The detector: an ONNX file, what is known about it, and the three stages that turn a frame into detections.
//!
//! [`Detector`] is three pieces that may live on three threads, so that frame n+1 is preprocessed while frame n
//! is inferred and frame n−1 becomes boxes. [`ModelInput`] and [`RawOutput`] travel between them.

mod coco;
mod head;
mod metadata;
mod runtime;
mod sidecar;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use ort::value::TensorElementType;
use peregrine_proto::{Detection, FrameHeader, Size};
use serde::{Deserialize, Serialize};

pub(crate) use self::head::{grid, strides};
use self::metadata::Metadata;
pub use self::{
    head::Head,
    sidecar::{ColourOrder, Placement, Sidecar, ValueRange},
};
use crate::infer::Simulation;
pub use crate::{
    infer::{Batching, InferError, RawOutput, Session},
    postprocess::{Postprocessor, Wanted},
    preprocess::{Letterbox, ModelInput, PreprocessError, Preprocessor},
};

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
        if let Some(task) = metadata.task.as_deref().filter(|task| *task != "detect") {
            return Err(ModelError::Task { path: path.into(), task: task.into() });
        }
        let input = input_size(path, &loaded, &sidecar, &metadata)?;
        let batch = batch(config, &loaded)?;
        let (mut session, output) = Session::start(loaded, input, sidecar.output.as_deref())
            .map_err(|why| ModelError::WarmUp { path: path.into(), why })?;
        let info = describe(path, input, &output, sidecar, metadata)?;
        let preprocessor = Preprocessor::new(&info);
        let postprocessor =
            Postprocessor::new(&info, output.shape).map_err(|why| ModelError::UnknownHead {
                path: path.into(),
                found: format!("{why}; {}", output.found),
                sidecar: sidecar::beside(path),
            })?;
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
        Ok(Self { preprocessor, session, postprocessor, info: Arc::new(info), inference })
    }

    /// No model: waits so many milliseconds for each frame.
    fn simulated(path: &Path, takes_ms: &str) -> Result<Self, ModelError> {
        let takes_ms = takes_ms.parse().ok().filter(|ms: &u64| *ms <= 60_000);
        let takes_ms = takes_ms.ok_or_else(|| ModelError::Simulated { path: path.into() })?;
        tracing::warn!(takes_ms, "inference is SIMULATED: no model runs, what is detected means nothing");
        let info = ModelInfo {
            name: "simulated".into(),
            input: Size { width: 416, height: 416 },
            head: Head::EndToEnd,
            classes: coco::names_or_numbers(coco::NAMES.len()),
            colour: ColourOrder::Rgb,
            range: ValueRange::Unit,
            placement: Placement::Centre,
            pad: 114,
            licence: None,
        };
        let postprocessor = Postprocessor::new(&info, Simulation::SHAPE).map_err(|found| {
            ModelError::UnknownHead { path: path.into(), found, sidecar: sidecar::beside(path) }
        })?;
        let inference = Duration::from_millis(takes_ms);
        let session = Session::simulated(Simulation { takes: inference });
        let preprocessor = Preprocessor::new(&info);
        Ok(Self { preprocessor, session, postprocessor, info: Arc::new(info), inference })
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
    #[error(
        "ONNX Runtime does not accept the model {path}: {why}. Export it again, with a lower opset where it asks for one"
    )]
    Graph {
        /// The file.
        path: PathBuf,
        /// What the library says.
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
    #[error(
        "the model {path} takes {found}, but one float input of 1x3xHxW is needed: export it with batch 1 and without \
         half precision"
    )]
    Input {
        /// The file.
        path: PathBuf,
        /// Its inputs.
        found: String,
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
         {sidecar}"
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
    /// Not a detector.
    #[error("{path} was made for the task `{task}`, only `detect` is understood: export a detection model")]
    Task {
        /// The file.
        path: PathBuf,
        /// The task in its metadata.
        task: String,
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

/// Width and height of the input: from the graph, or where it leaves them open from the sidecar or the metadata.
fn input_size(
    path: &Path,
    loaded: &ort::session::Session,
    sidecar: &Sidecar,
    metadata: &Metadata,
) -> Result<Size, ModelError> {
    let found = || {
        let inputs = loaded.inputs().iter().map(|input| format!("{} {}", input.name(), input.dtype()));
        inputs.collect::<Vec<_>>().join(", ")
    };
    let wrong = || ModelError::Input { path: path.into(), found: found() };
    let [only] = loaded.inputs() else { return Err(wrong()) };
    if only.dtype().tensor_type() != Some(TensorElementType::Float32) {
        return Err(wrong());
    }
    let shape = only.dtype().tensor_shape().map(|shape| shape.to_vec());
    let Some([-1 | 1, -1 | 3, height, width]) = shape.as_deref() else { return Err(wrong()) };
    let told = sidecar.input.or(metadata.input);
    let size = match (u32::try_from(*width), u32::try_from(*height), told) {
        (Ok(width), Ok(height), _) => Size { width, height },
        (width, height, Some(told)) => {
            Size { width: width.unwrap_or(told.width), height: height.unwrap_or(told.height) }
        }
        _ => {
            return Err(ModelError::OpenSize {
                path: path.into(),
                found: found(),
                sidecar: sidecar::beside(path),
            });
        }
    };
    if (1..=8192).contains(&size.width) && (1..=8192).contains(&size.height) {
        Ok(size)
    } else {
        Err(wrong())
    }
}

/// Puts together what sidecar, metadata and shape tell.
fn describe(
    path: &Path,
    input: Size,
    output: &crate::infer::OutputFound,
    sidecar: Sidecar,
    metadata: Metadata,
) -> Result<ModelInfo, ModelError> {
    let (names, source_of_names) = match (sidecar.classes, metadata.names) {
        (Some(names), _) => (Some(names), "the sidecar"),
        (None, names) => (names, "the file's metadata"),
    };
    let head = sidecar.head.or_else(|| head::recognise(output.shape, input, metadata.end_to_end));
    let head = head.filter(|head| head.fits(output.shape)).ok_or_else(|| ModelError::UnknownHead {
        path: path.into(),
        found: output.found.clone(),
        sidecar: sidecar::beside(path),
    })?;
    let classes = match (names, head.classes(output.shape)) {
        (Some(names), Some(found)) if names.len() != found => {
            return Err(ModelError::Classes {
                path: path.into(),
                found,
                names: names.len(),
                source_of_names,
                sidecar: sidecar::beside(path),
            });
        }
        (Some(names), _) => names,
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
        classes,
        colour: sidecar.colour.unwrap_or(if as_yolox { ColourOrder::Bgr } else { ColourOrder::Rgb }),
        range: sidecar.range.unwrap_or(if as_yolox { ValueRange::Byte } else { ValueRange::Unit }),
        placement: sidecar.placement.unwrap_or(if as_yolox { Placement::TopLeft } else { Placement::Centre }),
        pad: sidecar.pad.unwrap_or(114),
        licence: sidecar.licence.or(metadata.licence),
    })
}
