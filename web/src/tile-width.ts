/** Pixels between two tiles, and of the words below a tile's picture: as in the style sheet, at the usual letter size. */
const GAP = 15;
const WORDS = 68;
/** The smallest tile. */
const LEAST = 320;
/** Most pictures have this shape. */
const HEIGHT_OVER_WIDTH = 9 / 16;

/** The width of the largest tiles of which so many fit into a room; none where only ones that are too small would. All in CSS pixels. */
export function tileWidth(tiles: number, width: number, height: number): number | undefined {
  let largest = 0;
  for (let columns = 1; columns <= tiles; columns += 1) {
    const rows = Math.ceil(tiles / columns);
    const beside = (width - GAP * (columns - 1)) / columns;
    const above = ((height - GAP * (rows - 1)) / rows - WORDS) / HEIGHT_OVER_WIDTH;
    largest = Math.max(largest, Math.floor(Math.min(beside, above)));
  }
  return largest >= LEAST ? largest : undefined;
}
