#!/usr/bin/env python3
"""Detections as everybody's Python would make them: OpenCV, a plain letterbox, onnxruntime, NMS in numpy.

An independent reference for the processor's preprocess, infer and postprocess: it shares no code with them and is kept
as simple as possible.

    reference.py frames FRAMES.i420 --model M.onnx --head yolov8 --out D.jsonl      what the processor is given
    reference.py video CLIP --model M.onnx --head yolov8 --out D.jsonl              full-size frames, decoded by OpenCV

FRAMES.i420 is one line of JSON ({"analysed": [w, h], "source": [w, h], "count": n}) and then the frames' bytes.
Each line of the output is {"position": i, "source": {"width", "height"}, "detections": [{"xyxy", "confidence", "class_id"}]},
boxes in source pixels. Run as the library: `detector = Detector(...)`, `detector(rgb)`.
"""
import argparse
import json

import cv2
import numpy as np
import onnxruntime


class Detector:
    def __init__(self, model, head, confidence=0.1, iou=0.5, placement=None, most=300):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        _, _, self.height, self.width = self.session.get_inputs()[0].shape
        self.head, self.confidence, self.iou, self.most = head, confidence, iou, most
        self.top_left = (placement or ("top-left" if head == "yolox" else "centre")) == "top-left"

    def __call__(self, rgb):
        """Detections in pixels of the picture, sorted by falling score: boxes (n, 4) xyxy, scores (n,), classes (n,)."""
        picture, left, top, new_width, new_height = self.letterbox(rgb)
        if self.head == "yolox":
            tensor = picture[:, :, ::-1].astype(np.float32)
        else:
            tensor = picture.astype(np.float32) / 255
        name = self.session.get_inputs()[0].name
        output = self.session.run(None, {name: np.ascontiguousarray(tensor.transpose(2, 0, 1))[None]})[0][0]
        boxes, scores, classes = self.decode(output)
        keep = scores >= self.confidence
        boxes, scores, classes = boxes[keep], scores[keep], classes[keep]
        order = np.argsort(-scores, kind="stable")
        boxes, scores, classes = boxes[order], scores[order], classes[order]
        if self.head != "end-to-end":
            keep = nms(boxes, classes, self.iou)
            boxes, scores, classes = boxes[keep], scores[keep], classes[keep]
        boxes, scores, classes = boxes[: self.most], scores[: self.most], classes[: self.most]
        height, width = rgb.shape[:2]
        scale = np.array([width / new_width, height / new_height] * 2)
        boxes = (boxes - np.array([left, top, left, top])) * scale
        boxes = np.clip(boxes, 0, [width, height, width, height])
        there = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
        return boxes[there], scores[there], classes[there]

    def letterbox(self, rgb):
        height, width = rgb.shape[:2]
        scale = min(self.width / width, self.height / height)
        if self.top_left:
            # as YOLOX's own demo does
            new_width, new_height, left, top = int(width * scale), int(height * scale), 0, 0
        else:
            # as Ultralytics does
            new_width, new_height = round(width * scale), round(height * scale)
            left = round((self.width - new_width) / 2 - 0.1)
            top = round((self.height - new_height) / 2 - 0.1)
        if (new_width, new_height) != (width, height):
            rgb = cv2.resize(rgb, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
        picture = np.full((self.height, self.width, 3), 114, np.uint8)
        picture[top : top + new_height, left : left + new_width] = rgb
        return picture, left, top, new_width, new_height

    def decode(self, output):
        """The model's output as boxes in model pixels, scores, classes."""
        if self.head == "end-to-end":
            return output[:, :4], output[:, 4], output[:, 5].round().astype(int)
        if self.head == "yolov8":
            output = output.T
            centre, size, scores = output[:, :2], output[:, 2:4], output[:, 4:]
        elif self.head == "yolov5":
            centre, size, scores = output[:, :2], output[:, 2:4], output[:, 4:5] * output[:, 5:]
        elif self.head == "yolox":
            grids, strides = [], []
            for stride in (8, 16, 32):
                x, y = np.meshgrid(np.arange(self.width // stride), np.arange(self.height // stride))
                grids.append(np.stack([x, y], 2).reshape(-1, 2))
                strides.append(np.full((grids[-1].shape[0], 1), stride))
            grids, strides = np.concatenate(grids), np.concatenate(strides)
            centre, size = (output[:, :2] + grids) * strides, np.exp(output[:, 2:4]) * strides
            scores = output[:, 4:5] * output[:, 5:]
        else:
            raise SystemExit(f"unknown head {self.head}")
        classes = scores.argmax(1)
        return np.concatenate([centre - size / 2, centre + size / 2], 1), scores.max(1), classes


def nms(boxes, classes, most_overlap):
    """Greedy, class by class; the boxes are sorted by falling score. Returns the indices kept, rising."""
    keep = []
    for c in np.unique(classes):
        rest = np.flatnonzero(classes == c)
        while len(rest):
            first, rest = rest[0], rest[1:]
            keep.append(first)
            rest = rest[overlap(boxes[first], boxes[rest]) <= most_overlap]
    return np.sort(np.array(keep, int))


def overlap(box, boxes):
    """Intersection over union of one box with many."""
    width = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    height = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    both = np.clip(width, 0, None) * np.clip(height, 0, None)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return both / ((box[2] - box[0]) * (box[3] - box[1]) + area - both)


def i420_frames(path):
    """The frames of a dump as RGB, with the scale from analysed to source pixels."""
    with open(path, "rb") as file:
        about = json.loads(file.readline())
        (width, height), source = about["analysed"], about["source"]
        for position in range(about["count"]):
            i420 = np.frombuffer(file.read(width * height * 3 // 2), np.uint8).reshape(height * 3 // 2, width)
            yield position, cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420), source


def video_frames(path, most):
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SystemExit(f"{path} cannot be opened")
    position = 0
    while most is None or position < most:
        there, bgr = capture.read()
        if not there:
            break
        yield position, np.ascontiguousarray(bgr[:, :, ::-1]), [bgr.shape[1], bgr.shape[0]]
        position += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["frames", "video"])
    parser.add_argument("input")
    parser.add_argument("--model", required=True)
    parser.add_argument("--head", required=True, choices=["yolov5", "yolov8", "yolox", "end-to-end"])
    parser.add_argument("--placement", choices=["centre", "top-left"])
    parser.add_argument("--confidence", type=float, default=0.1)
    parser.add_argument("--iou", type=float, default=0.5)
    parser.add_argument("--frames", type=int, help="stop after so many")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    detector = Detector(args.model, args.head, args.confidence, args.iou, args.placement)
    frames = i420_frames(args.input) if args.mode == "frames" else video_frames(args.input, args.frames)
    with open(args.out, "w") as out:
        for position, rgb, (source_width, source_height) in frames:
            boxes, scores, classes = detector(rgb)
            height, width = rgb.shape[:2]
            boxes = boxes * np.array([source_width / width, source_height / height] * 2)
            found = [
                {"xyxy": box.tolist(), "confidence": float(score), "class_id": int(c)}
                for box, score, c in zip(boxes, scores, classes)
            ]
            source = {"width": source_width, "height": source_height}
            print(json.dumps({"position": position, "source": source, "detections": found}), file=out)


if __name__ == "__main__":
    main()
