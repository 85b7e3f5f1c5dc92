import { expect, it } from "vitest";

import type { FrameResult, Track } from "../wire";
import { Trails } from "./trails";

function result(seconds: number, x: number, epoch = 1, state: Track["state"] = "tracked"): FrameResult {
  const track: Track = {
    track_id: 7,
    state,
    xyxy: [x, 0, x + 10, 20],
    confidence: 1,
    class_id: 0,
    detection: null,
    ground_m: null,
    speed: null,
    in_region: true,
    class_share: null,
  };
  return {
    schema: 1,
    n: 0,
    inc: 1,
    position: 0,
    media_time_us: seconds * 1e6,
    captured_at_us: 0,
    status: "ok",
    reason: null,
    source: { width: 100, height: 100 },
    track_epoch: epoch,
    detections: [],
    tracks: [track],
    stages: [],
    worker: "",
    lost: [],
    notices: [],
  };
}

it("shows a frame no trail from its future", () => {
  const trails = new Trails();
  for (let i = 0; i < 5; i += 1) trails.add(result(i * 0.1, i));
  expect(trails.upTo(7, 1, 200_000).map(({ x }) => x)).toEqual([5, 6, 7]);
  expect(trails.upTo(7, 1, 400_000)).toHaveLength(5);
});

it("forgets what is older than it keeps", () => {
  const trails = new Trails();
  for (let i = 0; i < 100; i += 1) trails.add(result(i * 0.1, i));
  expect(trails.upTo(7, 1, 9_900_000)).toHaveLength(26);
});

it("starts anew with a new track epoch: the same id is another object", () => {
  const trails = new Trails();
  trails.add(result(1, 0, 1));
  trails.add(result(2, 0, 2));
  expect(trails.upTo(7, 1, 2_000_000)).toHaveLength(0);
  expect(trails.upTo(7, 2, 2_000_000)).toHaveLength(1);
});

it("does not draw predictions into the trail", () => {
  const trails = new Trails();
  trails.add(result(1, 0));
  trails.add(result(1.1, 50, 1, "lost"));
  expect(trails.upTo(7, 1, 1_100_000)).toHaveLength(1);
});
