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

    def write(self, path, input_shape, output, output_shape, metadata=(), kind=TensorProto.FLOAT):
        self.nodes.append(helper.make_node("Identity", [output], ["output"]))
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("images", kind, input_shape)],
            [helper.make_tensor_value_info("output", kind, output_shape)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        helper.set_model_props(model, dict(metadata))
        checker.check_model(model)
        save(model, path)


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


def yolov5(graph, side):
    """A YOLOv5 or v7 head, decoded as their code does: 1 x 3 * cells x (5 + classes)."""
    levels = []
    for stride, anchors in ANCHORS.items():
        cells = side // stride
        rows = backbone(graph, side, stride, 3, 5 + CLASSES, seed=stride)
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
    rows = yolov5(graph, side)
    box, objectness, scores = (part(graph, rows, *span, 2) for span in ((0, 4), (4, 5), (5, 5 + CLASSES)))
    rows = graph("Concat", box, graph("Mul", objectness, scores), axis=2)
    # One candidate a cell, as YOLOv8 has it: every third.
    step = (graph.constant([v], np.int64) for v in (0, 10**6, 1, 3))
    return graph("Transpose", graph("Slice", rows, *step), perm=[0, 2, 1])


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


def pooled(graph, rows, columns):
    """Some output of 1 x rows x columns."""
    mean = graph("Reshape", graph("GlobalAveragePool", "images"), graph.constant([1, 1, 3], np.int64))
    return graph("Tile", mean, graph.constant([1, rows, columns // 3], np.int64))


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
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
