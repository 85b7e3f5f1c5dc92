import { expect, test } from "vitest";

import { isSameShape, shapeOf, stretch, stretched } from "./shape";

const vga = { width: 640, height: 480 };

test("true shapes within a hundredth are the same", () => {
  for (const other of [
    { width: 1280, height: 960 },
    { width: 720, height: 576, pixel_aspect: 16 / 15 },
    { width: 320, height: 480, pixel_aspect: 2 },
    { width: 640, height: 476 },
  ]) {
    expect(isSameShape(vga, other), JSON.stringify(other)).toBe(true);
  }
  for (const other of [
    { width: 640, height: 360 },
    { width: 480, height: 640 },
    { width: 640, height: 474 },
    { width: 640, height: 480, pixel_aspect: 1.1 },
  ]) {
    expect(isSameShape(vga, other), JSON.stringify(other)).toBe(false);
  }
});

test("what was drawn lies at the same place of another picture", () => {
  const by = stretch(vga, { width: 1280, height: 480 });
  expect(stretched([[320, 240]], by)).toEqual([[640, 240]]);
  expect(stretched([[320, 240]], stretch(undefined, vga))).toEqual([[320, 240]]);
});

test("the shape of pixels is what the shown picture says, but for rounding", () => {
  expect(shapeOf({ width: 384, height: 576 }, { width: 768, height: 576 })).toEqual({
    width: 384,
    height: 576,
    pixel_aspect: 2,
  });
  expect(shapeOf({ width: 1366, height: 768 }, { width: 640, height: 360 })).toEqual({ width: 1366, height: 768 });
});
