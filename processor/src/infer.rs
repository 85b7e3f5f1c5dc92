//! `infer`: the model itself, through ONNX Runtime.

use std::{thread, time::Duration};

use ort::value::{DynValue, TensorElementType, TensorRef};
use peregrine_proto::Size;

use crate::preprocess::{Letterbox, ModelInput};

/// A loaded model.
#[derive(Debug)]
pub struct Session(Backend);

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
    OnnxRuntime(DynValue),
    Simulated([f32; 6]),
}

/// Why an inference failed.
#[derive(Debug, thiserror::Error)]
#[error("inference failed: {0}")]
pub struct InferError(String);

/// The output that detections are read from, as the first run found it.
#[derive(Debug)]
pub(crate) struct OutputFound {
    /// Batch (always 1), rows, columns; zeros where no output is of that kind.
    pub shape: [usize; 3],
    /// All outputs, for people.
    pub found: String,
}

impl Session {
    /// Runs the model on an empty picture to see what comes out. `named` chooses among several outputs; without it,
    /// the first float output of rank 3 is read.
    pub(crate) fn start(
        mut session: ort::session::Session,
        input: Size,
        named: Option<&str>,
    ) -> Result<(Self, OutputFound), InferError> {
        let blank = ModelInput::new(input, 0.5);
        let outputs = run(&mut session, &blank)?;
        let mut chosen = None;
        let mut found = Vec::new();
        for (index, (name, value)) in outputs.iter().enumerate() {
            let dtype = value.dtype();
            let shape: Vec<usize> = dtype.tensor_shape().map_or_else(Vec::new, |shape| {
                shape.iter().map(|side| usize::try_from(*side).unwrap_or(0)).collect()
            });
            let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
            let kind = dtype.tensor_type().map_or("no tensor".to_owned(), |kind| kind.to_string());
            found.push(format!("output `{name}` is {} {kind}", sides.join("x")));
            let readable = dtype.tensor_type() == Some(TensorElementType::Float32);
            if let (None, true, &[batch, rows, columns]) = (&chosen, readable, &shape[..])
                && named.is_none_or(|named| named == name)
            {
                chosen = Some((index, [batch, rows, columns]));
            }
        }
        drop(outputs);
        let (output, shape) = chosen.unwrap_or((0, [0; 3]));
        Ok((Self(Backend::OnnxRuntime { session, output }), OutputFound { shape, found: found.join(", ") }))
    }

    /// No model at all: see [`Simulation`].
    pub(crate) fn simulated(simulation: Simulation) -> Self {
        Self(Backend::Simulated(simulation))
    }

    /// Runs the model once. Blocks; CPU work.
    ///
    /// # Errors
    /// What ONNX Runtime says.
    pub fn run(&mut self, input: &ModelInput) -> Result<RawOutput, InferError> {
        let value = match &mut self.0 {
            Backend::OnnxRuntime { session, output } => {
                let value = run(session, input)?.into_iter().nth(*output);
                let (_, value) = value.ok_or_else(|| InferError("the model gave no output".into()))?;
                Values::OnnxRuntime(value)
            }
            Backend::Simulated(simulation) => Values::Simulated(simulation.run(input)),
        };
        Ok(RawOutput { letterbox: input.letterbox(), value })
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
    input: &ModelInput,
) -> Result<ort::session::SessionOutputs<'s>, InferError> {
    let failed = |error: ort::Error| InferError(error.message().to_owned());
    let tensor = TensorRef::from_array_view((input.shape(), input.pixels())).map_err(failed)?;
    session.run(ort::inputs![tensor]).map_err(failed)
}

impl RawOutput {
    /// How the model's pixels correspond to the source's.
    pub fn letterbox(&self) -> Letterbox {
        self.letterbox
    }

    /// The values, row by row, if there are as many as `shape` has.
    pub(crate) fn values(&self, shape: [usize; 3]) -> Result<&[f32], InferError> {
        let value = match &self.value {
            Values::OnnxRuntime(value) => value,
            Values::Simulated(values) => return Ok(values),
        };
        let (found, values) =
            value.try_extract_tensor::<f32>().map_err(|error| InferError(error.message().to_owned()))?;
        let same = found.iter().map(|side| usize::try_from(*side).unwrap_or(0)).eq(shape);
        if same {
            Ok(values)
        } else {
            Err(InferError(format!("the output's shape became {found} from {shape:?}")))
        }
    }
}
