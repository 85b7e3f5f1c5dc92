//! `infer`: the model itself, through ONNX Runtime.

use std::{
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ort::value::{DynValue, TensorElementType, TensorRef};
use peregrine_proto::Size;

use crate::preprocess::{Letterbox, ModelInput};

/// A batch of one more step must be this much faster a frame to be worth its latency.
const WORTH: f64 = 0.95;
/// No batch is chosen that takes longer: its first frame waits for its last.
const LONGEST_BATCH: Duration = Duration::from_millis(250);
/// No larger batch is tried.
const LARGEST_BATCH: usize = 32;

/// A loaded model.
#[derive(Debug)]
pub struct Session {
    backend: Backend,
    batching: Batching,
    /// Memory for the pictures of a batch, side by side.
    batch: Vec<f32>,
}

/// How frames are put together for one call of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// At most so many.
    pub frames: usize,
    /// How long to wait for the second one where others are on their way: as long as going together saves.
    pub wait: Duration,
}

impl Batching {
    /// One frame a call.
    pub const NONE: Self = Self { frames: 1, wait: Duration::ZERO };
}

/// What runs the model.
#[derive(Debug)]
enum Backend {
    OnnxRuntime { session: ort::session::Session, output: usize },
    Simulated(Simulation),
}

/// The model's output as ONNX Runtime left it; not copied.
#[derive(Debug)]
pub struct RawOutput {
    letterbox: Letterbox,
    value: Values,
}

#[derive(Debug)]
enum Values {
    /// The value of a whole batch, and which frame of it.
    OnnxRuntime(Arc<DynValue>, usize),
    Simulated([f32; 6]),
}

/// Why an inference failed.
#[derive(Debug, thiserror::Error)]
#[error("inference failed: {0}")]
pub struct InferError(String);

/// An output of the model, as the first run found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub name: String,
    /// Its sides; none where it is no tensor.
    pub shape: Vec<usize>,
    /// The type of its values; none where it is no tensor.
    pub kind: Option<TensorElementType>,
}

impl Output {
    /// Batch, rows, columns, where detections can be read from it at all.
    pub(crate) fn candidates(&self) -> Option<[usize; 3]> {
        self.is_float().then(|| self.shape.as_slice().try_into().ok()).flatten()
    }

    /// Whether its values are of the type that is read.
    pub(crate) fn is_float(&self) -> bool {
        self.kind == Some(TensorElementType::Float32)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        let kind = self.kind.map_or("no tensor".to_owned(), |kind| kind.to_string());
        write!(f, "output `{}` is {} {kind}", self.name, sides.join("x"))
    }
}

impl Session {
    /// Runs the model on an empty picture to see what comes out. The first output is read until [`Self::read`] says otherwise.
    pub(crate) fn start(
        mut session: ort::session::Session,
        input: Size,
    ) -> Result<(Self, Vec<Output>), InferError> {
        let blank = ModelInput::new(input, 0.5);
        let outputs = run(&mut session, blank.shape(), blank.pixels())?;
        let found = outputs.iter().map(|(name, value)| {
            let dtype = value.dtype();
            let shape = dtype.tensor_shape().map_or_else(Vec::new, |shape| {
                shape.iter().map(|side| usize::try_from(*side).unwrap_or(0)).collect()
            });
            Output { name: name.to_owned(), shape, kind: dtype.tensor_type() }
        });
        let found = found.collect();
        drop(outputs);
        Ok((Self::of(Backend::OnnxRuntime { session, output: 0 }), found))
    }

    /// Says which output is read.
    pub(crate) fn read(&mut self, index: usize) {
        if let Backend::OnnxRuntime { output, .. } = &mut self.backend {
            *output = index;
        }
    }

    /// No model at all: see [`Simulation`].
    pub(crate) fn simulated(simulation: Simulation) -> Self {
        Self::of(Backend::Simulated(simulation))
    }

    fn of(backend: Backend) -> Self {
        Self { backend, batching: Batching::NONE, batch: Vec::new() }
    }

    /// How frames are put together for one call.
    pub fn batching(&self) -> Batching {
        self.batching
    }

    /// Measures batches of `blank`, twice as large each, as long as a frame gets cheaper by it; or takes `fixed`. For models
    /// that take any batch.
    ///
    /// # Errors
    /// What ONNX Runtime says to a single frame, or to the fixed batch.
    pub(crate) fn choose_batch(
        &mut self,
        blank: &ModelInput,
        fixed: Option<usize>,
    ) -> Result<(), InferError> {
        let alone = self.time_of(blank, 1)?;
        let mut frames = 1;
        match fixed {
            Some(fixed) => {
                self.time_of(blank, fixed)?;
                frames = fixed;
            }
            None => {
                let mut each = alone.as_secs_f64();
                // A larger batch may be more than the graph or the memory allows: the last that worked stands.
                while frames < LARGEST_BATCH
                    && let Ok(took) = self.time_of(blank, 2 * frames)
                    && took < LONGEST_BATCH
                    && took.as_secs_f64() / ((2 * frames) as f64) < WORTH * each
                {
                    frames *= 2;
                    each = took.as_secs_f64() / frames as f64;
                }
            }
        }
        let wait = match frames {
            1 => Duration::ZERO,
            _ => (2 * alone).saturating_sub(self.time_of(blank, 2)?),
        };
        self.batching = Batching { frames, wait };
        Ok(())
    }

    /// The median of three runs, after one that allocates.
    fn time_of(&mut self, blank: &ModelInput, frames: usize) -> Result<Duration, InferError> {
        let inputs = vec![blank; frames];
        self.run_batch(&inputs)?;
        let mut times = [Duration::ZERO; 3];
        for time in &mut times {
            let started = Instant::now();
            self.run_batch(&inputs)?;
            *time = started.elapsed();
        }
        times.sort_unstable();
        Ok(times[1])
    }

    /// Runs the model once, on one frame. Blocks; CPU work.
    ///
    /// # Errors
    /// What ONNX Runtime says.
    pub fn run(&mut self, input: &ModelInput) -> Result<RawOutput, InferError> {
        self.run_batch(&[input])?.pop().ok_or_else(|| InferError("the model gave no output".into()))
    }

    /// Runs the model once, on as many frames as [`Batching`] allows: an output for each, in their order. With several, the
    /// last bits of an output may differ from those of a frame alone: ONNX Runtime chooses other kernels. Blocks; CPU work.
    ///
    /// # Errors
    /// What ONNX Runtime says.
    pub fn run_batch(&mut self, inputs: &[&ModelInput]) -> Result<Vec<RawOutput>, InferError> {
        let output = |input: &ModelInput, value| RawOutput { letterbox: input.letterbox(), value };
        match &mut self.backend {
            Backend::OnnxRuntime { session, output: index } => {
                let Some(first) = inputs.first() else { return Ok(Vec::new()) };
                let mut shape = first.shape();
                shape[0] = inputs.len();
                let outputs = match inputs {
                    [only] => run(session, shape, only.pixels())?,
                    _ => {
                        self.batch.clear();
                        inputs.iter().for_each(|input| self.batch.extend_from_slice(input.pixels()));
                        run(session, shape, &self.batch)?
                    }
                };
                let value = outputs.into_iter().nth(*index);
                let (_, value) = value.ok_or_else(|| InferError("the model gave no output".into()))?;
                let value = Arc::new(value);
                let of = |(at, input): (usize, &&ModelInput)| {
                    output(input, Values::OnnxRuntime(Arc::clone(&value), at))
                };
                Ok(inputs.iter().enumerate().map(of).collect())
            }
            Backend::Simulated(simulation) => {
                let of = |input: &&ModelInput| output(input, Values::Simulated(simulation.run(input)));
                Ok(inputs.iter().map(of).collect())
            }
        }
    }
}

/// Waits instead of computing: for tests of everything around a model, and for measuring how replicas scale on a
/// machine that could not run so many models. One object is "seen", where the brightness of the picture puts it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Simulation {
    /// How long one frame takes.
    pub(crate) takes: Duration,
}

impl Simulation {
    /// Its output: one row of left, top, right, bottom, score, class.
    pub(crate) const SHAPE: [usize; 3] = [1, 1, 6];

    fn run(self, input: &ModelInput) -> [f32; 6] {
        thread::sleep(self.takes);
        let [_, _, height, width] = input.shape().map(|side| side as f32);
        let pixels = input.pixels().iter().step_by(61);
        let mean = pixels.clone().sum::<f32>() / pixels.len() as f32;
        let (left, top) = (0.6 * mean * width, 0.4 * height);
        [left, top, left + 0.2 * width, top + 0.4 * height, 0.9, 0.0]
    }
}

fn run<'s>(
    session: &'s mut ort::session::Session,
    shape: [usize; 4],
    pixels: &[f32],
) -> Result<ort::session::SessionOutputs<'s>, InferError> {
    let failed = |error: ort::Error| InferError(error.message().to_owned());
    let tensor = TensorRef::from_array_view((shape, pixels)).map_err(failed)?;
    session.run(ort::inputs![tensor]).map_err(failed)
}

impl RawOutput {
    /// How the model's pixels correspond to the source's.
    pub fn letterbox(&self) -> Letterbox {
        self.letterbox
    }

    /// The values of this frame, row by row, if there are as many as `shape` (1, rows, columns) has.
    pub(crate) fn values(&self, shape: [usize; 3]) -> Result<&[f32], InferError> {
        let (value, at) = match &self.value {
            Values::OnnxRuntime(value, at) => (value, *at),
            Values::Simulated(values) => return Ok(values),
        };
        let (found, values) =
            value.try_extract_tensor::<f32>().map_err(|error| InferError(error.message().to_owned()))?;
        let wrong = || InferError(format!("the output's shape became {found} from {shape:?}"));
        let sides: Vec<usize> = found.iter().map(|side| usize::try_from(*side).unwrap_or(0)).collect();
        let [_, rows, columns] = shape;
        let [_, found_rows, found_columns] = sides[..] else { return Err(wrong()) };
        if [found_rows, found_columns] != [rows, columns] {
            return Err(wrong());
        }
        values.get(at * rows * columns..(at + 1) * rows * columns).ok_or_else(wrong)
    }
}
