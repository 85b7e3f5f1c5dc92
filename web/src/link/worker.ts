// Holds the connection: reads messages, decodes pictures, brings picture and result of a frame together, reconnects.
// The page's thread only paints.

import { Decoder, Encoder } from "@msgpack/msgpack";

import {
  readFrameResult,
  readServerMessage,
  readStep,
  readStepMap,
  OLDEST_SCHEMA,
  SCHEMA,
  writeClientMessage,
} from "../wire";
import type { ClientMessage, FrameResult, Playback, Preview, ResultMessage, ServerMessage, Welcome } from "../wire";
import { browserNow, ClockOffset } from "./clock";
import { isCompact, readCompact } from "./compact";
import { compareIds, FrameMatch } from "./match";
import type { Arrival, Ask, Connection, FromWorker, ToWorker } from "./messages";
import { offeredProtocols } from "./protocols";
import { Reconnect } from "./reconnect";
import { Meter } from "./traffic";

/** A picture waits this many frames for its result: two seconds at 30 a second. */
const MATCH_CAPACITY = 64;
/** Pictures of one camera on their way to the screen. */
const PICTURES_IN_FLIGHT = 2;
const PING_EVERY_MS = 2_000;
/** The first answers come quickly, so that the age is right from the start. */
const FIRST_PINGS = 4;
const FIRST_PING_EVERY_MS = 150;
/** Nothing heard for so long, though a ping is answered every two seconds: the connection is gone. */
const SILENCE_MS = 6_000;
const CONNECT_WITHIN_MS = 5_000;
/** A new connection makes up for results that were missed for so long; of older ones nothing is on the screen any more. */
const RESUME_WITHIN_MS = 30_000;
/** Played fast, not every frame brings its picture: for so long the last one stays. */
const PICTURE_STAYS_MS = 500;
/** Damaged pictures that nobody analyses are shown where no result has come for so long. */
const RESULTS_PAUSE_MS = 500;
/** How often the page is told what the connection carries, while it wants to know. */
const MEASURE_EVERY_MS = 250;

const page = self as unknown as DedicatedWorkerGlobalScope;
const decoder = new Decoder();
const encoder = new Encoder();
const clock = new ClockOffset();
const reconnect = new Reconnect();
const meter = new Meter();

/** What is wanted of a camera and on its way. */
interface Watched {
  previewWidth: number;
  match: FrameMatch<Arrival, Preview>;
  /** Being decoded or not yet painted. */
  inFlight: number;
  decoding: boolean;
  /** The newest pair that found no room. */
  next: { arrival: Arrival; preview: Preview } | undefined;
  /** The last jump. */
  epoch: number;
  live: boolean;
  /** The frame that the page stands on, or goes on from, while it is not live. */
  at: string | undefined;
  /** The newest live result, and when it came. */
  last: { id: string; cameMs: number } | undefined;
  /** The frame that was handed over last since the jump. */
  handedOver: string | undefined;
  /** When the last picture since the jump came. */
  picturedMs: number;
}
const watched = new Map<string, Watched>();
/** The streams of steps that are wanted. */
let followed: string[] = [];

let url = "";
let token: string | undefined;
let socket: WebSocket | undefined;
let lastHeardMs = 0;
let greeted = false;
let retryTimer: ReturnType<typeof setTimeout> | undefined;
let pingTimer: ReturnType<typeof setTimeout> | undefined;
let deadline: ReturnType<typeof setTimeout> | undefined;
let measuring: ReturnType<typeof setInterval> | undefined;

page.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  switch (data.kind) {
    case "start":
      url = data.url;
      token = data.token;
      if (socket === undefined) connect();
      break;
    case "watch":
      watch(data.camera, data.previewWidth, data.at);
      break;
    case "unwatch":
      if (watched.delete(data.camera)) send({ kind: "unsubscribe", value: { cameras: [data.camera] } });
      break;
    case "released":
      released(data.camera, data.painted);
      break;
    case "ask":
      ask(data.camera, data.requestId, data.ask);
      break;
    case "measure":
      measure(data.on);
      break;
    case "follow":
      followed = data.streams;
      send({ kind: "subscribe_steps", value: { streams: followed } });
      break;
    case "retry":
      if (socket === undefined) connect();
      break;
  }
};

function watch(camera: string, previewWidth: number, at: string | undefined): void {
  const known = watched.get(camera);
  if (known?.previewWidth === previewWidth) return;
  if (known !== undefined) {
    known.previewWidth = previewWidth;
    subscribe(camera, known, undefined);
    return;
  }
  const entry: Watched = {
    previewWidth,
    match: new FrameMatch<Arrival, Preview>(MATCH_CAPACITY),
    inFlight: 0,
    decoding: false,
    next: undefined,
    epoch: 0,
    live: at === undefined,
    at,
    last: undefined,
    handedOver: undefined,
    picturedMs: 0,
  };
  watched.set(camera, entry);
  begin(camera, entry);
}

/** Asks for a camera from where it was left: behind the last result, or on the frame that the page stands on. */
function begin(camera: string, entry: Watched): void {
  const { last } = entry;
  const resumes = entry.live && last !== undefined && browserNow() - last.cameMs < RESUME_WITHIN_MS;
  subscribe(camera, entry, resumes ? last.id : undefined);
  if (!entry.live && entry.at !== undefined) ask(camera, 0, { kind: "seek", to: entry.at, nearest: false });
}

function subscribe(camera: string, { previewWidth }: Watched, resumeAfter: string | undefined): void {
  const value = { cameras: [camera], results: true, preview_width: previewWidth };
  send({ kind: "subscribe", value: { ...value, resume_after: resumeAfter ?? null, max_rate: null } });
}

function ask(camera: string, requestId: number, what: Ask): void {
  const about = { request_id: requestId, camera };
  switch (what.kind) {
    case "pause":
      send({ kind: "pause", value: about });
      break;
    case "play":
      send({ kind: "play", value: about });
      break;
    case "seek":
      send({ kind: "seek", value: { ...about, to: what.to, nearest: what.nearest } });
      break;
    case "step":
      send({ kind: "step", value: { ...about, frames: what.frames } });
      break;
    case "speed":
      send({ kind: "speed", value: { ...about, speed: what.speed } });
      break;
  }
}

function released(camera: string, painted: { id: string; deliverUs: number; paintUs: number } | undefined): void {
  const entry = watched.get(camera);
  if (entry !== undefined) {
    entry.inFlight = Math.max(0, entry.inFlight - 1);
    void showNext(camera, entry);
  }
  if (painted !== undefined) {
    const { id, deliverUs, paintUs } = painted;
    send({ kind: "painted", value: { camera, id, deliver_us: deliverUs, paint_us: paintUs } });
  }
}

function measure(on: boolean): void {
  clearInterval(measuring);
  if (!on) return;
  measuring = setInterval(() => {
    post({ kind: "traffic", traffic: meter.take(browserNow()) });
  }, MEASURE_EVERY_MS);
}

// ---- the connection ----

function connect(): void {
  clearTimeout(retryTimer);
  tell({ state: "connecting", attempt: reconnect.attempt });
  const opening = new WebSocket(url, offeredProtocols(token));
  opening.binaryType = "arraybuffer";
  socket = opening;
  greeted = false;
  deadline = setTimeout(() => {
    lost(opening, "the gateway does not answer");
  }, CONNECT_WITHIN_MS);
  opening.onmessage = ({ data }: MessageEvent<unknown>) => {
    if (socket !== opening) return;
    lastHeardMs = browserNow();
    if (!(data instanceof ArrayBuffer)) return;
    let message: ServerMessage;
    try {
      message = readServerMessage(decoder.decode(new Uint8Array(data)));
      receive(message, opening);
      meter.message(data.byteLength, browserNow() - lastHeardMs);
    } catch (error) {
      problem(`The gateway sent something that this page cannot read (${String(error)}). Reload the page.`);
    }
  };
  opening.onclose = (event) => {
    lost(opening, event.reason !== "" ? event.reason : "the connection to the gateway was lost");
  };
}

function lost(which: WebSocket, reason: string): void {
  if (socket !== which) return;
  socket = undefined;
  clearTimeout(deadline);
  clearTimeout(pingTimer);
  which.onclose = null;
  which.onmessage = null;
  which.close();
  for (const entry of watched.values()) {
    jump(entry, 0);
  }
  const attempt = reconnect.attempt + 1;
  const wait = reconnect.next();
  retryTimer = setTimeout(connect, wait);
  tell({ state: "closed", attempt, retryAtMs: browserNow() + wait, reason });
}

function greet(welcome: Welcome, from: WebSocket): void {
  if (welcome.schema < OLDEST_SCHEMA || welcome.schema > SCHEMA) {
    problem(
      `The gateway (${welcome.version}) speaks schema ${welcome.schema}, this page ${SCHEMA}. Reload the page; ` +
        "if that does not help, run gateway and dashboard of the same release.",
    );
  }
  clearTimeout(deadline);
  greeted = true;
  clock.clear();
  for (const [camera, entry] of watched) begin(camera, entry);
  if (followed.length > 0) send({ kind: "subscribe_steps", value: { streams: followed } });
  tell({ state: "open", version: welcome.version });
  ping(from, FIRST_PINGS);
}

function ping(on: WebSocket, quickOnes: number): void {
  if (socket !== on) return;
  if (browserNow() - lastHeardMs > SILENCE_MS) {
    lost(on, "the gateway fell silent");
    return;
  }
  send({ kind: "ping", value: { client_time_us: Math.round(browserNow() * 1000) } });
  pingTimer = setTimeout(
    () => {
      ping(on, Math.max(0, quickOnes - 1));
    },
    quickOnes > 1 ? FIRST_PING_EVERY_MS : PING_EVERY_MS,
  );
}

function send(message: ClientMessage): void {
  if (!greeted || socket?.readyState !== WebSocket.OPEN) return;
  socket.send(encoder.encode(writeClientMessage(message)));
}

// ---- what comes in ----

function receive(message: ServerMessage, from: WebSocket): void {
  switch (message.kind) {
    case "welcome":
      greet(message.value, from);
      break;
    case "cameras":
      post({ kind: "cameras", cameras: message.value.cameras });
      break;
    case "result":
      receiveResult(message.value);
      break;
    case "preview":
      receivePreview(message.value);
      break;
    case "streams":
      post({ kind: "streams", streams: message.value.streams });
      break;
    case "step": {
      const { stream, id, seen_at_us: seenAtUs, step } = message.value;
      post({ kind: "step", stream, id, step: readStep(decoder.decode(step)), seenAtUs });
      break;
    }
    case "step_map": {
      const { stream, map } = message.value;
      post({ kind: "map", stream, map: readStepMap(decoder.decode(map)) });
      break;
    }
    case "pong": {
      reconnect.healthy();
      clock.add(message.value.client_time_us / 1000, message.value.server_time_us / 1000, browserNow());
      const best = clock.best();
      if (best !== undefined) post({ kind: "clock", offsetMs: best.offsetMs, roundTripMs: best.roundTripMs });
      break;
    }
    case "missed":
      post({ kind: "missed", camera: message.value.camera, total: message.value.total });
      break;
    case "problem":
      problem(message.value.message);
      break;
    case "playback":
      receivePlayback(message.value);
      break;
    case "gap":
      // What is missing lies before what comes now: nothing on the screen depends on it.
      break;
  }
}

/** What follows belongs to another place in time: nothing from before is shown after it. */
function jump(entry: Watched, epoch: number): void {
  entry.epoch = epoch;
  entry.match.clear();
  entry.next = undefined;
  entry.handedOver = undefined;
  entry.picturedMs = 0;
}

function receivePlayback(playback: Playback): void {
  const entry = watched.get(playback.camera);
  const jumped = entry !== undefined && playback.seek_epoch > entry.epoch;
  if (entry !== undefined) {
    if (jumped) jump(entry, playback.seek_epoch);
    entry.live = playback.state === "live";
    entry.at = playback.at ?? undefined;
  }
  post({ kind: "playback", playback, jumped });
}

function receiveResult(message: ResultMessage): void {
  const entry = watched.get(message.camera);
  const readBack = message.seen_at_us === 0;
  // What is live may still come while the gateway learns that this page stands elsewhere.
  if (entry === undefined || (!entry.live && !readBack)) return;
  const result = readResult(message);
  const arrival: Arrival = { id: message.id, result, seenAtUs: message.seen_at_us, decodedAtMs: browserNow() };
  post({ kind: "result", camera: message.camera, arrival });
  if (entry.live) entry.last = { id: message.id, cameMs: browserNow() };
  else entry.at = message.id;
  // A frame that was not analysed has no boxes to show: live, the last one that was stays on the screen.
  if (result.status !== "ok" && entry.live) return;
  const preview = entry.match.result(message.id, arrival);
  if (preview !== undefined) show(message.camera, entry, arrival, preview);
  // Read back, a picture comes before its result: there is none.
  else if (!entry.live && browserNow() - entry.picturedMs > PICTURE_STAYS_MS) {
    entry.next = undefined;
    entry.handedOver = message.id;
    post({ kind: "bare", camera: message.camera, arrival });
  }
}

/** The first byte tells the form, whatever was agreed on. */
function readResult({ id, result }: ResultMessage): FrameResult {
  return isCompact(result) ? readCompact(id, result) : readFrameResult(decoder.decode(result));
}

function receivePreview(preview: Preview): void {
  const entry = watched.get(preview.camera);
  if (entry !== undefined) entry.picturedMs = browserNow();
  const arrival = entry?.match.picture(preview.id, preview);
  if (entry === undefined) return;
  if (arrival !== undefined) show(preview.camera, entry, arrival, preview);
  else if (preview.damaged && entry.live && browserNow() - (entry.last?.cameMs ?? 0) > RESULTS_PAUSE_MS) {
    show(preview.camera, entry, notAnalysed(preview), preview);
  }
}

/** What stands for the result of a damaged picture that was left out. */
function notAnalysed({ id, size }: Preview): Arrival {
  const result: FrameResult = {
    schema: SCHEMA,
    n: 0,
    inc: 0,
    position: 0,
    media_time_us: 0,
    captured_at_us: Number(id.split("-")[0]) * 1000,
    status: "skipped",
    reason: "damaged",
    source: size,
    track_epoch: 0,
    detections: [],
    tracks: [],
    stages: [],
    worker: "",
    lost: [],
    notices: [],
  };
  return { id, result, seenAtUs: 0, decodedAtMs: browserNow() };
}

function show(camera: string, entry: Watched, arrival: Arrival, preview: Preview): void {
  entry.next = { arrival, preview };
  void showNext(camera, entry);
}

/** One picture at a time, so that they arrive in order; the newest waits, older ones give way. */
async function showNext(camera: string, entry: Watched): Promise<void> {
  if (entry.decoding || entry.inFlight >= PICTURES_IN_FLIGHT || entry.next === undefined) return;
  const { arrival, preview } = entry.next;
  const { epoch } = entry;
  entry.next = undefined;
  entry.decoding = true;
  entry.inFlight += 1;
  const begin = browserNow();
  try {
    const picture = await createImageBitmap(new Blob([preview.jpeg as BlobPart], { type: "image/jpeg" }));
    const decodedAtMs = browserNow();
    meter.pictureDecoded(decodedAtMs - begin);
    const { handedOver } = entry;
    if (entry.epoch !== epoch || (handedOver !== undefined && compareIds(arrival.id, handedOver) < 0)) {
      // Meanwhile the page has gone elsewhere.
      entry.inFlight -= 1;
      picture.close();
    } else {
      entry.handedOver = arrival.id;
      post({ kind: "frame", camera, arrival: { ...arrival, decodedAtMs }, pictureId: preview.id, picture }, [picture]);
    }
  } catch (error) {
    entry.inFlight -= 1;
    problem(`A picture of ${camera} cannot be decoded (${String(error)}).`);
  } finally {
    entry.decoding = false;
  }
  void showNext(camera, entry);
}

function problem(message: string): void {
  post({ kind: "problem", message });
}

function tell(connection: Connection): void {
  post({ kind: "connection", connection });
}

function post(message: FromWorker, transfer: Transferable[] = []): void {
  page.postMessage(message, transfer);
}
