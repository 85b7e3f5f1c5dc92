import { expect, it } from "vitest";

import type { Matrix } from "../api";
import type { Point } from "./config";
import { type Ground, groundGrid, groundOf, metresBetween, toGround } from "./ground";

const SIZE = { width: 1280, height: 720 };

// A pinhole camera 8 m over the ground that looks 20° down, written out by hand: focal length 1000 px.
const [SIN, COS] = [Math.sin(Math.PI / 9), Math.cos(Math.PI / 9)];
const image = ([x, y]: Point): Point => {
  const depth = y * COS + 8 * SIN;
  return [640 + (1000 * x) / depth, 360 + (1000 * (8 * COS - y * SIN)) / depth];
};
const worldFromImage: Matrix = [
  [8, 0, -8 * 640],
  [0, -8 * SIN, 8 * (1000 * COS + 360 * SIN)],
  [0, COS, 1000 * SIN - 360 * COS],
];
const HORIZON = 360 - (1000 * SIN) / COS;

function camera(scale = 1): Ground {
  const matrix = worldFromImage.map((row) => row.map((value) => value * scale)) as unknown as Matrix;
  const ground = groundOf(matrix, [640, 700]);
  if (ground === undefined) throw new Error("no ground");
  return ground;
}

it("a pixel lies elsewhere on the ground than a pinhole says", () => {
  for (const scale of [1, -3.5]) {
    for (const at of [
      [0, 12],
      [-4, 20],
      [7.5, 60],
    ] as Point[]) {
      const found = toGround(camera(scale), image(at));
      expect(found?.[0]).toBeCloseTo(at[0], 6);
      expect(found?.[1]).toBeCloseTo(at[1], 6);
    }
  }
});

it("the sky lies on the ground", () => {
  expect(toGround(camera(), [640, HORIZON - 1])).toBeUndefined();
  expect(toGround(camera(-1), [640, HORIZON - 1])).toBeUndefined();
  expect(metresBetween(camera(), [640, 700], [640, HORIZON - 1])).toBeUndefined();
});

it("a ruler does not measure metres", () => {
  expect(metresBetween(camera(), image([-2, 10]), image([1, 14]))).toBeCloseTo(5, 6);
});

it("grid lines are not on whole metres, or run into the sky", () => {
  const ground = camera();
  const grid = groundGrid(ground, SIZE);
  expect(grid?.lines.length).toBeGreaterThan(10);
  expect(grid?.lines.length).toBeLessThan(80);
  const step = grid?.stepM ?? 0;
  expect([1, 2, 5]).toContain(step);
  for (const line of grid?.lines ?? []) {
    const ends = line.map((end) => toGround(ground, end));
    for (const [, y] of line) expect(y).toBeGreaterThan(HORIZON);
    const onWhole = [0, 1].some((axis) =>
      ends.every((end) => Math.abs((end?.[axis] ?? NaN) / step - Math.round((end?.[axis] ?? NaN) / step)) < 1e-6),
    );
    expect(onWhole).toBe(true);
  }
});

it("a matrix without an inverse makes a grid", () => {
  expect(
    groundOf(
      [
        [1, 0, 0],
        [2, 0, 0],
        [0, 0, 1],
      ],
      [1, 1],
    ),
  ).toBeUndefined();
});
