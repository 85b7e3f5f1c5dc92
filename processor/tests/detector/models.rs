//! Models that cannot be used: each is refused with a message that names the file, what was found, and the way out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use peregrine_processor::model::{Detector, Head, ModelConfig, Provider};
use peregrine_proto::Size;

use crate::support;

fn config(model: &Path) -> ModelConfig {
    ModelConfig { path: model.into(), library: Some(support::library()), ..ModelConfig::default() }
}

/// What opening the model says; it says the file's name.
fn refusal(model: &Path) -> String {
    let said = Detector::open(&config(model)).unwrap_err().to_string();
    let name = model.file_name().unwrap().to_str().unwrap();
    assert!(said.contains(name), "{said}");
    said
}

fn assert_says(said: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(said.contains(wanted), "no `{wanted}` in: {said}");
    }
}

#[test]
fn a_missing_model_is_not_named() {
    let said = refusal(Path::new("/nowhere/at/all.onnx"));
    assert_says(&said, &["No such file", "./dev demo"]);
    let said = Detector::open(&ModelConfig::default()).unwrap_err().to_string();
    assert_says(&said, &["model.path is not set"]);
}

#[test]
fn a_file_of_another_kind_is_taken_for_a_model() {
    if support::onnx_runtime().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    assert_says(&refusal(&file("empty.onnx", b"")), &["no whole ONNX model", "empty"]);
    assert_says(
        &refusal(&file("text.onnx", b"hello, this is text\n")),
        &["no whole ONNX model", "fetch or export"],
    );
    assert_says(&refusal(&file("torch.onnx", b"PK\x03\x04rest")), &["PyTorch", "export"]);
    assert_says(&refusal(&file("lfs.onnx", b"version https://git-lfs")), &["git lfs pull"]);
}

#[test]
fn a_truncated_model_is_taken_for_a_whole_one() {
    let (Some(model), Some(())) = (support::small_model("yolov5.onnx"), support::onnx_runtime()) else {
        return;
    };
    let whole = fs::read(model).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.onnx");
    for length in [whole.len() - 1, whole.len() / 2, 100] {
        fs::write(&cut, &whole[..length]).unwrap();
        assert_says(&refusal(&cut), &["fetch or export it again"]);
    }
}

#[test]
fn a_model_that_is_no_detector_is_taken_for_one() {
    let Some(()) = support::onnx_runtime() else { return };
    let Some(model) = support::small_model("unknown_head.onnx") else { return };
    let says = |name: &str, wanted: &[&str]| assert_says(&refusal(&model.with_file_name(name)), wanted);
    says(
        "unknown_head.onnx",
        &["1x10x3", "yolov5", "yolov8", "yolox", "end-to-end", "unknown_head.toml", "head = \"yolov8\""],
    );
    says("flat_input.onnx", &["1x3xHxW"]);
    says("half.onnx", &["half precision", "float32"]);
    says("second_input.onnx", &["`orig_target_sizes` beside the picture", "only input"]);
    says("channels_last.onnx", &["channels come last (NHWC", "--inputs-as-nchw"]);
    says("bytes.onnx", &["takes bytes", "float32 input"]);
    says("batch_of_4.onnx", &["exactly 4 pictures a call", "batch of 1"]);
    says("named_from_1.onnx", &["begin at 1", "classes = [\"car\", \"bus\", \"bike\"]", "named_from_1.toml"]);
    says("masks.onnx", &["`segment`", "1x32x80x80", "prototypes of masks"]);
    says("unknown_operator.onnx", &["EfficientNMS_TRT", "operator that this ONNX Runtime does not know"]);
    for name in ["second_input.onnx", "channels_last.onnx", "bytes.onnx", "batch_of_4.onnx"] {
        let said = refusal(&model.with_file_name(name));
        assert!(!said.contains("half"), "{said}");
    }
    says("open_size.onnx", &["open", "imgsz", "input = [640, 640]", "open_size.toml"]);
    says("segment.onnx", &["segment", "detect"]);
    says("misnamed.onnx", &["3 classes", "2 names", "misnamed.toml"]);
}

#[test]
fn weights_in_a_second_file_are_not_missed() {
    let (Some(model), Some(())) = (support::small_model("external.onnx"), support::onnx_runtime()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (copy, data) = (folder.path().join("external.onnx"), folder.path().join("external.onnx.data"));
    fs::copy(&model, &copy).unwrap();
    let said = refusal(&copy);
    assert_says(&said, &["external.onnx.data is missing", "Fetch or export both together"]);
    assert!(!said.contains("opset"), "{said}");
    let whole = fs::read(model.with_file_name("external.onnx.data")).unwrap();
    fs::write(&data, &whole[..whole.len() / 2]).unwrap();
    assert_says(&refusal(&copy), &["second file", "shorter than the model says"]);
    fs::write(&data, &whole).unwrap();
    Detector::open(&config(&copy)).unwrap();
}

#[test]
fn a_sidecar_does_not_settle_what_the_file_leaves_open() {
    let (Some(model), Some(())) = (support::small_model("transposed_nameless.onnx"), support::onnx_runtime())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (copy, sidecar) = (folder.path().join("m.onnx"), folder.path().join("m.toml"));
    fs::copy(&model, &copy).unwrap();
    fs::write(&sidecar, "head = \"yolov8-transposed\"").unwrap();
    assert_eq!(Detector::open(&config(&copy)).unwrap().info().head, Head::YoloV8Transposed);
    fs::write(&sidecar, "head = \"yolov8\"").unwrap();
    assert_says(&refusal(&copy), &["rows and columns", "exchanged", "yolov8-transposed"]);
    fs::copy(model.with_file_name("named_from_1.onnx"), &copy).unwrap();
    fs::write(&sidecar, "classes = [\"car\", \"bus\", \"bike\"]").unwrap();
    assert_eq!(Detector::open(&config(&copy)).unwrap().info().classes, ["car", "bus", "bike"]);
}

#[test]
fn a_sidecar_is_ignored() {
    let (Some(model), Some(())) = (support::small_model("open_size.onnx"), support::onnx_runtime()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (copy, sidecar) = (folder.path().join("m.onnx"), folder.path().join("m.toml"));
    fs::copy(model, &copy).unwrap();
    fs::write(&sidecar, "head = \"end-to-end\"\ninput = [96, 64]\nclasses = [\"cup\"]\nlicence = \"MIT\"")
        .unwrap();
    let detector = Detector::open(&config(&copy)).unwrap();
    let info = detector.info();
    assert_eq!(info.head, Head::EndToEnd);
    assert_eq!(info.input, Size { width: 96, height: 64 });
    assert_eq!((info.classes.as_slice(), info.licence.as_deref()), (&["cup".to_owned()][..], Some("MIT")));

    fs::write(&sidecar, "head = \"yolox\"\ninput = [96, 64]").unwrap();
    assert_says(&refusal(&copy), &["10 rows are no YOLOX grid of 96x64"]);
    fs::write(&sidecar, "hed = \"yolox\"").unwrap();
    assert_says(&Detector::open(&config(&copy)).unwrap_err().to_string(), &["m.toml", "hed", "head"]);
}

#[test]
fn open_dimensions_are_not_taken_from_the_metadata() {
    let (Some(model), Some(())) = (support::small_model("yolov5_dynamic.onnx"), support::onnx_runtime())
    else {
        return;
    };
    let detector = Detector::open(&config(&model)).unwrap();
    assert_eq!(detector.info().input, Size { width: 320, height: 320 });
    assert_eq!(detector.info().head, Head::YoloV5);
    assert_eq!(detector.info().classes, ["a", "b", "c"]);
}

#[test]
fn a_provider_that_the_library_lacks_falls_back_in_silence() {
    let (Some(model), Some(())) = (support::small_model("yolov5.onnx"), support::onnx_runtime()) else {
        return;
    };
    for (provider, name) in
        [(Provider::Cuda, "cuda"), (Provider::TensorRt, "tensorrt"), (Provider::OpenVino, "openvino")]
    {
        // Only the plain build of the library is at hand here.
        match Detector::open(&ModelConfig { provider, ..config(&model) }) {
            Err(error) => assert_says(&error.to_string(), &[name, "model.provider = \"cpu\""]),
            Ok(_) => panic!("{name} was taken for there"),
        }
    }
}

#[test]
fn a_missing_library_is_not_named() {
    let Some(model) = support::small_model("yolov5.onnx") else { return };
    // Of its own process: the library is loaded once in each.
    let done = Command::new(env!("CARGO_BIN_EXE_processor"))
        .args(["analyze", "--video", "none.avi", "--out", "-", "--model"])
        .arg(model)
        .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
        .output()
        .unwrap();
    assert!(!done.status.success());
    let said = String::from_utf8_lossy(&done.stderr);
    assert_says(&said, &["ONNX Runtime", "/nowhere/libonnxruntime.so", "ORT_DYLIB_PATH", "./dev doctor"]);
}
