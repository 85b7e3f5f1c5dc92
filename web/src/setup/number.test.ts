import { expect, it } from "vitest";

import { numberText, readNumber } from "./number";

const ANY = { most: 1e7 };

it("reads decimal points and commas alike", () => {
  for (const [text, value] of [
    ["6.87", 6.87],
    ["6,87", 6.87],
    ["12.5", 12.5],
    ["0.5", 0.5],
    ["0,500", 0.5],
    ["1.05", 1.05],
    ["2.50", 2.5],
    ["-16.75", -16.75],
    ["-13.497", -13.497],
    ["+4", 4],
    [".5", 0.5],
    ["-,5", -0.5],
    ["5.", 5],
    ["007", 7],
    ["-0", 0],
    ["1,0000", 1],
    ["1000,500", 1000.5],
    ["0000.125", 0.125],
  ] as const) {
    expect(readNumber(text, ANY), text).toEqual({ value });
  }
});

it("reads digits, signs and marks of other keyboards", () => {
  for (const [text, value] of [
    [" 5 ", 5],
    ["\u00a05\u202f", 5],
    ["−3", -3],
    ["–3,5", -3.5],
    ["٣", 3],
    ["٦٫٨٧", 6.87],
    ["۱۲,۵", 12.5],
    ["\u200e-٣", -3],
    ["\u061c-3", -3],
    ["६.८७", 6.87],
    ["－１２．５", -12.5],
  ] as const) {
    expect(readNumber(text, ANY), text).toEqual({ value });
  }
});

it("refuses what can mean two numbers, and names both", () => {
  expect(readNumber("1,000", ANY)).toEqual({ problem: "“1,000” can mean 1 or 1000: type one of these." });
  expect(readNumber("-13,497", ANY)).toEqual({ problem: "“-13,497” can mean -13.497 or -13497: type one of these." });
  expect(readNumber("٦,٨٧٥", ANY).problem).toMatch(/6\.875 or 6875/);
});

it("says how a point before round thousands was read", () => {
  expect(readNumber("1.000", ANY)).toEqual({ value: 1, note: "Read as 1." });
  expect(readNumber("-1.500", ANY)).toEqual({ value: -1.5, note: "Read as -1.5." });
  expect(readNumber("1.505", ANY)).toEqual({ value: 1.505 });
});

it("refuses what is no number, and says what to type", () => {
  for (const [text, problem] of [
    ["-", /Type a number/],
    [".", /Type a number/],
    ["-.", /Type a number/],
    [",", /Type a number/],
    ["1.234,5", /between thousands/],
    ["1,234.5", /between thousands/],
    ["1,234,567", /between thousands/],
    ["1 000", /between thousands/],
    ["1\u00a0000", /between thousands/],
    ["1'000", /between thousands/],
    ["1٬000", /between thousands/],
    ["1.2.3", /between thousands/],
    ["1e3", /without “e”/],
    ["1,5E-3", /without “e”/],
    ["5 m", /without a unit/],
    ["5m", /without a unit/],
    ["5ft", /without a unit/],
    ["1/2", /digits only/],
    ["5²", /digits only/],
    ["½", /digits only/],
    ["--3", /digits only/],
    ["3-", /digits only/],
    ["0x10", /digits only/],
    ["Infinity", /digits only/],
    ["NaN", /digits only/],
    ["e3", /digits only/],
    ["三", /digits only/],
  ] as const) {
    const read = readNumber(text, ANY);
    expect(read.value, text).toBeUndefined();
    expect(read.problem, text).toMatch(problem);
  }
});

it("takes an empty field for one that is not filled in yet", () => {
  expect(readNumber("", ANY)).toEqual({});
  expect(readNumber(" \u200f ", ANY)).toEqual({});
});

it("keeps to the range", () => {
  const side = { above: 0, most: 1000 };
  expect(readNumber("0", side)).toEqual({ problem: "Type a number above 0." });
  expect(readNumber("-2", side)).toEqual({ problem: "Type a number above 0." });
  expect(readNumber("1000.1", side)).toEqual({ problem: "Type a number of at most 1000." });
  expect(readNumber("1000", side)).toEqual({ value: 1000 });
  expect(readNumber("9".repeat(400), ANY).problem).toMatch(/at most 10000000/);
});

it("shows a number so that it is read as the very same", () => {
  for (const value of [0, 3.5, -13.497, 1e-7, -1.2246467991473532e-16, 5e-324, 0.1 + 0.2, 123456.789, 1e7]) {
    const text = numberText(value);
    expect(text).toMatch(/^-?\d+(\.\d+)?$/);
    expect(readNumber(text, ANY).value).toBe(value);
  }
  expect(numberText(1e21)).toBe("1000000000000000000000");
  expect(numberText(-1.5e22)).toBe("-15000000000000000000000");
  expect(numberText(undefined)).toBe("");
});
