// What is asked of the gateway over plain HTTP: JSON, and refusals as problem documents (RFC 9457).

import { authorization, checkIn } from "./token";
import type { CalibrationConfig, CameraConfig } from "./setup/config";
import type { CameraState, Gap, LossCount, Size } from "./wire";

/** No answer takes longer; the gateway itself gives up on Redis after four seconds. */
const PATIENCE_MS = 6_000;

/** A refusal or a failure, as a sentence with the way out. */
export class ApiError extends Error {
  constructor(
    /** The HTTP status; 0 where no answer came. */
    readonly status: number,
    message: string,
  ) {
    super(message);
  }

  /** The gateway wants a token, or another one. */
  get forbidden(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

export interface CameraAnswer {
  state: CameraState;
  /** Credentials masked; none where it cannot be read. */
  config: CameraConfig | null;
  /** Names this version of the configuration. */
  etag: string | undefined;
}

/** A 3×3 matrix, row by row. */
export type Matrix = readonly [Row, Row, Row];
type Row = readonly [number, number, number];

export interface Calibrated {
  /** Source pixels (homogeneous) to metres. */
  world_from_image: Matrix;
  image_from_world: Matrix;
  /** By how many pixels each point misses, in the order of the points. */
  residuals_px: readonly number[];
  rms_px: number;
  /** None without a picture's size, and where no ground is in the picture. */
  view: SeenFrom | null;
  /** What can hardly be right, a sentence each. */
  warnings: readonly string[];
}

/** The camera that would see the ground so. */
export interface SeenFrom {
  camera_height_m: number;
  /** How far below the horizon it looks, degrees. */
  tilt_deg: number;
  /** Metres from the point below the camera; the farthest is null up to the horizon. */
  nearest_m: number;
  farthest_m: number | null;
  /** How tall a person of 1.7 m would be among the points. */
  person_px: number | null;
  /** Metres (X, Y, height above the ground, 1) to source pixels, both homogeneous, row by row. */
  image_from_space: readonly (readonly [number, number, number, number])[];
}

/** A calibration, and the size of the picture that it is for. */
export interface Trial extends CalibrationConfig {
  picture: Size | null;
}

export interface WorkerState {
  worker: string;
  role: "producer" | "processor";
  seen_ms_ago: number;
  cameras: readonly string[];
  /** Cameras that it cannot have, and why. */
  unfit: Readonly<Record<string, string>>;
}

/** All workers, and what is to be known of their releases. */
export interface Workers {
  workers: readonly WorkerState[];
  notices: readonly string[];
}

/** A model that processors run. */
export interface ModelInfo {
  name: string;
  /** Class names by class id. */
  classes: readonly string[];
}

/** Where a camera's published frames ended. */
export interface LedgerEntry {
  camera: string;
  published: number;
  processed: number;
  skipped: readonly LossCount[];
  lost: readonly LossCount[];
  waiting: number;
  /** While frames flow, up to what flowed between two looks. */
  balanced: boolean;
  /** Frames that never were published: no part of the sum. */
  unpublished?: readonly LossCount[];
}

export async function getCamera(id: string, signal?: AbortSignal): Promise<CameraAnswer> {
  return cameraAnswer(await ask("GET", camera(id), { signal }));
}

export async function addCamera(config: CameraConfig): Promise<void> {
  await ask("POST", "api/cameras", { body: config });
}

/** Replaces a camera's configuration; with an `etag`, only if it is still that version (412 otherwise). */
export async function changeCamera(config: CameraConfig, etag: string | undefined): Promise<CameraAnswer> {
  const headers: Record<string, string> = etag === undefined ? {} : { "If-Match": etag };
  return cameraAnswer(await ask("PUT", camera(config.id), { body: config, headers }));
}

export async function removeCamera(id: string): Promise<void> {
  await ask("DELETE", camera(id));
}

/** The homography of a calibration, by how much each point misses it, and what it implies. Nothing is kept. */
export async function calibrate(trial: Trial, signal: AbortSignal): Promise<Calibrated> {
  return json(await ask("POST", "api/calibration", { body: trial, signal }));
}

export async function workers(signal: AbortSignal): Promise<Workers> {
  return json<Workers>(await ask("GET", "api/workers", { signal }));
}

export async function ledger(signal: AbortSignal): Promise<readonly LedgerEntry[]> {
  return (await json<{ cameras: LedgerEntry[] }>(await ask("GET", "api/ledger", { signal }))).cameras;
}

/** The announced models; the browser keeps them, and asks whether they still hold. */
export async function models(): Promise<readonly ModelInfo[]> {
  return (await json<{ models: ModelInfo[] }>(await ask("GET", "api/models"))).models;
}

/** The stretches of what is held of a camera that have no results, oldest first. */
export async function gaps(id: string, signal: AbortSignal): Promise<readonly Gap[]> {
  return (await json<{ gaps: Gap[] }>(await ask("GET", `${camera(id)}/results/gaps`, { signal }))).gaps;
}

interface Asking {
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
}

const camera = (id: string): string => `api/cameras/${encodeURIComponent(id)}`;

async function ask(method: string, path: string, { body, headers = {}, signal }: Asking = {}): Promise<Response> {
  const timeOut = AbortSignal.timeout(PATIENCE_MS);
  const init: RequestInit = {
    method,
    headers: { ...authorization(), ...headers, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    signal: signal === undefined ? timeOut : AbortSignal.any([signal, timeOut]),
  };
  if (body !== undefined) init.body = JSON.stringify(body);
  let response: Response;
  try {
    response = await fetch(new URL(path, document.baseURI), init);
  } catch (error) {
    throw unanswered(error, signal);
  }
  // Whoever is not known any more is asked for a token.
  if (response.status === 401) void checkIn();
  if (!response.ok) throw await refusal(response);
  return response;
}

async function cameraAnswer(response: Response): Promise<CameraAnswer> {
  const answer = await json<Omit<CameraAnswer, "etag">>(response);
  return { ...answer, etag: response.headers.get("etag") ?? undefined };
}

async function json<T>(response: Response): Promise<T> {
  try {
    return (await response.json()) as T;
  } catch {
    throw new ApiError(
      response.status,
      "The gateway's answer is no JSON: does something stand between it and this page?",
    );
  }
}

/** Who gave up the request itself is told so, and nothing else. */
function unanswered(error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted === true) return error;
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return new ApiError(0, `The gateway did not answer within ${PATIENCE_MS / 1000} seconds: try again.`);
  }
  return new ApiError(0, "The gateway cannot be reached: is it running?");
}

/** The sentence in a problem document, or one about the status. */
export async function refusal(response: Response): Promise<ApiError> {
  const { status } = response;
  let detail: unknown;
  try {
    ({ detail } = (await response.json()) as { detail?: unknown });
  } catch {
    // Something between the gateway and this page answered: there is only the status to go by.
  }
  if (typeof detail === "string" && detail !== "") return new ApiError(status, sentence(detail));
  if (status === 401) return new ApiError(status, "The gateway wants a token.");
  if (status === 403) return new ApiError(status, "This token does not allow it: ask for one with a higher role.");
  if (status === 404) return new ApiError(status, "The gateway does not know this address: is it of the same release?");
  return new ApiError(status, `The gateway refused this with status ${status}.`);
}

/** With a capital and a full stop. */
function sentence(text: string): string {
  const begun = /^[a-z]+ /.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

/** What to show of anything that was thrown. */
export function errorWords(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
