import { expect, it } from "vitest";

import type { Moment } from "./player";
import { timeline } from "./timeline";

const TOLD: Moment = {
  state: "live",
  at: undefined,
  first: "1000-0",
  last: "9000-0",
  toldAtMs: 50_000,
  problem: undefined,
};

it("while live the position is the frame on the screen, at the end", () => {
  expect(timeline(TOLD, "9500-0", 50_500, "live")).toEqual({ firstMs: 1000, lastMs: 9500, atMs: 9500 });
});

it("standing still, the end of what is held goes on", () => {
  const paused: Moment = { ...TOLD, state: "paused", at: "4000-3" };
  expect(timeline(paused, "4000-3", 52_000, "live")).toEqual({ firstMs: 1000, lastMs: 11_000, atMs: 4000 });
  expect(timeline(paused, "4000-3", 52_000, "ended").lastMs).toBe(9000);
});

it("before anything was told there is no stretch, and no time of 1970", () => {
  const nothing: Moment = { ...TOLD, first: undefined, last: undefined, toldAtMs: 0 };
  expect(timeline(nothing, "9500-0", 1, "live")).toEqual({ firstMs: 9500, lastMs: 9500, atMs: 9500 });
  expect(timeline(nothing, undefined, 1, "live")).toEqual({ firstMs: 0, lastMs: 0, atMs: 0 });
});
