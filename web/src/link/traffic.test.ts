import { expect, it } from "vitest";

import { Durations, Meter } from "./traffic";

it("a rate is not that of the last seconds", () => {
  const meter = new Meter();
  expect(meter.take(0)).toMatchObject({ messagesPerSecond: 0, bytesPerSecond: 0 });
  for (let ms = 250; ms <= 5_000; ms += 250) {
    for (let i = 0; i < 5; i += 1) meter.message(100, 0.2);
    expect(meter.take(ms)).toMatchObject({ messagesPerSecond: 20, bytesPerSecond: 2000 });
  }
  for (let ms = 5_250; ms <= 8_000; ms += 250) meter.take(ms);
  expect(meter.take(8_250).messagesPerSecond).toBe(0);
});

it("a quantile is of another sample", () => {
  const durations = new Durations();
  expect(durations.quantiles()).toBeUndefined();
  for (let ms = 100; ms >= 1; ms -= 1) durations.add(ms);
  expect(durations.quantiles()).toEqual({ median: 50, p95: 95 });
  for (let i = 0; i < 2000; i += 1) durations.add(7);
  expect(durations.quantiles()).toEqual({ median: 7, p95: 7 });
});
