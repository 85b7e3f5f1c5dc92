//! Detections against an independent reference in Python, from the same bytes: OpenCV's colour conversion, a plain
//! letterbox, onnxruntime, NMS in numpy.

use std::{fs::File, io::Write, path::Path};

use peregrine_media::{AllowList, OpenOptions, Resizer, fit};
use peregrine_processor::model::{Detector, Head, ModelConfig, Wanted};
use peregrine_proto::{Colour, ColourMatrix, ColourRange, Detection, FrameHeader, Size, SourceConfig};
use serde::Deserialize;

use crate::support;

/// Every fifteenth of the clip's 795 frames: 53.
const EVERY: u64 = 15;
const CONFIDENCE: f32 = 0.25;

#[test]
fn yolov8_detections_differ_from_the_reference() {
    agree(support::default_model(), Head::YoloV8, "yolov8");
}

#[test]
fn small_yolov8_detections_differ_from_the_reference() {
    agree(support::small_model("yolov8.onnx"), Head::YoloV8, "yolov8");
}

#[test]
fn yolov5_detections_differ_from_the_reference() {
    agree(support::small_model("yolov5.onnx"), Head::YoloV5, "yolov5");
}

#[test]
fn small_yolox_detections_differ_from_the_reference() {
    agree(support::small_model("yolox.onnx"), Head::YoloX, "yolox");
}

#[test]
fn small_end_to_end_detections_differ_from_the_reference() {
    agree(support::small_model("end_to_end.onnx"), Head::EndToEnd, "end-to-end");
}

#[test]
fn yolox_nano_detections_differ_from_the_reference() {
    agree(support::shared("data/models/yolox_nano.onnx"), Head::YoloX, "yolox");
}

#[test]
fn centernet_detections_differ_from_the_reference() {
    agree(support::shared("data/models/centernet_512.onnx"), Head::EndToEnd, "end-to-end");
}

#[test]
fn quantised_yolo11_detections_differ_from_the_reference() {
    agree(support::shared("data/models/yolo11n_320_int8.onnx"), Head::YoloV8, "yolov8");
}

#[test]
fn the_reference_suppresses_other_boxes_than_opencv() {
    let Some(python) = support::python() else { return };
    support::reference(&python, "test_nms.py", [] as [&str; 0]);
}

/// Same objects at equal thresholds, boxes within a pixel of the source, scores within 0.01, on every frame.
fn agree(model: Option<std::path::PathBuf>, head: Head, name: &str) {
    let (Some(model), Some(clip), Some(python), Some(())) =
        (model, support::clip(), support::python(), support::onnx_runtime())
    else {
        return;
    };
    let config =
        ModelConfig { path: model.clone(), library: Some(support::library()), ..ModelConfig::default() };
    let mut detector = Detector::open(&config).unwrap();
    assert_eq!(detector.info().head, head);

    let frames = published(&clip, detector.info().input);
    assert!(frames.len() >= 50, "{} frames", frames.len());
    let folder = tempfile::tempdir().unwrap();
    let (dump, out) = (folder.path().join("frames.i420"), folder.path().join("reference.jsonl"));
    write_dump(&dump, &frames);
    let confidence = CONFIDENCE.to_string();
    let (dump, model, out) = (dump.to_str().unwrap(), model.to_str().unwrap(), out.to_str().unwrap());
    let flags = ["--model", model, "--head", name, "--confidence", &confidence, "--out", out];
    support::reference(&python, "reference.py", ["frames", dump].into_iter().chain(flags));
    let text = std::fs::read_to_string(out).unwrap();
    let theirs: Vec<Frame> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(theirs.len(), frames.len());

    let mut input = detector.preprocessor.new_input();
    let mut total = 0;
    for ((header, i420), theirs) in frames.iter().zip(theirs) {
        let wanted = Wanted { confidence: CONFIDENCE, nms_iou: 0.5, classes: None, source: header.source };
        let ours = detector.detect(header, i420, &mut input, &wanted).unwrap();
        total += ours.len();
        same(header.position, &ours, &theirs.detections);
        same(header.position, &theirs.detections, &ours);
    }
    assert!(total > 200, "only {total} detections: that proves little");
    assert_eq!(detector.postprocessor.conclude(), [] as [String; 0], "a right model is doubted");
}

/// Each of `some` has its like among `others`, unless its score lies so near the threshold that it may be missing.
fn same(position: u64, some: &[Detection], others: &[Detection]) {
    let mut free: Vec<&Detection> = others.iter().collect();
    for one in some {
        let like = free.iter().position(|other| {
            let sides = one.xyxy.iter().zip(other.xyxy).all(|(a, b)| (a - b).abs() <= 1.0);
            sides && one.class_id == other.class_id && (one.confidence - other.confidence).abs() <= 0.01
        });
        match like {
            Some(like) => {
                free.swap_remove(like);
            }
            None => {
                assert!(one.confidence < CONFIDENCE + 0.01, "frame {position}: only one side has {one:?}")
            }
        }
    }
}

#[derive(Deserialize)]
struct Frame {
    detections: Vec<Detection>,
}

/// Frames of the clip as a producer publishes them for a model of this input.
fn published(clip: &Path, input: Size) -> Vec<(FrameHeader, Vec<u8>)> {
    let config: SourceConfig = serde_json::from_value(serde_json::json!({ "uri": clip })).unwrap();
    let mut source = peregrine_media::open(&config, &AllowList::anything(), &OpenOptions::default()).unwrap();
    let mut resizer = Resizer::new();
    let mut frames = Vec::new();
    while let Some(captured) = source.next().unwrap() {
        if captured.position % EVERY != 0 {
            continue;
        }
        let picture = captured.picture;
        let analysed = fit(picture.size(), picture.pixel_aspect(), input);
        let mut i420 = Vec::new();
        resizer.resize(&picture, analysed, &mut i420).unwrap();
        let colour = Colour { matrix: ColourMatrix::Bt601, range: ColourRange::Limited };
        assert_eq!(picture.colour(), colour, "the reference knows no other");
        let header = FrameHeader {
            position: captured.position,
            media_time_us: captured.media_time_us,
            lossless: true,
            ..FrameHeader::of_picture(picture.size(), analysed)
        };
        frames.push((header, i420));
    }
    frames
}

fn write_dump(path: &Path, frames: &[(FrameHeader, Vec<u8>)]) {
    let mut file = File::create(path).unwrap();
    let header = &frames[0].0;
    let (analysed, source) = (header.analysed, header.source);
    let about = serde_json::json!({
        "analysed": [analysed.width, analysed.height],
        "source": [source.width, source.height],
        "count": frames.len(),
    });
    writeln!(file, "{about}").unwrap();
    for (_, i420) in frames {
        file.write_all(i420).unwrap();
    }
}
