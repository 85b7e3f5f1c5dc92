import { expect, it } from "vitest";

import { Reconnect } from "./reconnect";

it("doubles up to the cap, and half of it is by lot", () => {
  const soonest = new Reconnect(() => 0);
  const latest = new Reconnect(() => 1);
  const waits = Array.from({ length: 8 }, () => [soonest.next(), latest.next()]);
  expect(waits).toEqual([
    [250, 500],
    [500, 1_000],
    [1_000, 2_000],
    [2_000, 4_000],
    [4_000, 8_000],
    [5_000, 10_000],
    [5_000, 10_000],
    [5_000, 10_000],
  ]);
});

it("starts again quickly only after proof of health", () => {
  const reconnect = new Reconnect(() => 1);
  for (let i = 0; i < 5; i += 1) reconnect.next();
  expect(reconnect.attempt).toBe(5);
  reconnect.healthy();
  expect(reconnect.next()).toBe(500);
});

it("stays at the cap after very many attempts", () => {
  const reconnect = new Reconnect(() => 1);
  for (let i = 0; i < 5_000; i += 1) reconnect.next();
  expect(reconnect.next()).toBe(Reconnect.mostMs);
});
