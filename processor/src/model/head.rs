//! The known layouts of a detector's output, and how to tell them apart by shape.

use peregrine_proto::Size;
use serde::{Deserialize, Serialize};

/// The layouts, for people.
pub(super) const KNOWN: &str = "yolov5 (1xNx(5+classes), also YOLOv6 and v7), yolov8 (1x(4+classes)xN, also YOLOv9, 11 and 12), \
     yolov8-transposed (1xNx(4+classes)), yolox (1xNx(5+classes), grid decode outside the graph) and end-to-end (1xNx6: left, \
     top, right, bottom, score, class)";

/// Layout of a detector's output. N counts candidates, C classes; all coordinates are pixels of the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// YOLOv5, 6 and 7: 1xNx(5+C), a row is centre x, y, width, height, objectness, class scores.
    YoloV5,
    /// YOLOv8, 9, 11 and 12: 1x(4+C)xN, a column is centre x, y, width, height, class scores.
    YoloV8,
    /// As YOLOv8, with rows and columns exchanged: 1xNx(4+C).
    #[serde(rename = "yolov8-transposed")]
    YoloV8Transposed,
    /// YOLOX: 1xNx(5+C) as YOLOv5, but centre and size are still relative to the cell of a grid
    /// (Ge et al., "YOLOX: Exceeding YOLO Series in 2021", `decode_in_inference = false`).
    YoloX,
    /// Suppressed inside the graph, as YOLOv10 and YOLO26: 1xNx6, a row is left, top, right, bottom, score, class.
    #[serde(rename = "end-to-end")]
    EndToEnd,
}

impl Head {
    /// The name, as a sidecar has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::YoloV5 => "yolov5",
            Self::YoloV8 => "yolov8",
            Self::YoloV8Transposed => "yolov8-transposed",
            Self::YoloX => "yolox",
            Self::EndToEnd => "end-to-end",
        }
    }

    /// Whether an output of this shape can have this layout; where not, why.
    pub(super) fn fits(self, [_, rows, columns]: [usize; 3], input: Size) -> Result<(), String> {
        let (candidates, values, least) = match self {
            Self::YoloV5 | Self::YoloX => (rows, columns, 6),
            Self::YoloV8Transposed => (rows, columns, 5),
            Self::YoloV8 => (columns, rows, 5),
            Self::EndToEnd => (rows, columns, 6),
        };
        let head = self.as_str();
        if candidates == 0 || values < least || self == Self::EndToEnd && values != 6 {
            return Err(format!("an output of 1x{rows}x{columns} has not the layout of the head `{head}`"));
        }
        let of_grid = |count| anchors_a_cell(input, count).is_some();
        if self != Self::EndToEnd && of_grid(values) && !of_grid(candidates) {
            return Err(format!(
                "rows and columns of 1x{rows}x{columns} are exchanged for the head `{head}`: YOLOv8's layout is `yolov8` as \
                 1x(4+classes)xN and `yolov8-transposed` as 1xNx(4+classes)"
            ));
        }
        Ok(())
    }

    /// How many classes an output of this shape has, where the shape tells.
    pub(super) fn classes(self, [_, rows, columns]: [usize; 3]) -> Option<usize> {
        match self {
            Self::YoloV5 | Self::YoloX => columns.checked_sub(5),
            Self::YoloV8 => rows.checked_sub(4),
            Self::YoloV8Transposed => columns.checked_sub(4),
            Self::EndToEnd => None,
        }
    }
}

/// Strides of the grids that detectors predict on.
const LEVELS: [&[u32]; 3] = [&[8, 16, 32], &[8, 16, 32, 64], &[4, 8, 16, 32]];

/// Columns and rows of a stride's grid.
pub(crate) fn grid(input: Size, stride: u32) -> (usize, usize) {
    (input.width.div_ceil(stride) as usize, input.height.div_ceil(stride) as usize)
}

/// Cells of all grids together.
fn cells(input: Size, strides: &[u32]) -> usize {
    let of = |stride: &u32| {
        let (columns, rows) = grid(input, *stride);
        columns * rows
    };
    strides.iter().map(of).sum()
}

/// The strides whose grids have so many cells together.
pub(crate) fn strides(input: Size, candidates: usize) -> Option<&'static [u32]> {
    LEVELS.into_iter().find(|strides| cells(input, strides) == candidates)
}

/// How many candidates there are for each cell of the grids: one in YOLOv8 and YOLOX, three (one an anchor) in YOLOv5 and v7.
fn anchors_a_cell(input: Size, candidates: usize) -> Option<usize> {
    let fits = |anchors: &usize| {
        candidates.is_multiple_of(*anchors) && strides(input, candidates / anchors).is_some()
    };
    [1, 3].into_iter().find(fits)
}

/// Hints about an output beside its shape.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Hints<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many classes have names.
    pub classes: Option<usize>,
    /// What the metadata says about suppression in the graph.
    pub end_to_end: Option<bool>,
}

/// The output's name in YOLOv6's export, whose boxes are decoded; YOLOX's, of the same shape, is `output`
/// (meituan/YOLOv6, `deploy/ONNX/export_onnx.py`).
const YOLOV6_OUTPUT: &str = "outputs";
/// Values of a row without objectness for the 80 classes of COCO.
const COCO_WITHOUT_OBJECTNESS: usize = 84;

/// The head that an output of this shape must have; none where more than one or none is possible.
pub(super) fn recognise(shape: [usize; 3], input: Size, hints: Hints<'_>) -> Option<Head> {
    let [1, rows, columns] = shape else { return None };
    if hints.end_to_end == Some(true) && columns == 6 {
        return Some(Head::EndToEnd);
    }
    match (anchors_a_cell(input, rows), anchors_a_cell(input, columns)) {
        (Some(3), None) if columns > 5 => return Some(Head::YoloV5),
        (Some(1), None) if columns > 4 => {
            // By its shape, a row may have objectness or one class more.
            let has_objectness = match hints.classes {
                Some(classes) => columns != 4 + classes,
                None => columns != COCO_WITHOUT_OBJECTNESS,
            };
            return match has_objectness {
                false => Some(Head::YoloV8Transposed),
                true if columns == 5 => None,
                true if hints.name == YOLOV6_OUTPUT => Some(Head::YoloV5),
                true => Some(Head::YoloX),
            };
        }
        (None, Some(1)) if rows > 4 => return Some(Head::YoloV8),
        _ => {}
    }
    // Six values each and no grid of ours: the few boxes that a graph chose itself.
    (columns == 6 && rows <= 1000 && hints.end_to_end != Some(false)).then_some(Head::EndToEnd)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: Size = Size { width: 416, height: 416 };

    #[test]
    fn heads_are_told_apart_by_shape() {
        let none = Hints::default();
        assert_eq!(recognise([1, 84, 3549], SQUARE, none), Some(Head::YoloV8));
        assert_eq!(recognise([1, 3549, 85], SQUARE, none), Some(Head::YoloX));
        assert_eq!(recognise([1, 10_647, 85], SQUARE, none), Some(Head::YoloV5));
        assert_eq!(recognise([1, 100, 6], SQUARE, none), Some(Head::EndToEnd));
        let wide = Size { width: 640, height: 384 };
        assert_eq!(recognise([1, 84, 5040], wide, none), Some(Head::YoloV8));
        assert_eq!(recognise([1, 15_120, 6], wide, none), Some(Head::YoloV5), "one class is not end-to-end");
        assert_eq!(recognise([1, 5040, 6], wide, none), Some(Head::YoloX), "one class is not end-to-end");
        let large = Size { width: 1280, height: 1280 };
        assert_eq!(recognise([1, 102_000, 85], large, none), Some(Head::YoloV5), "four levels");
    }

    #[test]
    fn an_output_of_another_kind_is_guessed() {
        let none = Hints::default();
        assert_eq!(recognise([1, 1000, 1], SQUARE, none), None);
        assert_eq!(recognise([1, 1234, 85], SQUARE, none), None);
        assert_eq!(recognise([2, 84, 3549], SQUARE, none), None);
        assert_eq!(recognise([1, 4, 3549], SQUARE, none), None, "no class at all");
        assert_eq!(recognise([1, 3549, 5], SQUARE, none), None, "one class or none");
        assert_eq!(recognise([1, 0, 0], SQUARE, none), None);
    }

    #[test]
    fn metadata_and_names_do_not_settle_what_the_shape_leaves_open() {
        let end_to_end = |end_to_end| Hints { end_to_end: Some(end_to_end), ..Hints::default() };
        assert_eq!(recognise([1, 3549, 6], SQUARE, end_to_end(true)), Some(Head::EndToEnd));
        assert_eq!(recognise([1, 300, 6], SQUARE, end_to_end(false)), None);
        let classes = |classes| Hints { classes: Some(classes), ..Hints::default() };
        assert_eq!(recognise([1, 3549, 85], SQUARE, classes(80)), Some(Head::YoloX));
        assert_eq!(recognise([1, 3549, 85], SQUARE, classes(81)), Some(Head::YoloV8Transposed));
        assert_eq!(recognise([1, 3549, 84], SQUARE, Hints::default()), Some(Head::YoloV8Transposed));
        assert_eq!(recognise([1, 3549, 84], SQUARE, classes(79)), Some(Head::YoloX));
        assert_eq!(recognise([1, 3549, 5], SQUARE, classes(1)), Some(Head::YoloV8Transposed));
        let named = Hints { name: "outputs", ..Hints::default() };
        assert_eq!(
            recognise([1, 3549, 85], SQUARE, named),
            Some(Head::YoloV5),
            "decoded, as YOLOv6 gives it"
        );
    }

    #[test]
    fn exchanged_rows_and_columns_fit_a_head() {
        let fits = |head: Head, shape| head.fits(shape, SQUARE).is_ok();
        assert!(fits(Head::YoloV8, [1, 84, 3549]) && fits(Head::YoloV8Transposed, [1, 3549, 84]));
        assert!(!fits(Head::YoloV8, [1, 3549, 84]) && !fits(Head::YoloV8Transposed, [1, 84, 3549]));
        assert!(!fits(Head::YoloX, [1, 84, 3549]) && !fits(Head::YoloV5, [1, 84, 10_647]));
        assert!(fits(Head::YoloV5, [1, 3549, 85]), "decoded in the graph");
        assert!(fits(Head::YoloV8, [1, 84, 1234]), "a grid of its own");
        let said = Head::YoloV8.fits([1, 3549, 84], SQUARE).unwrap_err();
        assert!(said.contains("yolov8-transposed"), "{said}");
    }
}
