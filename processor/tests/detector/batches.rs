//! Several frames in one call of the model.

use std::path::Path;

use peregrine_processor::model::{Batching, Detector, ModelConfig, ModelInput, Wanted};
use peregrine_proto::{Detection, FrameHeader, Size};

use crate::support;

const SIZE: Size = Size { width: 320, height: 240 };

fn open(model: &Path, batch: u16) -> Detector {
    let library = Some(support::library());
    Detector::open(&ModelConfig { path: model.into(), library, batch, ..ModelConfig::default() }).unwrap()
}

/// A picture of stripes, different for each number.
fn input(detector: &Detector, number: usize) -> ModelInput {
    let header = FrameHeader::of_picture(SIZE, SIZE);
    let value = |at: usize| 16 + ((at * (7 + number) + at / 320 * 13) % 219) as u8;
    let i420: Vec<u8> = (0..header.data_len()).map(value).collect();
    let mut input = detector.preprocessor.new_input();
    detector.preprocessor.run(&header, &i420, &mut input).unwrap();
    input
}

fn wanted() -> Wanted<'static> {
    Wanted { confidence: 0.02, nms_iou: 0.65, classes: None, source: SIZE }
}

#[test]
fn detections_of_a_batch_are_those_of_another_frame() {
    let (Some(model), Some(())) = (support::small_model("yolov5_dynamic.onnx"), support::onnx_runtime())
    else {
        return;
    };
    let mut detector = open(&model, 4);
    assert_eq!(detector.session.batching().frames, 4);
    let inputs: Vec<ModelInput> = (0..4).map(|number| input(&detector, number)).collect();
    let mut seen: Vec<Vec<Detection>> = Vec::new();
    for outputs in [
        inputs.iter().map(|input| detector.session.run(input).unwrap()).collect::<Vec<_>>(),
        detector.session.run_batch(&inputs.iter().collect::<Vec<_>>()).unwrap(),
    ] {
        seen.extend(outputs.iter().map(|output| detector.postprocessor.run(output, &wanted()).unwrap()));
    }
    let (alone, together) = seen.split_at(4);
    assert!(alone.iter().all(|detections| !detections.is_empty()), "the model sees nothing");
    assert!(alone.windows(2).all(|pair| pair[0] != pair[1]), "the pictures look the same to it");
    for (alone, together) in alone.iter().zip(together) {
        assert_eq!(alone.len(), together.len());
        for (a, b) in alone.iter().zip(together) {
            assert_eq!(a.class_id, b.class_id);
            assert!((a.confidence - b.confidence).abs() < 1e-4, "{a:?} {b:?}");
            assert!(a.xyxy.iter().zip(b.xyxy).all(|(a, b)| (a - b).abs() < 0.01), "{a:?} {b:?}");
        }
    }
}

#[test]
fn batch_is_not_chosen_by_what_the_graph_can_do() {
    let Some(()) = support::onnx_runtime() else { return };
    // Its input says that any batch will do; its inside takes one frame.
    let Some(stuck) = support::small_model("stuck_batch.onnx") else { return };
    assert_eq!(open(&stuck, 0).session.batching(), Batching::NONE);
    let Some(dynamic) = support::small_model("yolov5_dynamic.onnx") else { return };
    assert_eq!(open(&dynamic, 1).session.batching(), Batching::NONE);
    let measured = open(&dynamic, 0).session.batching();
    assert!(measured.frames.is_power_of_two() && measured.frames <= 32, "{measured:?}");
}

#[test]
fn batch_that_the_model_does_not_take_is_accepted() {
    let Some(()) = support::onnx_runtime() else { return };
    for (name, batch) in [("yolov5.onnx", 4), ("yolov5_dynamic.onnx", 33)] {
        let Some(path) = support::small_model(name) else { return };
        let config = ModelConfig { path, library: Some(support::library()), batch, ..ModelConfig::default() };
        let said = Detector::open(&config).unwrap_err().to_string();
        assert!(said.contains(name) && said.contains(&format!("model.batch is {batch}")), "{said}");
    }
}
