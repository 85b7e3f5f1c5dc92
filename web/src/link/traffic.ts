/** What the connection carries and what reading it costs, over the last seconds. */
export interface Traffic {
  messagesPerSecond: number;
  bytesPerSecond: number;
  /** Reading a message. */
  decodeMs: Quantiles | undefined;
  /** Decoding a JPEG picture, beside the page. */
  pictureMs: Quantiles | undefined;
}

export interface Quantiles {
  median: number;
  p95: number;
}

/** Durations of the last while, at most so many. */
export class Durations {
  private static readonly kept = 512;
  private readonly samples: number[] = [];

  add(ms: number): void {
    this.samples.push(ms);
    if (this.samples.length > Durations.kept) this.samples.shift();
  }

  /** None before the first. */
  quantiles(): Quantiles | undefined {
    if (this.samples.length === 0) return undefined;
    const sorted = [...this.samples].sort((a, b) => a - b);
    const at = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
    return { median: at(0.5), p95: at(0.95) };
  }
}

/** Counts what comes over the connection. */
export class Meter {
  /** Rates are taken over this long. */
  private static readonly overMs = 2_000;
  private readonly decode = new Durations();
  private readonly picture = new Durations();
  /** Sums at the moments when they were taken. */
  private readonly taken: { atMs: number; messages: number; bytes: number }[] = [];
  private messages = 0;
  private bytes = 0;

  message(bytes: number, decodeMs: number): void {
    this.messages += 1;
    this.bytes += bytes;
    this.decode.add(decodeMs);
  }

  pictureDecoded(ms: number): void {
    this.picture.add(ms);
  }

  take(nowMs: number): Traffic {
    const { messages, bytes } = this;
    this.taken.push({ atMs: nowMs, messages, bytes });
    while (this.taken.length > 2 && nowMs - (this.taken[1]?.atMs ?? nowMs) >= Meter.overMs) this.taken.shift();
    const first = this.taken[0] ?? { atMs: nowMs, messages, bytes };
    const seconds = (nowMs - first.atMs) / 1000;
    const rate = (now: number, before: number): number => (seconds > 0 ? (now - before) / seconds : 0);
    return {
      messagesPerSecond: rate(messages, first.messages),
      bytesPerSecond: rate(bytes, first.bytes),
      decodeMs: this.decode.quantiles(),
      pictureMs: this.picture.quantiles(),
    };
  }
}
