import { signal } from "@preact/signals";

import { drawAbove, GroundTrails, View } from "./draw/above";
import { drawOverlay, shownTracks } from "./draw/overlay";
import { Trails } from "./draw/trails";
import { speed } from "./format";
import { browserNow } from "./link/clock";
import { meanTimings, realTimeFactor } from "./pace";
import { speedUnit } from "./settings";
import type { FrameResult, Step, StepMap } from "./wire";

/** Rates and means are taken over this long. */
const LATELY_MS = 2_000;

/** What the page's numbers are made of: taken four times a second, never more often. */
export interface StepNumbers {
  /** The step on the screen; none before the first. */
  step: Step | undefined;
  /** How long ago it came. */
  ageMs: number | undefined;
  stepsPerSecond: number;
  /** Simulated seconds a second, lately. */
  realTimeFactor: number | undefined;
  /** What each component took, the mean of lately, microseconds. */
  timingsUs: ReadonlyMap<string, number>;
}

const NOTHING: StepNumbers = {
  step: undefined,
  ageMs: undefined,
  stepsPerSecond: 0,
  realTimeFactor: undefined,
  timingsUs: new Map(),
};

/** A canvas that shows a stream from above. */
export interface AboveSurface {
  canvas: HTMLCanvasElement;
  view: View;
  labels: boolean;
}

/** One stream of steps as this page sees it: the step on the screen, the map, the trails and the numbers. */
export class StreamFeed {
  readonly numbers = signal<StepNumbers>(NOTHING);

  private readonly trails = new GroundTrails();
  private readonly boxTrails = new Trails();
  private readonly lately: { step: Step; cameMs: number }[] = [];
  private surface: AboveSurface | undefined;
  private map: StepMap | undefined;
  private step: Step | undefined;
  private id = "";
  private seenAtUs = 0;

  constructor(
    readonly stream: string,
    private readonly requestPaint: (feed: StreamFeed) => void,
  ) {}

  /** Shows this stream on a surface from now on. Returns how to stop. */
  attach(surface: AboveSurface): () => void {
    this.surface = surface;
    this.requestPaint(this);
    return () => {
      if (this.surface === surface) this.surface = undefined;
    };
  }

  /** Draws the same step again: the size, the view or the unit changed. */
  redraw(): void {
    this.requestPaint(this);
  }

  addMap(map: StepMap): void {
    this.map = map;
    this.requestPaint(this);
  }

  addStep(id: string, step: Step, seenAtUs: number): void {
    this.step = step;
    this.id = id;
    this.seenAtUs = seenAtUs;
    this.trails.add(step);
    if (step.result !== null) this.boxTrails.add(step.result);
    this.lately.push({ step, cameMs: browserNow() });
    this.forgetOld();
    this.requestPaint(this);
  }

  /** Called once per screen refresh at most. */
  paint(): void {
    const { surface, step } = this;
    if (surface === undefined || step === undefined) return;
    const { canvas, view, labels } = surface;
    const pixelRatio = window.devicePixelRatio;
    const { width, height } = room(canvas, pixelRatio, step.result);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const context = canvas.getContext("2d");
    if (context === null) return;
    const unit = speedUnit.peek();
    if (step.result === null) {
      const scene = { step, map: this.map, trails: this.trails, speed: (mps: number) => `${speed(mps, unit)} ${unit}` };
      drawAbove(context, width, height, pixelRatio, scene, view, labels);
    } else {
      const options = { classes: [], region: [], regionOn: null, unit, labels };
      drawOverlay(context, width, height, pixelRatio, step.result, this.boxTrails, options);
    }
    // Says on the element itself what it shows, for tests and for automation.
    canvas.dataset.stream = this.stream;
    canvas.dataset.stepId = this.id;
    canvas.dataset.step = String(step.step);
    canvas.dataset.objects = String(objectsOf(step));
    canvas.dataset.pixelsPerMetre = String(view.pixelsPerMetre);
    canvas.dataset.mapLines = String(this.map?.lines.length ?? 0);
  }

  /** Takes the numbers anew; `offsetMs` is what the gateway's clock is ahead of ours. */
  tick(offsetMs: number): void {
    this.forgetOld();
    this.numbers.value = {
      step: this.step,
      ageMs: this.step === undefined ? undefined : browserNow() + offsetMs - this.seenAtUs / 1000,
      stepsPerSecond: this.lately.length / (LATELY_MS / 1000),
      realTimeFactor: realTimeFactor(this.lately.map(({ step }) => step)),
      timingsUs: meanTimings(this.lately.map(({ step }) => step)),
    };
  }

  private forgetOld(): void {
    const oldest = browserNow() - LATELY_MS;
    while ((this.lately[0]?.cameMs ?? oldest) < oldest) this.lately.shift();
  }
}

/** How many objects there are in a step, or in the result that it brings. */
export function objectsOf(step: Step): number {
  return step.result === null ? step.objects.length : shownTracks(step.result).length;
}

/** Device pixels of a canvas: all of its place, or as much as has the shape of a result's picture. */
function room(
  { clientWidth, clientHeight }: HTMLCanvasElement,
  pixelRatio: number,
  result: FrameResult | null,
): { width: number; height: number } {
  const pixels = (length: number): number => Math.max(1, Math.round(length * pixelRatio));
  if (result === null) return { width: pixels(clientWidth), height: pixels(clientHeight) };
  const scale = Math.min(clientWidth / result.source.width, clientHeight / result.source.height);
  return { width: pixels(scale * result.source.width), height: pixels(scale * result.source.height) };
}
