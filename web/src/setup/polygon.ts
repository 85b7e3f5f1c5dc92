import type { Point } from "./config";

/** Puts a corner on the edge that is at most `reach` away, else after the last one. */
export function addCorner(polygon: readonly Point[], at: Point, reach: number): Point[] {
  let place = polygon.length;
  let nearest = reach;
  if (polygon.length >= 3) {
    polygon.forEach((from, i) => {
      const to = polygon[(i + 1) % polygon.length] ?? from;
      const distance = distanceToEdge(at, from, to);
      if (distance <= nearest) {
        nearest = distance;
        place = i + 1;
      }
    });
  }
  return [...polygon.slice(0, place), at, ...polygon.slice(place)];
}

export function moveCorner(polygon: readonly Point[], index: number, to: Point): Point[] {
  return polygon.map((corner, i) => (i === index ? to : corner));
}

export function removeCorner(polygon: readonly Point[], index: number): Point[] {
  return polygon.filter((_, i) => i !== index);
}

/** Whether two edges cross: the inside is then not what it looks like. */
export function crossesItself(polygon: readonly Point[]): boolean {
  const edges = polygon.map((from, i) => [from, polygon[(i + 1) % polygon.length] ?? from] as const);
  return edges.some(([a, b], i) =>
    edges.some(([c, d], j) => {
      const neighbours = j <= i + 1 || (i === 0 && j === edges.length - 1);
      return !neighbours && side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0;
    }),
  );
}

/** Keeps a point within the picture, to a tenth of a pixel: nobody points more exactly. */
export function within([x, y]: Point, size: { width: number; height: number }): Point {
  const keep = (value: number, most: number): number => Math.round(Math.min(most, Math.max(0, value)) * 10) / 10;
  return [keep(x, size.width), keep(y, size.height)];
}

function side([ax, ay]: Point, [bx, by]: Point, [px, py]: Point): number {
  return (bx - ax) * (py - ay) - (by - ay) * (px - ax);
}

function distanceToEdge([px, py]: Point, [ax, ay]: Point, [bx, by]: Point): number {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const t = length === 0 ? 0 : Math.min(1, Math.max(0, ((px - ax) * dx + (py - ay) * dy) / length));
  return Math.hypot(px - ax - t * dx, py - ay - t * dy);
}
