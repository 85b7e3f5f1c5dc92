//! A model's sidecar: a small TOML file that says what the ONNX file does not.

use std::path::{Path, PathBuf};

use peregrine_proto::Size;
use serde::{Deserialize, Serialize};

use super::{Head, ModelError};

/// What may be said about a model; whatever is left out comes from the file's metadata, the output's shape, or the
/// customs of the head.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sidecar {
    /// Layout of the output: `yolov5`, `yolov8`, `yolov8-transposed`, `yolox` or `end-to-end`.
    pub head: Option<Head>,
    /// Order of the input's channels: `rgb`, or `bgr` as YOLOX has it.
    pub colour: Option<ColourOrder>,
    /// Scale of the input's values: `unit`, or `byte` as YOLOX has it.
    pub range: Option<ValueRange>,
    /// Where the picture lies in the input: `centre`, or `top-left` as YOLOX has it.
    pub placement: Option<Placement>,
    /// Value around the picture, 0 to 255; 114 where it is not given.
    pub pad: Option<u8>,
    /// Class names by class id.
    pub classes: Option<Vec<String>>,
    /// Width and height of the input, where the graph leaves them open.
    #[serde(deserialize_with = "width_and_height")]
    pub input: Option<Size>,
    /// Name of the output to read, where there are several.
    pub output: Option<String>,
    /// Under which licence the model may be used.
    pub licence: Option<String>,
}

/// Order of the input's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColourOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// Scale of the input's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueRange {
    /// 0 to 1.
    Unit,
    /// 0 to 255.
    Byte,
}

/// Where the picture lies in an input of another shape; the rest is padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// In the middle; an odd rest leaves the wider margin to the right and below.
    Centre,
    /// At the left and at the top.
    TopLeft,
}

/// Where a model's sidecar lies, if it has one.
pub(super) fn beside(model: &Path) -> PathBuf {
    model.with_extension("toml")
}

impl Sidecar {
    /// Reads the named sidecar, or the one beside the model where there is one.
    ///
    /// # Errors
    /// When a named one is missing, or what is there is no sidecar.
    pub fn load(model: &Path, named: Option<&Path>) -> Result<Self, ModelError> {
        let path = named.map_or_else(|| beside(model), Path::to_owned);
        let wrong = |why: String| ModelError::Sidecar { path: path.clone(), why };
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| wrong(error.to_string())),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(error) => Err(wrong(error.to_string())),
        }
    }
}

fn width_and_height<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Size>, D::Error> {
    let [width, height] = <[u32; 2]>::deserialize(from)?;
    Ok(Some(Size { width, height }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let text = r#"
            head = "end-to-end"
            colour = "bgr"
            range = "byte"
            placement = "top-left"
            pad = 0
            classes = ["cup", "spoon"]
            input = [640, 384]
            output = "boxes"
            licence = "MIT"
        "#;
        let found: Sidecar = toml::from_str(text).unwrap();
        let wanted = Sidecar {
            head: Some(Head::EndToEnd),
            colour: Some(ColourOrder::Bgr),
            range: Some(ValueRange::Byte),
            placement: Some(Placement::TopLeft),
            pad: Some(0),
            classes: Some(vec!["cup".into(), "spoon".into()]),
            input: Some(Size { width: 640, height: 384 }),
            output: Some("boxes".into()),
            licence: Some("MIT".into()),
        };
        assert_eq!(found, wanted);
    }

    #[test]
    fn an_unknown_key_or_head_is_refused_with_the_known_ones() {
        let error = toml::from_str::<Sidecar>("hed = \"yolox\"").unwrap_err().to_string();
        assert!(error.contains("hed") && error.contains("`head`"), "{error}");
        let error = toml::from_str::<Sidecar>("head = \"yolo9000\"").unwrap_err().to_string();
        assert!(error.contains("yolo9000") && error.contains("end-to-end"), "{error}");
    }

    #[test]
    fn a_missing_sidecar_matters_only_when_named() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.onnx");
        assert_eq!(Sidecar::load(&model, None).unwrap(), Sidecar::default());
        let error = Sidecar::load(&model, Some(&folder.path().join("n.toml"))).unwrap_err().to_string();
        assert!(error.contains("n.toml"), "{error}");
    }
}
