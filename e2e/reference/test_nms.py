#!/usr/bin/env python3
"""The reference's own NMS against OpenCV's, on random boxes."""
import cv2
import numpy as np

from reference import nms

random = np.random.default_rng(1)
for trial in range(50):
    count = int(random.integers(1, 200))
    corner, size = random.uniform(0, 300, (count, 2)), random.uniform(5, 120, (count, 2))
    classes, scores = random.integers(0, 4, count), np.sort(random.uniform(0.1, 1, count))[::-1]
    ours = nms(np.concatenate([corner, corner + size], 1), classes, 0.5)
    boxes = np.concatenate([corner, size], 1)
    theirs = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores.tolist(), classes.tolist(), 0.0, 0.5)
    assert sorted(int(i) for i in np.array(theirs).reshape(-1)) == ours.tolist(), trial
print("50 trials agree")
