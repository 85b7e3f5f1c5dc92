import { expect, it } from "vitest";

import type { Moment } from "./player";
import { gapParts, timeline } from "./timeline";

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

it("a gap is drawn elsewhere, or where it is not held any more", () => {
  const gap = (after: string, first: string | null) => ({ camera: "a", after, first });
  const stretch = { firstMs: 1000, lastMs: 9000, atMs: 9000 };
  expect(gapParts([gap("3000-0", "5000-7")], stretch)).toEqual([{ from: 0.25, to: 0.5 }]);
  expect(gapParts([gap("0-0", "2000-0"), gap("8000-0", null)], stretch)).toEqual([
    { from: 0, to: 0.125 },
    { from: 0.875, to: 1 },
  ]);
  expect(gapParts([gap("100-0", "900-0"), gap("9500-0", "9900-0")], stretch)).toEqual([]);
  expect(gapParts([gap("3000-0", "5000-0")], { firstMs: 0, lastMs: 0, atMs: 0 })).toEqual([]);
});
