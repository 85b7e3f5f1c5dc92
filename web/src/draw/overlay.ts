import { speedWithError, type SpeedUnit } from "../format";
import type { FrameResult, Track } from "../wire";
import { classColour } from "./colours";
import { Trails } from "./trails";

export interface OverlayOptions {
  classes: readonly string[];
  /** Region of interest, in pixels of `regionOn`. */
  region: readonly (readonly [number, number])[];
  /** The picture that the region lies on; that of the result where it is null. */
  regionOn: { width: number; height: number } | null;
  unit: SpeedUnit;
  /** A tile has room for boxes only. */
  labels: boolean;
}

/** The name of a class, or its number where the model's names are not known yet. */
export function className(classes: readonly string[], id: number): string {
  return classes[id] ?? `class ${id}`;
}

/** The tracks that are drawn: those given up are only mentioned. */
export function shownTracks(result: FrameResult): Track[] {
  return result.status === "ok" ? result.tracks.filter((track) => track.state !== "removed") : [];
}

/**
 * Draws a result over its picture. The canvas has `width`×`height` device pixels and covers the whole source picture.
 * Returns how many boxes were drawn.
 */
export function drawOverlay(
  canvas: CanvasRenderingContext2D,
  width: number,
  height: number,
  pixelRatio: number,
  result: FrameResult,
  trails: Trails,
  options: OverlayOptions,
): number {
  canvas.setTransform(1, 0, 0, 1, 0, 0);
  canvas.clearRect(0, 0, width, height);
  const sx = width / Math.max(1, result.source.width);
  const sy = height / Math.max(1, result.source.height);
  const on = options.regionOn ?? result.source;
  const [rx, ry] = [width / Math.max(1, on.width), height / Math.max(1, on.height)];
  if (!result.notices.includes("region_off")) drawRegion(canvas, width, height, rx, ry, pixelRatio, options.region);
  const tracks = shownTracks(result);
  canvas.lineJoin = "round";
  canvas.lineCap = "round";
  for (const track of tracks) drawTrail(canvas, track, result, trails, sx, sy, pixelRatio, options);
  for (const track of tracks) drawBox(canvas, track, sx, sy, pixelRatio, options);
  if (options.labels) {
    const placed: Placed[] = [];
    for (const track of tracks) drawLabel(canvas, track, width, sx, sy, pixelRatio, options, placed);
  }
  return tracks.length;
}

function drawRegion(
  canvas: CanvasRenderingContext2D,
  width: number,
  height: number,
  sx: number,
  sy: number,
  pixelRatio: number,
  region: OverlayOptions["region"],
): void {
  if (region.length < 3) return;
  const outline = new Path2D();
  for (const [x, y] of region) outline.lineTo(x * sx, y * sy);
  outline.closePath();
  const outside = new Path2D();
  outside.rect(0, 0, width, height);
  outside.addPath(outline);
  canvas.fillStyle = "rgb(8 14 18 / 24%)";
  canvas.fill(outside, "evenodd");
  canvas.lineWidth = 1.25 * pixelRatio;
  canvas.setLineDash([6 * pixelRatio, 4 * pixelRatio]);
  canvas.strokeStyle = "rgb(255 255 255 / 75%)";
  canvas.stroke(outline);
  canvas.setLineDash([]);
}

function drawTrail(
  canvas: CanvasRenderingContext2D,
  track: Track,
  result: FrameResult,
  trails: Trails,
  sx: number,
  sy: number,
  pixelRatio: number,
  options: OverlayOptions,
): void {
  const points = trails.upTo(track.track_id, result.track_epoch, result.media_time_us);
  canvas.strokeStyle = classColour(className(options.classes, track.class_id)).line;
  for (let i = 1; i < points.length; i += 1) {
    const from = points[i - 1];
    const to = points[i];
    if (from === undefined || to === undefined) continue;
    const freshness = 1 - (result.media_time_us - to.mediaTimeUs) / Trails.keptUs;
    if (freshness <= 0) continue;
    canvas.globalAlpha = 0.75 * freshness;
    canvas.lineWidth = (0.75 + 1.75 * freshness) * pixelRatio;
    canvas.beginPath();
    canvas.moveTo(from.x * sx, from.y * sy);
    canvas.lineTo(to.x * sx, to.y * sy);
    canvas.stroke();
  }
  canvas.globalAlpha = 1;
}

function strength(track: Track): number {
  if (track.state === "lost") return 0.55;
  return track.in_region ? 1 : 0.5;
}

function drawBox(
  canvas: CanvasRenderingContext2D,
  track: Track,
  sx: number,
  sy: number,
  pixelRatio: number,
  options: OverlayOptions,
): void {
  const [left, top, right, bottom] = track.xyxy;
  const box = new Path2D();
  box.roundRect(left * sx, top * sy, (right - left) * sx, (bottom - top) * sy, 2 * pixelRatio);
  canvas.globalAlpha = strength(track);
  canvas.strokeStyle = "rgb(0 0 0 / 55%)";
  canvas.lineWidth = 3 * pixelRatio;
  canvas.stroke(box);
  // A lost track's box is a prediction: dashed.
  if (track.state === "lost") canvas.setLineDash([4 * pixelRatio, 3 * pixelRatio]);
  canvas.strokeStyle = classColour(className(options.classes, track.class_id)).line;
  canvas.lineWidth = 1.5 * pixelRatio;
  canvas.stroke(box);
  canvas.setLineDash([]);
  canvas.globalAlpha = 1;
}

interface Placed {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

function drawLabel(
  canvas: CanvasRenderingContext2D,
  track: Track,
  width: number,
  sx: number,
  sy: number,
  pixelRatio: number,
  options: OverlayOptions,
  placed: Placed[],
): void {
  const roomy = width / pixelRatio >= 560;
  const size = (roomy ? 12 : 10) * pixelRatio;
  const padding = 5 * pixelRatio;
  const chipHeight = size + 6 * pixelRatio;
  const name = className(options.classes, track.class_id);
  const colour = classColour(name);
  const who = roomy ? `${name} ${track.track_id}` : `${track.track_id}`;
  const how =
    track.speed === null
      ? ""
      : `${speedWithError(track.speed.speed_mps, track.speed.std_error_mps, options.unit)} ${options.unit}`;

  canvas.font = `600 ${size}px system-ui, sans-serif`;
  const whoWidth = canvas.measureText(who).width + 2 * padding;
  canvas.font = `500 ${size}px system-ui, sans-serif`;
  const howWidth = how === "" ? 0 : canvas.measureText(how).width + 2 * padding;
  const chipWidth = whoWidth + howWidth;
  const [left, top] = track.xyxy;
  const x = Math.min(Math.max(0, left * sx - 0.75 * pixelRatio), Math.max(0, width - chipWidth));
  let y = Math.max(0, top * sy - chipHeight - 1.5 * pixelRatio);
  // A chip that would cover another moves below it; a few tries are enough to read a crowd.
  for (let tries = 0; tries < 4; tries += 1) {
    const covered = placed.find((p) => x < p.right && x + chipWidth > p.left && y < p.bottom && y + chipHeight > p.top);
    if (covered === undefined) break;
    y = covered.bottom + pixelRatio;
  }
  placed.push({ left: x, top: y, right: x + chipWidth, bottom: y + chipHeight });

  canvas.globalAlpha = track.state === "lost" ? 0.7 : 1;
  const radius = 3 * pixelRatio;
  canvas.textBaseline = "middle";
  const middle = y + chipHeight / 2 + 0.5 * pixelRatio;
  canvas.fillStyle = colour.line;
  canvas.beginPath();
  canvas.roundRect(x, y, whoWidth, chipHeight, howWidth > 0 ? [radius, 0, 0, radius] : radius);
  canvas.fill();
  if (howWidth > 0) {
    canvas.fillStyle = "rgb(12 18 22 / 82%)";
    canvas.beginPath();
    canvas.roundRect(x + whoWidth, y, howWidth, chipHeight, [0, radius, radius, 0]);
    canvas.fill();
    canvas.fillStyle = "#ffffff";
    canvas.fillText(how, x + whoWidth + padding, middle);
  }
  canvas.font = `600 ${size}px system-ui, sans-serif`;
  canvas.fillStyle = colour.text;
  canvas.fillText(who, x + padding, middle);
  canvas.globalAlpha = 1;
}
