import type { CameraState, FrameResult, Playback, Step, StepMap, StreamState } from "../wire";
import type { Traffic } from "./traffic";

/** From the page to the worker that holds the connection. */
export type ToWorker =
  | { kind: "start"; url: string; token: string | undefined }
  /** `at` is the frame to stand still on; none for live. */
  | { kind: "watch"; camera: string; previewWidth: number; at: string | undefined }
  | { kind: "unwatch"; camera: string }
  /** A picture was painted or replaced by a newer one: room for another. */
  | { kind: "released"; camera: string; painted: Painted | undefined }
  | { kind: "ask"; camera: string; requestId: number; ask: Ask }
  /** Report what the connection carries from now on, or no more. */
  | { kind: "measure"; on: boolean }
  /** Receive the steps of these streams and no others. */
  | { kind: "follow"; streams: string[] }
  /** Do not wait for the next attempt. */
  | { kind: "retry" };

/** What may be asked about a camera's time. */
export type Ask =
  | { kind: "pause" }
  | { kind: "play" }
  | { kind: "seek"; to: string; nearest: boolean }
  | { kind: "step"; frames: number }
  | { kind: "speed"; speed: number };

export interface Painted {
  id: string;
  deliverUs: number;
  paintUs: number;
}

/** From the worker to the page. */
export type FromWorker =
  | { kind: "connection"; connection: Connection }
  | { kind: "cameras"; cameras: CameraState[] }
  | { kind: "result"; camera: string; arrival: Arrival }
  | { kind: "frame"; camera: string; arrival: Arrival; pictureId: string; picture: ImageBitmap }
  /** A frame whose picture is not held. */
  | { kind: "bare"; camera: string; arrival: Arrival }
  /** Where this page is in a camera's time. After a jump nothing comes that was sent before it. */
  | { kind: "playback"; playback: Playback; jumped: boolean }
  | { kind: "streams"; streams: StreamState[] }
  | { kind: "step"; stream: string; id: string; step: Step; seenAtUs: number }
  | { kind: "map"; stream: string; map: StepMap }
  | { kind: "clock"; offsetMs: number; roundTripMs: number }
  | { kind: "missed"; camera: string; total: number }
  | { kind: "traffic"; traffic: Traffic }
  | { kind: "problem"; message: string };

/** A result with what the way here added. Times are milliseconds of the browser's clock but for `seenAtUs`. */
export interface Arrival {
  id: string;
  result: FrameResult;
  /** When the gateway saw the commit, its clock; 0 where it was read back later. */
  seenAtUs: number;
  /** When the message with the later half of the pair was decoded, the picture included. */
  decodedAtMs: number;
}

export type Connection =
  | { state: "connecting"; attempt: number }
  | { state: "open"; version: string }
  /** `retryAtMs` by the browser's clock. */
  | { state: "closed"; attempt: number; retryAtMs: number; reason: string };
