/** How long to wait before the next attempt: doubles up to a cap, and half of it is drawn by lot. */
export class Reconnect {
  static readonly firstMs = 500;
  static readonly mostMs = 10_000;

  /** Attempts since the connection was last proven healthy. */
  attempt = 0;

  constructor(private readonly random: () => number = Math.random) {}

  /** Milliseconds until the next attempt. */
  next(): number {
    const full = Math.min(Reconnect.mostMs, Reconnect.firstMs * 2 ** Math.min(this.attempt, 16));
    this.attempt += 1;
    return full / 2 + (full / 2) * this.random();
  }

  /** The other side has answered: an open socket alone proves nothing. */
  healthy(): void {
    this.attempt = 0;
  }
}
