import { signal } from "@preact/signals";

import { browserNow } from "./link/clock";
import type { Ask } from "./link/messages";
import type { Playback, PlaybackState } from "./wire";

export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8] as const;

/** Where this page is in a camera's time. */
export interface Moment {
  state: PlaybackState;
  /** The frame that it stands on, or went on from; none while live. */
  at: string | undefined;
  /** Oldest and newest frame that are held, as told last. */
  first: string | undefined;
  last: string | undefined;
  /** When that was told, by the browser's clock. */
  toldAtMs: number;
  /** Why the last wish was not met. */
  problem: string | undefined;
}

const LIVE: Moment = {
  state: "live",
  at: undefined,
  first: undefined,
  last: undefined,
  toldAtMs: 0,
  problem: undefined,
};

/** One camera's time on this page: what is asked of the gateway about it, and what it answers. */
export class Player {
  readonly moment = signal<Moment>(LIVE);
  readonly speed = signal<number>(1);

  private lastId = 0;
  /** The request that is not answered yet: only one is on its way. */
  private asked: number | undefined;
  /** What is wanted then: the newest wish, so that dragging a handle does not pile up. */
  private waiting: Ask | undefined;

  constructor(private readonly send: (requestId: number, ask: Ask) => void) {}

  get live(): boolean {
    return this.moment.peek().state === "live";
  }

  /** Where to begin when the camera is watched anew; none for live. */
  get at(): string | undefined {
    return this.moment.peek().at;
  }

  /** Stands still on the frame that is on the screen. */
  pause(shown: string | undefined): void {
    if (!this.live || shown === undefined) this.ask({ kind: "pause" });
    else this.seek(shown, true);
  }

  /** Plays from where it stands, or stands still. */
  toggle(shown: string | undefined): void {
    const { state } = this.moment.peek();
    if (state === "paused" || state === "ended") this.play();
    else this.pause(shown);
  }

  play(): void {
    this.ask({ kind: "speed", speed: this.speed.peek() });
  }

  chooseSpeed(speed: number): void {
    this.speed.value = speed;
    const { state } = this.moment.peek();
    if (state === "playing" || state === "buffering") this.play();
  }

  goLive(): void {
    this.ask({ kind: "play" });
  }

  seek(to: string, nearest: boolean): void {
    this.ask({ kind: "seek", to, nearest });
  }

  step(frames: number, shown: string | undefined): void {
    if (this.live) this.pause(shown);
    const before = this.waiting?.kind === "step" ? this.waiting.frames : 0;
    this.ask({ kind: "step", frames: Math.max(-100, Math.min(100, before + frames)) });
  }

  /** A link leads to this frame. */
  open(at: string): void {
    if (at === this.at) return;
    this.moment.value = { ...this.moment.peek(), state: "paused", at, toldAtMs: 0, problem: undefined };
    this.seek(at, false);
  }

  /** Asks what is held, and changes nothing: only where the gateway knows already where this page is. */
  refresh(): void {
    const { state, toldAtMs } = this.moment.peek();
    if (this.asked !== undefined || (toldAtMs === 0 && state !== "live")) return;
    if (state === "live") this.ask({ kind: "play" });
    else if (state === "paused") this.ask({ kind: "pause" });
  }

  receive(told: Playback): void {
    const answers = told.request_id !== null && told.request_id === this.asked;
    const before = this.moment.peek();
    this.moment.value = {
      state: told.state,
      at: told.at ?? undefined,
      first: told.first ?? before.first,
      last: told.last ?? before.last,
      toldAtMs: browserNow(),
      // What the gateway tells by itself is no answer.
      problem: told.request_id === null ? before.problem : (told.problem ?? undefined),
    };
    if (!answers) return;
    this.asked = undefined;
    const { waiting } = this;
    this.waiting = undefined;
    if (waiting !== undefined) this.ask(waiting);
  }

  /** The connection is another one: what was asked is not answered any more. */
  forgetAsked(): void {
    this.asked = undefined;
    this.waiting = undefined;
  }

  /** The camera is left: the next look at it is live. */
  leave(): void {
    this.forgetAsked();
    this.moment.value = LIVE;
  }

  private ask(ask: Ask): void {
    if (this.asked !== undefined) {
      this.waiting = ask;
      return;
    }
    this.lastId += 1;
    this.asked = this.lastId;
    this.send(this.lastId, ask);
  }
}
