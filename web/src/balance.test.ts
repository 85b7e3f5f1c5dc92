import { expect, it } from "vitest";

import type { LedgerEntry } from "./api";
import { apart, balance, bottleneck, reasons } from "./balance";
import type { CameraState } from "./wire";

const ENTRY: LedgerEntry = {
  camera: "a",
  published: 1000,
  processed: 900,
  skipped: [{ reason: "too_old", count: 60 }],
  lost: [
    { reason: "poison", count: 3 },
    { reason: "malformed", count: 0 },
  ],
  waiting: 37,
  balanced: true,
};

it("a ledger that does not balance has no words", () => {
  expect(balance(ENTRY)).toEqual({ skipped: 60, lost: 3, missing: 0, problem: undefined });
  const lacking = balance({ ...ENTRY, processed: 899, balanced: false });
  expect(lacking.missing).toBe(1);
  expect(lacking.problem).toMatch(/^1 frame left the producer/);
  expect(balance({ ...ENTRY, processed: 902, balanced: false }).problem).toMatch(/^2 frames more ended/);
});

it("counts of different moments are called a loss", () => {
  expect(apart(balance(ENTRY))).toBeUndefined();
  expect(apart(balance({ ...ENTRY, published: 1004 }))).toBe("4 frames on the way");
  expect(apart(balance({ ...ENTRY, published: 990 }))).toBe("10 newer than the producer's count");
  expect(apart(balance({ ...ENTRY, published: 1400, balanced: false }))).toBeUndefined();
});

it("a reason without frames is listed", () => {
  expect(reasons(ENTRY.lost)).toBe("3 poison");
  expect(reasons([])).toBe("");
});

it("the bottleneck is looked for elsewhere", () => {
  const camera = (id: string, more: Partial<CameraState> = {}): CameraState => ({
    camera: id,
    name: "",
    health: "live",
    error: null,
    source: null,
    source_fps: 15,
    fps_in: 15,
    fps_out: 15,
    backlog: 1,
    owner: "w",
    model: null,
    region: [],
    calibrated: false,
    ...more,
  });
  expect(bottleneck([camera("a")])).toMatch(/as fast as/);
  expect(bottleneck([])).toMatch(/No camera/);
  expect(bottleneck([camera("a"), camera("b", { fps_out: 9 })])).toMatch(/too slow for b:/);
  expect(bottleneck([camera("a", { fps_in: 5, fps_out: 5 })])).toMatch(/Fewer frames come from a/);
  expect(bottleneck([camera("a", { health: "no_owner" })])).toMatch(/No processor analyses a/);
  const many = ["a", "b", "c", "d", "e"].map((id) => camera(id, { fps_out: 1 }));
  expect(bottleneck(many)).toMatch(/a, b, c and 2 more/);
});
