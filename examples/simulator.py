#!/usr/bin/env python3
"""A small simulator that shows its state in the dashboard: one HTTP call per step, and nothing but `requests`.

    python3 examples/simulator.py --url http://127.0.0.1:8080 --stream demo --rate 50 --seconds 10

`Steps` is the part to take along: it never raises into the simulator, never holds it up longer than its time-out, and
counts what it could not deliver. The rest is a car that drives round a bend and back, among others.
"""

import argparse
import json
import math
import statistics
import time

import requests


class Steps:
    """Sends steps to a gateway. What cannot be delivered is dropped and counted: the simulator goes on."""

    def __init__(self, url, stream, timeout_s=0.2, token=None, pause_s=1.0):
        """A call takes at most `timeout_s`; after one that failed, none is tried for `pause_s`."""
        self.address = f"{url.rstrip('/')}/ingest/{stream}"
        # Connecting and answering have a limit each.
        self.timeout = (timeout_s / 2, timeout_s / 2)
        self.pause_s = pause_s
        self.delivered = 0
        self.lost = 0
        self.why = None
        """Why the last step that was lost was lost."""
        self._retry_at = 0.0
        self._map = None
        self._session = requests.Session()
        # Looking for proxies and passwords costs more than the call itself.
        self._session.trust_env = False
        self._session.headers["content-type"] = "application/json"
        if token is not None:
            self._session.headers["authorization"] = f"Bearer {token}"
        # Only the body differs from call to call: preparing the rest each time would cost a fifth of it.
        self._call = self._session.prepare_request(requests.Request("POST", self.address))

    def map(self, lines):
        """What does not move: travels with the next step that arrives."""
        self._map = {"lines": lines}

    def send(self, step):
        """Sends one step, a dictionary as in docs/protocol.md. Returns whether it arrived."""
        if time.monotonic() < self._retry_at:
            self.lost += 1
            return False
        try:
            if self._map is not None:
                step = {**step, "map": self._map}
            self._call.prepare_body(json.dumps(step).encode(), None)
            answer = self._session.send(self._call, timeout=self.timeout, allow_redirects=False)
            if answer.status_code == 202:
                self._map = None
                self.delivered += 1
                return True
            self.why = f"{answer.status_code}: {answer.text[:300]}"
        except Exception as error:  # whatever it is, it is not the simulator's trouble
            self.why = f"{type(error).__name__}: {error}"
        self.lost += 1
        self._retry_at = time.monotonic() + self.pause_s
        return False


class Road:
    """An oval of two lanes, by the distance along its middle."""

    straight_m = 120.0
    radius_m = 40.0
    lane_m = 3.6

    def __init__(self):
        self.length_m = 2 * self.straight_m + 2 * math.pi * self.radius_m

    def at(self, along_m, aside_m=0.0):
        """Position and heading at a distance along the road, so far left of its middle."""
        s, half = along_m % self.length_m, self.straight_m / 2
        bend = math.pi * self.radius_m
        if s < self.straight_m:
            x, y, heading = s - half, -self.radius_m, 0.0
        elif s < self.straight_m + bend:
            turned = (s - self.straight_m) / self.radius_m
            x, y, heading = half + self.radius_m * math.sin(turned), -self.radius_m * math.cos(turned), turned
        elif s < 2 * self.straight_m + bend:
            x, y, heading = half - (s - self.straight_m - bend), self.radius_m, math.pi
        else:
            turned = (s - 2 * self.straight_m - bend) / self.radius_m
            x, y = -half - self.radius_m * math.sin(turned), self.radius_m * math.cos(turned)
            heading = math.pi + turned
        heading = math.remainder(heading, 2 * math.pi)
        return x - aside_m * math.sin(heading), y + aside_m * math.cos(heading), heading

    def line(self, kind, aside_m):
        points = [self.at(s, aside_m)[:2] for s in range(0, int(self.length_m), 4)]
        return {"kind": kind, "points": [[round(x, 2), round(y, 2)] for x, y in [*points, points[0]]]}

    def map(self):
        return [self.line("edge", self.lane_m), self.line("lane", 0.0), self.line("edge", -self.lane_m)]


class Car:
    def __init__(self, id, kind, along_m, lane, speed_mps, size):
        self.id, self.kind, self.along_m, self.lane, self.size = id, kind, along_m, lane, size
        self.wanted_mps = self.speed_mps = speed_mps

    def state(self, road):
        x, y, heading = road.at(self.along_m, self.lane * road.lane_m / 2)
        if self.lane > 0:
            heading = math.remainder(heading + math.pi, 2 * math.pi)
        place = {"x": round(x, 3), "y": round(y, 3), "heading": round(heading, 4)}
        return {**place, "speed_mps": round(self.speed_mps, 2), "size": self.size}


class World:
    """One car follows another; three come the other way; somebody walks along the road."""

    def __init__(self):
        self.road = Road()
        self.ego = Car(0, "ego", 0.0, -1, 13.0, [4.6, 1.9])
        self.ahead = Car(1, "car", 45.0, -1, 9.0, [4.3, 1.8])
        self.others = [
            self.ahead,
            Car(2, "truck", 150.0, 1, 11.0, [9.5, 2.5]),
            Car(3, "car", 260.0, 1, 14.0, [4.2, 1.8]),
            Car(4, "motorcycle", 330.0, 1, 16.0, [2.1, 0.8]),
            Car(5, "person", 60.0, -2.6, 1.4, [0.6, 0.6]),
        ]
        self.step, self.time_s = 0, 0.0

    def advance(self, dt_s):
        """Returns the next step, and how long its two components took."""
        self.step, self.time_s = self.step + 1, self.time_s + dt_s
        began = time.perf_counter_ns()
        self.ahead.speed_mps = 9.0 + 3.0 * math.sin(self.time_s / 4)
        gap_m = (self.ahead.along_m - self.ego.along_m) % self.road.length_m
        # The intelligent driver model (Treiber, Hennecke, Helbing 2000).
        closing = self.ego.speed_mps - self.ahead.speed_mps
        wanted_gap = 4.0 + 1.2 * self.ego.speed_mps + self.ego.speed_mps * closing / (2 * math.sqrt(1.5 * 2.0))
        push = 1.5 * (1 - (self.ego.speed_mps / self.ego.wanted_mps) ** 4 - (max(0, wanted_gap) / max(1, gap_m - 4.5)) ** 2)
        self.ego.speed_mps = max(0.0, self.ego.speed_mps + push * dt_s)
        for car in [self.ego, *self.others]:
            car.along_m += car.speed_mps * dt_s * (1 if car.lane < 0 else -1)
        moved = time.perf_counter_ns()
        lane = self.ego.lane * self.road.lane_m / 2
        ahead = [(t / 5, self.road.at(self.ego.along_m + self.ego.speed_mps * t / 5, lane)) for t in range(16)]
        planned = time.perf_counter_ns()
        return {
            "step": self.step,
            "sim_time_us": round(self.time_s * 1e6),
            "wall_time_us": time.time_ns() // 1000,
            "ego": self.ego.state(self.road),
            "trajectory": [[round(x, 2), round(y, 2), t] for t, (x, y, _) in ahead],
            "objects": [{"id": car.id, "class": car.kind, **car.state(self.road)} for car in self.others],
            "timings_us": {"move": (moved - began) / 1000, "plan": (planned - moved) / 1000},
            "scalars": {"gap_m": round(gap_m, 2), "acceleration_mps2": round(push, 3)},
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the gateway")
    parser.add_argument("--stream", default="simulator", help="the name under which it shows")
    parser.add_argument("--rate", type=float, default=50.0, help="steps a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--timeout", type=float, default=0.2, help="longest that a call may take, seconds")
    parser.add_argument("--token", help="where the gateway asks for one")
    options = parser.parse_args()

    world = World()
    steps = Steps(options.url, options.stream, options.timeout, options.token)
    steps.map(world.road.map())
    took_ms, period_s = [], 1 / options.rate
    due = time.monotonic()
    for _ in range(round(options.seconds * options.rate)):
        step = world.advance(period_s)
        began = time.perf_counter()
        steps.send(step)
        took_ms.append((time.perf_counter() - began) * 1000)
        due = max(due + period_s, time.monotonic() - period_s)
        time.sleep(max(0.0, due - time.monotonic()))

    quantiles = statistics.quantiles(took_ms, n=100, method="inclusive")
    report = {
        "steps": len(took_ms),
        "delivered": steps.delivered,
        "lost": steps.lost,
        "median_ms": round(quantiles[49], 3),
        "p99_ms": round(quantiles[98], 3),
        "max_ms": round(max(took_ms), 3),
        "why": steps.why,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
