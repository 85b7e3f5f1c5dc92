#!/usr/bin/env python3
"""Builds small ONNX files for tests: heads for which no model is at hand, and models that must be refused.

    make_models.py FOLDER

yolov5.onnx            1x3x320x320 -> 1x6300x8, a YOLOv5/v7 head of 3 classes, decoded in the graph. Its backbone is one
                       layer of fixed random edge filters: it finds no objects, but boxes that move with the picture.
yolov5_dynamic.onnx    the same with batch, height and width left open, told by `imgsz` in the metadata
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


def yolov5(graph, side):
    """The output of a YOLOv5 head over edge filters of a picture of this side."""
    random = np.random.default_rng(5)
    levels = []
    for stride, anchors in ANCHORS.items():
        cells = side // stride
        filters = random.normal(size=(12, 3, stride, stride))
        filters = filters - filters.mean((2, 3), keepdims=True)
        filters *= 6 / np.linalg.norm(filters.reshape(12, -1), axis=1).reshape(-1, 1, 1, 1) * np.sqrt(8 / stride)
        features = graph("Conv", "images", graph.constant(filters), kernel_shape=[stride] * 2, strides=[stride] * 2)
        features = graph("Tanh", features)
        width = 5 + CLASSES
        mix = random.normal(size=(3, width, 12, 1, 1))
        mix[:, :4] *= 0.1  # sizes near the anchors'
        bias = np.zeros((3, width))
        bias[:, 4] = -4  # few objects
        mixed = graph("Conv", features, graph.constant(mix.reshape(-1, 12, 1, 1)), graph.constant(bias.reshape(-1)))
        split = graph("Reshape", mixed, graph.constant([1, 3, width, cells * cells], np.int64))
        rows = graph("Sigmoid", graph("Transpose", split, perm=[0, 1, 3, 2]))
        starts, axis = [0, 2, 4], graph.constant([3], np.int64)
        centre, size, scores = (
            graph("Slice", rows, graph.constant([start], np.int64), graph.constant([end], np.int64), axis)
            for start, end in zip(starts, [2, 4, width])
        )
        x, y = np.meshgrid(np.arange(cells), np.arange(cells))
        grid = np.stack([x, y], 2).reshape(1, 1, -1, 2) - 0.5
        centre = graph("Mul", graph("Add", graph("Mul", centre, graph.constant(2)), graph.constant(grid)), graph.constant(stride))
        twice = graph("Mul", size, graph.constant(2))
        size = graph("Mul", graph("Mul", twice, twice), graph.constant(np.array(anchors).reshape(1, 3, 1, 2)))
        level = graph("Concat", centre, size, scores, axis=3)
        levels.append(graph("Reshape", level, graph.constant([1, -1, width], np.int64)))
    return graph("Concat", *levels, axis=1)


def pooled(graph, rows, columns):
    """Some output of 1 x rows x columns."""
    mean = graph("Reshape", graph("GlobalAveragePool", "images"), graph.constant([1, 1, 3], np.int64))
    return graph("Tile", mean, graph.constant([1, rows, columns // 3], np.int64))


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    square = [1, 3, 320, 320]
    graph = Graph()
    graph.write(folder / "yolov5.onnx", square, yolov5(graph, 320), [1, 6300, 8])
    graph = Graph()
    names = {"imgsz": "[320, 320]", "names": "{0: 'a', 1: 'b', 2: 'c'}", "task": "detect", "stride": "32"}
    graph.write(folder / "yolov5_dynamic.onnx", ["batch", 3, "height", "width"], yolov5(graph, 320), ["batch", "n", 8], names)
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
