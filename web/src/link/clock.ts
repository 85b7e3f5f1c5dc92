interface Sample {
  offsetMs: number;
  roundTripMs: number;
}

/** Wall clock of this browser in milliseconds; monotonic, and the same in the page and in the worker. */
export const browserNow = (): number => performance.timeOrigin + performance.now();

/**
 * Offset of the gateway's clock from this browser's. Of the last pings the one with the shortest round trip counts:
 * its error is at most half that round trip.
 */
export class ClockOffset {
  private static readonly kept = 8;
  /** What clocks may drift apart between two answers, milliseconds. */
  private static readonly drift = 100;
  private samples: Sample[] = [];

  /** A ping sent at `sentMs` came back at `receivedMs` (browser clock) with the gateway's time on it. */
  add(sentMs: number, serverMs: number, receivedMs: number): void {
    const roundTripMs = receivedMs - sentMs;
    if (!Number.isFinite(roundTripMs) || roundTripMs < 0 || !Number.isFinite(serverMs)) return;
    const sample = { offsetMs: serverMs - (sentMs + receivedMs) / 2, roundTripMs };
    // Answers that cannot both be true: one of the clocks was set in between.
    this.samples = this.samples.filter(
      (before) =>
        Math.abs(before.offsetMs - sample.offsetMs) <= (before.roundTripMs + roundTripMs) / 2 + ClockOffset.drift,
    );
    this.samples.push(sample);
    if (this.samples.length > ClockOffset.kept) this.samples.shift();
  }

  /** The sample to trust; none before the first answer. */
  best(): Readonly<Sample> | undefined {
    let best: Sample | undefined;
    for (const sample of this.samples) {
      if (best === undefined || sample.roundTripMs <= best.roundTripMs) best = sample;
    }
    return best;
  }

  /** Forgets everything: after a reconnect another host may answer. */
  clear(): void {
    this.samples = [];
  }
}
