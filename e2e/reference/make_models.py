#!/usr/bin/env python3
"""Builds small ONNX files for tests: one for each head, and models that must be refused.

    make_models.py FOLDER

yolov5.onnx, yolov8.onnx, yolox.onnx, end_to_end.onnx
                       1x3x320x320, each head with 3 classes. The backbone is one layer of fixed random edge filters: it
                       finds no objects, but boxes that move with the picture.
yolov5_dynamic.onnx    the same with batch, height and width left open, told by `imgsz` in the metadata
stuck_batch.onnx       batch left open, and a graph that takes one frame all the same
open_size.onnx         height and width left open, and nothing tells them
unknown_head.onnx      an output of 1x10x3
flat_input.onnx        an input of 1x100
half.onnx              an input of half-precision floats
segment.onnx           Ultralytics metadata of another task
misnamed.onnx          two class names for an output of three classes
named_from_1.onnx      class names whose numbers begin at 1
second_input.onnx, channels_last.onnx, bytes.onnx, batch_of_4.onnx
                       inputs that are no single float picture of 1x3xHxW
external.onnx          its weights lie in external.onnx.data
unknown_operator.onnx  an operator that ONNX Runtime does not have

Outputs that look like those of another head, without names unless said:
yolov6.onnx            YOLOX's shape with decoded boxes, the output named as YOLOv6 names it
transposed.onnx        YOLOv8's output with rows and columns exchanged; names of 3 classes tell it
decoded.onnx, transposed_nameless.onnx, candidates.onnx
                       YOLOX's shape: decoded boxes; YOLOv8's values; corners, score and class (as for DeepStream)
shares.onnx, shares_chosen.onnx
                       boxes as shares of the picture: YOLOv8, end-to-end
logits.onnx            YOLOv8 without sigmoid
pose.onnx, oriented.onnx, coefficients.onnx, masks.onnx
                       YOLOv8 with key points, an angle, mask coefficients after the scores; with the prototypes as well
corners.onnx           YOLOv8 with corners where centre and size should be
centres.onnx           end-to-end with centre and size where corners should be
class_first.onnx       end-to-end as class, score, left, top, right, bottom
class_fifth.onnx       end-to-end as left, top, right, bottom, class, score
not_a_number.onnx      YOLOv8 whose scores are NaN
twins.onnx             two outputs of YOLOv8's layout
"""
import pathlib
import sys

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

CLASSES = 3
# YOLOv5's anchors by stride.
ANCHORS = {
    8: [(10, 13), (16, 30), (33, 23)],
    16: [(30, 61), (62, 45), (59, 119)],
    32: [(116, 90), (156, 198), (373, 326)],
}


class Graph:
    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, value, kind=np.float32):
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, kind), name))
        return name

    def __call__(self, op, *inputs, **attributes):
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def write(
        self, path, input_shape, output, output_shape, metadata=(), kind=TensorProto.FLOAT, name="output", more=(),
        inputs=(), gives=None, domain="", **saving,
    ):
        """`more` are further outputs as (name, value, shape), `inputs` further inputs as (name, kind, shape); `gives` is the
        output's kind where it is not the input's; `domain` that of an operator which only some other runtime has."""
        outputs = [(name, output, output_shape), *more]
        self.nodes.extend(helper.make_node("Identity", [value], [name]) for name, value, _ in outputs)
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info(*each) for each in [("images", kind, input_shape), *inputs]],
            [helper.make_tensor_value_info(name, gives or kind, shape) for name, _, shape in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 13), *([helper.make_opsetid(domain, 1)] if domain else [])]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        helper.set_model_props(model, dict(metadata))
        if not domain:
            checker.check_model(model)
        save(model, path, **saving)


def backbone(graph, side, stride, anchors, width, seed, picture="images"):
    """Sigmoids of edge filters: 1 x anchors x cells x width, for the grid of a stride."""
    random = np.random.default_rng(seed)
    cells = side // stride
    filters = random.normal(size=(12, 3, stride, stride))
    filters = filters - filters.mean((2, 3), keepdims=True)
    filters *= 6 / np.linalg.norm(filters.reshape(12, -1), axis=1).reshape(-1, 1, 1, 1) * np.sqrt(8 / stride)
    features = graph("Conv", picture, graph.constant(filters), kernel_shape=[stride] * 2, strides=[stride] * 2)
    mix = random.normal(size=(anchors, width, 12, 1, 1))
    mix[:, :4] *= 0.1  # sizes near the anchors'
    bias = np.zeros((anchors, width))
    bias[:, 4] = -5  # few objects
    weights = graph.constant(mix.reshape(-1, 12, 1, 1)), graph.constant(bias.reshape(-1))
    mixed = graph("Conv", graph("Tanh", features), *weights)
    split = graph("Reshape", mixed, graph.constant([0, anchors, width, cells * cells], np.int64))
    return graph("Sigmoid", graph("Transpose", split, perm=[0, 1, 3, 2]))


def part(graph, value, start, end, axis):
    ends = (graph.constant([v], np.int64) for v in (start, end, axis))
    return graph("Slice", value, *ends)


def yolov5(graph, side, picture="images"):
    """A YOLOv5 or v7 head, decoded as their code does: 1 x 3 * cells x (5 + classes)."""
    levels = []
    for stride, anchors in ANCHORS.items():
        cells = side // stride
        rows = backbone(graph, side, stride, 3, 5 + CLASSES, stride, picture)
        centre, size, scores = (part(graph, rows, *span, 3) for span in ((0, 2), (2, 4), (4, 5 + CLASSES)))
        x, y = np.meshgrid(np.arange(cells), np.arange(cells))
        grid = np.stack([x, y], 2).reshape(1, 1, -1, 2) - 0.5
        centre = graph("Add", graph("Mul", centre, graph.constant(2)), graph.constant(grid))
        centre = graph("Mul", centre, graph.constant(stride))
        twice = graph("Mul", size, graph.constant(2))
        size = graph("Mul", graph("Mul", twice, twice), graph.constant(np.array(anchors).reshape(1, 3, 1, 2)))
        level = graph("Concat", centre, size, scores, axis=3)
        levels.append(graph("Reshape", level, graph.constant([0, -1, 5 + CLASSES], np.int64)))
    return graph("Concat", *levels, axis=1)


def yolov8(graph, side):
    """A YOLOv8 head: 1 x (4 + classes) x 3 * cells."""
    return graph("Transpose", scored(graph, side), perm=[0, 2, 1])


def yolox(graph, side):
    """A YOLOX head, its grid left to the reader: 1 x cells x (5 + classes)."""
    levels = []
    unit = graph("Mul", "images", graph.constant(1 / 255))
    for stride in ANCHORS:
        rows = backbone(graph, side, stride, 1, 5 + CLASSES, stride, unit)
        centre, size, scores = (part(graph, rows, *span, 3) for span in ((0, 2), (2, 4), (4, 5 + CLASSES)))
        size = graph("Mul", graph("Sub", size, graph.constant(0.25)), graph.constant(3))
        level = graph("Concat", centre, size, scores, axis=3)
        levels.append(graph("Reshape", level, graph.constant([1, -1, 5 + CLASSES], np.int64)))
    return graph("Concat", *levels, axis=1)


def end_to_end(graph, side):
    """The hundred best of a YOLOv5 head as left, top, right, bottom, score, class: 1 x 100 x 6."""
    rows = yolov5(graph, side)
    centre, size, objectness, scores = (
        part(graph, rows, *span, 2) for span in ((0, 2), (2, 4), (4, 5), (5, 5 + CLASSES))
    )
    half = graph("Mul", size, graph.constant(0.5))
    scores = graph("Mul", objectness, scores)
    best = graph("ReduceMax", scores, axes=[2], keepdims=1)
    number = graph("Cast", graph("ArgMax", scores, axis=2, keepdims=1), to=TensorProto.FLOAT)
    all_rows = graph("Concat", graph("Sub", centre, half), graph("Add", centre, half), best, number, axis=2)
    flat = graph("Reshape", best, graph.constant([1, -1], np.int64))
    graph.nodes.append(helper.make_node("TopK", [flat, graph.constant([100], np.int64)], ["top", "chosen"], axis=1))
    chosen = graph("Reshape", "chosen", graph.constant([100], np.int64))
    return graph("Gather", all_rows, chosen, axis=1)


def pooled(graph, rows, columns, picture="images"):
    """Some output of 1 x rows x columns."""
    mean = graph("Reshape", graph("GlobalAveragePool", picture), graph.constant([1, 1, 3], np.int64))
    return graph("Tile", mean, graph.constant([1, rows, columns // 3], np.int64))


def columns(graph, value, *spans):
    """Parts of the columns of 1 x N x C."""
    return [part(graph, value, *span, 2) for span in spans]


def one_a_cell(graph, side, picture="images"):
    """Decoded rows of centre, size, objectness, scores, one for each cell: as YOLOv6 has them."""
    step = (graph.constant([v], np.int64) for v in (0, 10**6, 1, 3))
    return graph("Slice", yolov5(graph, side, picture), *step)


def scored(graph, side, picture="images"):
    """Rows of centre, size, scores, one for each cell: YOLOv8's, rows and columns exchanged."""
    rows = one_a_cell(graph, side, picture)
    box, objectness, scores = columns(graph, rows, (0, 4), (4, 5), (5, 5 + CLASSES))
    return graph("Concat", box, graph("Mul", objectness, scores), axis=2)


def corners_of(graph, box):
    centre, size = columns(graph, box, (0, 2), (2, 4))
    half = graph("Mul", size, graph.constant(0.5))
    return graph("Concat", graph("Sub", centre, half), graph("Add", centre, half), axis=2)


def misread(folder, side=320):
    """Outputs that look like those of another head."""
    cells = 2100
    picture = [1, 3, side, side]
    names = {"names": "['a', 'b', 'c']"}

    def write(file, values, shape, metadata=(), **more):
        graph = Graph()
        graph.write(folder / f"{file}.onnx", picture, values(graph), shape, metadata, **more)

    def flip(graph, rows):
        return graph("Transpose", rows, perm=[0, 2, 1])

    def split(graph):
        return columns(graph, scored(graph, side), (0, 4), (4, 4 + CLASSES))

    def joined(graph, *parts):
        return flip(graph, graph("Concat", *parts, axis=2))

    def spread(graph, count, low, high):
        """Other values that go with each candidate."""
        span = np.linspace(low, high, cells * count).reshape(1, cells, count)
        return graph.constant(np.random.default_rng(1).permuted(span, axis=1))

    write("yolov6", lambda graph: one_a_cell(graph, side), [1, cells, 8], names, name="outputs")
    write("decoded", lambda graph: one_a_cell(graph, side), [1, cells, 8], names)
    write("transposed", lambda graph: scored(graph, side), [1, cells, 7], names)
    write("transposed_nameless", lambda graph: scored(graph, side), [1, cells, 7])

    def candidates(graph):
        box, scores = split(graph)
        best = graph("ReduceMax", scores, axes=[2], keepdims=1)
        number = graph("Cast", graph("ArgMax", scores, axis=2, keepdims=1), to=TensorProto.FLOAT)
        return graph("Concat", corners_of(graph, box), best, number, axis=2)

    write("candidates", candidates, [1, cells, 6])

    def shares(graph):
        box, scores = split(graph)
        return joined(graph, graph("Mul", box, graph.constant(1 / side)), scores)

    write("shares", shares, [1, 7, cells], names)

    def logits(graph):
        box, scores = split(graph)
        odds = graph("Div", scores, graph("Sub", graph.constant(1), scores))
        return joined(graph, box, graph("Log", odds))

    write("logits", logits, [1, 7, cells], names)
    for name, count, low, high in (("pose", 51, 0, side), ("oriented", 1, -0.78, 2.35), ("coefficients", 32, -3, 3)):
        write(name, lambda graph: joined(graph, *split(graph), spread(graph, count, low, high)), [1, 7 + count, cells])
    graph = Graph()
    prototypes = graph.constant(np.zeros((1, 32, side // 4, side // 4)))
    rows = joined(graph, *split(graph), spread(graph, 32, -3, 3))
    more = [("output1", prototypes, [1, 32, side // 4, side // 4])]
    graph.write(folder / "masks.onnx", picture, rows, [1, 39, cells], more=more)

    def corners(graph):
        box, scores = split(graph)
        return joined(graph, corners_of(graph, box), scores)

    write("corners", corners, [1, 7, cells], names)

    def not_a_number(graph):
        box, scores = split(graph)
        return joined(graph, box, graph("Log", graph("Sub", scores, graph.constant(2))))

    write("not_a_number", not_a_number, [1, 7, cells], names)

    def chosen(*order):
        def values(graph):
            rows = end_to_end(graph, side)
            box, score, number = columns(graph, rows, (0, 4), (4, 5), (5, 6))
            left, top, right, bottom = columns(graph, box, *((i, i + 1) for i in range(4)))
            width, height = graph("Sub", right, left), graph("Sub", bottom, top)
            half = graph.constant(0.5)
            middle = [graph("Mul", graph("Add", *pair), half) for pair in ((left, right), (top, bottom))]
            shares = [graph("Mul", value, graph.constant(1 / side)) for value in (left, top, right, bottom)]
            parts = {"corners": [box], "centre": [*middle, width, height], "shares": shares, "score": [score], "class": [number]}
            return graph("Concat", *sum((parts[name] for name in order), []), axis=2)

        return values

    for name, order in (
        ("centres", ("centre", "score", "class")),
        ("shares_chosen", ("shares", "score", "class")),
        ("class_first", ("class", "score", "corners")),
        ("class_fifth", ("corners", "class", "score")),
    ):
        write(name, chosen(*order), [1, 100, 6], names)
    graph = Graph()
    first, second = flip(graph, scored(graph, side)), flip(graph, scored(graph, side))
    graph.write(folder / "twins.onnx", picture, first, [1, 7, cells], names, more=[("other", second, [1, 7, cells])])


def refused(folder):
    """Models that cannot be used, for reasons of their own."""
    square, shape = [1, 3, 320, 320], [1, 7, 2100]

    def write(file, values, input_shape, metadata=(), **more):
        graph = Graph()
        graph.write(folder / f"{file}.onnx", input_shape, values(graph), shape, metadata, **more)

    plain = lambda graph: pooled(graph, 7, 2100)
    write("named_from_1", plain, square, {"names": "{1: 'car', 2: 'bus', 3: 'bike'}"})
    write("second_input", plain, square, inputs=[("orig_target_sizes", TensorProto.INT64, [1, 2])])

    def first_of_4(graph):
        return pooled(graph, 7, 2100, part(graph, "images", 0, 1, 0))

    write("batch_of_4", first_of_4, [4, 3, 320, 320])

    def channels_last(graph):
        return pooled(graph, 7, 2100, graph("Transpose", "images", perm=[0, 3, 1, 2]))

    write("channels_last", channels_last, [1, 320, 320, 3])

    def of_bytes(graph):
        return pooled(graph, 7, 2100, graph("Cast", "images", to=TensorProto.FLOAT))

    write("bytes", of_bytes, square, kind=TensorProto.UINT8, gives=TensorProto.FLOAT)
    weights = {"save_as_external_data": True, "location": "external.onnx.data", "size_threshold": 1024}
    write("external", lambda graph: graph("Transpose", scored(graph, 320), perm=[0, 2, 1]), square, **weights)

    def operator(graph):
        return graph("EfficientNMS_TRT", "images", domain="TRT")

    write("unknown_operator", operator, square, domain="TRT")


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    misread(folder)
    refused(folder)
    square = [1, 3, 320, 320]
    shapes = {yolov5: [1, 6300, 8], yolov8: [1, 7, 2100], yolox: [1, 2100, 8], end_to_end: [1, 100, 6]}
    names = {"names": "['a', 'b', 'c']"}
    for head, shape in shapes.items():
        graph = Graph()
        graph.write(folder / f"{head.__name__}.onnx", square, head(graph, 320), shape, names)
    graph = Graph()
    names = {"imgsz": "[320, 320]", "names": "{0: 'a', 1: 'b', 2: 'c'}", "task": "detect", "stride": "32"}
    graph.write(folder / "yolov5_dynamic.onnx", ["batch", 3, "height", "width"], yolov5(graph, 320), ["batch", "n", 8], names)
    graph = Graph()
    graph.write(folder / "stuck_batch.onnx", ["batch", 3, 320, 320], pooled(graph, 7, 2100), ["batch", 7, 2100], names)
    graph = Graph()
    graph.write(folder / "open_size.onnx", [1, 3, "height", "width"], pooled(graph, 10, 6), [1, 10, 6])
    graph = Graph()
    graph.write(folder / "unknown_head.onnx", square, pooled(graph, 10, 3), [1, 10, 3])
    graph = Graph()
    graph.write(folder / "flat_input.onnx", [1, 100], graph("Relu", "images"), [1, 100])
    graph = Graph()
    graph.write(folder / "half.onnx", square, graph("Relu", "images"), square, kind=TensorProto.FLOAT16)
    graph = Graph()
    graph.write(folder / "segment.onnx", square, pooled(graph, 116, 2100), [1, 116, 2100], {"task": "segment"})
    graph = Graph()
    two = {"names": "['a', 'b']"}
    graph.write(folder / "misnamed.onnx", square, pooled(graph, 7, 2100), [1, 7, 2100], two)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
