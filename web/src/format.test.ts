import { describe, expect, it } from "vitest";

import { age, count, number, plural, rate, speed, speedWithError, stageMs, timeOfDay, words } from "./format";

describe("speedWithError", () => {
  it("gives speed and one standard error in the unit of choice", () => {
    expect(speedWithError(1.36, 0.08, "km/h")).toBe("4.9 ± 0.3");
    expect(speedWithError(13.4, 0.4, "mph")).toBe("30.0 ± 0.9");
  });
  it("claims no decimals that the error takes away", () => {
    expect(speedWithError(30, 3, "km/h")).toBe("108 ± 11");
  });
  it("claims no error of zero", () => {
    expect(speedWithError(10, 0.001, "km/h")).toBe("36.0 ± <0.1");
  });
  it("shows no minus zero", () => {
    expect(speedWithError(-0.001, 0.1, "km/h")).toBe("0.0 ± 0.4");
  });
  it("shows nothing for what is no number", () => {
    expect(speedWithError(Number.NaN, 1, "mph")).toBe("–");
  });
});

it("ages read as people say them", () => {
  expect([-3, 84.4, 999.4, 999.6, 3_210, 59_940, 59_960, 3_560_000, 3_600_000, 3 * 86_400_000].map(age)).toEqual([
    "0 ms",
    "84 ms",
    "999 ms",
    "1.0 s",
    "3.2 s",
    "59.9 s",
    "1 min",
    "59 min",
    "1 h",
    "3 days",
  ]);
});

it("the time of day has its milliseconds", () => {
  expect(timeOfDay(new Date(2026, 10, 21, 9, 5, 7, 42).getTime())).toBe("09:05:07.042");
});

it("stages keep three figures", () => {
  expect([0, 40, 340, 12_340, 99_949, 123_456].map(stageMs)).toEqual(["0.0", "0.0", "0.3", "12.3", "99.9", "123"]);
});

it("rates and counts", () => {
  expect([0, 6.96, 29.97, 240].map(rate)).toEqual(["0.0", "7.0", "30.0", "240"]);
  expect([3, 1234, 1234567].map(count)).toEqual(["3", "1\u202f234", "1\u202f234\u202f567"]);
  expect([plural(1, "object"), plural(0, "object")]).toEqual(["1 object", "0 objects"]);
  expect(words("queue_full")).toBe("queue full");
});

it("a number has more digits than a person takes in, or fewer than it needs", () => {
  expect([0, 0.01234, 2.5, 123.456, 98_765.4, -98_765, 1e-7, 3e15].map(number)).toEqual([
    "0",
    "0.0123",
    "2.50",
    "123.5",
    "98\u202f765",
    "−98\u202f765",
    "1.00e-7",
    "3.00e+15",
  ]);
  expect(speed(13.6, "km/h")).toBe("49");
});
