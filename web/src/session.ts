import { batch, effect, signal } from "@preact/signals";

import { Feed } from "./feed";
import { browserNow } from "./link/clock";
import type { Connection, FromWorker, ToWorker } from "./link/messages";
import { Durations, type Quantiles, type Traffic } from "./link/traffic";
import { Models } from "./models";
import { StreamFeed } from "./stream";
import { checkIn, token } from "./token";
import type { CameraState, StreamState } from "./wire";

/** Numbers on the screen change this often at most. */
const TICK_MS = 250;

/** Everything this page knows; per-frame data is in the feeds and never passes through here. */
export class Session {
  readonly connection = signal<Connection>({ state: "connecting", attempt: 0 });
  /** None before the gateway said which cameras there are. */
  readonly cameras = signal<readonly CameraState[] | undefined>(undefined);
  /** Streams of steps made elsewhere; none before the gateway said which there are. */
  readonly streams = signal<readonly StreamState[] | undefined>(undefined);
  readonly models = new Models();
  readonly roundTripMs = signal<number | undefined>(undefined);
  /** What the gateway's clock is ahead of the browser's. */
  readonly clockOffsetMs = signal<number | undefined>(undefined);
  /** What the connection carries; only while somebody measures. */
  readonly traffic = signal<Traffic | undefined>(undefined);
  /** How long the page's thread is taken by painting once. */
  readonly paintMs = signal<Quantiles | undefined>(undefined);
  /** What the gateway last complained about. */
  readonly problem = signal<string | undefined>(undefined);
  /** Messages that this client was too slow for, by camera. */
  readonly missed = signal<ReadonlyMap<string, number>>(new Map());
  /** The browser's clock, every tick: for countdowns. */
  readonly nowMs = signal(browserNow());

  private readonly worker = new Worker(new URL("./link/worker.ts", import.meta.url), { type: "module" });
  private readonly feeds = new Map<string, Feed>();
  /** Cameras on the screen with the width they are wanted in; they are asked for only while the page is visible. */
  private readonly watched = new Map<string, number>();
  private readonly streamFeeds = new Map<string, StreamFeed>();
  /** Streams on the screen; they are asked for only while the page is visible. */
  private readonly followed = new Set<string>();
  private readonly dirty = new Set<Feed | StreamFeed>();
  private readonly painting = new Durations();
  private offsetMs = 0;
  private paintRequested = false;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      this.receive(data);
    };
    setInterval(() => {
      if (!document.hidden) this.tick();
    }, TICK_MS);
    document.addEventListener("visibilitychange", () => {
      this.visibilityChanged();
    });
    window.addEventListener("online", () => {
      this.retry();
    });
    effect(() => {
      document.body.dataset.connection = this.connection.value.state;
    });
  }

  start(): void {
    void checkIn().then((welcome) => {
      if (welcome) this.connect();
    });
  }

  private connect(): void {
    const url = new URL("ws", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.hash = "";
    this.send({ kind: "start", url: url.href, token: token.value });
  }

  /** Try to connect now instead of at the next attempt. */
  retry(): void {
    this.send({ kind: "retry" });
  }

  /** A camera's name for people. */
  nameOf(camera: string): string {
    const name = this.cameras.value?.find((each) => each.camera === camera)?.name ?? "";
    return name === "" ? camera : name;
  }

  feed(camera: string): Feed {
    let feed = this.feeds.get(camera);
    if (feed === undefined) {
      feed = new Feed(
        camera,
        (dirty) => {
          this.requestPaint(dirty);
        },
        (of, painted) => {
          this.send({ kind: "released", camera: of, painted });
        },
        (of, requestId, ask) => {
          this.send({ kind: "ask", camera: of, requestId, ask });
        },
      );
      this.feeds.set(camera, feed);
    }
    return feed;
  }

  /** Asks for a camera's results and pictures of about this many pixels across; again for another width. */
  watch(camera: string, pixels: number): void {
    const previewWidth = PREVIEW_WIDTHS.find((width) => width >= pixels) ?? LARGEST_PREVIEW;
    if (this.watched.get(camera) === previewWidth) return;
    this.watched.set(camera, previewWidth);
    if (!document.hidden) this.startWatching(camera, previewWidth);
  }

  unwatch(camera: string): void {
    if (this.watched.delete(camera)) this.send({ kind: "unwatch", camera });
  }

  /** Measures the connection from now on, or no more. */
  measure(on: boolean): void {
    this.send({ kind: "measure", on });
    if (!on) this.traffic.value = undefined;
  }

  streamFeed(stream: string): StreamFeed {
    let feed = this.streamFeeds.get(stream);
    if (feed === undefined) {
      feed = new StreamFeed(stream, (dirty) => {
        this.requestPaint(dirty);
      });
      this.streamFeeds.set(stream, feed);
    }
    return feed;
  }

  /** Asks for a stream's steps. */
  follow(stream: string): void {
    this.followed.add(stream);
    this.sendFollowed();
  }

  unfollow(stream: string): void {
    if (this.followed.delete(stream)) this.sendFollowed();
  }

  /** Draws what is on the screen again. */
  redraw(): void {
    for (const feed of this.feeds.values()) feed.redraw();
    for (const feed of this.streamFeeds.values()) feed.redraw();
  }

  private sendFollowed(): void {
    this.send({ kind: "follow", streams: document.hidden ? [] : [...this.followed] });
  }

  private visibilityChanged(): void {
    for (const [camera, previewWidth] of this.watched) {
      if (document.hidden) this.send({ kind: "unwatch", camera });
      else this.startWatching(camera, previewWidth);
    }
    this.sendFollowed();
    if (!document.hidden) this.tick();
  }

  private startWatching(camera: string, previewWidth: number): void {
    this.send({ kind: "watch", camera, previewWidth, at: this.feed(camera).player.at });
  }

  private receive(message: FromWorker): void {
    switch (message.kind) {
      case "connection":
        this.connection.value = message.connection;
        // A browser does not say why it may not connect.
        if (message.connection.state === "closed") void checkIn();
        if (message.connection.state === "open") {
          this.problem.value = undefined;
          this.models.suspect();
        } else this.roundTripMs.value = undefined;
        for (const feed of this.feeds.values()) feed.player.forgetAsked();
        this.tick();
        break;
      case "cameras":
        this.cameras.value = message.cameras;
        void this.models.need(message.cameras.map(({ model }) => model));
        this.forget(message.cameras);
        break;
      case "result":
        this.feed(message.camera).addResult(message.arrival);
        break;
      case "frame":
        this.feed(message.camera).addFrame(message);
        break;
      case "bare":
        this.feed(message.camera).addBare(message.arrival);
        break;
      case "playback":
        this.feed(message.playback.camera).receive(message.playback, message.jumped);
        break;
      case "streams":
        this.streams.value = message.streams;
        this.forgetStreams(message.streams);
        break;
      case "step":
        this.streamFeed(message.stream).addStep(message.id, message.step, message.seenAtUs);
        break;
      case "map":
        this.streamFeed(message.stream).addMap(message.map);
        break;
      case "clock":
        this.offsetMs = message.offsetMs;
        this.clockOffsetMs.value = message.offsetMs;
        this.roundTripMs.value = message.roundTripMs;
        break;
      case "missed":
        this.missed.value = new Map(this.missed.value).set(message.camera, message.total);
        break;
      case "problem":
        this.problem.value = message.message;
        break;
      case "traffic":
        this.traffic.value = message.traffic;
        this.paintMs.value = this.painting.quantiles();
        break;
    }
  }

  /** Cameras that are gone take their picture with them: memory stays flat. */
  private forget(cameras: readonly CameraState[]): void {
    const known = new Set(cameras.map(({ camera }) => camera));
    for (const [camera, feed] of this.feeds) {
      if (known.has(camera) || this.watched.has(camera)) continue;
      feed.close();
      this.feeds.delete(camera);
    }
  }

  private forgetStreams(streams: readonly StreamState[]): void {
    const known = new Set(streams.map(({ stream }) => stream));
    for (const stream of this.streamFeeds.keys()) {
      if (!known.has(stream) && !this.followed.has(stream)) this.streamFeeds.delete(stream);
    }
  }

  private tick(): void {
    batch(() => {
      this.nowMs.value = browserNow();
      for (const stream of this.followed) this.streamFeed(stream).tick(this.offsetMs);
      for (const camera of this.watched.keys()) this.feed(camera).tick(this.offsetMs);
    });
  }

  private requestPaint(feed: Feed | StreamFeed): void {
    this.dirty.add(feed);
    if (this.paintRequested) return;
    this.paintRequested = true;
    requestAnimationFrame(() => {
      this.paintRequested = false;
      const begin = performance.now();
      for (const each of this.dirty) each.paint(this.offsetMs);
      this.dirty.clear();
      this.painting.add(performance.now() - begin);
    });
  }

  private send(message: ToWorker): void {
    this.worker.postMessage(message);
  }
}

/** Few widths, so that watchers of one camera share pictures. */
const PREVIEW_WIDTHS = [320, 480, 640, 960, 1280, 1920];
const LARGEST_PREVIEW = 1920;

export const session = new Session();
