// The mock gateway's time machine: it keeps the frames of the last while and plays them back, one client at a time.

const KEPT = 900;
const LIVE = 0;
const PAUSED = 1;
const PLAYING = 2;
const BUFFERING = 3;
const ENDED = 4;
/** Where nothing comes for longer is a gap. */
const GAP_MS = 2_000;

const msOf = (id) => Number(id.split("-")[0]);

/** The frames of a camera: `{ id, picture, result }`, oldest first. Tests may set `stalled` (what is to come is not there yet) and `ended`. */
export class History {
  frames = [];
  stalled = false;
  ended = false;

  add(frame) {
    this.frames.push(frame);
    if (this.frames.length > KEPT) this.frames.shift();
  }

  indexOf(id) {
    return this.frames.findIndex((frame) => frame.id === id);
  }

  gaps(camera) {
    const pairs = this.frames.slice(1).map(({ id }, i) => ({ camera, after: this.frames[i].id, first: id }));
    return pairs.filter(({ after, first }) => msOf(first) - msOf(after) > GAP_MS);
  }

  nearest(id) {
    const distance = (frame) => Math.abs(msOf(frame.id) - msOf(id));
    return this.frames.reduce((best, frame, i) => (distance(frame) < distance(this.frames[best]) ? i : best), 0);
  }
}

/** Where one client is in one camera's time. */
export class Position {
  epoch = 0;
  state = LIVE;
  at = undefined;
  speed = 1;
  timer = undefined;

  /** `tell(kind, value)` sends a message, `show(frame)` a picture and its result, if the client wants them. */
  constructor(camera, history, tell, show) {
    Object.assign(this, { camera, history, tell, show });
  }

  get live() {
    return this.state === LIVE;
  }

  obey(kind, [requestId, , what, nearest]) {
    clearTimeout(this.timer);
    const { frames } = this.history;
    const at = this.at === undefined ? frames.length - 1 : this.history.indexOf(this.at);
    if (kind === "pause") {
      this.state = PAUSED;
      this.at = frames[at]?.id;
      this.answer(requestId);
    } else if (kind === "play") {
      if (!this.live) this.epoch += 1;
      this.state = LIVE;
      this.at = undefined;
      this.answer(requestId);
    } else if (kind === "speed") {
      this.state = PLAYING;
      this.speed = what;
      this.answer(requestId);
      this.playOn();
    } else {
      const found = kind === "step" ? at + what : nearest ? this.history.nearest(what) : this.history.indexOf(what);
      const frame = frames[kind === "step" ? Math.max(0, Math.min(frames.length - 1, found)) : found];
      if (frame === undefined) return this.answer(requestId, `frame ${what} is not held any more`);
      this.state = PAUSED;
      this.jumpTo(frame, requestId);
    }
  }

  jumpTo(frame, requestId) {
    this.epoch += 1;
    this.at = frame.id;
    this.answer(requestId, null, frame.picture !== undefined);
    this.show(frame);
  }

  playOn() {
    const { frames, stalled, ended } = this.history;
    if (stalled || this.state === BUFFERING) {
      const before = this.state;
      this.state = stalled ? BUFFERING : PLAYING;
      if (this.state !== before) this.answer(null);
      if (stalled) return void (this.timer = setTimeout(() => this.playOn(), 50));
    }
    const index = this.history.indexOf(this.at);
    const next = frames[index + 1];
    if (next === undefined && ended) {
      this.state = ENDED;
      return this.answer(null);
    }
    if (next === undefined) {
      this.state = LIVE;
      this.at = undefined;
      return this.answer(null);
    }
    this.timer = setTimeout(
      () => {
        this.at = next.id;
        this.show(next);
        this.playOn();
      },
      (msOf(next.id) - msOf(frames[index].id)) / this.speed,
    );
  }

  answer(requestId, problem = null, hasPicture = false) {
    const { frames } = this.history;
    const speed = [PLAYING, BUFFERING].includes(this.state) ? this.speed : 1;
    const held = [frames[0]?.id ?? null, frames.at(-1)?.id ?? null];
    const told = [requestId, this.camera, this.epoch, this.state, speed, this.at ?? null, ...held, hasPicture, problem];
    this.tell("playback", told);
  }

  end() {
    clearTimeout(this.timer);
  }
}
