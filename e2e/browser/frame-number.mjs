// The frame number that synthetic pictures carry in their pixels: 32 cells along the top edge, a 24th of the picture
// high; white, black, then 24 bits of the number and 6 of a checksum, the highest first.

const CELLS = 32;
const STRIP = 24;

/** The cells of a number, true for white. */
export function cellsOf(number) {
  const bits = (value, n) => Array.from({ length: n }, (_, i) => ((value >> (n - 1 - i)) & 1) === 1);
  return [true, false, ...bits(number, 24), ...bits(checksum(number), 6)];
}

function checksum(number) {
  return [0, 6, 12, 18].reduce((sum, shift) => sum ^ ((number >> shift) & 63), 42);
}

/** Rows of a picture so high in which the cells are sure to be seen, from the top. */
export function rowsOf(height) {
  const strip = height / STRIP;
  return [Math.floor(strip * 0.3), Math.max(1, Math.ceil(strip * 0.7))];
}

/** The number in a picture, given the mean brightness of those rows by column; null where it carries none. */
export function readFrameNumber(columns) {
  const means = Array.from({ length: CELLS }, (_, i) => {
    const middle = columns.slice(
      Math.floor(((i + 0.3) * columns.length) / CELLS),
      Math.ceil(((i + 0.7) * columns.length) / CELLS),
    );
    return middle.reduce((sum, value) => sum + value, 0) / Math.max(1, middle.length);
  });
  const [white, black] = means;
  if (white - black < 80) return null;
  const bits = means.slice(2).map((mean) => ((mean - black) / (white - black) > 0.5 ? 1 : 0));
  const valueOf = (list) => list.reduce((value, bit) => value * 2 + bit, 0);
  const number = valueOf(bits.slice(0, 24));
  return valueOf(bits.slice(24)) === checksum(number) ? number : null;
}
