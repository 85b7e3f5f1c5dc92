// The compact form of a result, as docs/protocol.md describes it.

import {
  readLossReason,
  readNotice,
  readResultStatus,
  readStage,
  readTrackState,
  WireError,
  type Detection,
  type FrameResult,
  type LossReason,
  type Speed,
  type Track,
} from "../wire";

/** The forms of results of schema 2 and 3. */
const OLD_FORM = 1;
const FORM = 2;
const PER_PIXEL = 8;
const PER_METRE = 100;
const PER_SCORE = 255;
const PER_RADIAN = 128 / Math.PI;
const MOST_STEPS = 1 << 22;
/** Stages are the bits of a number; a number of JavaScript tells this many apart. */
const MOST_STAGES = 53;

type Edges = [number, number, number, number];

/** Whether a result has the compact form; otherwise it is MessagePack. */
export function isCompact(bytes: Uint8Array): boolean {
  return bytes[0] === FORM || bytes[0] === OLD_FORM;
}

/** Reads the result of the frame `id` in its compact form; throws a WireError on anything else. */
export function readCompact(id: string, bytes: Uint8Array): FrameResult {
  const from = new Reader(bytes);
  const form = from.byte();
  if (form !== FORM && form !== OLD_FORM) throw new WireError("not a compact result");
  const first = from.byte();
  const status = readResultStatus(first & 0x0f);
  const reason = (first & 0x10) === 0 ? null : from.reason();
  const n = from.unsigned();
  const inc = from.unsigned();
  const position = n + from.signed();
  const capturedAtUs = Number.parseInt(id, 10) * 1000 + from.signed();
  const mediaTimeUs = from.signed() + ((first & 0x20) === 0 ? 0 : capturedAtUs);
  const source = { width: from.unsigned(), height: from.unsigned() };
  const trackEpoch = from.unsigned();
  const edges: Edges[] = [];
  const detections = from.list(() => readDetection(from, edges));
  let lastId = 0;
  const tracks = from.list(() => {
    const track = readTrack(from, form, lastId, detections, edges);
    lastId = track.track_id;
    return track;
  });
  const stages = readStages(from);
  const worker = from.text();
  const lost = from.list(() => ({ reason: from.reason(), count: from.unsigned() }));
  const notices = form === OLD_FORM ? [] : from.list(() => readNotice(from.byte()));
  // What a later release adds stands at the end.
  if (form === OLD_FORM) from.end();
  return {
    schema: form === OLD_FORM ? 2 : 3,
    n,
    inc,
    position,
    media_time_us: mediaTimeUs,
    captured_at_us: capturedAtUs,
    status,
    reason,
    source,
    track_epoch: trackEpoch,
    detections,
    tracks,
    stages,
    worker,
    lost,
    notices,
  };
}

/** Leaves the edges in steps behind, for the tracks. */
function readDetection(from: Reader, edges: Edges[]): Detection {
  const corners = from.corners();
  edges.push(corners);
  return { xyxy: pixels(corners), confidence: value(from.byte(), PER_SCORE), class_id: from.unsigned() };
}

function readTrack(
  from: Reader,
  form: number,
  lastId: number,
  detections: readonly Detection[],
  edges: readonly Edges[],
): Track {
  const trackId = lastId + from.signed();
  const first = from.byte();
  const state = readTrackState(first & 0x03);
  const index = (first & 0x04) === 0 ? null : from.unsigned();
  const matched = index === null ? undefined : detections[index];
  const matchedEdges = index === null ? undefined : edges[index];
  if (index !== null && matchedEdges === undefined) throw new WireError("a track is matched with no detection");
  const xyxy = pixels(matchedEdges === undefined ? from.corners() : from.edges(matchedEdges));
  const like =
    (first & 0x08) === 0 ? matched : { confidence: value(from.byte(), PER_SCORE), class_id: from.unsigned() };
  if (like === undefined) throw new WireError("a track has no score");
  const share = form === OLD_FORM || (first & 0x80) === 0 ? null : value(from.byte(), PER_SCORE);
  const ground: [number, number] | null = (first & 0x10) === 0 ? null : [from.metres(), from.metres()];
  return {
    track_id: trackId,
    state,
    xyxy,
    confidence: like.confidence,
    class_id: like.class_id,
    detection: index,
    ground_m: ground,
    speed: (first & 0x20) === 0 ? null : readSpeed(from),
    in_region: (first & 0x40) !== 0,
    class_share: share,
  };
}

function readSpeed(from: Reader): Speed {
  const speed = value(from.unsigned(), PER_METRE);
  const error = value(from.unsigned(), PER_METRE);
  const heading = from.byte();
  return {
    speed_mps: speed,
    std_error_mps: error,
    heading_rad: value(heading < 128 ? heading : heading - 256, PER_RADIAN),
  };
}

function readStages(from: Reader): FrameResult["stages"] {
  const set = from.unsigned();
  const stages: FrameResult["stages"] = [];
  for (let code = 0; code < MOST_STAGES; code += 1) {
    if (Math.floor(set / 2 ** code) % 2 === 1) stages.push({ stage: readStage(code), us: from.unsigned() });
  }
  return stages;
}

/** As the 32-bit float that MessagePack would bring. */
function value(steps: number, perUnit: number): number {
  return Math.fround(steps / perUnit);
}

function pixels([left, top, right, bottom]: Edges): Edges {
  return [value(left, PER_PIXEL), value(top, PER_PIXEL), value(right, PER_PIXEL), value(bottom, PER_PIXEL)];
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Bytes that are still to be read. Integers above 2^53 lose their last digits, as they do in MessagePack. */
class Reader {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  byte(): number {
    const byte = this.bytes[this.at];
    if (byte === undefined) throw new WireError("a compact result is cut short");
    this.at += 1;
    return byte;
  }

  unsigned(): number {
    let value = 0;
    let scale = 1;
    for (let length = 0; length < 10; length += 1) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw new WireError("a number in a compact result is too long");
  }

  signed(): number {
    const value = this.unsigned();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  reason(): LossReason {
    return readLossReason(this.byte());
  }

  metres(): number {
    return value(this.step(0), PER_METRE);
  }

  /** Left, top, width and height. */
  corners(): Edges {
    const left = this.step(0);
    const top = this.step(0);
    return [left, top, this.step(left), this.step(top)];
  }

  /** Each edge as its difference from another's. */
  edges(from: Edges): Edges {
    return [this.step(from[0]), this.step(from[1]), this.step(from[2]), this.step(from[3])];
  }

  list<T>(read: () => T): T[] {
    const count = this.count();
    const list: T[] = [];
    while (list.length < count) list.push(read());
    return list;
  }

  text(): string {
    const length = this.count();
    this.at += length;
    return utf8.decode(this.bytes.subarray(this.at - length, this.at));
  }

  end(): void {
    if (this.at !== this.bytes.length) throw new WireError("bytes follow a compact result");
  }

  /** What follows takes a byte each at least. */
  private count(): number {
    const count = this.unsigned();
    if (count > this.bytes.length - this.at) throw new WireError("a compact result is cut short");
    return count;
  }

  private step(from: number): number {
    const steps = from + this.signed();
    if (Math.abs(steps) > MOST_STEPS) throw new WireError("a number in a compact result is out of range");
    return steps;
  }
}
