import { expect, it } from "vitest";

import type { Point } from "./config";
import { addCorner, crossesItself, moveCorner, removeCorner, within } from "./polygon";

const SQUARE: Point[] = [
  [0, 0],
  [100, 0],
  [100, 100],
  [0, 100],
];

it("corners do not come in the order of the clicks", () => {
  let polygon: Point[] = [];
  for (const corner of [...SQUARE, [-50, 50] as Point]) polygon = addCorner(polygon, corner, 10);
  expect(polygon).toEqual([...SQUARE, [-50, 50]]);
});

it("a click on an edge does not part it", () => {
  expect(addCorner(SQUARE, [50, 4], 10)[1]).toEqual([50, 4]);
  expect(addCorner(SQUARE, [97, 50], 10)[2]).toEqual([97, 50]);
  expect(addCorner(SQUARE, [3, 50], 10)[4]).toEqual([3, 50]);
});

it("another corner than the one that was meant is moved or removed", () => {
  expect(moveCorner(SQUARE, 2, [90, 90])).toEqual([SQUARE[0], SQUARE[1], [90, 90], SQUARE[3]]);
  expect(removeCorner(SQUARE, 1)).toEqual([SQUARE[0], SQUARE[2], SQUARE[3]]);
});

it("a bow tie is taken for a polygon", () => {
  expect(crossesItself(SQUARE)).toBe(false);
  expect(crossesItself(SQUARE.slice(0, 3))).toBe(false);
  expect(crossesItself([SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3]] as Point[])).toBe(true);
});

it("a corner leaves the picture", () => {
  expect(within([-3, 800.26], { width: 1280, height: 720 })).toEqual([0, 720]);
  expect(within([10.26, 20.04], { width: 1280, height: 720 })).toEqual([10.3, 20]);
});
