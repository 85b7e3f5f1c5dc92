import { expect, it } from "vitest";

import { journey } from "./journey";

const result = {
  captured_at_us: 1_000_000,
  stages: [
    { stage: "capture" as const, us: 60_000 },
    { stage: "decode" as const, us: 4_000 },
    { stage: "queue" as const, us: 2_000 },
    { stage: "infer" as const, us: 40_000 },
  ],
};
const at = { seenUs: 1_050_000, decodedUs: 1_056_000, paintedUs: 1_060_000 };

it("lays the stages end to end from capture to paint", () => {
  const { steps, totalUs } = journey(result, at);
  expect(Object.fromEntries(steps)).toEqual({
    capture: { startUs: 0, us: 60_000 },
    decode: { startUs: 0, us: 4_000 },
    queue: { startUs: 4_000, us: 2_000 },
    infer: { startUs: 6_000, us: 40_000 },
    commit: { startUs: 46_000, us: 4_000 },
    deliver: { startUs: 50_000, us: 6_000 },
    paint: { startUs: 56_000, us: 4_000 },
  });
  expect(totalUs).toBe(60_000);
});

it("sums to the clock's total, the wait for the source left out", () => {
  const { steps, totalUs } = journey(result, at);
  const sum = [...steps].filter(([stage]) => stage !== "capture").reduce((us, [, step]) => us + step.us, 0);
  expect(sum).toBe(totalUs);
});

it("a frame that was read back ends with its stamps", () => {
  const { steps, totalUs } = journey(result, undefined);
  expect([...steps.keys()]).toEqual(["capture", "decode", "queue", "infer"]);
  expect(totalUs).toBe(46_000);
});

it("has no negative bar where clocks disagree", () => {
  const { steps } = journey(result, { seenUs: 1_040_000, decodedUs: 1_039_000, paintedUs: 1_060_000 });
  expect([...steps.values()].every(({ us }) => us >= 0)).toBe(true);
  expect(steps.get("commit")?.us).toBe(0);
});
