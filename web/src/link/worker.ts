// Holds the connection: reads messages, decodes pictures, brings picture and result of a frame together, reconnects.
// The page's thread only paints.

import { Decoder, Encoder } from "@msgpack/msgpack";

import { readFrameResult, readServerMessage, readStep, readStepMap, SCHEMA, writeClientMessage } from "../wire";
import type { ClientMessage, Preview, ResultMessage, ServerMessage, Welcome } from "../wire";
import { browserNow, ClockOffset } from "./clock";
import { FrameMatch } from "./match";
import type { Arrival, Connection, FromWorker, ToWorker } from "./messages";
import { Reconnect } from "./reconnect";

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

const page = self as unknown as DedicatedWorkerGlobalScope;
const decoder = new Decoder();
const encoder = new Encoder();
const clock = new ClockOffset();
const reconnect = new Reconnect();

/** What is wanted of a camera and on its way. */
interface Watched {
  previewWidth: number;
  match: FrameMatch<Arrival, Preview>;
  /** Being decoded or not yet painted. */
  inFlight: number;
  decoding: boolean;
  /** The newest pair that found no room. */
  next: { arrival: Arrival; preview: Preview } | undefined;
}
const watched = new Map<string, Watched>();
/** The streams of steps that are wanted. */
let followed: string[] = [];

let url = "";
let socket: WebSocket | undefined;
let lastHeardMs = 0;
let greeted = false;
let retryTimer: ReturnType<typeof setTimeout> | undefined;
let pingTimer: ReturnType<typeof setTimeout> | undefined;
let deadline: ReturnType<typeof setTimeout> | undefined;

page.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  switch (data.kind) {
    case "start":
      url = data.url;
      connect();
      break;
    case "watch":
      watch(data.camera, data.previewWidth);
      break;
    case "unwatch":
      if (watched.delete(data.camera)) send({ kind: "unsubscribe", value: { cameras: [data.camera] } });
      break;
    case "released":
      released(data.camera, data.painted);
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

function watch(camera: string, previewWidth: number): void {
  const known = watched.get(camera);
  if (known?.previewWidth === previewWidth) return;
  if (known !== undefined) known.previewWidth = previewWidth;
  else {
    const match = new FrameMatch<Arrival, Preview>(MATCH_CAPACITY);
    watched.set(camera, { previewWidth, match, inFlight: 0, decoding: false, next: undefined });
  }
  subscribe(camera, previewWidth);
}

function subscribe(camera: string, previewWidth: number): void {
  send({ kind: "subscribe", value: { cameras: [camera], results: true, preview_width: previewWidth } });
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

// ---- the connection ----

function connect(): void {
  clearTimeout(retryTimer);
  tell({ state: "connecting", attempt: reconnect.attempt });
  const opening = new WebSocket(url);
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
    entry.match.clear();
    entry.next = undefined;
  }
  const attempt = reconnect.attempt + 1;
  const wait = reconnect.next();
  retryTimer = setTimeout(connect, wait);
  tell({ state: "closed", attempt, retryAtMs: browserNow() + wait, reason });
}

function greet(welcome: Welcome, from: WebSocket): void {
  if (welcome.schema !== SCHEMA) {
    problem(
      `The gateway (${welcome.version}) speaks schema ${welcome.schema}, this page ${SCHEMA}. Reload the page; ` +
        "if that does not help, run gateway and dashboard of the same release.",
    );
  }
  clearTimeout(deadline);
  greeted = true;
  clock.clear();
  for (const [camera, entry] of watched) subscribe(camera, entry.previewWidth);
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
  }
}

function receiveResult(message: ResultMessage): void {
  const entry = watched.get(message.camera);
  if (entry === undefined) return;
  const result = readFrameResult(decoder.decode(message.result));
  const arrival: Arrival = { id: message.id, result, seenAtUs: message.seen_at_us, decodedAtMs: browserNow() };
  post({ kind: "result", camera: message.camera, arrival });
  // A frame that was not analysed has no boxes to show: the last one that was stays on the screen.
  if (result.status !== "ok") return;
  const preview = entry.match.result(message.id, arrival);
  if (preview !== undefined) show(message.camera, entry, arrival, preview);
}

function receivePreview(preview: Preview): void {
  const entry = watched.get(preview.camera);
  const arrival = entry?.match.picture(preview.id, preview);
  if (entry !== undefined && arrival !== undefined) show(preview.camera, entry, arrival, preview);
}

function show(camera: string, entry: Watched, arrival: Arrival, preview: Preview): void {
  entry.next = { arrival, preview };
  void showNext(camera, entry);
}

/** One picture at a time, so that they arrive in order; the newest waits, older ones give way. */
async function showNext(camera: string, entry: Watched): Promise<void> {
  if (entry.decoding || entry.inFlight >= PICTURES_IN_FLIGHT || entry.next === undefined) return;
  const { arrival, preview } = entry.next;
  entry.next = undefined;
  entry.decoding = true;
  entry.inFlight += 1;
  try {
    const picture = await createImageBitmap(new Blob([preview.jpeg as BlobPart], { type: "image/jpeg" }));
    const decoded = { ...arrival, decodedAtMs: browserNow() };
    post({ kind: "frame", camera, arrival: decoded, pictureId: preview.id, picture }, [picture]);
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
