import { expect, it } from "vitest";

import { ClockOffset } from "./clock";

it("knows nothing before the first answer", () => {
  expect(new ClockOffset().best()).toBeUndefined();
});

it("finds the offset of a clock that is ahead", () => {
  const clock = new ClockOffset();
  clock.add(1_000, 6_005, 1_010);
  expect(clock.best()).toEqual({ offsetMs: 5_000, roundTripMs: 10 });
});

it("trusts the shortest round trip, whatever the congested ones say", () => {
  const clock = new ClockOffset();
  clock.add(0, 5_380, 400);
  clock.add(1_000, 6_002, 1_004);
  clock.add(2_000, 7_010, 2_300);
  expect(clock.best()).toEqual({ offsetMs: 5_000, roundTripMs: 4 });
});

it("follows a drifting clock once the old answers are gone", () => {
  const clock = new ClockOffset();
  clock.add(0, 1, 2);
  for (let i = 1; i <= 8; i += 1) clock.add(i * 1_000, i * 1_000 + 52, i * 1_000 + 4);
  expect(clock.best()?.offsetMs).toBe(50);
});

it("follows a clock that was set at once, however long that answer took", () => {
  const clock = new ClockOffset();
  clock.add(0, 5_002, 4);
  clock.add(1_000, 3_606_100, 1_200);
  expect(clock.best()).toEqual({ offsetMs: 3_605_000, roundTripMs: 200 });
});

it("ignores an answer from before its question", () => {
  const clock = new ClockOffset();
  clock.add(10, 0, 5);
  clock.add(Number.NaN, 0, 5);
  expect(clock.best()).toBeUndefined();
});
