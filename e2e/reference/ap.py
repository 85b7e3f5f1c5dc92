#!/usr/bin/env python3
"""Average precision at an overlap of one half between two files of detections, frame by frame.

    ap.py FOUND.jsonl TRUTH.jsonl [--class 0] [--truth-confidence 0.35] [--confidence 0]

Both files have a JSON object a line with `position` and `detections` (boxes in source pixels): `processor analyze`
and `reference.py` write them. Frames are matched by position; frames that only one file has are left out and counted.
The area under the precision-recall curve is taken at every point, with precision made falling (as PASCAL VOC 2010 does).
"""
import argparse
import json

import numpy as np

from reference import overlap


def read(path, least, class_id):
    """Detections by position: boxes, scores, classes."""
    frames = {}
    for line in open(path):
        frame = json.loads(line)
        if frame.get("status", "ok") != "ok":
            continue
        found = [
            d for d in frame["detections"] if d["confidence"] >= least and (class_id is None or d["class_id"] == class_id)
        ]
        frames[frame["position"]] = (
            np.array([d["xyxy"] for d in found], float).reshape(-1, 4),
            np.array([d["confidence"] for d in found]),
            np.array([d["class_id"] for d in found], int),
        )
    return frames


def match(found, truth):
    """Scores of all found, and which of them are right: the best-scored takes the truth that it overlaps most."""
    scores, right = [], []
    for position in found.keys() & truth.keys():
        boxes, confidences, classes = found[position]
        true_boxes, _, true_classes = truth[position]
        taken = np.zeros(len(true_boxes), bool)
        for i in np.argsort(-confidences, kind="stable"):
            shares = np.where(taken | (true_classes != classes[i]), 0, overlap(boxes[i], true_boxes)) if len(taken) else taken
            hit = len(shares) > 0 and shares.max() >= 0.5
            if hit:
                taken[shares.argmax()] = True
            scores.append(confidences[i])
            right.append(hit)
    return np.array(scores), np.array(right, bool)


def average_precision(found, truth):
    shared = found.keys() & truth.keys()
    total = sum(len(truth[position][0]) for position in shared)
    if total == 0:
        return float("nan"), 0
    scores, right = match(found, truth)
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    recall = np.concatenate([[0], hits / total])
    precision = np.concatenate([[1], hits / np.arange(1, len(hits) + 1)])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * precision[1:])), total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("found")
    parser.add_argument("truth")
    parser.add_argument("--class", dest="class_id", type=int)
    parser.add_argument("--truth-confidence", type=float, default=0.35)
    parser.add_argument("--confidence", type=float, default=0.0)
    args = parser.parse_args()
    found = read(args.found, args.confidence, args.class_id)
    truth = read(args.truth, args.truth_confidence, args.class_id)
    shared = found.keys() & truth.keys()
    ap50, total = average_precision(found, truth)
    alone = len(found) + len(truth) - 2 * len(shared)
    print(json.dumps({"ap50": round(ap50, 4), "frames": len(shared), "frames_of_one_only": alone, "boxes": total}))


if __name__ == "__main__":
    main()
