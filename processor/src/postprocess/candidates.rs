//! Reading each head's output into candidates: boxes in model pixels with their best class.

use std::ops::RangeInclusive;

use peregrine_proto::Size;

use crate::model::{Head, ModelInfo, grid, strides};

/// A box that scores high enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Left, top, right, bottom in pixels of the model's input, not clipped.
    pub xyxy: [f32; 4],
    pub score: f32,
    pub class_id: u16,
}

impl Candidate {
    fn centred([x, y, width, height]: [f32; 4], score: f32, class_id: u16) -> Self {
        let (half_width, half_height) = (width / 2.0, height / 2.0);
        Self { xyxy: [x - half_width, y - half_height, x + half_width, y + half_height], score, class_id }
    }

    /// Numbers all of them, and an area: the rest of the code need not think of anything else.
    pub(super) fn is_sane(&self) -> bool {
        let [left, top, right, bottom] = self.xyxy;
        // So far outside, areas would overflow; no picture is that large.
        let in_reach = self.xyxy.iter().all(|side| side.abs() < 1e6);
        in_reach && self.score.is_finite() && left < right && top < bottom
    }
}

/// Statistics of all values, which detections alone do not show.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Survey {
    /// A score outside [`SCORES`].
    pub score: Option<f32>,
    /// The size of a box that is larger than any picture.
    pub size: Option<f32>,
    /// Rows with a class, and those of them whose class is none.
    pub classes: (u32, u32),
    /// A class number that is none.
    pub class: Option<f32>,
}

/// Where scores lie: rounding and quantisation may carry them a little beyond.
pub(super) const SCORES: RangeInclusive<f32> = -0.001..=1.001;
/// Logarithm of a size in cells that no model gives (160,000 cells): what stands there are pixels.
const LOG_SIZE: f32 = 12.0;
/// How far a class number may be from a whole one.
const WHOLE: f32 = 0.01;

/// How a model's output is read.
#[derive(Debug)]
pub(super) struct Reader {
    head: Head,
    columns: usize,
    classes: usize,
    /// YOLOX only: for each candidate, its cell's left and top in cells, and the cell's size in model pixels.
    cells: Vec<[f32; 3]>,
}

impl Reader {
    /// Of an output of this shape; or why it cannot be.
    pub(super) fn new(info: &ModelInfo, [_, rows, columns]: [usize; 3]) -> Result<Self, String> {
        let cells = if info.head == Head::YoloX {
            let strides = strides(info.input, rows)
                .ok_or_else(|| format!("{rows} rows are no YOLOX grid of {}", info.input))?;
            cells(info.input, strides)
        } else {
            Vec::new()
        };
        Ok(Self { head: info.head, columns, classes: info.classes.len().min(usize::from(u16::MAX)), cells })
    }

    /// Whether the graph has already chosen among overlapping boxes.
    pub(super) fn suppressed_in_graph(&self) -> bool {
        self.head == Head::EndToEnd
    }

    /// Hands over every candidate with at least this score, in the order of the output. `scratch` is memory kept
    /// between frames.
    pub(super) fn read(
        &self,
        values: &[f32],
        least: f32,
        scratch: &mut Vec<f32>,
        found: impl FnMut(Candidate),
    ) {
        match self.head {
            Head::YoloV5 => self.read_rows(values, least, |_, row| [row[0], row[1], row[2], row[3]], found),
            Head::YoloX => self.read_rows(values, least, |i, row| self.decode_cell(i, row), found),
            Head::YoloV8 => self.read_columns(values, least, scratch, found),
            Head::YoloV8Transposed => self.read_scores(values, least, found),
            Head::EndToEnd => self.read_chosen(values, least, found),
        }
    }

    /// Looks at every value. Takes about as long as reading; not for every frame.
    pub(super) fn survey(&self, values: &[f32], least: f32) -> Survey {
        let mut survey = Survey::default();
        match self.head {
            Head::YoloV8 => survey.score = out_of_range(values.get(4 * self.columns..).unwrap_or_default()),
            Head::YoloV5 | Head::YoloV8Transposed | Head::YoloX => {
                for row in values.chunks_exact(self.columns) {
                    survey.score = survey.score.or_else(|| out_of_range(&row[4..]));
                    if self.head == Head::YoloX && row[2].max(row[3]) > LOG_SIZE {
                        survey.size = survey.size.or(Some(row[2].max(row[3])));
                    }
                }
            }
            Head::EndToEnd => {
                let (rows, _) = values.as_chunks::<6>();
                for row in rows.iter().filter(|row| row.iter().any(|value| *value != 0.0)) {
                    let [.., score, class] = *row;
                    // Rows that stand for nothing may have a score of -1.
                    if score.is_nan() || score > *SCORES.end() {
                        survey.score = survey.score.or(Some(score));
                    }
                    survey.classes.0 += 1;
                    let whole = (class - class.round()).abs() <= WHOLE;
                    if !whole || score >= least && class >= self.classes as f32 - 0.5 {
                        survey.classes.1 += 1;
                        survey.class = survey.class.or(Some(class));
                    }
                }
            }
        }
        survey
    }

    /// Rows of centre, size, objectness, class scores. The score is objectness times class score, neither above 1.
    fn read_rows(
        &self,
        values: &[f32],
        least: f32,
        decode: impl Fn(usize, &[f32]) -> [f32; 4],
        mut found: impl FnMut(Candidate),
    ) {
        for (i, row) in values.chunks_exact(self.columns).enumerate() {
            let objectness = row[4];
            // Most rows end here, one value read.
            if objectness >= least {
                let (class_id, best) = best(&row[5..]);
                let score = objectness * best;
                if score >= least {
                    found(Candidate::centred(decode(i, row), score, class_id));
                }
            }
        }
    }

    /// YOLOX: centre relative to the cell in cells, size as the logarithm of cells.
    fn decode_cell(&self, i: usize, row: &[f32]) -> [f32; 4] {
        let Some([left, top, size]) = self.cells.get(i) else { return [f32::NAN; 4] };
        [(row[0] + left) * size, (row[1] + top) * size, row[2].exp() * size, row[3].exp() * size]
    }

    /// Columns of centre, size, class scores. The scores are scanned row by row, as they lie in memory, for the best
    /// of all candidates at once, several an instruction; its class is looked for where it is high enough only.
    fn read_columns(
        &self,
        values: &[f32],
        least: f32,
        best: &mut Vec<f32>,
        mut found: impl FnMut(Candidate),
    ) {
        let count = self.columns;
        let (boxes, scores) = values.split_at(4 * count);
        best.clear();
        best.resize(count, f32::NEG_INFINITY);
        for row in scores.chunks_exact(count) {
            for (best, &score) in best.iter_mut().zip(row) {
                *best = if score > *best { score } else { *best };
            }
        }
        for (i, &score) in best.iter().enumerate() {
            if score >= least {
                let class = scores.chunks_exact(count).position(|row| row[i] == score);
                let centred = [boxes[i], boxes[count + i], boxes[2 * count + i], boxes[3 * count + i]];
                found(Candidate::centred(centred, score, class.unwrap_or(0) as u16));
            }
        }
    }

    /// Rows of centre, size, class scores.
    fn read_scores(&self, values: &[f32], least: f32, mut found: impl FnMut(Candidate)) {
        for row in values.chunks_exact(self.columns) {
            let (class_id, score) = best(&row[4..]);
            if score >= least {
                found(Candidate::centred([row[0], row[1], row[2], row[3]], score, class_id));
            }
        }
    }

    /// Rows of left, top, right, bottom, score, class.
    fn read_chosen(&self, values: &[f32], least: f32, mut found: impl FnMut(Candidate)) {
        let (rows, _) = values.as_chunks::<6>();
        for &[left, top, right, bottom, score, class] in rows {
            let class = class.round();
            if score >= least && class >= 0.0 && class < self.classes as f32 {
                found(Candidate { xyxy: [left, top, right, bottom], score, class_id: class as u16 });
            }
        }
    }
}

/// The first of these that is no score; none where all are.
fn out_of_range(scores: &[f32]) -> Option<f32> {
    // Without a branch in it, several are looked at by one instruction. NaN is in no range.
    let all = scores.iter().fold(true, |all, score| all & SCORES.contains(score));
    if all { None } else { scores.iter().copied().find(|score| !SCORES.contains(score)) }
}

/// The highest of some scores, the first where several are.
fn best(scores: &[f32]) -> (u16, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, &score) in scores.iter().enumerate() {
        if score > best.1 {
            best = (id as u16, score);
        }
    }
    best
}

/// Every cell of all grids, stride after stride, row by row.
fn cells(input: Size, strides: &[u32]) -> Vec<[f32; 3]> {
    let mut cells = Vec::new();
    for &stride in strides {
        let (columns, rows) = grid(input, stride);
        for row in 0..rows {
            cells.extend((0..columns).map(|column| [column as f32, row as f32, stride as f32]));
        }
    }
    cells
}
