//! `postprocess`: the model's output to detections in source pixels, with non-maximum suppression per class.

mod candidates;
mod judge;
mod nms;

use std::sync::Arc;

use peregrine_daemon::Metric;
use peregrine_proto::{Detection, Notice, Size};

use self::{
    candidates::{Candidate, Reader},
    judge::{Change, Judge},
};
use crate::{
    infer::{InferError, RawOutput},
    model::{Head, Letterbox, ModelInfo},
};

/// Most detections of one frame; those with the lowest scores are left out.
pub const MOST_DETECTIONS: usize = 300;

/// Which detections are wanted of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted<'a> {
    /// Least score; see `CameraAnalysis::least_confidence`.
    pub confidence: f32,
    /// Boxes of one class that overlap more than this (intersection over union) are one object.
    pub nms_iou: f32,
    /// Class ids to keep, rising; none for all.
    pub classes: Option<&'a [u16]>,
    /// Size of the source picture: boxes are clipped to it.
    pub source: Size,
}

/// Reads the model's output, and judges whether it can be right.
#[derive(Debug, Clone)]
pub struct Postprocessor {
    info: Arc<ModelInfo>,
    shape: [usize; 3],
    reader: Arc<Reader>,
    judge: Judge,
    /// Memory kept between frames, as `found`.
    best: Vec<f32>,
    found: Vec<Candidate>,
}

impl Postprocessor {
    /// The reading of an output of `shape` (batch, rows, columns) that a model needs; or why it cannot be read.
    pub(crate) fn new(info: &Arc<ModelInfo>, shape: [usize; 3]) -> Result<Self, String> {
        let reader = Arc::new(Reader::new(info, shape)?);
        let judge = Judge::new(info);
        judge.standing().iter().for_each(|doubt| tell(info, *doubt, ""));
        Ok(Self { info: Arc::clone(info), shape, reader, judge, best: Vec::new(), found: Vec::new() })
    }

    /// The detections of a frame in source pixels, sorted by falling confidence, at most [`MOST_DETECTIONS`].
    /// Equal scores keep the order of the model's output, so that the result is the same on every run.
    ///
    /// # Errors
    /// When the output does not have the model's shape.
    pub fn run(&mut self, output: &RawOutput, wanted: &Wanted<'_>) -> Result<Vec<Detection>, InferError> {
        let values = output.values(self.shape)?;
        let detections = self.detections(values, output.letterbox(), wanted);
        let changes = self.judge.end();
        self.note(changes);
        Ok(detections)
    }

    /// Why what the model gives cannot be right, as it is told to those who see the results; empty while nothing shows that.
    pub fn doubts(&self) -> &[Notice] {
        self.judge.standing()
    }

    /// No frame follows: judges by those that were seen, and says each doubt in a sentence with the way out.
    pub fn conclude(&mut self) -> Vec<String> {
        let changes = self.judge.conclude();
        self.note(changes);
        let sentences =
            self.doubts().iter().map(|doubt| sentence(&self.info, *doubt, self.judge.example(*doubt)));
        sentences.collect()
    }

    fn note(&self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Begins(doubt) => tell(&self.info, doubt, self.judge.example(doubt)),
                Change::Ends(doubt) => {
                    Metric::ModelDoubted.gauge([&self.info.name, doubt.as_str()]).set(0.0);
                    tracing::info!(
                        model = self.info.name,
                        doubt = doubt.as_str(),
                        "what the model gives looks right again"
                    );
                }
            }
        }
    }

    fn detections(&mut self, values: &[f32], letterbox: Letterbox, wanted: &Wanted<'_>) -> Vec<Detection> {
        let Self { reader, judge, best, found, .. } = self;
        found.clear();
        if judge.begin() {
            judge.survey(reader.survey(values, wanted.confidence));
        }
        reader.read(values, wanted.confidence, best, |candidate: Candidate| {
            judge.candidate(&candidate);
            let kept = wanted.classes.is_none_or(|kept| kept.binary_search(&candidate.class_id).is_ok());
            if kept && candidate.is_sane() {
                found.push(candidate);
            }
        });
        // A stable sort: ties stay in the order of the output.
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        if reader.suppressed_in_graph() {
            found.truncate(MOST_DETECTIONS);
        } else {
            nms::keep_best(found, wanted.nms_iou, MOST_DETECTIONS);
        }
        found.iter().filter_map(|candidate| in_source(candidate, letterbox, wanted.source)).collect()
    }
}

/// Logs that a doubt begins, and counts it.
fn tell(info: &ModelInfo, doubt: Notice, example: &str) {
    Metric::ModelDoubted.gauge([&info.name, doubt.as_str()]).set(1.0);
    tracing::warn!(model = info.name, doubt = doubt.as_str(), "{}", sentence(info, doubt, example));
}

/// The fault, its evidence, and the way out.
fn sentence(info: &ModelInfo, doubt: Notice, example: &str) -> String {
    let ModelInfo { name, head, rivals, .. } = info;
    let head = head.as_str();
    let say_the_head =
        format!("where the layout is not that of `{head}`, say the right `head` in {name}.toml");
    match doubt {
        Notice::ScoresOutOfRange => format!(
            "the model gives scores outside 0 to 1 (such as {example}): they lack their sigmoid, or are something else, such as \
             key points, mask coefficients or an angle; export a model that only detects, with probabilities as scores; {say_the_head}"
        ),
        Notice::BoxesUnderAPixel => format!(
            "most boxes of the model are smaller than a pixel (such as {example}): they are shares of the picture, or of another \
             layout; export the model with boxes in pixels of its input; {say_the_head}"
        ),
        Notice::BoxesOutside if info.head == Head::YoloX => format!(
            "the boxes of the model lie far outside the picture (such as {example}): they are decoded in the graph already; \
             write `head = \"yolov5\"`, and for YOLOX `colour = \"bgr\"`, `range = \"byte\"` and `placement = \"top-left\"`, into \
             {name}.toml; for rows without objectness `head = \"yolov8-transposed\"`"
        ),
        Notice::BoxesOutside => format!(
            "most boxes of the model lie far outside the picture ({example}): corners were taken for centre and size, or the \
             other way round; {say_the_head}"
        ),
        Notice::ClassesNotWhole => format!(
            "the model gives class numbers that are not whole, or that have no name (such as {example}): its columns are not \
             left, top, right, bottom, score, class; export it with these, or with another head; {say_the_head}"
        ),
        Notice::OutputsAmbiguous => format!(
            "several outputs of the model can be read, and one was chosen: beside it {}; say which with `output = \"…\"` in {name}.toml",
            rivals.join(", ")
        ),
        other => other.as_str().to_owned(),
    }
}

/// The candidate as a detection, clipped to the picture; none where nothing of it is left.
fn in_source(candidate: &Candidate, letterbox: Letterbox, source: Size) -> Option<Detection> {
    let [left, top, right, bottom] = letterbox.to_source(candidate.xyxy);
    let (width, height) = (source.width as f32, source.height as f32);
    let xyxy =
        [left.clamp(0.0, width), top.clamp(0.0, height), right.clamp(0.0, width), bottom.clamp(0.0, height)];
    let there = xyxy[0] < xyxy[2] && xyxy[1] < xyxy[3];
    there.then_some(Detection { xyxy, confidence: candidate.score.min(1.0), class_id: candidate.class_id })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ColourOrder, Head, Placement, ValueRange};

    const INPUT: Size = Size { width: 64, height: 32 };
    /// Cells of strides 8, 16 and 32.
    const CELLS: usize = 32 + 8 + 2;
    const CLASSES: usize = 3;

    fn info(head: Head) -> ModelInfo {
        ModelInfo {
            name: "m".into(),
            input: INPUT,
            head,
            rivals: Vec::new(),
            classes: (0..CLASSES).map(|id| format!("class_{id}")).collect(),
            colour: ColourOrder::Rgb,
            range: ValueRange::Unit,
            placement: Placement::Centre,
            pad: 114,
            licence: None,
        }
    }

    fn shape(head: Head) -> [usize; 3] {
        match head {
            Head::YoloV5 => [1, 3 * CELLS, 5 + CLASSES],
            Head::YoloX => [1, CELLS, 5 + CLASSES],
            Head::YoloV8 => [1, 4 + CLASSES, CELLS],
            Head::YoloV8Transposed => [1, CELLS, 4 + CLASSES],
            Head::EndToEnd => [1, 10, 6],
        }
    }

    fn run(head: Head, values: &[f32], wanted: &Wanted<'_>) -> Vec<Detection> {
        let mut postprocessor = Postprocessor::new(&Arc::new(info(head)), shape(head)).unwrap();
        // The picture fills the lower right 60x30 of the input, at half size.
        let letterbox = Letterbox { offset: [4.0, 2.0], source_per_model: [2.0, 2.0] };
        postprocessor.detections(values, letterbox, wanted)
    }

    fn all() -> Wanted<'static> {
        Wanted { confidence: 0.25, nms_iou: 0.5, classes: None, source: Size { width: 120, height: 60 } }
    }

    #[test]
    fn each_head_finds_the_same_box() {
        // Centre (24, 16), 16x8, class 2: in the source (40, 28), 32x16.
        let expected = Detection { xyxy: [24.0, 20.0, 56.0, 36.0], confidence: 0.5, class_id: 2 };
        let mut v5 = vec![0.0; 3 * CELLS * 8];
        v5[7 * 8..8 * 8].copy_from_slice(&[24.0, 16.0, 16.0, 8.0, 0.625, 0.1, 0.2, 0.8]);
        let mut v8 = vec![0.0; 7 * CELLS];
        for (row, value) in [24.0, 16.0, 16.0, 8.0, 0.0, 0.1, 0.5].into_iter().enumerate() {
            v8[row * CELLS + 9] = value;
        }
        let mut v8_transposed = vec![0.0; 7 * CELLS];
        v8_transposed[9 * 7..10 * 7].copy_from_slice(&[24.0, 16.0, 16.0, 8.0, 0.0, 0.1, 0.5]);
        // Cell 32 is the first of stride 16, at column 0, row 0; cell 33 at column 1.
        let mut x = vec![0.0; CELLS * 8];
        x[33 * 8..34 * 8].copy_from_slice(&[0.5, 1.0, 0.0, 0.5f32.ln(), 0.625, 0.1, 0.2, 0.8]);
        let mut e2e = vec![0.0; 10 * 6];
        e2e[3 * 6..4 * 6].copy_from_slice(&[16.0, 12.0, 32.0, 20.0, 0.5, 2.0]);
        for (head, values) in [
            (Head::YoloV5, v5),
            (Head::YoloV8, v8),
            (Head::YoloV8Transposed, v8_transposed),
            (Head::YoloX, x),
            (Head::EndToEnd, e2e),
        ] {
            assert_eq!(run(head, &values, &all()), [expected], "{head:?}");
        }
    }

    #[test]
    fn only_wanted_classes_are_reported() {
        let mut values = vec![0.0; 60];
        for (row, class) in [0.0, 1.0, 2.0, 3.0, -1.0].into_iter().enumerate() {
            let left = 10.0 * row as f32;
            values[row * 6..][..6].copy_from_slice(&[left, 4.0, left + 8.0, 12.0, 0.9, class]);
        }
        let classes = |wanted: &Wanted<'_>| {
            run(Head::EndToEnd, &values, wanted).iter().map(|d| d.class_id).collect::<Vec<_>>()
        };
        assert_eq!(classes(&all()), [0, 1, 2], "classes that the model does not have are left out");
        assert_eq!(classes(&Wanted { classes: Some(&[0, 2]), ..all() }), [0, 2]);
        assert_eq!(classes(&Wanted { classes: Some(&[]), ..all() }), [] as [u16; 0]);
    }

    #[test]
    fn a_box_in_the_padding_is_no_detection() {
        let mut values = vec![0.0; 60];
        values[..6].copy_from_slice(&[0.0, 0.0, 3.0, 30.0, 0.9, 0.0]);
        values[6..12].copy_from_slice(&[-50.0, -50.0, 500.0, 500.0, 0.8, 0.0]);
        let found = run(Head::EndToEnd, &values, &all());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].xyxy, [0.0, 0.0, 120.0, 60.0], "clipped to the picture");
    }

    fn any_value() -> impl Strategy<Value = f32> {
        prop_oneof![
            4 => -2.0..80.0f32,
            4 => 0.0..1.0f32,
            1 => any::<f32>(),
            1 => Just(f32::NAN),
            1 => Just(f32::INFINITY),
            1 => Just(f32::NEG_INFINITY),
            1 => Just(f32::MAX),
        ]
    }

    proptest! {
        #[test]
        fn no_output_whatever_makes_a_senseless_detection(
            head in prop_oneof![
                Just(Head::YoloV5),
                Just(Head::YoloV8),
                Just(Head::YoloV8Transposed),
                Just(Head::YoloX),
                Just(Head::EndToEnd),
            ],
            values in prop::collection::vec(any_value(), 3 * CELLS * 8),
            confidence in prop_oneof![Just(0.0f32), 0.0..1.0f32, Just(f32::NAN)],
            nms_iou in prop_oneof![0.0..1.0f32, Just(f32::NAN)],
        ) {
            let [_, rows, columns] = shape(head);
            let wanted = Wanted { confidence, nms_iou, ..all() };
            let found = run(head, &values[..rows * columns], &wanted);
            prop_assert!(found.len() <= MOST_DETECTIONS);
            prop_assert!(found.is_sorted_by(|a, b| a.confidence >= b.confidence));
            for detection in found {
                let [left, top, right, bottom] = detection.xyxy;
                prop_assert!(0.0 <= left && left < right && right <= 120.0, "{detection:?}");
                prop_assert!(0.0 <= top && top < bottom && bottom <= 60.0, "{detection:?}");
                prop_assert!((0.0..=1.0).contains(&detection.confidence), "{detection:?}");
                prop_assert!(usize::from(detection.class_id) < CLASSES, "{detection:?}");
            }
        }
    }
}
