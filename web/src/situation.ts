import { age, words } from "./format";
import type { Connection } from "./link/messages";
import type { CameraState, PlaybackState } from "./wire";

/** Told by shape as well as by word and colour. */
export type Shape = "dot" | "ring" | "triangle" | "square" | "cross";
export type Tone = "good" | "quiet" | "warn" | "bad";

/** How a camera is doing, in a word, and what to do about it. */
export interface Situation {
  word: string;
  shape: Shape;
  tone: Tone;
  /** What is on the screen is not the present. */
  old: boolean;
  /** What is going on, and the next step; nothing where all is well. */
  help: Help | undefined;
}

export interface Help {
  title: string;
  next: string;
  /** Something to type. */
  command?: string;
}

/** A picture older than this is not live. */
export const STALE_MS = 2_000;
/** Results for so long without a picture: something is wrong with the pictures. */
export const NO_PICTURE_MS = 4_000;

export interface Seen {
  /** Age of the picture on the screen. */
  pictureAgeMs: number | undefined;
  /** How long this page has been asking for pictures. */
  watchedForMs: number;
  /** Age of the newest result. */
  resultAgeMs: number | undefined;
  /** Why the newest frame was not analysed, if it was not. */
  skipped: string | undefined;
  /** What this page sees of the camera's time. */
  playback: PlaybackState;
  /** The frame on the screen has no picture. */
  bare: boolean;
  /** The decoder marked the picture on the screen as broken. */
  damaged: boolean;
}

export function situation(camera: CameraState, connection: Connection, seen: Seen): Situation {
  const has = seen.pictureAgeMs !== undefined;
  if (connection.state !== "open") {
    return {
      word: "disconnected",
      shape: "cross",
      tone: "bad",
      old: true,
      help: has ? undefined : { title: "Not connected", next: "The picture comes back when the gateway does." },
    };
  }
  if (seen.playback !== "live") return back(seen);
  switch (camera.health) {
    case "starting":
      return {
        word: "starting",
        shape: "ring",
        tone: "quiet",
        old: has,
        help: {
          title: "Opening the source",
          next: "This takes a few seconds. A camera that needs longer is usually unreachable.",
        },
      };
    case "reconnecting":
      return {
        word: "reconnecting",
        shape: "triangle",
        tone: "warn",
        old: true,
        help: {
          title: camera.error ?? "The source was lost",
          next: "The producer keeps trying. Check the camera's power, network and password.",
        },
      };
    case "no_owner":
      return {
        word: "no processor",
        shape: "triangle",
        tone: "warn",
        old: true,
        help: {
          title: "Frames come in, but nobody analyses them",
          next: "Start a processor:",
          command: "./dev scale processor=1",
        },
      };
    case "no_producer":
      return {
        word: "no producer",
        shape: "triangle",
        tone: "warn",
        old: true,
        help: {
          title: "Nobody reads this camera",
          next: "Start the producer that may open its source again. What runs is told by",
          command: "./dev status",
        },
      };
    case "ended":
      return {
        word: "ended",
        shape: "square",
        tone: "quiet",
        old: true,
        help: {
          title: "The file has ended",
          next: "To start it again at its end, set in the camera's configuration:",
          command: "loop = true",
        },
      };
    case "failed":
      return {
        word: "failed",
        shape: "cross",
        tone: "bad",
        old: true,
        help: {
          title: camera.error ?? "The source cannot be opened",
          next: "Correct the source under “Set up”; the producer then opens it at once.",
        },
      };
    case "live":
      return live(camera, seen);
    default:
      return {
        word: "unknown",
        shape: "ring",
        tone: "warn",
        old: false,
        help: {
          title: `The gateway tells a state that this page does not know (${camera.health})`,
          next: "Reload the page: it may be older than the system.",
        },
      };
  }
}

/** Gone back in time: what is on the screen is old on purpose, and says so. */
function back({ playback, bare, skipped }: Seen): Situation {
  const noPicture = {
    title: "No picture of this frame is held",
    next: "Pictures are made only while somebody watches. The boxes are those of this frame.",
  };
  return {
    word: playback === "buffering" ? "loading" : playback === "ended" ? "end of the file" : playback,
    shape: playback === "playing" || playback === "buffering" ? "ring" : "square",
    tone: "quiet",
    old: false,
    help: skipped === undefined ? (bare ? noPicture : undefined) : notAnalysed(skipped),
  };
}

function notAnalysed(skipped: string): Help {
  return { title: `This frame was not analysed: ${words(skipped)}`, next: "Step on to one that was." };
}

function live(camera: CameraState, { pictureAgeMs, watchedForMs, resultAgeMs, skipped }: Seen): Situation {
  const said = camera.error === null ? undefined : { title: camera.error, next: "It goes on by itself." };
  const skipping = skipped === undefined ? said : frames(skipped);
  if (pictureAgeMs === undefined) {
    const onlyResults = resultAgeMs !== undefined && resultAgeMs < STALE_MS && watchedForMs > NO_PICTURE_MS;
    return {
      word: "live",
      shape: "dot",
      tone: "good",
      old: false,
      help:
        skipping ??
        (onlyResults
          ? { title: "Results come, pictures do not", next: "Look into the producer's log for `preview`." }
          : { title: "Waiting for the first picture", next: "It is made when somebody watches: a second at most." }),
    };
  }
  if (pictureAgeMs > STALE_MS) {
    return {
      word: "stale",
      shape: "triangle",
      tone: "warn",
      old: true,
      help: skipping,
    };
  }
  return { word: "live", shape: "dot", tone: "good", old: false, help: undefined };
}

function frames(skipped: string): Help {
  const title = `Frames are not analysed: ${words(skipped)}`;
  return skipped === "too_old"
    ? {
        title,
        next: "The processors are too slow for all cameras. Start another one:",
        command: "./dev scale processor=2",
      }
    : { title, next: "The processor's log tells more." };
}

/** The words under the connection's light. */
export function connectionWords(connection: Connection, nowMs: number): string {
  switch (connection.state) {
    case "open":
      return "Connected";
    case "connecting":
      return connection.attempt === 0 ? "Connecting…" : "Reconnecting…";
    case "closed": {
      const seconds = Math.max(0, Math.ceil((connection.retryAtMs - nowMs) / 1000));
      return seconds === 0 ? "Reconnecting…" : `Reconnecting in ${seconds} s`;
    }
  }
}

/** The age of the picture on the screen. */
export function ageWords(seen: Seen): string {
  return seen.pictureAgeMs === undefined ? "–" : age(seen.pictureAgeMs);
}

/** The badge on the picture: how old, and whether on purpose. */
export function badgeWords(seen: Seen): string {
  const old = `${seen.damaged ? "damaged · " : ""}${ageWords(seen)} old`;
  return seen.playback === "live" ? old : seen.playback === "playing" ? `replay · ${old}` : `paused · ${old}`;
}
