// From the picture to the ground and back, by a homography that the gateway estimated.

import type { Matrix } from "../api";
import type { Point } from "./config";

/** The ground that a camera sees. */
export interface Ground {
  /** Source pixels to metres. */
  worldFromImage: Matrix;
  /** Metres to source pixels. */
  imageFromWorld: Matrix;
  /** A pixel that is known to show ground: what lies beyond the horizon from there is none. */
  seen: Point;
}

/** The ground by a matrix; nothing where it maps all to a line. */
export function groundOf(worldFromImage: Matrix, seen: Point): Ground | undefined {
  const imageFromWorld = inverse(worldFromImage);
  return imageFromWorld === undefined ? undefined : { worldFromImage, imageFromWorld, seen };
}

/** Where a pixel lies on the ground, metres; nothing from the horizon up. */
export function toGround({ worldFromImage, seen }: Ground, pixel: Point): Point | undefined {
  const reference = apply(worldFromImage, seen)[2];
  return divide(apply(worldFromImage, pixel), reference);
}

/** A line of the ground as it lies in the picture; nothing where it is behind the camera. */
function lineInPicture(ground: Ground, from: Point, to: Point): [Point, Point] | undefined {
  const at = toGround(ground, ground.seen);
  if (at === undefined) return undefined;
  const sign = Math.sign(apply(ground.imageFromWorld, at)[2]);
  let [a, b] = [apply(ground.imageFromWorld, from), apply(ground.imageFromWorld, to)];
  const [depthA, depthB] = [a[2] * sign, b[2] * sign];
  // Cut where it comes too near to the camera's plane, relative to its far end: straight lines stay straight.
  const least = Math.max(depthA, depthB) * 0.02;
  if (least <= 0) return undefined;
  if (depthA < least) a = between(a, b, (least - depthA) / (depthB - depthA));
  if (depthB < least) b = between(b, a, (least - depthB) / (a[2] * sign - depthB));
  return [
    [a[0] / a[2], a[1] / a[2]],
    [b[0] / b[2], b[1] / b[2]],
  ];
}

export interface Grid {
  /** Metres between two lines. */
  stepM: number;
  /** In source pixels. */
  lines: readonly (readonly [Point, Point])[];
}

const STEPS_M = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const MOST_LINES = 24;
const SAMPLES = 24;
/** Beyond, lines would lie closer than one can see. */
const FARTHEST = 6;

/** Lines of the ground at whole metres over what the picture shows of it, up to so many times as far as the nearest. */
export function groundGrid(ground: Ground, size: { width: number; height: number }): Grid | undefined {
  const pixels: Point[] = [];
  for (let row = 0; row < SAMPLES; row += 1) {
    for (let column = 0; column < SAMPLES; column += 1) {
      pixels.push([((column + 0.5) / SAMPLES) * size.width, ((row + 0.5) / SAMPLES) * size.height]);
    }
  }
  // What a pixel's coordinates are divided by falls with its distance.
  const nearness = (pixel: Point): number => Math.abs(apply(ground.worldFromImage, pixel)[2]);
  const shown = pixels.flatMap((pixel) => {
    const point = toGround(ground, pixel);
    return point === undefined ? [] : [{ point, near: nearness(pixel) }];
  });
  const nearest = Math.max(...shown.map(({ near }) => near));
  const seen = shown.filter(({ near }) => near * FARTHEST >= nearest).map(({ point }) => point);
  if (seen.length === 0) return undefined;
  const [left, right] = extent(seen.map(([x]) => x));
  const [near, far] = extent(seen.map(([, y]) => y));
  const longest = Math.max(right - left, far - near);
  const stepM = STEPS_M.find((step) => longest / step <= MOST_LINES);
  if (stepM === undefined) return undefined;
  const lines: [Point, Point][] = [];
  const add = (from: Point, to: Point): void => {
    const line = lineInPicture(ground, from, to);
    if (line !== undefined) lines.push(line);
  };
  const [x0, x1] = [Math.floor(left / stepM), Math.ceil(right / stepM)];
  const [y0, y1] = [Math.floor(near / stepM), Math.ceil(far / stepM)];
  for (let x = x0; x <= x1; x += 1) add([x * stepM, y0 * stepM], [x * stepM, y1 * stepM]);
  for (let y = y0; y <= y1; y += 1) add([x0 * stepM, y * stepM], [x1 * stepM, y * stepM]);
  return { stepM, lines };
}

/** Metres between what two pixels show; nothing where one shows no ground. */
export function metresBetween(ground: Ground, a: Point, b: Point): number | undefined {
  const [from, to] = [toGround(ground, a), toGround(ground, b)];
  return from === undefined || to === undefined ? undefined : Math.hypot(to[0] - from[0], to[1] - from[1]);
}

function extent(values: readonly number[]): [number, number] {
  return [Math.min(...values), Math.max(...values)];
}

type Homogeneous = readonly [number, number, number];

function apply(matrix: Matrix, [x, y]: Point): Homogeneous {
  const row = (i: 0 | 1 | 2): number => matrix[i][0] * x + matrix[i][1] * y + matrix[i][2];
  return [row(0), row(1), row(2)];
}

/** Nothing where the point is on the other side of the horizon than the reference. */
function divide([x, y, w]: Homogeneous, reference: number): Point | undefined {
  const fine = w * reference > 0 && Math.abs(w) > Math.abs(reference) * 1e-4;
  return fine ? [x / w, y / w] : undefined;
}

function between(a: Homogeneous, b: Homogeneous, t: number): Homogeneous {
  return [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), a[2] + t * (b[2] - a[2])];
}

function inverse([[a, b, c], [d, e, f], [g, h, i]]: Matrix): Matrix | undefined {
  const determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  if (!Number.isFinite(1 / determinant)) return undefined;
  const over = (value: number): number => value / determinant;
  return [
    [over(e * i - f * h), over(c * h - b * i), over(b * f - c * e)],
    [over(f * g - d * i), over(a * i - c * g), over(c * d - a * f)],
    [over(d * h - e * g), over(b * g - a * h), over(a * e - b * d)],
  ];
}
