// What a camera's ledger says, in numbers that add up and in words where they do not.

import type { LedgerEntry } from "./api";
import { count, plural, words } from "./format";
import type { CameraState, LossCount } from "./wire";

export interface Balance {
  skipped: number;
  lost: number;
  /** Frames published that are in none of the ends; negative where more ended than began. */
  missing: number;
  /** A sentence where it does not balance. */
  problem: string | undefined;
}

export function balance({ published, processed, skipped, lost, waiting, balanced }: LedgerEntry): Balance {
  const sum = (counts: readonly LossCount[]): number => counts.reduce((total, { count: n }) => total + n, 0);
  const [skippedSum, lostSum] = [sum(skipped), sum(lost)];
  const missing = published - processed - skippedSum - lostSum - waiting;
  return { skipped: skippedSum, lost: lostSum, missing, problem: balanced ? undefined : problemOf(missing) };
}

function problemOf(missing: number): string {
  if (missing > 0) {
    return `${plural(missing, "frame")} left the producer and ended nowhere. If this stays, look into the processor's log.`;
  }
  if (missing < 0) {
    return `${plural(-missing, "frame")} more ended than began. If this stays, two producers may read this camera.`;
  }
  return "The numbers add up now, but did not when they were compared.";
}

/** What the counts are apart though they balance: they were taken one after the other. */
export function apart({ missing, problem }: Balance): string | undefined {
  if (problem !== undefined || missing === 0) return undefined;
  return missing > 0 ? `${plural(missing, "frame")} on the way` : `${count(-missing)} newer than the producer's count`;
}

/** `12 too old, 3 queue full`; nothing for none. */
export function reasons(counts: readonly LossCount[]): string {
  return counts
    .filter(({ count: n }) => n > 0)
    .map(({ reason, count: n }) => `${count(n)} ${words(reason)}`)
    .join(", ");
}

/** What holds the system up, in a sentence with the next step. */
export function bottleneck(cameras: readonly CameraState[]): string {
  const live = cameras.filter(({ health }) => health === "live" || health === "no_owner");
  if (live.length === 0) return "No camera gives frames now.";
  const alone = live.filter(({ health }) => health === "no_owner");
  if (alone.length > 0) {
    return `No processor analyses ${names(alone)}: start one, or wait until one takes over.`;
  }
  const behind = live.filter((each) => each.fps_in > 0.5 && each.fps_out < each.fps_in * 0.9);
  if (behind.length > 0) return `The processors are too slow for ${names(behind)}: start another one.`;
  const slow = live.filter((each) => each.source_fps > 0.5 && each.fps_in < each.source_fps * 0.8);
  if (slow.length > 0)
    return `Fewer frames come from ${names(slow)} than the source gives: look at its network and the producer.`;
  return "Every camera is analysed as fast as its frames come.";
}

function names(cameras: readonly CameraState[]): string {
  const shown = cameras.slice(0, 3).map(({ name, camera }) => name || camera);
  const more = cameras.length - shown.length;
  return `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
