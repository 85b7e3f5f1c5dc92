//! Writes the smallest models: an ONNX file is a protobuf message, and a handful of its fields is enough.
//!
//! [`Model::watcher`] sees one object whose place and score depend on every pixel of its input, so that two runs over the same frames
//! give the same results only if they saw the same bytes in the same order. It costs next to nothing: whole-system tests are about
//! frames, not about a detector.

use std::{fs, io, path::Path};

/// An ONNX file in the making: one float picture in, one float tensor of fixed shape out.
#[derive(Debug, Clone)]
pub struct Model {
    input: [i64; 4],
    output: Vec<i64>,
    nodes: Vec<Node>,
    constants: Vec<Constant>,
    metadata: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    operator: &'static str,
    inputs: &'static [&'static str],
    output: &'static str,
    /// Integers by name; for `keepdims` one, for `axes` any number.
    attributes: &'static [(&'static str, &'static [u64])],
}

/// A side that is left open.
const OPEN: i64 = -1;

#[derive(Debug, Clone)]
struct Constant {
    name: &'static str,
    shape: Vec<i64>,
    values: Vec<f32>,
}

impl Model {
    /// Output of shape 1x2x6 (end-to-end head): with `m` the mean of the input, a `person` (class 0) that moves with `m`, and a
    /// weak second box that stands still.
    pub fn watcher(width: u32, height: u32) -> Self {
        let (w, h) = (width as f32, height as f32);
        let per_mean = [0.2 * w, 0.2 * h, 0.2 * w, 0.2 * h, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 0.01, 0.0];
        let base =
            [0.1 * w, 0.1 * h, 0.3 * w, 0.6 * h, 0.85, 0.0, 0.6 * w, 0.5 * h, 0.7 * w, 0.8 * h, 0.2, 0.0];
        Self {
            input: [1, 3, height.into(), width.into()],
            output: vec![1, 2, 6],
            nodes: vec![
                Node {
                    operator: "ReduceMean",
                    inputs: &["images"],
                    output: "mean_of_all",
                    ..Node::default()
                },
                Node { operator: "Squeeze", inputs: &["mean_of_all"], output: "mean", ..Node::default() },
                Node { operator: "Mul", inputs: &["mean", "per_mean"], output: "moved", ..Node::default() },
                Node { operator: "Add", inputs: &["moved", "base"], output: "output0", ..Node::default() },
            ],
            constants: vec![
                Constant { name: "per_mean", shape: vec![1, 2, 6], values: per_mean.into() },
                Constant { name: "base", shape: vec![1, 2, 6], values: base.into() },
            ],
            metadata: vec![("names".into(), "{0: 'person', 1: 'car'}".into())],
        }
    }

    /// The watcher, for any number of pictures in one call.
    pub fn watcher_of_batches(width: u32, height: u32) -> Self {
        let mut watcher = Self::watcher(width, height);
        watcher.input[0] = OPEN;
        watcher.output[0] = OPEN;
        let mean = |inputs, output, attributes| Node { operator: "ReduceMean", inputs, output, attributes };
        watcher.nodes.splice(
            0..2,
            [
                mean(&["images"], "mean_of_rows", &[("axes", &[3]), ("keepdims", &[0])]),
                mean(&["mean_of_rows"], "mean", &[("axes", &[1, 2]), ("keepdims", &[1])]),
            ],
        );
        watcher
    }

    /// Output of shape 1x1x6 (end-to-end head): the box around whatever is red, to the pixel, with score 0.9; nothing where nothing
    /// is. A detector that cannot be wrong, so that whatever differs between two runs was not its doing.
    pub fn red_box(width: u32, height: u32) -> Self {
        let count = |side: u32| (0..side).map(|at| at as f32).collect::<Vec<_>>();
        let node = |operator, inputs, output| Node { operator, inputs, output, ..Node::default() };
        let number = |name, value| Constant { name, shape: vec![1, 1, 1, 1], values: vec![value] };
        let column = |name, at: usize| {
            let mut values = vec![0.0; 6];
            values[at] = 1.0;
            Constant { name, shape: vec![1, 1, 6], values }
        };
        Self {
            input: [1, 3, height.into(), width.into()],
            output: vec![1, 1, 6],
            nodes: vec![
                node("Conv", &["images", "red_less_the_others"], "redness"),
                node("Greater", &["redness", "half_of_red"], "is_red"),
                node("Where", &["is_red", "columns", "far"], "columns_or_far"),
                node("Where", &["is_red", "rows", "far"], "rows_or_far"),
                node("Where", &["is_red", "columns", "none"], "columns_or_none"),
                node("Where", &["is_red", "rows", "none"], "rows_or_none"),
                node("Where", &["is_red", "score", "zero"], "scores"),
                node("ReduceMin", &["columns_or_far"], "left_of_all"),
                node("ReduceMin", &["rows_or_far"], "top_of_all"),
                node("ReduceMax", &["columns_or_none"], "right_of_all"),
                node("ReduceMax", &["rows_or_none"], "bottom_of_all"),
                node("ReduceMax", &["scores"], "best_of_all"),
                node("Squeeze", &["left_of_all"], "left"),
                node("Squeeze", &["top_of_all"], "top"),
                node("Squeeze", &["right_of_all"], "right"),
                node("Squeeze", &["bottom_of_all"], "bottom"),
                node("Squeeze", &["best_of_all"], "best"),
                node("Mul", &["left", "first"], "row_1"),
                node("Mul", &["top", "second"], "row_2"),
                node("Mul", &["right", "third"], "row_3"),
                node("Mul", &["bottom", "fourth"], "row_4"),
                node("Mul", &["best", "fifth"], "row_5"),
                node("Sum", &["row_1", "row_2", "row_3", "row_4", "row_5", "pixel"], "output0"),
            ],
            constants: vec![
                Constant {
                    name: "red_less_the_others",
                    shape: vec![1, 3, 1, 1],
                    values: vec![1.0, -0.5, -0.5],
                },
                Constant { name: "columns", shape: vec![1, 1, 1, width.into()], values: count(width) },
                Constant { name: "rows", shape: vec![1, 1, height.into(), 1], values: count(height) },
                number("half_of_red", 0.37),
                number("far", 1e5),
                number("none", -1e5),
                number("score", 0.9),
                number("zero", 0.0),
                column("first", 0),
                column("second", 1),
                column("third", 2),
                column("fourth", 3),
                column("fifth", 4),
                // A box ends where its last pixel does.
                Constant { name: "pixel", shape: vec![1, 1, 6], values: vec![0.0, 0.0, 1.0, 1.0, 0.0, 0.0] },
            ],
            metadata: vec![("names".into(), "{0: 'red'}".into())],
        }
    }

    /// A sound model whose output no known head has: 1x7x3.
    pub fn with_unknown_head() -> Self {
        Self {
            output: vec![1, 7, 3],
            constants: vec![
                Constant { name: "per_mean", shape: vec![1, 7, 3], values: vec![0.5; 21] },
                Constant { name: "base", shape: vec![1, 7, 3], values: vec![0.1; 21] },
            ],
            metadata: Vec::new(),
            ..Self::watcher(64, 64)
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, self.encode())
    }

    /// `ModelProto` of onnx.proto3, opset 13, IR 8.
    fn encode(&self) -> Vec<u8> {
        const FLOAT: u64 = 1;
        let value_info = |name: &str, shape: &[i64]| {
            let dim = |dim: &i64| match *dim {
                OPEN => text(2, "batch"),
                dim => varint(1, dim as u64),
            };
            let dims = shape.iter().flat_map(|side| message(1, &dim(side))).collect::<Vec<_>>();
            let tensor = [varint(1, FLOAT), message(2, &dims)].concat();
            [text(1, name), message(2, &message(1, &tensor))].concat()
        };
        let mut graph = Vec::new();
        for node in &self.nodes {
            let mut bytes: Vec<u8> = node.inputs.iter().flat_map(|input| text(1, input)).collect();
            bytes.extend([text(2, node.output), text(4, node.operator)].concat());
            for (name, values) in node.attributes {
                const INT: u64 = 2;
                const INTS: u64 = 7;
                let value = match (*name, *values) {
                    ("keepdims", [value]) => [varint(3, *value), varint(20, INT)].concat(),
                    (_, values) => {
                        let ints = values.iter().flat_map(|value| varint(8, *value));
                        ints.chain(varint(20, INTS)).collect()
                    }
                };
                bytes.extend(message(5, &[text(1, name), value].concat()));
            }
            graph.extend(message(1, &bytes));
        }
        graph.extend(text(2, "watcher"));
        for constant in &self.constants {
            let mut bytes: Vec<u8> = constant.shape.iter().flat_map(|dim| varint(1, *dim as u64)).collect();
            let raw: Vec<u8> = constant.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            bytes.extend([varint(2, FLOAT), text(8, constant.name), message(9, &raw)].concat());
            graph.extend(message(5, &bytes));
        }
        graph.extend(message(11, &value_info("images", &self.input)));
        graph.extend(message(12, &value_info("output0", &self.output)));

        let opset = [text(1, ""), varint(2, 13)].concat();
        let mut model =
            [varint(1, 8), text(2, "peregrine-e2e"), message(7, &graph), message(8, &opset)].concat();
        for (key, value) in &self.metadata {
            model.extend(message(14, &[text(1, key), text(2, value)].concat()));
        }
        model
    }
}

fn leb128(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value as u8) | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field of wire type 0.
fn varint(field: u64, value: u64) -> Vec<u8> {
    [leb128(field << 3), leb128(value)].concat()
}

/// A field of wire type 2.
fn message(field: u64, bytes: &[u8]) -> Vec<u8> {
    [leb128(field << 3 | 2), leb128(bytes.len() as u64), bytes.to_vec()].concat()
}

fn text(field: u64, text: &str) -> Vec<u8> {
    message(field, text.as_bytes())
}
