//! The model's input: one picture.

use std::path::Path;

use ort::{
    session::Session,
    value::{Outlet, TensorElementType},
};
use peregrine_proto::Size;

use super::{ModelError, Sidecar, metadata::Metadata, sidecar};

/// Width and height of the input: from the graph, or where it leaves them open from the sidecar or the metadata.
pub(super) fn size(
    path: &Path,
    loaded: &Session,
    sidecar: &Sidecar,
    metadata: &Metadata,
) -> Result<Size, ModelError> {
    let inputs = loaded.inputs();
    let found = || {
        let inputs = inputs.iter().map(|input| format!("{} {}", input.name(), input.dtype()));
        inputs.collect::<Vec<_>>().join(", ")
    };
    let wrong = |why: String| ModelError::Input { path: path.into(), found: found(), why };
    let [width, height] = sides(inputs).map_err(wrong)?;
    let told = sidecar.input.or(metadata.input);
    let size = match (u32::try_from(width), u32::try_from(height), told) {
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
        Err(wrong(format!("a picture of {size} is none of 1x1 to 8192x8192: correct the size")))
    }
}

/// Width and height of the one picture that the model takes, -1 where they are open; or why it cannot be given one.
fn sides(inputs: &[Outlet]) -> Result<[i64; 2], String> {
    let [picture] = inputs else {
        let [_, more @ ..] = inputs else { return Err("it takes no input at all: export it again".into()) };
        let more: Vec<String> = more.iter().map(|input| format!("`{}`", input.name())).collect();
        return Err(format!(
            "it wants {} beside the picture, which is not given: export it with the picture as its only input, without the \
             part of the graph that brings boxes to the size of a source picture",
            more.join(" and ")
        ));
    };
    match picture.dtype().tensor_type() {
        Some(TensorElementType::Float32) => {}
        Some(TensorElementType::Float16 | TensorElementType::Bfloat16) => {
            return Err(
                "its input is of half precision: export it with float32 inputs and outputs, without `half`"
                    .into(),
            );
        }
        Some(TensorElementType::Uint8 | TensorElementType::Int8) => {
            return Err("it takes bytes: export it with a float32 input, without quantising the input or \
                        preprocessing in the graph"
                .into());
        }
        _ => return Err("its input is of another type: export it with a float32 input".into()),
    }
    let shape = picture.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
    match shape[..] {
        [_, channels, _, 1 | 3] if !matches!(channels, 1 | 3) => {
            Err("its channels come last (NHWC, as TensorFlow has it): export it with channels first (NCHW); \
                                 tf2onnx does so with `--inputs-as-nchw`"
                .into())
        }
        [-1 | 1, -1 | 3, height, width] => Ok([width, height]),
        [batch, -1 | 3, ..] if batch > 1 && shape.len() == 4 => Err(format!(
            "it takes exactly {batch} pictures a call: export it with a batch of 1, or with an open (dynamic) one"
        )),
        [_, channels, _, _] => Err(format!(
            "it takes pictures of {channels} channels: export a model for colour pictures (RGB or BGR)"
        )),
        _ => Err(format!(
            "its input has {} dimensions: export a model that takes a batch of pictures",
            shape.len()
        )),
    }
}
