//! The known layouts of a detector's output, and how to tell them apart by shape.

use peregrine_proto::Size;
use serde::{Deserialize, Serialize};

/// The layouts, for people.
pub(super) const KNOWN: &str = "yolov5 (1xNx(5+classes), also YOLOv7), yolov8 (1x(4+classes)xN, also YOLOv9, 11 and 12), \
     yolox (1xNx(5+classes), grid decode outside the graph) and end-to-end (1xNx6: left, top, right, bottom, score, class)";

/// Layout of a detector's output. N counts candidates, C classes; all coordinates are pixels of the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// YOLOv5 and YOLOv7: 1xNx(5+C), a row is centre x, y, width, height, objectness, class scores.
    YoloV5,
    /// YOLOv8, 9, 11 and 12: 1x(4+C)xN, a column is centre x, y, width, height, class scores.
    YoloV8,
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
            Self::YoloX => "yolox",
            Self::EndToEnd => "end-to-end",
        }
    }

    /// Whether an output of this shape can have this layout at all.
    pub(super) fn fits(self, [_, rows, columns]: [usize; 3]) -> bool {
        match self {
            Self::YoloV5 | Self::YoloX => columns > 5 && rows > 0,
            Self::YoloV8 => rows > 4 && columns > 0,
            Self::EndToEnd => columns == 6 && rows > 0,
        }
    }

    /// How many classes an output of this shape has, where the shape tells.
    pub(super) fn classes(self, [_, rows, columns]: [usize; 3]) -> Option<usize> {
        match self {
            Self::YoloV5 | Self::YoloX => columns.checked_sub(5),
            Self::YoloV8 => rows.checked_sub(4),
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

/// The head that an output of this shape must have; none where more than one or none is possible.
///
/// Candidates are counted: one a cell in YOLOv8 and YOLOX, three a cell (one an anchor) in YOLOv5 and v7.
/// `end_to_end` is what the metadata says about suppression in the graph.
pub(super) fn recognise(shape: [usize; 3], input: Size, end_to_end: Option<bool>) -> Option<Head> {
    let [1, rows, columns] = shape else { return None };
    if end_to_end == Some(true) && columns == 6 {
        return Some(Head::EndToEnd);
    }
    let one_a_cell = |candidates| strides(input, candidates).is_some();
    let three_a_cell = |candidates: usize| candidates.is_multiple_of(3) && one_a_cell(candidates / 3);

    match (one_a_cell(rows), three_a_cell(rows), one_a_cell(columns)) {
        (true, false, false) if columns > 5 => return Some(Head::YoloX),
        (false, true, false) if columns > 5 => return Some(Head::YoloV5),
        (false, false, true) if rows > 4 => return Some(Head::YoloV8),
        _ => {}
    }
    // Six values each and no grid of ours: the few boxes that a graph chose itself.
    (columns == 6 && rows <= 1000 && end_to_end != Some(false)).then_some(Head::EndToEnd)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: Size = Size { width: 416, height: 416 };

    #[test]
    fn heads_are_told_apart_by_shape() {
        let none = None;
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
    fn an_output_of_another_kind_is_not_guessed() {
        assert_eq!(recognise([1, 1000, 1], SQUARE, None), None);
        assert_eq!(recognise([1, 1234, 85], SQUARE, None), None);
        assert_eq!(recognise([2, 84, 3549], SQUARE, None), None);
        assert_eq!(recognise([1, 4, 3549], SQUARE, None), None, "no class at all");
        assert_eq!(recognise([1, 0, 0], SQUARE, None), None);
    }

    #[test]
    fn metadata_settles_six_columns() {
        assert_eq!(recognise([1, 3549, 6], SQUARE, Some(true)), Some(Head::EndToEnd));
        assert_eq!(recognise([1, 300, 6], SQUARE, Some(false)), None);
    }
}
