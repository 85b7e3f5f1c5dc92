import { signal } from "@preact/signals";

import { addCamera } from "./api";
import { offeredProtocols } from "./link/protocols";
import { token } from "./token";
import type { FrameAnswer } from "./wire";

/** Pictures are at most so wide: more than models look at. */
const WIDTH = 1280;
const QUALITY = 0.8;
/** Frames a second at most. */
const MOST_FPS = 15;
const ANSWER_WITHIN_MS = 5_000;
const RETRY_AFTER_MS = 2_000;

export type DeviceState =
  | { state: "off" }
  | { state: "asking" }
  | { state: "sending"; camera: string }
  | { state: "waiting"; camera: string; why: string }
  | { state: "failed"; why: string };

/** What became of this device's frames. */
export interface DeviceCounts {
  taken: number;
  skipped: number;
}

/** Sends the pictures of this device's camera: one at a time, the newest first; what the pipeline skips is counted. */
export class Device {
  readonly state = signal<DeviceState>({ state: "off" });
  readonly counts = signal<DeviceCounts>({ taken: 0, skipped: 0 });
  readonly video = document.createElement("video");

  private readonly canvas = document.createElement("canvas");
  private run: AbortController | undefined;

  constructor() {
    this.video.muted = true;
    this.video.playsInline = true;
  }

  /** Asks for the camera, makes one of this id known to the gateway where there is none, and sends until stopped. */
  async start(camera: string, known: boolean): Promise<void> {
    this.stop();
    const run = new AbortController();
    this.run = run;
    this.state.value = { state: "asking" };
    this.counts.value = { taken: 0, skipped: 0 };
    try {
      const stream = await askForCamera();
      onceStopped(run.signal, () => {
        for (const track of stream.getTracks()) track.stop();
        this.video.srcObject = null;
      });
      run.signal.throwIfAborted();
      this.video.srcObject = stream;
      await this.video.play();
      if (!known) await addCamera({ id: camera, source: { uri: "ingest:" } });
    } catch (error) {
      run.abort();
      if (this.run === run) this.state.value = { state: "failed", why: reason(error) };
      return;
    }
    while (this.run === run) {
      const why = await this.send(camera, run.signal);
      if (!run.signal.aborted) this.state.value = { state: "waiting", camera, why };
      await pause(RETRY_AFTER_MS);
    }
  }

  stop(): void {
    this.run?.abort();
    this.run = undefined;
    this.state.value = { state: "off" };
  }

  /** One connection; gives why it ended. */
  private async send(camera: string, signal: AbortSignal): Promise<string> {
    const url = new URL(`ws/ingest/${encodeURIComponent(camera)}`, document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.hash = "";
    const socket = new WebSocket(url, offeredProtocols(token.value, ["peregrine.frames"]));
    onceStopped(signal, () => {
      socket.close();
    });
    const before = this.counts.peek();
    let ended = "the gateway does not take frames for this camera";
    socket.onclose = (event) => {
      if (event.reason !== "") ended = event.reason;
    };
    try {
      await next(socket, "open");
      while (!signal.aborted) {
        const began = performance.now();
        const frame = await this.picture();
        const answered = next(socket, "message");
        socket.send(frame);
        const answer = JSON.parse(String((await answered).data)) as FrameAnswer;
        this.counts.value = {
          taken: before.taken + answer.frame - answer.skipped,
          skipped: before.skipped + answer.skipped,
        };
        this.state.value =
          answer.problem === null ? { state: "sending", camera } : { state: "waiting", camera, why: answer.problem };
        await pause(Math.max(0, 1000 / MOST_FPS - (performance.now() - began)));
      }
    } catch {
      // Told below.
    } finally {
      socket.close();
    }
    return ended;
  }

  private async picture(): Promise<Blob> {
    const { videoWidth, videoHeight } = this.video;
    const scale = Math.min(1, WIDTH / Math.max(1, videoWidth));
    this.canvas.width = Math.max(1, Math.round(videoWidth * scale));
    this.canvas.height = Math.max(1, Math.round(videoHeight * scale));
    this.canvas.getContext("2d")?.drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    return new Promise((done, failed) => {
      this.canvas.toBlob(
        (blob) => {
          if (blob === null) failed(new Error("the picture cannot be encoded"));
          else done(blob);
        },
        "image/jpeg",
        QUALITY,
      );
    });
  }
}

async function askForCamera(): Promise<MediaStream> {
  // The types say that it is always there; browsers hide it from pages that came over plain http.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (devices === undefined)
    throw new Error("browsers give the camera only to pages over https or on localhost: open this page so");
  try {
    return await devices.getUserMedia({ video: { facingMode: "environment", width: { ideal: WIDTH } } });
  } catch (error) {
    const denied = error instanceof DOMException && error.name === "NotAllowedError";
    throw denied ? new Error("this page may not use the camera: allow it in the browser's settings") : error;
  }
}

/** Also when it was stopped before. */
function onceStopped(signal: AbortSignal, release: () => void): void {
  if (signal.aborted) release();
  else signal.addEventListener("abort", release, { once: true });
}

/** The next event of a socket, unless it closes before or nothing comes. */
function next<K extends "open" | "message">(socket: WebSocket, kind: K): Promise<WebSocketEventMap[K]> {
  return new Promise((done, failed) => {
    const settled = new AbortController();
    const { signal } = settled;
    const give = (outcome: () => void) => () => {
      settled.abort();
      outcome();
    };
    const late = setTimeout(
      give(() => {
        failed(new Error("no answer"));
      }),
      ANSWER_WITHIN_MS,
    );
    signal.addEventListener("abort", () => {
      clearTimeout(late);
    });
    socket.addEventListener(
      kind,
      (event) => {
        give(() => {
          done(event);
        })();
      },
      { signal },
    );
    socket.addEventListener(
      "close",
      give(() => {
        failed(new Error("closed"));
      }),
      { signal },
    );
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
