import { signal } from "@preact/signals";

import { drawOverlay, shownTracks, type OverlayOptions } from "./draw/overlay";
import { Trails } from "./draw/trails";
import { journey, type Journey } from "./journey";
import { browserNow } from "./link/clock";
import type { Arrival, Ask, Painted } from "./link/messages";
import { Player } from "./player";
import { type PictureShape, shapeOf } from "./setup/shape";
import type { Seen } from "./situation";
import type { LossCount, Notice, Playback, Track } from "./wire";

/** Two canvases, one on the other: the picture as it came, and what is drawn over it. */
export interface Surface {
  picture: HTMLCanvasElement;
  overlay: HTMLCanvasElement;
  options: () => OverlayOptions;
}

/** What the page's numbers are made of: taken four times a second, never more often. */
export interface Numbers {
  seen: Seen;
  objects: number;
  tracks: readonly Track[];
  /** Objects by class id. A class once seen stays, with 0, so that lists of them keep their order. */
  byClass: ReadonlyMap<number, number>;
  /** Of the frame on the screen; none before the first. */
  journey: Journey | undefined;
  frameId: string | undefined;
  worker: string | undefined;
  lost: readonly LossCount[];
  notices: readonly Notice[];
  paintedPerSecond: number;
  /** The source's picture on the screen, by its result and its preview; undefined before the first. */
  picture: PictureShape | undefined;
}

const NOTHING: Numbers = {
  seen: {
    pictureAgeMs: undefined,
    watchedForMs: 0,
    resultAgeMs: undefined,
    skipped: undefined,
    playback: "live",
    bare: false,
    damaged: false,
  },
  objects: 0,
  tracks: [],
  byClass: new Map(),
  journey: undefined,
  frameId: undefined,
  worker: undefined,
  lost: [],
  notices: [],
  paintedPerSecond: 0,
  picture: undefined,
};

interface Frame {
  arrival: Arrival;
  /** None where the picture is not held. */
  pictureId: string | undefined;
  picture: ImageBitmap | undefined;
}

/** What stands for a picture that is not held. */
const GROUND = "#2b343a";

/** One camera as this page sees it: the frame on the screen, the next one, the trails and the numbers. */
export class Feed {
  readonly numbers = signal<Numbers>(NOTHING);
  readonly player: Player;

  private trails = new Trails();
  private surface: Surface | undefined;
  private current: Frame | undefined;
  private next: Frame | undefined;
  private newest: Arrival | undefined;
  private shape: PictureShape | undefined;
  private paintedAtMs = 0;
  private watchedSinceMs = browserNow();
  private readonly paintTimes: number[] = [];

  constructor(
    readonly camera: string,
    private readonly requestPaint: (feed: Feed) => void,
    private readonly released: (camera: string, painted: Painted | undefined) => void,
    ask: (camera: string, requestId: number, ask: Ask) => void,
  ) {
    this.player = new Player((requestId, what) => {
      ask(camera, requestId, what);
    });
  }

  /** The frame on the screen; without pictures, the one that the numbers are of. */
  get shown(): string | undefined {
    return (this.current?.arrival ?? this.newest)?.id;
  }

  /** Shows this camera on a surface from now on. Returns how to stop. */
  attach(surface: Surface): () => void {
    this.surface = surface;
    this.watchedSinceMs = browserNow();
    this.requestPaint(this);
    return () => {
      if (this.surface === surface) this.surface = undefined;
    };
  }

  /** Draws the same frame again: the size, the unit or the theme changed. */
  redraw(): void {
    this.requestPaint(this);
  }

  /** Where this page is in the camera's time. After a jump, what was to be painted next is not. */
  receive(playback: Playback, jumped: boolean): void {
    if (jumped) {
      this.trails = new Trails();
      if (this.next !== undefined) this.drop(this.next);
      this.next = undefined;
    }
    this.player.receive(playback);
  }

  addResult(arrival: Arrival): void {
    if (this.player.live) this.newest = arrival;
    this.trails.add(arrival.result);
  }

  /** A frame without its picture. Where it is the one on the screen, its picture is there after all. */
  addBare(arrival: Arrival): void {
    if (this.current?.arrival.id === arrival.id && this.current.picture !== undefined) return;
    this.addFrame({ arrival, pictureId: undefined, picture: undefined });
  }

  addFrame(frame: Frame): void {
    if (this.next !== undefined) this.drop(this.next);
    this.next = frame;
    if (this.surface === undefined) {
      this.drop(this.next);
      this.next = undefined;
    } else this.requestPaint(this);
  }

  /** Paints picture and overlay of one and the same frame. Called once per screen refresh at most. */
  paint(offsetMs: number): void {
    const surface = this.surface;
    if (surface === undefined) return;
    const fresh = this.next;
    if (fresh !== undefined) {
      this.current?.picture?.close();
      this.current = fresh;
      this.next = undefined;
    }
    const frame = this.current;
    if (frame === undefined) return;
    const { arrival, picture } = frame;
    if (picture === undefined) paintGround(surface.picture, arrival.result.source);
    else {
      paintPicture(surface.picture, picture);
      const shape = shapeOf(arrival.result.source, picture);
      if (JSON.stringify(shape) !== JSON.stringify(this.shape)) this.shape = shape;
    }
    const boxes = this.paintOverlay(surface, arrival);
    label(surface.picture, this.camera, frame, boxes);
    if (fresh === undefined) return;

    this.paintedAtMs = browserNow();
    this.paintTimes.push(this.paintedAtMs);
    while ((this.paintTimes[0] ?? this.paintedAtMs) < this.paintedAtMs - 2_000) this.paintTimes.shift();
    if (picture === undefined) return;
    const deliverUs = (arrival.decodedAtMs + offsetMs) * 1000 - arrival.seenAtUs;
    const paintUs = (this.paintedAtMs - arrival.decodedAtMs) * 1000;
    const painted = { id: arrival.id, deliverUs: u32(deliverUs), paintUs: u32(paintUs) };
    this.released(this.camera, isReadBack(arrival) ? undefined : painted);
  }

  /** Takes the numbers anew; `offsetMs` is what the gateway's clock is ahead of ours. */
  tick(offsetMs: number): void {
    const now = browserNow();
    const gatewayNowUs = (now + offsetMs) * 1000;
    const frame = this.current?.arrival;
    const ageMs = (arrival: Arrival | undefined): number | undefined =>
      arrival === undefined ? undefined : (gatewayNowUs - arrival.result.captured_at_us) / 1000;
    // Without pictures the numbers still follow the results.
    const { state } = this.player.moment.peek();
    const follows = state === "live" && (ageMs(frame) ?? 0) >= 4_000;
    const leftOut = frame?.result.reason === "damaged";
    const shown = frame !== undefined && !follows && !leftOut ? frame : (this.newest ?? frame);
    const tracks = shown === undefined ? [] : shownTracks(shown.result);
    // Who stands still sees no frames a second, whatever was painted just before.
    if (state === "paused" || state === "ended") this.paintTimes.length = 0;
    while ((this.paintTimes[0] ?? now) < now - 2_000) this.paintTimes.shift();
    const counted = tracks.filter((track) => track.state !== "lost" && track.in_region);
    const byClass = new Map([...this.numbers.peek().byClass.keys()].map((id) => [id, 0]));
    for (const { class_id: id } of counted) byClass.set(id, (byClass.get(id) ?? 0) + 1);
    this.numbers.value = {
      seen: {
        pictureAgeMs: ageMs(frame),
        watchedForMs: now - this.watchedSinceMs,
        resultAgeMs: ageMs(this.newest),
        skipped: skippedFor(state === "live" ? this.newest : frame),
        playback: state,
        bare: this.current !== undefined && this.current.picture === undefined,
        damaged: frame !== undefined && isDamaged(frame),
      },
      objects: counted.length,
      tracks,
      byClass,
      journey:
        frame === undefined
          ? undefined
          : journey(
              frame.result,
              isReadBack(frame)
                ? undefined
                : {
                    seenUs: frame.seenAtUs,
                    decodedUs: (frame.decodedAtMs + offsetMs) * 1000,
                    paintedUs: (this.paintedAtMs + offsetMs) * 1000,
                  },
            ),
      frameId: frame?.id,
      worker: shown?.result.worker,
      lost: shown?.result.lost ?? [],
      notices: shown?.result.notices ?? [],
      paintedPerSecond: this.paintTimes.length / 2,
      picture: this.shape,
    };
  }

  /** Gives back what the pictures hold. */
  close(): void {
    this.current?.picture?.close();
    this.next?.picture?.close();
    this.current = undefined;
    this.next = undefined;
  }

  private paintOverlay({ overlay, options }: Surface, { result }: Arrival): number {
    const pixelRatio = window.devicePixelRatio;
    const width = Math.max(1, Math.round(overlay.clientWidth * pixelRatio));
    const height = Math.max(1, Math.round(overlay.clientHeight * pixelRatio));
    if (overlay.width !== width || overlay.height !== height) {
      overlay.width = width;
      overlay.height = height;
    }
    const canvas = overlay.getContext("2d");
    return canvas === null ? 0 : drawOverlay(canvas, width, height, pixelRatio, result, this.trails, options());
  }

  private drop({ picture }: Frame): void {
    if (picture === undefined) return;
    picture.close();
    this.released(this.camera, undefined);
  }
}

function paintPicture(canvas: HTMLCanvasElement, picture: ImageBitmap): void {
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  canvas.getContext("2d", { alpha: false })?.drawImage(picture, 0, 0);
}

function paintGround(canvas: HTMLCanvasElement, source: { width: number; height: number }): void {
  canvas.width = 640;
  canvas.height = Math.max(1, Math.round((640 * source.height) / Math.max(1, source.width)));
  const context = canvas.getContext("2d", { alpha: false });
  if (context === null) return;
  context.fillStyle = GROUND;
  context.fillRect(0, 0, canvas.width, canvas.height);
}

function isReadBack({ seenAtUs }: Arrival): boolean {
  return seenAtUs === 0;
}

/** Says on the element itself what it shows, for tests and for automation. */
function label(canvas: HTMLCanvasElement, camera: string, { arrival, pictureId }: Frame, boxes: number): void {
  canvas.dataset.camera = camera;
  if (pictureId === undefined) delete canvas.dataset.frameId;
  else canvas.dataset.frameId = pictureId;
  canvas.dataset.resultId = arrival.id;
  canvas.dataset.boxes = String(boxes);
  canvas.dataset.position = String(arrival.result.position);
}

function skippedFor(arrival: Arrival | undefined): string | undefined {
  if (arrival === undefined || arrival.result.status === "ok" || arrival.result.status === "end") return undefined;
  return arrival.result.reason ?? arrival.result.status;
}

function isDamaged({ result }: Arrival): boolean {
  const { reason, notices } = result;
  return reason === "damaged" || notices.includes("damaged_kept") || notices.includes("damage_analysed");
}

function u32(us: number): number {
  return Math.min(0xffff_ffff, Math.max(0, Math.round(us)));
}
