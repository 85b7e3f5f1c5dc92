import type { CameraState, FrameResult, Step, StepMap, StreamState } from "../wire";

/** From the page to the worker that holds the connection. */
export type ToWorker =
  | { kind: "start"; url: string }
  | { kind: "watch"; camera: string; previewWidth: number }
  | { kind: "unwatch"; camera: string }
  /** A picture was painted or replaced by a newer one: room for another. */
  | { kind: "released"; camera: string; painted: Painted | undefined }
  /** Receive the steps of these streams and no others. */
  | { kind: "follow"; streams: string[] }
  /** Do not wait for the next attempt. */
  | { kind: "retry" };

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
  | { kind: "streams"; streams: StreamState[] }
  | { kind: "step"; stream: string; id: string; step: Step; seenAtUs: number }
  | { kind: "map"; stream: string; map: StepMap }
  | { kind: "clock"; offsetMs: number; roundTripMs: number }
  | { kind: "missed"; camera: string; total: number }
  | { kind: "problem"; message: string };

/** A result with what the way here added. Times are milliseconds of the browser's clock but for `seenAtUs`. */
export interface Arrival {
  id: string;
  result: FrameResult;
  /** When the gateway saw the commit, its clock. */
  seenAtUs: number;
  /** When the message with the later half of the pair was decoded, the picture included. */
  decodedAtMs: number;
}

export type Connection =
  | { state: "connecting"; attempt: number }
  | { state: "open"; version: string }
  /** `retryAtMs` by the browser's clock. */
  | { state: "closed"; attempt: number; retryAtMs: number; reason: string };
