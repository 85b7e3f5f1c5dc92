import { expect, it } from "vitest";

import { meanTimings, realTimeFactor } from "./pace";
import type { Step } from "./wire";

function step(simUs: number, wallUs: number, timings: Record<string, number> = {}): Step {
  return {
    step: 0,
    sim_time_us: simUs,
    wall_time_us: wallUs,
    ego: null,
    trajectory: [],
    objects: [],
    timings_us: timings,
    scalars: {},
    map: null,
    result: null,
  };
}

it("the real-time factor is not simulated over real time", () => {
  expect(realTimeFactor([])).toBeUndefined();
  expect(realTimeFactor([step(0, 5), step(10, 5)])).toBeUndefined();
  expect(realTimeFactor([step(0, 1_000), step(20_000, 11_000), step(40_000, 21_000)])).toBe(2);
});

it("a component that is missing in some steps counts as nothing there", () => {
  const means = meanTimings([step(0, 0, { plan: 10, see: 4 }), step(0, 0, { plan: 30 })]);
  expect([...means]).toEqual([
    ["plan", 20],
    ["see", 4],
  ]);
});
