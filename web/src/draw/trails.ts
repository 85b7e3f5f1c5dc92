import type { FrameResult } from "../wire";

export interface TrailPoint {
  mediaTimeUs: number;
  /** Foot point in source pixels. */
  x: number;
  y: number;
}

/** Where each track of a camera stood lately, in media time. */
export class Trails {
  static readonly keptUs = 2_500_000;

  private readonly points = new Map<number, TrailPoint[]>();
  private epoch = -1;
  private size = { width: 0, height: 0 };
  private lastUs = Number.NEGATIVE_INFINITY;

  /** Takes the results in their order. */
  add(result: FrameResult): void {
    if (result.status !== "ok") return;
    const { width, height } = result.source;
    const otherPixels = width !== this.size.width || height !== this.size.height;
    if (result.track_epoch !== this.epoch || result.media_time_us < this.lastUs || otherPixels) {
      this.points.clear();
      this.epoch = result.track_epoch;
      this.size = { width, height };
    }
    this.lastUs = result.media_time_us;
    for (const track of result.tracks) {
      if (track.state !== "tracked" && track.state !== "new") continue;
      const [left, , right, bottom] = track.xyxy;
      const trail = this.points.get(track.track_id) ?? [];
      trail.push({ mediaTimeUs: result.media_time_us, x: (left + right) / 2, y: bottom });
      this.points.set(track.track_id, trail);
    }
    const oldest = result.media_time_us - Trails.keptUs;
    for (const [id, trail] of this.points) {
      const first = trail.findIndex((point) => point.mediaTimeUs >= oldest);
      if (first < 0) this.points.delete(id);
      else if (first > 0) trail.splice(0, first);
    }
  }

  /** A track's points as they were at a frame: what came after it is not shown on it. */
  upTo(trackId: number, epoch: number, mediaTimeUs: number): readonly TrailPoint[] {
    const trail = epoch === this.epoch ? this.points.get(trackId) : undefined;
    if (trail === undefined) return [];
    let end = trail.length;
    while (end > 0 && (trail[end - 1]?.mediaTimeUs ?? 0) > mediaTimeUs) end -= 1;
    return end === trail.length ? trail : trail.slice(0, end);
  }
}
