// Generated from the declarations in proto/src; do not edit.
// A value travels as MessagePack: a struct as an array of its fields, a plain enum as its code, a message as a map with one entry.
// The `read…` functions take what a MessagePack decoder gives; they throw a WireError on anything else.

export const SCHEMA = 3;
/** The oldest that is read. */
export const OLDEST_SCHEMA = 2;

/** What came over the wire is not what it should be. */
export class WireError extends Error {}

function readArray(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw new WireError(`a ${what} should be an array`);
  return value;
}
function readNumber(value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value === "bigint") return Number(value);
  throw new WireError(`expected a number, found ${typeof value}`);
}
function readBoolean(value: unknown): boolean {
  if (typeof value !== "boolean") throw new WireError(`expected a boolean, found ${typeof value}`);
  return value;
}
function readText(value: unknown): string {
  if (typeof value !== "string") throw new WireError(`expected text, found ${typeof value}`);
  return value;
}
function readBytes(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new WireError(`expected binary, found ${typeof value}`);
  return value;
}
function readList<T>(value: unknown, read: (value: unknown) => T, length?: number): T[] {
  const list = readArray(value, "list");
  if (length !== undefined && list.length !== length) throw new WireError(`expected ${String(length)} values, found ${String(list.length)}`);
  return list.map(read);
}
function readMap<T>(value: unknown, read: (value: unknown) => T): Record<string, T> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new WireError("expected a map");
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, read(inner)]));
}
/** A value of a later release, by its code. */
export type Other = `other:${number}`;
function readEnum<T>(codes: ReadonlyMap<number, T>, value: unknown): T | Other {
  const code = readNumber(value);
  return codes.get(code) ?? `other:${code}`;
}
function readVariant(value: unknown, what: string): [string, unknown] {
  const entries = typeof value === "object" && value !== null ? Object.entries(value) : [];
  const [entry] = entries;
  if (entries.length !== 1 || entry === undefined) throw new WireError(`a ${what} should be a map with one entry`);
  return entry;
}

/** The stages of a frame's journey: one name each, in code, metrics, spans, docs and the dashboard. */
export type Stage = "capture" | "decode" | "hold" | "resize" | "credit" | "publish" | "queue" | "read" | "wait" | "preprocess" | "infer" | "postprocess" | "track" | "speed" | "zones" | "commit" | "relay" | "deliver" | "paint" | Other;
const codesOfStage: ReadonlyMap<number, Stage> = new Map<number, Stage>([[0, "capture"], [1, "decode"], [2, "hold"], [3, "resize"], [4, "credit"], [5, "publish"], [6, "queue"], [7, "read"], [8, "wait"], [9, "preprocess"], [10, "infer"], [11, "postprocess"], [12, "track"], [13, "speed"], [14, "zones"], [15, "commit"], [16, "relay"], [17, "deliver"], [18, "paint"]]);
export function readStage(value: unknown): Stage { return readEnum(codesOfStage, value); }

/** How long a stage took for one frame. */
export interface StageTime {
  /** Which stage. */
  stage: Stage;
  /** Microseconds by a monotonic clock. */
  us: number;
}
export function readStageTime(value: unknown): StageTime {
  const a = readArray(value, "StageTime");
  return {
    stage: readStage(a[0]),
    us: readNumber(a[1]),
  };
}

/** A size in pixels. */
export interface Size {
  /** Columns. */
  width: number;
  /** Rows. */
  height: number;
}
export function readSize(value: unknown): Size {
  const a = readArray(value, "Size");
  return {
    width: readNumber(a[0]),
    height: readNumber(a[1]),
  };
}

/** How a frame's bytes are laid out. */
export type PixelFormat = "i420" | Other;
const codesOfPixelFormat: ReadonlyMap<number, PixelFormat> = new Map<number, PixelFormat>([[0, "i420"]]);
export function readPixelFormat(value: unknown): PixelFormat { return readEnum(codesOfPixelFormat, value); }

/** Which luma coefficients the YUV values were made with. */
export type ColourMatrix = "bt601" | "bt709" | "bt2020" | Other;
const codesOfColourMatrix: ReadonlyMap<number, ColourMatrix> = new Map<number, ColourMatrix>([[0, "bt601"], [1, "bt709"], [2, "bt2020"]]);
export function readColourMatrix(value: unknown): ColourMatrix { return readEnum(codesOfColourMatrix, value); }

/** Which values stand for black and white. */
export type ColourRange = "limited" | "full" | Other;
const codesOfColourRange: ReadonlyMap<number, ColourRange> = new Map<number, ColourRange>([[0, "limited"], [1, "full"]]);
export function readColourRange(value: unknown): ColourRange { return readEnum(codesOfColourRange, value); }

/** How to turn YUV into RGB. */
export interface Colour {
  /** The luma coefficients. */
  matrix: ColourMatrix;
  /** The range of values. */
  range: ColourRange;
}
export function readColour(value: unknown): Colour {
  const a = readArray(value, "Colour");
  return {
    matrix: readColourMatrix(a[0]),
    range: readColourRange(a[1]),
  };
}

/** Why a frame ended without being processed. */
export type LossReason = "queue_full" | "redis_full" | "redis_unreachable" | "stale_producer" | "undecodable" | "not_wanted" | "too_old" | "malformed" | "poison" | "inference_failed" | "damaged" | "quiet" | Other;
const codesOfLossReason: ReadonlyMap<number, LossReason> = new Map<number, LossReason>([[0, "queue_full"], [1, "redis_full"], [2, "redis_unreachable"], [3, "stale_producer"], [4, "undecodable"], [5, "not_wanted"], [6, "too_old"], [7, "malformed"], [8, "poison"], [9, "inference_failed"], [10, "damaged"], [11, "quiet"]]);
export function readLossReason(value: unknown): LossReason { return readEnum(codesOfLossReason, value); }

/** How many frames were lost for a reason, counted since the camera's counter began. */
export interface LossCount {
  /** Why. */
  reason: LossReason;
  /** How many. */
  count: number;
}
export function readLossCount(value: unknown): LossCount {
  const a = readArray(value, "LossCount");
  return {
    reason: readLossReason(a[0]),
    count: readNumber(a[1]),
  };
}

/** What travels with each frame's pixels. */
export interface FrameHeader {
  /** The schema version, see `SCHEMA`. */
  schema: number;
  /** Counts the frames given to the stream; never restarts, so a gap is a loss. */
  n: number;
  /** The producer's lease epoch: a smaller one than seen before is a producer that was succeeded. */
  inc: number;
  /** Index of the frame in its source, from 0; starts again when a file loops. */
  position: number;
  /** Drives tracking and speed: presentation time for files; for live sources the wall clock of the first frame, then as far apart as presentation times say, or capture wall time where they have none. Microseconds. */
  media_time_us: number;
  /** Wall clock at capture, microseconds since the Unix epoch. */
  captured_at_us: number;
  /** Width and height of the source picture after rotation; results are in its pixels. */
  source: Size;
  /** Width and height of the pixels that travel here. */
  analysed: Size;
  /** Source pixels per analysed pixel along x and y. */
  scale: [number, number];
  /** Width of a source pixel over its height. */
  pixel_aspect: number;
  /** Clockwise degrees by which the picture was already turned: 0, 90, 180 or 270. */
  rotation: number;
  /** Layout of the bytes. */
  format: PixelFormat;
  /** YUV matrix and range. */
  colour: Colour;
  /** The media time does not continue the last frame's (loop, seek, reconnect after a gap): trackers start anew. */
  discontinuity: boolean;
  /** Closes a file: there is no picture, and none follows. */
  end: boolean;
  /** A file or images: waits instead of dropping, and is never skipped for its age. */
  lossless: boolean;
  /** Frames lost before publishing, cumulative. */
  lost: LossCount[];
  /** What this frame's stages took so far. */
  stages: StageTime[];
  /** The decoder marked the picture as broken, and the camera's configuration keeps such pictures. */
  damaged: boolean;
}
export function readFrameHeader(value: unknown): FrameHeader {
  const a = readArray(value, "FrameHeader");
  return {
    schema: readNumber(a[0]),
    n: readNumber(a[1]),
    inc: readNumber(a[2]),
    position: readNumber(a[3]),
    media_time_us: readNumber(a[4]),
    captured_at_us: readNumber(a[5]),
    source: readSize(a[6]),
    analysed: readSize(a[7]),
    scale: readList(a[8], (x) => readNumber(x), 2) as [number, number],
    pixel_aspect: readNumber(a[9]),
    rotation: readNumber(a[10]),
    format: readPixelFormat(a[11]),
    colour: readColour(a[12]),
    discontinuity: readBoolean(a[13]),
    end: readBoolean(a[14]),
    lossless: readBoolean(a[15]),
    lost: readList(a[16], (x) => readLossCount(x)),
    stages: readList(a[17], (x) => readStageTime(x)),
    damaged: readBoolean(a[18] ?? false),
  };
}

/** In which of its ends a published frame ended. */
export type ResultStatus = "ok" | "skipped" | "poison" | "end" | "predicted" | Other;
const codesOfResultStatus: ReadonlyMap<number, ResultStatus> = new Map<number, ResultStatus>([[0, "ok"], [1, "skipped"], [2, "poison"], [3, "end"], [4, "predicted"]]);
export function readResultStatus(value: unknown): ResultStatus { return readEnum(codesOfResultStatus, value); }

/** Where a track is in its life. */
export type TrackState = "new" | "tracked" | "lost" | "removed" | Other;
const codesOfTrackState: ReadonlyMap<number, TrackState> = new Map<number, TrackState>([[0, "new"], [1, "tracked"], [2, "lost"], [3, "removed"]]);
export function readTrackState(value: unknown): TrackState { return readEnum(codesOfTrackState, value); }

/** What people should know about a result: each is a sentence on the page. */
export type Notice = "region_off" | "calibration_off" | "scores_out_of_range" | "boxes_under_a_pixel" | "boxes_outside" | "classes_not_whole" | "outputs_ambiguous" | "doubtful" | "damaged_kept" | "damage_analysed" | Other;
const codesOfNotice: ReadonlyMap<number, Notice> = new Map<number, Notice>([[0, "region_off"], [1, "calibration_off"], [2, "scores_out_of_range"], [3, "boxes_under_a_pixel"], [4, "boxes_outside"], [5, "classes_not_whole"], [6, "outputs_ambiguous"], [7, "doubtful"], [8, "damaged_kept"], [9, "damage_analysed"]]);
export function readNotice(value: unknown): Notice { return readEnum(codesOfNotice, value); }

/** What the detector saw. */
export interface Detection {
  /** Left, top, right, bottom in source pixels. */
  xyxy: [number, number, number, number];
  /** Score, 0 to 1. */
  confidence: number;
  /** Index into the model's class names. */
  class_id: number;
}
export function readDetection(value: unknown): Detection {
  const a = readArray(value, "Detection");
  return {
    xyxy: readList(a[0], (x) => readNumber(x), 4) as [number, number, number, number],
    confidence: readNumber(a[1]),
    class_id: readNumber(a[2]),
  };
}

/** Speed over ground with its uncertainty; absent until it is known to be good. */
export interface Speed {
  /** Metres per second. */
  speed_mps: number;
  /** One standard error of it, metres per second. */
  std_error_mps: number;
  /** Direction of motion on the ground plane, radians from +X towards +Y. */
  heading_rad: number;
}
export function readSpeed(value: unknown): Speed {
  const a = readArray(value, "Speed");
  return {
    speed_mps: readNumber(a[0]),
    std_error_mps: readNumber(a[1]),
    heading_rad: readNumber(a[2]),
  };
}

/** An object followed over frames. */
export interface Track {
  /** Unique within the track epoch. */
  track_id: number;
  /** Where the track is in its life. */
  state: TrackState;
  /** Left, top, right, bottom in source pixels: the filter's estimate. */
  xyxy: [number, number, number, number];
  /** Score of the detection that was matched last. */
  confidence: number;
  /** Index into the model's class names. */
  class_id: number;
  /** Index into `detections` of the one matched in this frame. */
  detection: number | null;
  /** Foot point on the ground plane in metres, where the camera is calibrated for the picture. */
  ground_m: [number, number] | null;
  /** Speed, once known. */
  speed: Speed | null;
  /** Whether the foot point lies in the camera's region (always true without one, and while it is off because it was drawn on a picture of another shape). */
  in_region: boolean;
  /** Share of the track's sightings that had this class, 0 to 1; none where nobody counted. */
  class_share: number | null;
}
export function readTrack(value: unknown): Track {
  const a = readArray(value, "Track");
  return {
    track_id: readNumber(a[0]),
    state: readTrackState(a[1]),
    xyxy: readList(a[2], (x) => readNumber(x), 4) as [number, number, number, number],
    confidence: readNumber(a[3]),
    class_id: readNumber(a[4]),
    detection: (a[5] ?? null) === null ? null : readNumber(a[5]),
    ground_m: (a[6] ?? null) === null ? null : readList(a[6], (x) => readNumber(x), 2) as [number, number],
    speed: (a[7] ?? null) === null ? null : readSpeed(a[7]),
    in_region: readBoolean(a[8]),
    class_share: (a[9] ?? null) === null ? null : readNumber(a[9]),
  };
}

/** Everything known about one frame. Its id in the stream is the frame's. */
export interface FrameResult {
  /** The schema version, see `SCHEMA`. */
  schema: number;
  /** The frame's `n`. */
  n: number;
  /** The frame's `inc`. */
  inc: number;
  /** Index of the frame in its source. */
  position: number;
  /** The frame's media time, microseconds. */
  media_time_us: number;
  /** Wall clock at capture, microseconds since the Unix epoch. */
  captured_at_us: number;
  /** How the frame ended. */
  status: ResultStatus;
  /** Why, where it was not analysed. */
  reason: LossReason | null;
  /** Size of the source picture: the space of all boxes. */
  source: Size;
  /** Raised whenever the tracker starts anew; a track id is unique within it. */
  track_epoch: number;
  /** What was detected, sorted by falling confidence. */
  detections: Detection[];
  /** The tracks after this frame. */
  tracks: Track[];
  /** What the stages took, from capture to zones. */
  stages: StageTime[];
  /** The worker that analysed it, without its nonce. */
  worker: string;
  /** Frames of this camera that never came, cumulative: gaps in `n`, as the consumer of the stream counts them. */
  lost: LossCount[];
  /** What people should know about this result. */
  notices: Notice[];
}
export function readFrameResult(value: unknown): FrameResult {
  const a = readArray(value, "FrameResult");
  return {
    schema: readNumber(a[0]),
    n: readNumber(a[1]),
    inc: readNumber(a[2]),
    position: readNumber(a[3]),
    media_time_us: readNumber(a[4]),
    captured_at_us: readNumber(a[5]),
    status: readResultStatus(a[6]),
    reason: (a[7] ?? null) === null ? null : readLossReason(a[7]),
    source: readSize(a[8]),
    track_epoch: readNumber(a[9]),
    detections: readList(a[10], (x) => readDetection(x)),
    tracks: readList(a[11], (x) => readTrack(x)),
    stages: readList(a[12], (x) => readStageTime(x)),
    worker: readText(a[13]),
    lost: readList(a[14], (x) => readLossCount(x)),
    notices: readList(a[15] ?? [], (x) => readNotice(x)),
  };
}

/** Asks any idle worker with the same model to detect a frame of a camera whose owner cannot keep up. The frame itself lies in the camera's stream. Detection depends on nothing else, so it may be done twice, or never: the owner then does it itself. */
export interface DetectRequest {
  /** Schema version, see `SCHEMA`. */
  schema: number;
  /** Whose frame. */
  camera: string;
  /** The frame. */
  id: string;
  /** Least score of a detection that is wanted. */
  confidence: number;
  /** Boxes of one class that overlap more than this (intersection over union) are one object. */
  nms_iou: number;
  /** Class ids to keep, rising; absent for all. */
  classes: number[] | null;
  /** Names the request in its answer; the owner never uses one twice. */
  ticket: number;
  /** The worker that asks. */
  answer_to: string;
}
export function readDetectRequest(value: unknown): DetectRequest {
  const a = readArray(value, "DetectRequest");
  return {
    schema: readNumber(a[0]),
    camera: readText(a[1]),
    id: readText(a[2]),
    confidence: readNumber(a[3]),
    nms_iou: readNumber(a[4]),
    classes: (a[5] ?? null) === null ? null : readList(a[5], (x) => readNumber(x)),
    ticket: readNumber(a[6]),
    answer_to: readText(a[7]),
  };
}

/** What came of a `DetectRequest`. */
export interface DetectAnswer {
  /** Schema version, see `SCHEMA`. */
  schema: number;
  /** The request's. */
  ticket: number;
  /** What was detected, in source pixels, sorted by falling confidence; absent where the frame was gone or could not be detected. */
  detections: Detection[] | null;
  /** How long the stages took that the worker did. */
  stages: StageTime[];
  /** The worker that did it. */
  worker: string;
}
export function readDetectAnswer(value: unknown): DetectAnswer {
  const a = readArray(value, "DetectAnswer");
  return {
    schema: readNumber(a[0]),
    ticket: readNumber(a[1]),
    detections: (a[2] ?? null) === null ? null : readList(a[2], (x) => readDetection(x)),
    stages: readList(a[3], (x) => readStageTime(x)),
    worker: readText(a[4]),
  };
}

/** Choose what to receive about a camera. A later one for the same camera replaces it. */
export interface Subscribe {
  /** The cameras; empty for all there are and will be. */
  cameras: string[];
  /** Send results. */
  results: boolean;
  /** Send pictures, this wide; none for no pictures. A camera's pictures have one width, the largest that anybody wants of it (and not more than the source's): who wants small ones may get large ones while others watch. */
  preview_width: number | null;
  /** Begin after this result instead of with the latest: to go on where a connection broke off. Only with one camera. */
  resume_after: string | null;
  /** At most so many results, and pictures, a second of each camera, 0.1 to 1000; none for all there are. */
  max_rate: number | null;
}
export function readSubscribe(value: unknown): Subscribe {
  const a = readArray(value, "Subscribe");
  return {
    cameras: readList(a[0], (x) => readText(x)),
    results: readBoolean(a[1]),
    preview_width: (a[2] ?? null) === null ? null : readNumber(a[2]),
    resume_after: (a[3] ?? null) === null ? null : readText(a[3]),
    max_rate: (a[4] ?? null) === null ? null : readNumber(a[4]),
  };
}
export function writeSubscribe(v: Subscribe): unknown[] { return [v.cameras, v.results, v.preview_width, v.resume_after, v.max_rate]; }

/** Receive nothing more about these cameras. */
export interface Unsubscribe {
  /** The cameras; empty for all. */
  cameras: string[];
}
export function readUnsubscribe(value: unknown): Unsubscribe {
  const a = readArray(value, "Unsubscribe");
  return {
    cameras: readList(a[0], (x) => readText(x)),
  };
}
export function writeUnsubscribe(v: Unsubscribe): unknown[] { return [v.cameras]; }

/** Measures the round trip and the offset of the clocks. */
export interface Ping {
  /** The client's clock in microseconds; comes back unchanged. */
  client_time_us: number;
}
export function readPing(value: unknown): Ping {
  const a = readArray(value, "Ping");
  return {
    client_time_us: readNumber(a[0]),
  };
}
export function writePing(v: Ping): unknown[] { return [v.client_time_us]; }

/** When a frame was painted, so that its last stages can be counted. */
export interface Painted {
  /** The camera. */
  camera: string;
  /** The frame. */
  id: string;
  /** From `seen_at_us` of the result to decoded in the browser, microseconds: the gateway's relay is in it. */
  deliver_us: number;
  /** From decoded to painted, microseconds. */
  paint_us: number;
}
export function readPainted(value: unknown): Painted {
  const a = readArray(value, "Painted");
  return {
    camera: readText(a[0]),
    id: readText(a[1]),
    deliver_us: readNumber(a[2]),
    paint_us: readNumber(a[3]),
  };
}
export function writePainted(v: Painted): unknown[] { return [v.camera, v.id, v.deliver_us, v.paint_us]; }

/** Stand still: the frame that was sent last stays the position. */
export interface Pause {
  /** Comes back in the answer. */
  request_id: number;
  /** The camera. */
  camera: string;
}
export function readPause(value: unknown): Pause {
  const a = readArray(value, "Pause");
  return {
    request_id: readNumber(a[0]),
    camera: readText(a[1]),
  };
}
export function writePause(v: Pause): unknown[] { return [v.request_id, v.camera]; }

/** Be live again: the latest frame, then every new one. Of a camera that is live, this only asks what is held. */
export interface Play {
  /** Comes back in the answer. */
  request_id: number;
  /** The camera. */
  camera: string;
}
export function readPlay(value: unknown): Play {
  const a = readArray(value, "Play");
  return {
    request_id: readNumber(a[0]),
    camera: readText(a[1]),
  };
}
export function writePlay(v: Play): unknown[] { return [v.request_id, v.camera]; }

/** Go to a frame that the stream still holds. Whoever plays goes on from there; everybody else stands still on it. */
export interface Seek {
  /** Comes back in the answer. */
  request_id: number;
  /** The camera. */
  camera: string;
  /** The frame. */
  to: string;
  /** Take the nearest frame there is: `<milliseconds of the wall clock>-0` then names a moment. */
  nearest: boolean;
}
export function readSeek(value: unknown): Seek {
  const a = readArray(value, "Seek");
  return {
    request_id: readNumber(a[0]),
    camera: readText(a[1]),
    to: readText(a[2]),
    nearest: readBoolean(a[3]),
  };
}
export function writeSeek(v: Seek): unknown[] { return [v.request_id, v.camera, v.to, v.nearest]; }

/** Go some frames on, or back, and stand still. */
export interface PlaybackStep {
  /** Comes back in the answer. */
  request_id: number;
  /** The camera. */
  camera: string;
  /** How many, -100 to 100; where there are fewer, to the last of them. */
  frames: number;
}
export function readPlaybackStep(value: unknown): PlaybackStep {
  const a = readArray(value, "PlaybackStep");
  return {
    request_id: readNumber(a[0]),
    camera: readText(a[1]),
    frames: readNumber(a[2]),
  };
}
export function writePlaybackStep(v: PlaybackStep): unknown[] { return [v.request_id, v.camera, v.frames]; }

/** Play on from the position, until what is live is reached. */
export interface PlaybackSpeed {
  /** Comes back in the answer. */
  request_id: number;
  /** The camera. */
  camera: string;
  /** Times as fast as it happened, 0.1 to 16. */
  speed: number;
}
export function readPlaybackSpeed(value: unknown): PlaybackSpeed {
  const a = readArray(value, "PlaybackSpeed");
  return {
    request_id: readNumber(a[0]),
    camera: readText(a[1]),
    speed: readNumber(a[2]),
  };
}
export function writePlaybackSpeed(v: PlaybackSpeed): unknown[] { return [v.request_id, v.camera, v.speed]; }

/** Choose whose steps to receive. A later one replaces it. */
export interface SubscribeSteps {
  /** The streams; empty for none. */
  streams: string[];
}
export function readSubscribeSteps(value: unknown): SubscribeSteps {
  const a = readArray(value, "SubscribeSteps");
  return {
    streams: readList(a[0], (x) => readText(x)),
  };
}
export function writeSubscribeSteps(v: SubscribeSteps): unknown[] { return [v.streams]; }

/** From a client to the gateway, one per WebSocket message. */
export type ClientMessage =
  | { kind: "subscribe"; value: Subscribe }
  | { kind: "unsubscribe"; value: Unsubscribe }
  | { kind: "ping"; value: Ping }
  | { kind: "painted"; value: Painted }
  | { kind: "pause"; value: Pause }
  | { kind: "play"; value: Play }
  | { kind: "seek"; value: Seek }
  | { kind: "step"; value: PlaybackStep }
  | { kind: "speed"; value: PlaybackSpeed }
  | { kind: "subscribe_steps"; value: SubscribeSteps };
export function writeClientMessage(m: ClientMessage): Record<string, unknown> {
  switch (m.kind) {
    case "subscribe": return { subscribe: writeSubscribe(m.value) };
    case "unsubscribe": return { unsubscribe: writeUnsubscribe(m.value) };
    case "ping": return { ping: writePing(m.value) };
    case "painted": return { painted: writePainted(m.value) };
    case "pause": return { pause: writePause(m.value) };
    case "play": return { play: writePlay(m.value) };
    case "seek": return { seek: writeSeek(m.value) };
    case "step": return { step: writePlaybackStep(m.value) };
    case "speed": return { speed: writePlaybackSpeed(m.value) };
    case "subscribe_steps": return { subscribe_steps: writeSubscribeSteps(m.value) };
  }
}

/** How a camera is doing, in one word. */
export type CameraHealth = "starting" | "live" | "reconnecting" | "no_owner" | "no_producer" | "ended" | "failed" | Other;
const codesOfCameraHealth: ReadonlyMap<number, CameraHealth> = new Map<number, CameraHealth>([[0, "starting"], [1, "live"], [2, "reconnecting"], [3, "no_owner"], [4, "no_producer"], [5, "ended"], [6, "failed"]]);
export function readCameraHealth(value: unknown): CameraHealth { return readEnum(codesOfCameraHealth, value); }

/** What the gateway knows of a camera. */
export interface CameraState {
  /** The camera. */
  camera: string;
  /** A name for people. */
  name: string;
  /** How it is doing. */
  health: CameraHealth;
  /** What is wrong, in a sentence, credentials masked. */
  error: string | null;
  /** Size of the source picture. */
  source: Size | null;
  /** Frames per second that the source gives. */
  source_fps: number;
  /** Frames published per second, lately. */
  fps_in: number;
  /** Results per second, lately. */
  fps_out: number;
  /** Frames waiting in the stream. */
  backlog: number;
  /** The worker that owns it. */
  owner: string | null;
  /** The model that its results are of: `/api/models` has its class names. None while no processor has announced one. */
  model: string | null;
  /** Region of interest, pixels of `source`; empty also where it was drawn on a picture of another shape. */
  region: [number, number][];
  /** Whether speeds are measured. */
  calibrated: boolean;
}
export function readCameraState(value: unknown): CameraState {
  const a = readArray(value, "CameraState");
  return {
    camera: readText(a[0]),
    name: readText(a[1]),
    health: readCameraHealth(a[2]),
    error: (a[3] ?? null) === null ? null : readText(a[3]),
    source: (a[4] ?? null) === null ? null : readSize(a[4]),
    source_fps: readNumber(a[5]),
    fps_in: readNumber(a[6]),
    fps_out: readNumber(a[7]),
    backlog: readNumber(a[8]),
    owner: (a[9] ?? null) === null ? null : readText(a[9]),
    model: (a[10] ?? null) === null ? null : readText(a[10]),
    region: readList(a[11], (x) => readList(x, (x) => readNumber(x), 2) as [number, number]),
    calibrated: readBoolean(a[12]),
  };
}

/** First message after connecting. */
export interface Welcome {
  /** The schema version. */
  schema: number;
  /** The gateway's release. */
  version: string;
  /** The gateway's clock, microseconds since the Unix epoch. */
  server_time_us: number;
}
export function readWelcome(value: unknown): Welcome {
  const a = readArray(value, "Welcome");
  return {
    schema: readNumber(a[0]),
    version: readText(a[1]),
    server_time_us: readNumber(a[2]),
  };
}

/** All cameras; sent after connecting and whenever one changes, at most four times a second. */
export interface Cameras {
  /** One entry a camera, sorted by id. */
  cameras: CameraState[];
}
export function readCameras(value: unknown): Cameras {
  const a = readArray(value, "Cameras");
  return {
    cameras: readList(a[0], (x) => readCameraState(x)),
  };
}

/** A result. */
export interface ResultMessage {
  /** The camera. */
  camera: string;
  /** The frame. */
  id: string;
  /** When the gateway saw it committed, microseconds since the Unix epoch. */
  seen_at_us: number;
  /** An encoded `FrameResult`, as it stands in the stream or compact (see Encodings); in JSON the result itself. */
  result: Uint8Array;
}
export function readResultMessage(value: unknown): ResultMessage {
  const a = readArray(value, "ResultMessage");
  return {
    camera: readText(a[0]),
    id: readText(a[1]),
    seen_at_us: readNumber(a[2]),
    result: readBytes(a[3]),
  };
}

/** A picture. */
export interface Preview {
  /** The camera. */
  camera: string;
  /** The frame that it shows. */
  id: string;
  /** Its size in pixels. */
  size: Size;
  /** JPEG; in JSON as base64. */
  jpeg: Uint8Array;
  /** The decoder marked the picture as broken. */
  damaged: boolean;
}
export function readPreview(value: unknown): Preview {
  const a = readArray(value, "Preview");
  return {
    camera: readText(a[0]),
    id: readText(a[1]),
    size: readSize(a[2]),
    jpeg: readBytes(a[3]),
    damaged: readBoolean(a[4] ?? false),
  };
}

/** Answer to a ping. */
export interface Pong {
  /** The client's clock as it was sent. */
  client_time_us: number;
  /** The gateway's clock, microseconds since the Unix epoch. */
  server_time_us: number;
}
export function readPong(value: unknown): Pong {
  const a = readArray(value, "Pong");
  return {
    client_time_us: readNumber(a[0]),
    server_time_us: readNumber(a[1]),
  };
}

/** The client was too slow and misses messages. */
export interface Missed {
  /** The camera, or the stream of steps. */
  camera: string;
  /** Messages dropped since the connection began. */
  total: number;
}
export function readMissed(value: unknown): Missed {
  const a = readArray(value, "Missed");
  return {
    camera: readText(a[0]),
    total: readNumber(a[1]),
  };
}

/** What the client did wrong, or why the connection ends. */
export interface Problem {
  /** A sentence with the way out. */
  message: string;
}
export function readProblem(value: unknown): Problem {
  const a = readArray(value, "Problem");
  return {
    message: readText(a[0]),
  };
}

/** What a client sees of a camera's time. */
export type PlaybackState = "live" | "paused" | "playing" | "buffering" | "ended" | Other;
const codesOfPlaybackState: ReadonlyMap<number, PlaybackState> = new Map<number, PlaybackState>([[0, "live"], [1, "paused"], [2, "playing"], [3, "buffering"], [4, "ended"]]);
export function readPlaybackState(value: unknown): PlaybackState { return readEnum(codesOfPlaybackState, value); }

/** Where a client is in a camera's time: the answer to a request, and told whenever it changes by itself. */
export interface Playback {
  /** Of the request that this answers; none where it changed by itself. */
  request_id: number | null;
  /** The camera. */
  camera: string;
  /** Rises with each jump. What follows this message belongs to the jump, and nothing from before it comes any more. */
  seek_epoch: number;
  /** What is seen now. */
  state: PlaybackState;
  /** Times as fast as it happened; 1 where nothing is played. */
  speed: number;
  /** The position: the frame that comes next after a jump, the one that was sent last otherwise. None while live. */
  at: string | null;
  /** Oldest frame that the stream holds. */
  first: string | null;
  /** Newest frame that the stream holds. */
  last: string | null;
  /** After a jump: the picture of the frame is held and comes too. */
  has_picture: boolean;
  /** Why the request was not obeyed: then nothing has changed. */
  problem: string | null;
}
export function readPlayback(value: unknown): Playback {
  const a = readArray(value, "Playback");
  return {
    request_id: (a[0] ?? null) === null ? null : readNumber(a[0]),
    camera: readText(a[1]),
    seek_epoch: readNumber(a[2]),
    state: readPlaybackState(a[3]),
    speed: readNumber(a[4]),
    at: (a[5] ?? null) === null ? null : readText(a[5]),
    first: (a[6] ?? null) === null ? null : readText(a[6]),
    last: (a[7] ?? null) === null ? null : readText(a[7]),
    has_picture: readBoolean(a[8]),
    problem: (a[9] ?? null) === null ? null : readText(a[9]),
  };
}

/** Results between two frames are missing: what was asked for is not held any more, or there never were any. */
export interface Gap {
  /** The camera. */
  camera: string;
  /** The last frame before the gap, as the client named it or was sent it. */
  after: string;
  /** The first frame behind it; none where nothing is held: what comes next is live. */
  first: string | null;
}
export function readGap(value: unknown): Gap {
  const a = readArray(value, "Gap");
  return {
    camera: readText(a[0]),
    after: readText(a[1]),
    first: (a[2] ?? null) === null ? null : readText(a[2]),
  };
}

/** The vehicle or robot itself. Metres and radians, z up. */
export interface Ego {
  /** Position of its middle, metres. */
  x: number;
  /** Position of its middle, metres. */
  y: number;
  /** Where it points, radians from +x towards +y. */
  heading: number;
  /** Speed, metres per second. */
  speed_mps: number;
  /** Length along the heading and width, metres. */
  size: [number, number];
}
export function readEgo(value: unknown): Ego {
  const a = readArray(value, "Ego");
  return {
    x: readNumber(a[0]),
    y: readNumber(a[1]),
    heading: readNumber(a[2]),
    speed_mps: readNumber(a[3]),
    size: readList(a[4], (x) => readNumber(x), 2) as [number, number],
  };
}

/** Something near it. */
export interface StepObject {
  /** The same for the same object from step to step. */
  id: number;
  /** What it is, such as `car`: chooses its colour. */
  class: string;
  /** Position of its middle, metres. */
  x: number;
  /** Position of its middle, metres. */
  y: number;
  /** Where it points, radians from +x towards +y. */
  heading: number;
  /** Speed, metres per second. */
  speed_mps: number;
  /** Length along the heading and width, metres. */
  size: [number, number];
}
export function readStepObject(value: unknown): StepObject {
  const a = readArray(value, "StepObject");
  return {
    id: readNumber(a[0]),
    class: readText(a[1]),
    x: readNumber(a[2]),
    y: readNumber(a[3]),
    heading: readNumber(a[4]),
    speed_mps: readNumber(a[5]),
    size: readList(a[6], (x) => readNumber(x), 2) as [number, number],
  };
}

/** A line of the map. */
export interface MapLine {
  /** What it is: `lane` (dashed), `edge` or `area` (filled); anything else is a thin line. */
  kind: string;
  /** Its points in order, metres. */
  points: [number, number][];
}
export function readMapLine(value: unknown): MapLine {
  const a = readArray(value, "MapLine");
  return {
    kind: readText(a[0]),
    points: readList(a[1], (x) => readList(x, (x) => readNumber(x), 2) as [number, number]),
  };
}

/** What does not move. */
export interface StepMap {
  /** At most 50,000 points in all. */
  lines: MapLine[];
}
export function readStepMap(value: unknown): StepMap {
  const a = readArray(value, "StepMap");
  return {
    lines: readList(a[0], (x) => readMapLine(x)),
  };
}

/** The state of a simulator or a robot at one moment. Metres and radians, z up; what is not there is not shown. */
export interface Step {
  /** Its number. */
  step: number;
  /** The simulated time, microseconds. */
  sim_time_us: number;
  /** The wall clock of whoever made it, microseconds since the Unix epoch; the gateway puts its own where it is 0. */
  wall_time_us: number;
  /** The vehicle or robot itself. */
  ego: Ego | null;
  /** The planned path: x and y in metres, and the seconds from this step on. At most 1000 points. */
  trajectory: [number, number, number][];
  /** What is near, at most 1000. */
  objects: StepObject[];
  /** What each component took, microseconds; at most 64. */
  timings_us: Record<string, number>;
  /** Any other numbers by name, at most 64. */
  scalars: Record<string, number>;
  /** What does not move: sent once, with the first step, and again when it changes. The gateway keeps it apart. */
  map: StepMap | null;
  /** A result that was made elsewhere: its boxes are shown without a picture, and nothing from above. At most 1000 detections and 1000 tracks; its classes have no names. */
  result: FrameResult | null;
}
export function readStep(value: unknown): Step {
  const a = readArray(value, "Step");
  return {
    step: readNumber(a[0]),
    sim_time_us: readNumber(a[1]),
    wall_time_us: readNumber(a[2] ?? 0),
    ego: (a[3] ?? null) === null ? null : readEgo(a[3]),
    trajectory: readList(a[4] ?? [], (x) => readList(x, (x) => readNumber(x), 3) as [number, number, number]),
    objects: readList(a[5] ?? [], (x) => readStepObject(x)),
    timings_us: readMap(a[6] ?? {}, (x) => readNumber(x)),
    scalars: readMap(a[7] ?? {}, (x) => readNumber(x)),
    map: (a[8] ?? null) === null ? null : readStepMap(a[8]),
    result: (a[9] ?? null) === null ? null : readFrameResult(a[9]),
  };
}

/** What the gateway knows of a stream of steps. */
export interface StreamState {
  /** The stream. */
  stream: string;
  /** Whether steps came in the last seconds. */
  live: boolean;
}
export function readStreamState(value: unknown): StreamState {
  const a = readArray(value, "StreamState");
  return {
    stream: readText(a[0]),
    live: readBoolean(a[1]),
  };
}

/** All streams of steps; sent after connecting and whenever one comes, falls silent or goes. */
export interface Streams {
  /** One entry a stream, sorted by name. */
  streams: StreamState[];
}
export function readStreams(value: unknown): Streams {
  const a = readArray(value, "Streams");
  return {
    streams: readList(a[0], (x) => readStreamState(x)),
  };
}

/** A step. */
export interface StepMessage {
  /** The stream. */
  stream: string;
  /** Its id in the stream: when it was taken, milliseconds since the Unix epoch, and a sequence. */
  id: string;
  /** When the gateway saw it in the stream, microseconds since the Unix epoch. */
  seen_at_us: number;
  /** An encoded `Step` without its map, as it stands in the stream. */
  step: Uint8Array;
}
export function readStepMessage(value: unknown): StepMessage {
  const a = readArray(value, "StepMessage");
  return {
    stream: readText(a[0]),
    id: readText(a[1]),
    seen_at_us: readNumber(a[2]),
    step: readBytes(a[3]),
  };
}

/** The map of a stream: before its first step, and again when it changes. */
export interface StepMapMessage {
  /** The stream. */
  stream: string;
  /** An encoded `StepMap`. */
  map: Uint8Array;
}
export function readStepMapMessage(value: unknown): StepMapMessage {
  const a = readArray(value, "StepMapMessage");
  return {
    stream: readText(a[0]),
    map: readBytes(a[1]),
  };
}

/** Answers each frame that a client brought over `/ws/ingest/{camera}`: as JSON, in a text message. */
export interface FrameAnswer {
  /** Which frame of this connection, from 1. */
  frame: number;
  /** Whether it goes to the camera's producer. It does not while the pipeline is busy: send the newest next. */
  taken: boolean;
  /** Frames of this connection that were not taken. */
  skipped: number;
  /** What is wrong with the frame, with the last one that was taken, or with the pipeline, where something is. */
  problem: string | null;
}
export function readFrameAnswer(value: unknown): FrameAnswer {
  const a = readArray(value, "FrameAnswer");
  return {
    frame: readNumber(a[0]),
    taken: readBoolean(a[1]),
    skipped: readNumber(a[2]),
    problem: (a[3] ?? null) === null ? null : readText(a[3]),
  };
}

/** From the gateway to a client, one per WebSocket message. */
export type ServerMessage =
  | { kind: "welcome"; value: Welcome }
  | { kind: "cameras"; value: Cameras }
  | { kind: "result"; value: ResultMessage }
  | { kind: "preview"; value: Preview }
  | { kind: "pong"; value: Pong }
  | { kind: "missed"; value: Missed }
  | { kind: "problem"; value: Problem }
  | { kind: "playback"; value: Playback }
  | { kind: "gap"; value: Gap }
  | { kind: "streams"; value: Streams }
  | { kind: "step"; value: StepMessage }
  | { kind: "step_map"; value: StepMapMessage };
export function readServerMessage(value: unknown): ServerMessage {
  const [kind, inner] = readVariant(value, "ServerMessage");
  switch (kind) {
    case "welcome": return { kind, value: readWelcome(inner) };
    case "cameras": return { kind, value: readCameras(inner) };
    case "result": return { kind, value: readResultMessage(inner) };
    case "preview": return { kind, value: readPreview(inner) };
    case "pong": return { kind, value: readPong(inner) };
    case "missed": return { kind, value: readMissed(inner) };
    case "problem": return { kind, value: readProblem(inner) };
    case "playback": return { kind, value: readPlayback(inner) };
    case "gap": return { kind, value: readGap(inner) };
    case "streams": return { kind, value: readStreams(inner) };
    case "step": return { kind, value: readStepMessage(inner) };
    case "step_map": return { kind, value: readStepMapMessage(inner) };
    default: throw new WireError(`${kind} is no ServerMessage`);
  }
}
