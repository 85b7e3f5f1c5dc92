//! Outputs that are not what they look like: each is told apart, or doubted while it runs; and those that are right never are.

use std::path::Path;

use peregrine_processor::model::{Detector, Head, ModelConfig, ModelInput, Wanted};
use peregrine_proto::{Detection, FrameHeader, Notice, Size};

use crate::support;

const SIZE: Size = Size { width: 320, height: 320 };
/// More than a doubt takes.
const FRAMES: usize = 12;

fn open(model: &Path) -> Detector {
    let library = Some(support::library());
    Detector::open(&ModelConfig { path: model.into(), library, ..ModelConfig::default() }).unwrap()
}

/// The content of a picture.
#[derive(Clone, Copy)]
enum Scene {
    /// Stripes, different for each frame.
    Stripes,
    Black,
    White,
    Noise,
}

impl Scene {
    fn input(self, detector: &Detector, frame: usize) -> ModelInput {
        let header = FrameHeader::of_picture(SIZE, SIZE);
        let value = |at: usize| match self {
            Self::Stripes => 16 + ((at * (7 + frame) + at / 320 * 13) % 219) as u8,
            Self::Black => 16,
            Self::White => 235,
            Self::Noise => ((at + frame * 7919).wrapping_mul(2_654_435_761) >> 13) as u8,
        };
        let i420: Vec<u8> = (0..header.data_len()).map(value).collect();
        let mut input = detector.preprocessor.new_input();
        detector.preprocessor.run(&header, &i420, &mut input).unwrap();
        input
    }
}

/// Detections in so many frames, and the doubts after them, as codes and as sentences.
fn watch(detector: &mut Detector, scene: Scene, frames: usize) -> (Vec<Detection>, Vec<Notice>, Vec<String>) {
    let wanted = Wanted { confidence: 0.02, nms_iou: 0.65, classes: None, source: SIZE };
    let mut detections = Vec::new();
    for frame in 0..frames {
        let input = scene.input(detector, frame);
        let output = detector.session.run(&input).unwrap();
        detections.extend(detector.postprocessor.run(&output, &wanted).unwrap());
    }
    let running = detector.postprocessor.doubts().to_vec();
    (detections, running, detector.postprocessor.conclude())
}

#[test]
fn layout_of_another_head_is_not_doubted() {
    use Notice::{BoxesOutside, BoxesUnderAPixel, ClassesNotWhole, OutputsAmbiguous, ScoresOutOfRange};
    let Some(()) = support::onnx_runtime() else { return };
    for (name, doubt, said) in [
        ("decoded", BoxesOutside, "head = \"yolov5\""),
        ("transposed_nameless", BoxesOutside, "yolov8-transposed"),
        ("candidates", BoxesOutside, "candidates.toml"),
        ("shares", BoxesUnderAPixel, "shares of the picture"),
        ("shares_chosen", BoxesUnderAPixel, "shares of the picture"),
        ("logits", ScoresOutOfRange, "sigmoid"),
        ("pose", ScoresOutOfRange, "key points"),
        ("oriented", ScoresOutOfRange, "angle"),
        ("coefficients", ScoresOutOfRange, "mask coefficients"),
        ("not_a_number", ScoresOutOfRange, "NaN"),
        ("class_first", ScoresOutOfRange, "probabilities"),
        ("corners", BoxesOutside, "corners"),
        ("centres", BoxesUnderAPixel, "another layout"),
        ("class_fifth", ClassesNotWhole, "not whole"),
        ("twins", OutputsAmbiguous, "`other`"),
    ] {
        let Some(model) = support::small_model(&format!("{name}.onnx")) else { return };
        let mut detector = open(&model);
        let (_, running, sentences) = watch(&mut detector, Scene::Stripes, FRAMES);
        assert!(running.contains(&doubt), "{name}: {running:?} {sentences:?}");
        assert!(sentences.iter().any(|sentence| sentence.contains(said)), "{name}: {sentences:?}");
        assert!(
            sentences.iter().any(|sentence| sentence.contains(name) || doubt == BoxesOutside),
            "{name}: {sentences:?}"
        );
    }
}

#[test]
fn few_frames_are_not_enough_at_the_end_of_a_video() {
    let (Some(model), Some(())) = (support::small_model("shares.onnx"), support::onnx_runtime()) else {
        return;
    };
    for frames in [1, 3] {
        let (_, running, sentences) = watch(&mut open(&model), Scene::Stripes, frames);
        assert!(running.is_empty(), "{running:?}");
        assert_eq!(sentences.len(), 1, "{frames} frames: {sentences:?}");
    }
}

#[test]
fn right_model_is_doubted() {
    let Some(()) = support::onnx_runtime() else { return };
    let small = ["yolov5", "yolov6", "yolov8", "transposed", "yolox", "end_to_end", "external"];
    let small = small.map(|name| support::small_model(&format!("{name}.onnx")));
    let real = ["yolox_nano", "yolo11n_320_int8", "centernet_512"];
    let real = real.map(|name| support::shared(&format!("data/models/{name}.onnx")));
    for model in small.into_iter().chain(real).chain([support::default_model()]).flatten() {
        let mut detector = open(&model);
        for scene in [Scene::Stripes, Scene::Black, Scene::White, Scene::Noise] {
            let (_, running, sentences) = watch(&mut detector, scene, 10);
            assert!(running.is_empty() && sentences.is_empty(), "{}: {sentences:?}", model.display());
        }
    }
}

#[test]
fn same_values_in_another_layout_are_other_detections() {
    let Some(()) = support::onnx_runtime() else { return };
    let seen = |name: &str| {
        let model = support::small_model(&format!("{name}.onnx"))?;
        let mut detector = open(&model);
        let (detections, ..) = watch(&mut detector, Scene::Stripes, 2);
        Some((detector.info().head, detections))
    };
    let (Some((_, expected)), Some((transposed, first)), Some((decoded, second)), Some((_, third))) =
        (seen("yolov8"), seen("transposed"), seen("yolov6"), seen("external"))
    else {
        return;
    };
    assert!(!expected.is_empty(), "that proves nothing");
    assert_eq!((transposed, decoded), (Head::YoloV8Transposed, Head::YoloV5));
    assert_eq!(first, expected);
    assert_eq!(second, expected);
    assert_eq!(third, expected);
}
