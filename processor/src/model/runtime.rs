//! Loading ONNX Runtime's shared library and a model with it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ort::{
    environment::Environment,
    ep,
    logging::LogLevel,
    session::{Session, builder::GraphOptimizationLevel, builder::SessionBuilder},
};

use super::{ModelConfig, ModelError, Provider};

/// The one environment of the process; ONNX Runtime allows no second one.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Loads the configured model.
pub(super) fn load(config: &ModelConfig) -> Result<Session, ModelError> {
    let environment = environment(config.library.as_deref())?;
    let mut builder = builder(&environment, config).map_err(|error| ModelError::Library {
        tried: "memory".into(),
        why: format!("it refuses the session's options: {error}"),
    })?;
    if let Some(provider) = provider(config) {
        builder = builder.with_execution_providers([provider.error_on_failure()]).map_err(|error| {
            ModelError::Provider { provider: config.provider, why: first_line(error.message()) }
        })?;
    }
    let path = &config.path;
    builder.commit_from_file(path).map_err(|error| refused(path, &first_line(error.message())))
}

/// Why ONNX Runtime does not load a model, by what it says.
fn refused(path: &Path, why: &str) -> ModelError {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    let path = path.to_owned();
    if says(&["rotobuf parsing failed", "INVALID_PROTOBUF"]) {
        let why = format!("{why}. It may be cut off or of another kind: fetch or export it again");
        return ModelError::NotOnnx { path, why };
    }
    // Of several releases: the file's name stands in quotes, or is followed by what the system said.
    if says(&["External data path", "External initializer", "external data", "GetFileLength for"]) {
        let why = match why.split('"').nth(1).filter(|_| why.contains("does not exist")) {
            Some(missing) => format!("{missing} is missing"),
            None if says(&["out of bounds", "can not be read in full"]) => {
                format!("it is shorter than the model says ({why})")
            }
            None => why.to_owned(),
        };
        return ModelError::ExternalData { path, why };
    }
    let remedy = if says(&[
        "is not a registered function/op",
        "No Op registered",
        "No opset import for domain",
    ]) {
        "It has an operator that this ONNX Runtime does not know, such as TensorRT's suppression: export it without that"
    } else if says(&["IR version", "opset"]) {
        "Export it again with a lower opset, or use a newer ONNX Runtime (ORT_DYLIB_PATH)"
    } else {
        "Export it again"
    };
    ModelError::Graph { path, why: why.to_owned(), remedy }
}

/// Loads the library on first use.
fn environment(library: Option<&Path>) -> Result<Environment, ModelError> {
    let mut environment = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(there) = environment.as_ref() {
        return Ok(there.clone());
    }
    let from_system = || {
        PathBuf::from(
            std::env::var_os("ORT_DYLIB_PATH")
                .filter(|path| !path.is_empty())
                .unwrap_or_else(|| "libonnxruntime.so".into()),
        )
    };
    let library = library.map_or_else(from_system, Path::to_owned);
    let failed = |why: String| ModelError::Library { tried: library.display().to_string(), why };
    let made = ort::init_from(&library)
        .map_err(|error| failed(error.to_string()))?
        .with_name("peregrine")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    made.set_log_level(LogLevel::Warning);
    tracing::debug!(library = %library.display(), build = ort::info(), "loaded onnx runtime");
    Ok(environment.insert(made).clone())
}

/// The options of every session.
fn builder(environment: &Environment, config: &ModelConfig) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_log_level(LogLevel::Warning)?
        .with_parallel_execution(false)?
        .with_inter_threads(1)?
        .with_intra_threads(usize::from(config.threads))?
        // Waiting threads that spin take the cores from decoding and tracking: with one busy neighbour an
        // inference took 52 ms with spinning, 31 to 35 ms without.
        .with_inter_op_spinning(false)?
        .with_intra_op_spinning(false)?)
}

fn provider(config: &ModelConfig) -> Option<ep::ExecutionProviderDispatch> {
    match config.provider {
        Provider::Cpu => None,
        Provider::OpenVino => {
            let openvino = ep::OpenVINO::default().with_device_type("CPU");
            let threads = usize::from(config.threads);
            Some(if threads > 0 { openvino.with_num_threads(threads) } else { openvino }.build())
        }
        Provider::Cuda => Some(ep::CUDA::default().build()),
        Provider::TensorRt => Some(ep::TensorRT::default().build()),
    }
}

/// ONNX Runtime's own messages, in our log.
fn log(level: LogLevel, category: &str, _session: &str, place: &str, message: &str) {
    match level {
        LogLevel::Verbose | LogLevel::Info => tracing::trace!(category, place, "{message}"),
        LogLevel::Warning => tracing::debug!(category, place, "{message}"),
        LogLevel::Error | LogLevel::Fatal => tracing::warn!(category, place, "{message}"),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}
