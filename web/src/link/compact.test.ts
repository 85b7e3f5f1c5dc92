import { expect, it } from "vitest";

import { WireError, type FrameResult, type Notice, type Track } from "../wire";
import { isCompact, readCompact } from "./compact";
import text from "./compact.vectors.json?raw";

/** Written by the tests of proto/: what a gateway sends, and what it means. */
interface Vector {
  id: string;
  bytes: string;
  /** In JSON, what has its default is left out. */
  result: Omit<FrameResult, "tracks" | "notices"> & {
    tracks: (Omit<Track, "class_share"> & Partial<Track>)[];
    notices?: Notice[];
  };
}

/** Floats are of 32 bits on the wire. */
const vectors = JSON.parse(text, (_, value: unknown) =>
  typeof value === "number" && !Number.isInteger(value) ? Math.fround(value) : value,
) as Vector[];

function bytesOf({ bytes }: Vector): Uint8Array {
  return Uint8Array.from(bytes.match(/../g) ?? [], (hex) => Number.parseInt(hex, 16));
}

it("reads what the gateway writes, to the last bit", () => {
  expect(vectors.length).toBeGreaterThan(2);
  for (const vector of vectors) {
    expect(isCompact(bytesOf(vector))).toBe(true);
    const { tracks, ...result } = vector.result;
    const whole = tracks.map((track) => ({ class_share: null, ...track }));
    expect(readCompact(vector.id, bytesOf(vector))).toEqual({ notices: [], ...result, tracks: whole });
  }
});

it("refuses what is cut short, goes on, or is no compact result", () => {
  for (const vector of vectors) {
    const bytes = bytesOf(vector);
    for (let length = 0; length < bytes.length; length += 1) {
      expect(() => readCompact(vector.id, bytes.subarray(0, length)), String(length)).toThrow(WireError);
    }
    const longer = (): FrameResult => readCompact(vector.id, Uint8Array.of(...bytes, 0));
    // What follows belongs to a later release; the old form has none.
    if (bytes[0] === 1) expect(longer).toThrow(WireError);
    else expect(longer()).toEqual(readCompact(vector.id, bytes));
  }
  expect(isCompact(Uint8Array.of(0x9f))).toBe(false);
  expect(() => readCompact("1-0", Uint8Array.of(0x9f, 1))).toThrow(WireError);
  expect(() => readCompact("1-0", Uint8Array.of(1, 0, ...new Array<number>(40).fill(0xff)))).toThrow(WireError);
});
