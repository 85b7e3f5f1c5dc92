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

/** The number in a picture (RGBA bytes), or null where it carries none. */
export function readFrameNumber({ data, width, height }) {
  const strip = height / STRIP;
  const means = Array.from({ length: CELLS }, (_, i) => {
    let sum = 0;
    let n = 0;
    for (let y = Math.floor(strip * 0.3); y < Math.ceil(strip * 0.7); y += 1) {
      for (let x = Math.floor(((i + 0.3) * width) / CELLS); x < ((i + 0.7) * width) / CELLS; x += 1) {
        sum += data[(y * width + x) * 4 + 1];
        n += 1;
      }
    }
    return sum / Math.max(1, n);
  });
  const [white, black] = means;
  if (white - black < 80) return null;
  const bits = means.slice(2).map((mean) => ((mean - black) / (white - black) > 0.5 ? 1 : 0));
  const valueOf = (list) => list.reduce((value, bit) => value * 2 + bit, 0);
  const number = valueOf(bits.slice(0, 24));
  return valueOf(bits.slice(24)) === checksum(number) ? number : null;
}
