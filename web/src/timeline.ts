import type { Moment } from "./player";
import type { CameraHealth, Gap } from "./wire";

/** Milliseconds of the wall clock: what is held, and the position in it. */
export interface Stretch {
  firstMs: number;
  lastMs: number;
  atMs: number;
}

/**
 * Where a page is in what is held. The gateway tells the ends now and then; meanwhile a camera that is live goes on,
 * and the frame on the screen may be newer than what was told.
 */
export function timeline(moment: Moment, shown: string | undefined, nowMs: number, health: CameraHealth): Stretch {
  const shownMs = idMs(shown) ?? 0;
  const standing = moment.state === "paused" || moment.state === "ended";
  const atMs = standing ? (idMs(moment.at) ?? shownMs) : shownMs;
  const goesOnMs = health === "live" && moment.toldAtMs > 0 ? Math.max(0, nowMs - moment.toldAtMs) : 0;
  const toldMs = idMs(moment.last);
  const lastMs = Math.max(moment.state === "live" ? 0 : (toldMs ?? 0) + (toldMs === undefined ? 0 : goesOnMs), atMs);
  const firstMs = Math.min(idMs(moment.first) ?? lastMs, atMs === 0 ? lastMs : atMs);
  return { firstMs, lastMs, atMs: atMs === 0 ? lastMs : atMs };
}

/** A part of a bar, 0 to 1 from its left end. */
export interface Part {
  from: number;
  to: number;
}

/** Where in a stretch there is nothing; gaps that lie outside, as what is held goes on, are left out. */
export function gapParts(gaps: readonly Gap[], { firstMs, lastMs }: Stretch): Part[] {
  const share = (id: string | null): number => ((idMs(id ?? undefined) ?? lastMs) - firstMs) / (lastMs - firstMs);
  return gaps
    .map(({ after, first }) => ({ from: Math.max(0, share(after)), to: Math.min(1, share(first)) }))
    .filter(({ from, to }) => from < to);
}

function idMs(id: string | undefined): number | undefined {
  const ms = Number(id?.split("-")[0]);
  return Number.isFinite(ms) ? ms : undefined;
}
