"""Reference values for the tests of `kalman.rs` and `homography.rs`, written by independent means:
a textbook Kalman filter with full 8x8 matrices in NumPy, and OpenCV's findHomography.

    python3 motion.py > motion.json        (needs numpy and opencv-python-headless)
"""
import json

import cv2
import numpy as np

rng = np.random.default_rng(7)


def kalman():
    """Boxes seen at uneven times, some missed; after each step the box that the filter believes in."""
    interval, position, velocity = 0.04, 1 / 20, 1 / 160
    steps, t = [], 0.0
    for k in range(40):
        t += [0.04, 0.04, 0.12, 0.041][k % 4]
        x, y, w, h = 100 + 55 * t, 80 - 12 * t + 3 * np.sin(3 * t), 40 + 2 * t, 90 - 4 * t
        box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) + rng.normal(0, 1.5, 4)
        steps.append({"t": round(t, 6), "xyxy": None if k in (9, 10, 25) else [round(float(v), 3) for v in box]})

    m = P = last = None
    expected = []
    for step in steps:
        z = None
        if step["xyxy"] is not None:
            a = np.float32(step["xyxy"]).astype(float)
            z = np.array([(a[0] + a[2]) / 2, (a[1] + a[3]) / 2, a[2] - a[0], a[3] - a[1]])
        if m is None:
            w, h = z[2], z[3]
            m = np.r_[z, np.zeros(4)]
            P = np.diag([*(2 * position * np.array([w, h, w, h])), *(10 * velocity / interval * np.array([w, h, w, h]))]) ** 2
        else:
            dt = step["t"] - last
            w, h = m[2], m[3]
            sizes = np.array([w, h, w, h])
            F = np.eye(8)
            F[:4, 4:] = dt * np.eye(4)
            Q = np.diag(np.r_[position * sizes, velocity / interval * sizes] ** 2) * dt / interval
            m = F @ m
            P = F @ P @ F.T + Q
            if z is not None:
                H = np.eye(4, 8)
                R = np.diag((position * np.array([m[2], m[3], m[2], m[3]])) ** 2)
                K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
                m = m + K @ (z - H @ m)
                P = (np.eye(8) - K @ H) @ P
        last = step["t"]
        expected.append([m[0] - m[2] / 2, m[1] - m[3] / 2, m[0] + m[2] / 2, m[1] + m[3] / 2])
    return {"interval_s": interval, "steps": steps, "xyxy": expected}


def homographies():
    """Clicked points of three cameras (four exact; six and nine with an error), and where OpenCV sees probes."""
    cases = []
    for n, noise in ((4, 0.0), (6, 1.0), (9, 2.5)):
        camera = np.array([[900.0, 0, 640], [0, 900.0, 360], [0, 0, 1]])
        pitch, height = np.deg2rad(15 + n), 6.0 + n / 3
        c, s = np.cos(pitch), np.sin(pitch)
        turn = np.array([[1, 0, 0], [0, -s, -c], [0, c, -s]])
        full = camera @ np.c_[turn, -turn @ np.array([0, 0, height])]
        image_from_world = full[:, [0, 1, 3]]
        ground = np.c_[rng.uniform(-8, 8, n), rng.uniform(10, 45, n)]
        if n == 4:
            ground = np.array([[-6.0, 12.0], [7.0, 14.0], [5.0, 40.0], [-8.0, 35.0]])
        seen = np.c_[ground, np.ones(n)] @ image_from_world.T
        image = np.round(seen[:, :2] / seen[:, 2:] + rng.normal(0, noise, (n, 2)), 3)
        ground = np.round(ground, 4)
        if n == 4:
            fitted = cv2.getPerspectiveTransform(np.float32(ground), np.float32(image)).astype(float)
        else:
            fitted, _ = cv2.findHomography(ground, image, 0)
        probes = [[200.0, 300.0], [640.0, 400.0], [1000.0, 650.0], [300.0, 700.0]]
        back = np.linalg.inv(fitted)
        on_ground = np.c_[probes, np.ones(4)] @ back.T
        again = np.c_[ground, np.ones(n)] @ fitted.T
        residuals = np.linalg.norm(again[:, :2] / again[:, 2:] - image, axis=1)
        cases.append({
            "image": image.tolist(), "ground": ground.tolist(), "probes": probes,
            "probes_on_ground": (on_ground[:, :2] / on_ground[:, 2:]).tolist(),
            "rms_residual_px": float(np.sqrt(np.mean(residuals**2))),
        })
    return cases


print(json.dumps({"kalman": kalman(), "homographies": homographies()}, indent=1))
