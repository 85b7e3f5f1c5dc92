// On what picture something was drawn, and where it lies on another one.

import type { Point } from "./config";

/** Size of a picture with the shape of its pixels, as in the configuration. */
export interface PictureShape {
  width: number;
  height: number;
  /** Width of a pixel over its height; square where it is not given. */
  pixel_aspect?: number;
}

/** True aspect ratios that differ by no more are one shape, as for the processor. */
const SAME_SHAPE = 0.01;

export function aspectOf({ width, height, pixel_aspect = 1 }: PictureShape): number {
  return (width * pixel_aspect) / Math.max(1, height);
}

/** Whether what was drawn on one picture is scaled to the other; of another shape it is switched off. */
export function isSameShape(a: PictureShape, b: PictureShape): boolean {
  const ratio = aspectOf(a) / aspectOf(b);
  return Math.max(ratio, 1 / ratio) <= 1 + SAME_SHAPE;
}

/** How often the pixels of one picture go into another's along x and y; once where nobody knows on what was drawn. */
export function stretch(from: PictureShape | undefined, to: PictureShape): Point {
  return from === undefined ? [1, 1] : [to.width / from.width, to.height / from.height];
}

export function stretched(points: readonly Point[], [sx, sy]: Point): readonly Point[] {
  return sx === 1 && sy === 1 ? points : points.map(([x, y]) => [x * sx, y * sy]);
}

/** The shape of a source's picture, by how it is shown: sizes are whole numbers, so that a little off is square. */
export function shapeOf(
  source: { width: number; height: number },
  shown: { width: number; height: number },
): PictureShape {
  const { width, height } = source;
  const aspect = shown.width / shown.height / (width / height);
  const rounding = 1 / shown.width + 1 / shown.height;
  const known = Number.isFinite(aspect) && aspect > 0 && Math.abs(aspect - 1) > rounding;
  return known ? { width, height, pixel_aspect: Math.round(aspect * 1000) / 1000 } : { width, height };
}

export function shapeWords({ width, height }: PictureShape): string {
  return `${width} × ${height}`;
}
