import { expect, test } from "vitest";

import { tileWidth } from "./tile-width";

/** Rows and columns that the page lays out with tiles of a width. */
function laidOut(tiles: number, width: number, tile: number): { columns: number; rows: number } {
  const columns = Math.floor((width + 15) / (tile + 15));
  return { columns, rows: Math.ceil(tiles / columns) };
}

test("25 cameras fill a 4K screen", () => {
  const [width, height] = [3800, 2040];
  const tile = tileWidth(25, width, height) ?? 0;
  expect(laidOut(25, width, tile)).toEqual({ columns: 6, rows: 5 });
  expect((6 * tile) / width).toBeGreaterThan(0.9);
  expect(5 * (tile * (9 / 16) + 68) + 4 * 15).toBeLessThanOrEqual(height);
});

test("more than fit keep the usual width, and the page scrolls", () => {
  expect(tileWidth(200, 1240, 650)).toBeUndefined();
  expect(tileWidth(8, 375, 600)).toBeUndefined();
  expect(tileWidth(1, 300, 600)).toBeUndefined();
});

test("few cameras get large tiles that are seen whole", () => {
  expect(tileWidth(1, 1240, 900)).toBe(1240);
  expect(tileWidth(1, 1240, 650)).toBe(1034);
  expect(tileWidth(2, 1240, 650)).toBe(612);
  expect(tileWidth(4, 1880, 1000)).toBeGreaterThan(600);
});
