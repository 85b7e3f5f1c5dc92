import type { Step, StepMap } from "../wire";
import { classColour } from "./colours";

/** How far the view may zoom, pixels a metre. */
const MOST_PIXELS = 120;
const LEAST_PIXELS = 0.05;
/** Below this many pixels a metre there is no room for labels. */
const LABELS_FROM = 3;

/** A place on the ground, metres. */
export interface Place {
  x: number;
  y: number;
}

/** Where the view is: north is not up, +y is. */
export class View {
  centre: Place = { x: 0, y: 0 };
  pixelsPerMetre = 6;
  /** Keeps the ego in the middle. */
  following = true;

  toScreen({ x, y }: Place, width: number, height: number): Place {
    return {
      x: width / 2 + (x - this.centre.x) * this.pixelsPerMetre,
      y: height / 2 - (y - this.centre.y) * this.pixelsPerMetre,
    };
  }

  toGround({ x, y }: Place, width: number, height: number): Place {
    return {
      x: this.centre.x + (x - width / 2) / this.pixelsPerMetre,
      y: this.centre.y - (y - height / 2) / this.pixelsPerMetre,
    };
  }

  /** Moves by so many pixels; whoever looks elsewhere does not follow any more. */
  pan(dx: number, dy: number): void {
    this.following = false;
    this.centre = { x: this.centre.x - dx / this.pixelsPerMetre, y: this.centre.y + dy / this.pixelsPerMetre };
  }

  /** Zooms so that what is under `at` stays there; while following, the middle stays. */
  zoom(factor: number, at: Place, width: number, height: number): void {
    const before = this.toGround(at, width, height);
    this.pixelsPerMetre = Math.min(MOST_PIXELS, Math.max(LEAST_PIXELS, this.pixelsPerMetre * factor));
    if (this.following) return;
    const after = this.toGround(at, width, height);
    this.centre = { x: this.centre.x + before.x - after.x, y: this.centre.y + before.y - after.y };
  }
}

/** Where everything stood lately, in simulated time. */
export class GroundTrails {
  static readonly keptUs = 6_000_000;
  /** Closer points tell the eye nothing. */
  private static readonly everyUs = 100_000;

  private readonly points = new Map<string, (Place & { simTimeUs: number })[]>();
  private lastUs = Number.NEGATIVE_INFINITY;

  /** Takes the steps in their order; time that runs back is a new run. */
  add(step: Step): void {
    if (step.sim_time_us < this.lastUs) this.points.clear();
    this.lastUs = step.sim_time_us;
    if (step.ego !== null) this.put("ego", step.ego, step.sim_time_us);
    for (const object of step.objects) this.put(String(object.id), object, step.sim_time_us);
    const oldest = step.sim_time_us - GroundTrails.keptUs;
    for (const [who, trail] of this.points) {
      const first = trail.findIndex((point) => point.simTimeUs >= oldest);
      if (first < 0) this.points.delete(who);
      else if (first > 0) trail.splice(0, first);
    }
  }

  /** The points of `ego` or of an object's id, oldest first. */
  of(who: string): readonly (Place & { simTimeUs: number })[] {
    return this.points.get(who) ?? [];
  }

  private put(who: string, { x, y }: Place, simTimeUs: number): void {
    const trail = this.points.get(who) ?? [];
    const last = trail.at(-1);
    if (last !== undefined && simTimeUs - last.simTimeUs < GroundTrails.everyUs) return;
    trail.push({ x, y, simTimeUs });
    this.points.set(who, trail);
  }
}

export interface Scene {
  step: Step;
  map: StepMap | undefined;
  trails: GroundTrails;
  /** The speed of an object, with its unit. */
  speed: (mps: number) => string;
}

/** Draws a step from above onto `width`×`height` device pixels. `labels`: a tile has no room for them. */
export function drawAbove(
  canvas: CanvasRenderingContext2D,
  width: number,
  height: number,
  pixelRatio: number,
  scene: Scene,
  view: View,
  labels: boolean,
): void {
  const { step, map, trails } = scene;
  if (view.following && step.ego !== null) view.centre = { x: step.ego.x, y: step.ego.y };
  // Everything below is in CSS pixels.
  canvas.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
  const [w, h] = [width / pixelRatio, height / pixelRatio];
  canvas.clearRect(0, 0, w, h);
  canvas.lineJoin = "round";
  canvas.lineCap = "round";
  const at = (place: Place): Place => view.toScreen(place, w, h);
  drawGrid(canvas, w, h, view);
  for (const line of map?.lines ?? []) drawLine(canvas, line.kind, line.points, view, at);
  for (const object of step.objects) {
    drawTrail(canvas, trails.of(String(object.id)), step.sim_time_us, classColour(object.class).line, at);
  }
  drawTrail(canvas, trails.of("ego"), step.sim_time_us, EGO, at);
  drawPath(canvas, step, view, at);
  for (const object of step.objects) drawBody(canvas, object, classColour(object.class).line, view, at);
  if (step.ego !== null) drawBody(canvas, step.ego, EGO, view, at);
  if (!labels) return;
  if (view.pixelsPerMetre >= LABELS_FROM) {
    for (const { id, class: name, speed_mps: mps, size, ...place } of step.objects) {
      const { x, y } = at(place);
      const above = (Math.max(...size) / 2) * view.pixelsPerMetre + 6;
      drawLabel(canvas, `${name} ${id} · ${scene.speed(mps)}`, x, y - above, w, h);
    }
  }
  drawScale(canvas, h, view);
}

const EGO = "#5cc6d6";
const INK = "rgb(230 237 240)";

/** Lines a round number of metres apart, at least 48 pixels. */
function drawGrid(canvas: CanvasRenderingContext2D, w: number, h: number, view: View): void {
  const step = roundMetres(48 / view.pixelsPerMetre);
  const from = view.toGround({ x: 0, y: h }, w, h);
  const to = view.toGround({ x: w, y: 0 }, w, h);
  canvas.strokeStyle = "rgb(255 255 255 / 7%)";
  canvas.lineWidth = 1;
  canvas.beginPath();
  for (let x = Math.ceil(from.x / step) * step; x <= to.x; x += step) {
    const { x: sx } = view.toScreen({ x, y: 0 }, w, h);
    canvas.moveTo(sx, 0);
    canvas.lineTo(sx, h);
  }
  for (let y = Math.ceil(from.y / step) * step; y <= to.y; y += step) {
    const { y: sy } = view.toScreen({ x: 0, y }, w, h);
    canvas.moveTo(0, sy);
    canvas.lineTo(w, sy);
  }
  canvas.stroke();
}

/** The next of 1, 2, 5, 10, 20, 50 … */
export function roundMetres(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  const times = [1, 2, 5, 10].find((n) => n * power >= least * (1 - 1e-9)) ?? 10;
  return times * power;
}

function drawLine(
  canvas: CanvasRenderingContext2D,
  kind: string,
  points: readonly (readonly [number, number])[],
  view: View,
  at: (place: Place) => Place,
): void {
  canvas.beginPath();
  for (const [x, y] of points) {
    const to = at({ x, y });
    canvas.lineTo(to.x, to.y);
  }
  if (kind === "area") {
    canvas.fillStyle = "rgb(255 255 255 / 6%)";
    canvas.fill();
    return;
  }
  canvas.strokeStyle = kind === "edge" ? "rgb(255 255 255 / 62%)" : "rgb(255 255 255 / 38%)";
  canvas.lineWidth = kind === "edge" ? 1.75 : 1.1;
  if (kind === "lane") canvas.setLineDash([3 * view.pixelsPerMetre, 3 * view.pixelsPerMetre]);
  canvas.stroke();
  canvas.setLineDash([]);
}

function drawTrail(
  canvas: CanvasRenderingContext2D,
  points: readonly (Place & { simTimeUs: number })[],
  nowUs: number,
  colour: string,
  at: (place: Place) => Place,
): void {
  canvas.strokeStyle = colour;
  for (let i = 1; i < points.length; i += 1) {
    const [from, to] = [points[i - 1], points[i]];
    if (from === undefined || to === undefined) continue;
    const freshness = 1 - (nowUs - to.simTimeUs) / GroundTrails.keptUs;
    if (freshness <= 0) continue;
    const [a, b] = [at(from), at(to)];
    canvas.globalAlpha = 0.6 * freshness;
    canvas.lineWidth = 0.75 + 1.5 * freshness;
    canvas.beginPath();
    canvas.moveTo(a.x, a.y);
    canvas.lineTo(b.x, b.y);
    canvas.stroke();
  }
  canvas.globalAlpha = 1;
}

/** The planned path as wide as the ego, with a dot at every second. */
function drawPath(canvas: CanvasRenderingContext2D, step: Step, view: View, at: (place: Place) => Place): void {
  if (step.trajectory.length < 2) return;
  canvas.beginPath();
  for (const [x, y] of step.trajectory) {
    const to = at({ x, y });
    canvas.lineTo(to.x, to.y);
  }
  canvas.strokeStyle = EGO;
  canvas.globalAlpha = 0.25;
  canvas.lineWidth = Math.max(3, (step.ego?.size[1] ?? 1) * view.pixelsPerMetre);
  canvas.stroke();
  canvas.globalAlpha = 1;
  canvas.lineWidth = 1.5;
  canvas.stroke();
  canvas.fillStyle = EGO;
  let second = 1;
  for (const [x, y, t] of step.trajectory) {
    if (t < second - 1e-6) continue;
    const dot = at({ x, y });
    canvas.beginPath();
    canvas.arc(dot.x, dot.y, 3, 0, 2 * Math.PI);
    canvas.fill();
    second = Math.floor(t + 1e-6) + 1;
  }
}

/** A box with its nose marked; never so small that it vanishes. */
function drawBody(
  canvas: CanvasRenderingContext2D,
  body: Place & { heading: number; size: readonly [number, number] },
  colour: string,
  view: View,
  at: (place: Place) => Place,
): void {
  const { x, y } = at(body);
  const length = Math.max(5, body.size[0] * view.pixelsPerMetre);
  const breadth = Math.max(4, body.size[1] * view.pixelsPerMetre);
  canvas.save();
  canvas.translate(x, y);
  canvas.rotate(-body.heading);
  canvas.beginPath();
  canvas.roundRect(-length / 2, -breadth / 2, length, breadth, Math.min(3, breadth / 4));
  canvas.fillStyle = colour;
  canvas.globalAlpha = 0.85;
  canvas.fill();
  canvas.globalAlpha = 1;
  canvas.lineWidth = 1;
  canvas.strokeStyle = "rgb(0 0 0 / 55%)";
  canvas.stroke();
  canvas.beginPath();
  canvas.moveTo(length / 2 - Math.min(2, length / 6), 0);
  canvas.lineTo(length / 5, -breadth / 3);
  canvas.lineTo(length / 5, breadth / 3);
  canvas.closePath();
  canvas.fillStyle = "rgb(0 0 0 / 60%)";
  canvas.fill();
  canvas.restore();
}

function drawLabel(canvas: CanvasRenderingContext2D, text: string, x: number, y: number, w: number, h: number): void {
  if (x < 0 || x > w || y < 0 || y > h) return;
  canvas.font = "500 11px system-ui, sans-serif";
  canvas.textAlign = "center";
  canvas.textBaseline = "bottom";
  canvas.strokeStyle = "rgb(10 14 16 / 85%)";
  canvas.lineWidth = 3;
  canvas.strokeText(text, x, y);
  canvas.fillStyle = INK;
  canvas.fillText(text, x, y);
}

/** How long a round number of metres is, in the corner. */
function drawScale(canvas: CanvasRenderingContext2D, h: number, view: View): void {
  const metres = roundMetres(60 / view.pixelsPerMetre);
  const [left, bottom, length] = [14, h - 14, metres * view.pixelsPerMetre];
  canvas.strokeStyle = INK;
  canvas.lineWidth = 1.5;
  canvas.beginPath();
  canvas.moveTo(left, bottom - 5);
  canvas.lineTo(left, bottom);
  canvas.lineTo(left + length, bottom);
  canvas.lineTo(left + length, bottom - 5);
  canvas.stroke();
  canvas.font = "500 11px system-ui, sans-serif";
  canvas.textAlign = "left";
  canvas.textBaseline = "bottom";
  canvas.fillStyle = INK;
  canvas.fillText(metres >= 1000 ? `${metres / 1000} km` : `${metres} m`, left + 5, bottom - 5);
}
