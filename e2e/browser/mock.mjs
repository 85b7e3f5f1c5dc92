// A gateway that is none: serves the built dashboard and sends it what a test asks for. It shows states that a real
// system reaches seldom or slowly (a failed source, no processor, a picture that grows old), and speaks the protocol
// written in docs/protocol.md from its own hand.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

import { decode, encode } from "@msgpack/msgpack";
import jpeg from "jpeg-js";
import { WebSocketServer } from "ws";

import { cellsOf } from "./frame-number.mjs";
import { History, Position } from "./mock-playback.mjs";
import { startRest } from "./rest.mjs";

const DIST = fileURLToPath(new URL("../../web/dist", import.meta.url));
const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};
const HEALTH = {
  starting: 0,
  live: 1,
  reconnecting: 2,
  no_owner: 3,
  no_producer: 4,
  ended: 5,
  failed: 6,
};
const SOURCE = [1280, 720];
const PREVIEW = [640, 360];
const CLASSES = ["person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck"];
const MODEL = "toy";
const LOOP = 60;

/** A camera with its defaults; `health` as in CameraHealth, `frozen` stops its frames. */
export function camera(id, overrides = {}) {
  return {
    id,
    name: "",
    health: "live",
    error: null,
    fps: 15,
    region: [],
    calibrated: true,
    frozen: false,
    pictures: true,
    history: new History(),
    ...overrides,
  };
}

/** A stream of steps; `silent` stops it, with `results` its steps bring those and nothing else. */
export function stream(id, overrides = {}) {
  return { id, rate: 50, silent: false, map: ROAD, results: false, ...overrides };
}

/**
 * Starts the gateway; `cameras` may be changed while it runs, `changed()` tells the clients. With `token` it asks for it;
 * `grafana` is where that is.
 */
export async function startMock({
  cameras,
  streams = [],
  port = 0,
  fps = undefined,
  token = undefined,
  grafana = null,
}) {
  const server = createServer((request, response) => {
    const welcome = token === undefined || request.headers.authorization === `Bearer ${token}`;
    const asks = request.url.startsWith("/api/");
    if (asks && (!welcome || request.url === "/api/session")) {
      response.writeHead(welcome ? 200 : 401, { "content-type": "application/json" });
      return response.end(
        JSON.stringify(welcome ? { name: null, role: "admin", grafana } : { title: "Unauthorized", status: 401 }),
      );
    }
    return asks ? rest.answer(request, response) : serveFile(request, response);
  });
  const sockets = new WebSocketServer({
    server,
    path: "/ws",
    perMessageDeflate: false,
    verifyClient: ({ req }) =>
      token === undefined ||
      (req.headers["sec-websocket-protocol"] ?? "").split(/, ?/).includes(`peregrine.bearer.${token}`),
    handleProtocols: (offered) => offered.has("peregrine.msgpack") && "peregrine.msgpack",
  });
  const clients = new Set();
  const painted = [];
  sockets.on("connection", (socket) => {
    const client = { socket, wants: new Map(), positions: new Map(), follows: new Set() };
    clients.add(client);
    send(socket, "welcome", [1, "mock", nowUs()]);
    send(socket, "cameras", [cameras.map(cameraState)]);
    send(socket, "streams", [streams.map(streamState)]);
    socket.on("message", (bytes) => {
      const [kind, value] = Object.entries(decode(bytes))[0];
      if (kind === "ping") send(socket, "pong", [value[0], nowUs()]);
      if (kind === "subscribe") for (const id of value[0]) client.wants.set(id, value[2]);
      if (kind === "unsubscribe") for (const id of value[0]) client.wants.delete(id) && leave(client, id);
      if (["pause", "play", "seek", "step", "speed"].includes(kind)) {
        positionOf(client, cameras, value[1])?.obey(kind, value);
      }
      if (kind === "subscribe_steps") {
        const before = client.follows;
        client.follows = new Set(value[0]);
        for (const { id, map } of streams)
          if (client.follows.has(id) && !before.has(id)) send(socket, "step_map", [id, encode(map)]);
      }
      if (kind === "painted") painted.push({ camera: value[0], id: value[1], deliverUs: value[2], paintUs: value[3] });
    });
    socket.on("close", () => {
      clients.delete(client);
      for (const id of [...client.positions.keys()]) leave(client, id);
    });
  });

  const timers = [];
  const run = (of, index) => {
    let n = index * 17;
    const timer = setInterval(
      () => {
        if (of.health !== "live" || of.frozen) return;
        n += 1;
        const capturedUs = nowUs() - 90_000;
        const id = `${Math.floor(capturedUs / 1000)}-0`;
        const position = n % LOOP;
        const result = encode(frameResult(n, position, capturedUs, of));
        of.history.add({ id, result, picture: of.pictures ? pictures[position] : undefined });
        for (const { socket, wants, positions } of clients) {
          if (!wants.has(of.id) || positions.get(of.id)?.live === false) continue;
          if (of.pictures) send(socket, "preview", [of.id, id, PREVIEW, pictures[position]]);
          send(socket, "result", [of.id, id, nowUs(), result]);
        }
      },
      1000 / (fps ?? of.fps),
    );
    timers.push(timer);
  };
  cameras.forEach(run);
  for (const of of streams) {
    let n = 0;
    const began = performance.now();
    const timer = setInterval(() => {
      if (of.silent) return;
      n += 1;
      // By the clock, so that it keeps up with real time on a busy machine too.
      const seconds = (performance.now() - began) / 1000;
      const step = encode(of.results ? resultStepOf(n, seconds) : stepOf(n, seconds));
      for (const { socket, follows } of clients)
        if (follows.has(of.id)) send(socket, "step", [of.id, `${Date.now()}-${n}`, nowUs(), step]);
    }, 1000 / of.rate);
    timers.push(timer);
  }
  const changed = () => clients.forEach(({ socket }) => send(socket, "cameras", [cameras.map(cameraState)]));
  const added = (id) => {
    const of = camera(id, { calibrated: false });
    run(of, timers.length);
    return of;
  };
  const rest = startRest({ cameras, models: [{ name: MODEL, classes: CLASSES }], added, changed });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    painted,
    rest,
    /** What each client is subscribed to now. */
    subscriptions: () => [...clients].map(({ wants }) => [...wants.keys()].sort()),
    followed: () => [...clients].map(({ follows }) => [...follows].sort()),
    streamsChanged: () => clients.forEach(({ socket }) => send(socket, "streams", [streams.map(streamState)])),
    changed,
    /** From now on another token is asked for; who is connected stays so. */
    changeToken: (other) => (token = other),
    tell: (kind, value) => clients.forEach(({ socket }) => send(socket, kind, value)),
    raw: (bytes) => clients.forEach(({ socket }) => socket.send(bytes)),
    /** From now on serves pages and nothing else. */
    refuse() {
      sockets.shouldHandle = () => false;
      clients.forEach(({ socket }) => socket.terminate());
    },
    async stop() {
      timers.forEach(clearInterval);
      clients.forEach(({ socket }) => socket.terminate());
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

function positionOf(client, cameras, id) {
  const of = cameras.find((each) => each.id === id);
  if (of === undefined) return undefined;
  const { socket, wants, positions } = client;
  if (!positions.has(id)) {
    const show = ({ id: frame, picture, result }) => {
      if (!wants.has(id)) return;
      if (picture !== undefined) send(socket, "preview", [id, frame, PREVIEW, picture]);
      send(socket, "result", [id, frame, 0, result]);
    };
    positions.set(id, new Position(id, of.history, (kind, value) => send(socket, kind, value), show));
  }
  return positions.get(id);
}

function leave({ positions }, id) {
  positions.get(id)?.end();
  positions.delete(id);
}

function nowUs() {
  return Math.round((performance.timeOrigin + performance.now()) * 1000);
}

function send(socket, kind, value) {
  if (socket.readyState === socket.OPEN) socket.send(encode({ [kind]: value }));
}

function cameraState(of) {
  const flows = of.health === "live" && !of.frozen;
  return [
    of.id,
    of.name,
    HEALTH[of.health],
    of.error,
    of.health === "failed" ? null : SOURCE,
    of.fps,
    flows || of.health === "no_owner" ? of.fps : 0,
    flows ? of.fps : 0,
    of.health === "no_owner" ? 8 : 1,
    flows ? "worker-1" : null,
    MODEL,
    of.region,
    of.calibrated,
  ];
}

/** Vehicles of the scene at a frame, in source pixels, with metres a second. */
function vehicles(n) {
  const s = n / LOOP;
  const car = (id, classId, lane, phase, mps, w, h) => {
    const t = (s + phase) % 1;
    const lap = Math.floor(s + phase);
    const depth = 0.25 + 0.75 * t;
    const x = SOURCE[0] * (0.5 + (lane - 0.5) * 1.5 * depth);
    const y = SOURCE[1] * (0.3 + 0.66 * t);
    return {
      id: id + 20 * lap,
      kind: id,
      classId,
      mps,
      t,
      xyxy: [x - (w * depth) / 2, y - h * depth, x + (w * depth) / 2, y],
    };
  };
  return [
    car(12, 2, 0.28, 0.1, 13.4, 250, 170),
    car(17, 7, 0.62, 0.45, 19.2, 330, 300),
    car(21, 0, 0.93, 0.7, 1.4, 70, 180),
    car(23, 2, 0.45, 0.8, 16.1, 240, 165),
  ];
}

function frameResult(n, position, capturedUs, of) {
  const seen = vehicles(n).filter(({ t }) => t > 0.06 && t < 0.97);
  const detections = seen.map(({ xyxy, classId }) => [xyxy, 0.87, classId]);
  const tracks = seen.map(({ id, classId, mps, xyxy, t }, i) => [
    id,
    t < 0.1 ? 0 : t > 0.92 ? 2 : 1,
    xyxy,
    0.87,
    classId,
    i,
    [1, 2],
    of.calibrated && t > 0.15 ? [mps, 0.15 + 0.4 * t, 1.57] : null,
    classId !== 0 || of.region.length === 0,
  ]);
  const us = [
    [0, 61_000],
    [1, 3_900],
    [2, 1_100],
    [4, 420],
    [5, 2_600],
    [6, 300],
    [7, 5_400],
    [8, 900],
    [9, 44_000 + 900 * (n % 7)],
    [10, 700],
    [11, 350],
    [12, 120],
    [13, 30],
  ];
  return [
    1,
    n,
    1,
    position,
    Math.round((n * 1e6) / of.fps),
    capturedUs,
    0,
    null,
    SOURCE,
    1,
    detections,
    tracks,
    us,
    "worker-1",
    [[0, 3]],
  ];
}

// ---- steps: a bend of road, a car on it and others ----

const RADIUS = 60;
const ring = (radius) =>
  Array.from({ length: 73 }, (_, i) => [radius * Math.cos((i * Math.PI) / 36), radius * Math.sin((i * Math.PI) / 36)]);
const ROAD = [
  [
    ["area", ring(RADIUS + 4)],
    ["edge", ring(RADIUS + 4)],
    ["lane", ring(RADIUS)],
    ["edge", ring(RADIUS - 4)],
  ],
];

function streamState(of) {
  return [of.id, !of.silent];
}

/** Where a car is that has driven so far: position, heading. */
function onRing(radius, metres) {
  const angle = metres / radius;
  return [radius * Math.cos(angle), radius * Math.sin(angle), angle + Math.PI / 2];
}

function stepOf(n, seconds) {
  const ego = onRing(RADIUS + 2, 12 * seconds);
  const path = Array.from({ length: 16 }, (_, i) => {
    const [x, y] = onRing(RADIUS + 2, 12 * (seconds + i / 5));
    return [x, y, i / 5];
  });
  const objects = [
    [1, "car", ...onRing(RADIUS + 2, 24 + 11 * seconds), 11, [4.4, 1.8]],
    [2, "truck", ...onRing(RADIUS - 2, 60 + 8 * seconds), 8, [9, 2.5]],
    [7, "person", ...onRing(RADIUS + 6, 10 + 1.4 * seconds), 1.4, [0.6, 0.6]],
  ];
  const timings = { plan: 2400 + 300 * Math.sin(n / 9), perceive: 8100, control: 90 };
  const wallUs = nowUs();
  const scalars = { reward: Math.sin(n / 50), collisions: 0 };
  return [n, Math.round(seconds * 1e6), wallUs, [...ego, 12, [4.6, 1.9]], path, objects, timings, scalars, null, null];
}

function resultStepOf(n, seconds) {
  const result = frameResult(n, n % LOOP, nowUs(), camera("elsewhere"));
  return [n, Math.round(seconds * 1e6), nowUs(), null, [], [], {}, {}, null, result];
}

// ---- pictures: a road under a pale sky, and the frame number along the top ----

const pictures = Array.from({ length: LOOP }, (_, position) => new Uint8Array(jpeg.encode(render(position), 80).data));

function render(position) {
  const [width, height] = PREVIEW;
  const data = new Uint8Array(width * height * 4).fill(255);
  const fill = (left, top, right, bottom, rgb) => {
    for (let y = Math.max(0, Math.round(top)); y < Math.min(height, Math.round(bottom)); y += 1) {
      for (let x = Math.max(0, Math.round(left)); x < Math.min(width, Math.round(right)); x += 1)
        data.set(rgb, (y * width + x) * 4);
    }
  };
  for (let y = 0; y < height; y += 1) {
    const sky = y / height < 0.27;
    fill(0, y, width, y + 1, sky ? [150 + y / 2, 170 + y / 2, 190 + y / 3] : [96, 116 - y / 12, 82]);
    if (sky) continue;
    const depth = (y / height - 0.27) / 0.73;
    const half = width * (0.09 + 0.52 * depth);
    fill(width / 2 - half, y, width / 2 + half, y + 1, [84 + 14 * depth, 88 + 14 * depth, 94 + 14 * depth]);
    if (Math.floor(12 * depth ** 0.6 + position / 6) % 2 === 0)
      fill(width / 2 - 4 * depth, y, width / 2 + 4 * depth, y + 1, [216, 214, 200]);
  }
  const paint = {
    12: [176, 48, 44],
    17: [222, 224, 226],
    21: [46, 74, 122],
    23: [40, 44, 52],
  };
  for (const { kind, xyxy, t } of vehicles(position)) {
    if (t < 0.03) continue;
    const [l, top, r, b] = xyxy.map((v) => v / 2);
    fill(l, top, r, b, paint[kind]);
    fill(l + (r - l) * 0.14, top + (b - top) * 0.1, r - (r - l) * 0.14, top + (b - top) * 0.42, [30, 38, 46]);
  }
  cellsOf(position).forEach((white, i) =>
    fill((i * width) / 32, 0, ((i + 1) * width) / 32, height / 24, white ? [250, 250, 250] : [6, 6, 6]),
  );
  return { data, width, height };
}

async function serveFile(request, response) {
  const path = normalize(new URL(request.url, "http://localhost").pathname);
  const file = join(DIST, path === "/" ? "index.html" : path);
  try {
    if (!file.startsWith(DIST)) throw new Error("outside");
    await stat(file);
    response.writeHead(200, {
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
    });
    createReadStream(file).pipe(response);
  } catch {
    response.writeHead(404).end("not found");
  }
}
