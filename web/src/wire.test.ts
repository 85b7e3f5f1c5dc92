import { decode, encode } from "@msgpack/msgpack";
import { expect, it } from "vitest";

import { readFrameResult, readLossReason, readNotice, readServerMessage, WireError, writeClientMessage } from "./wire";

it("refuses what is no message, whatever it is", () => {
  for (const value of [null, 3, "ping", [], {}, { result: [] }, { nonsense: [1] }, { result: ["a"], preview: [] }]) {
    expect(() => readServerMessage(value), JSON.stringify(value)).toThrow(WireError);
  }
  expect(() => readFrameResult([1, 2, 3])).toThrow(WireError);
});

it("reads a code of a later release by its number", () => {
  expect([readLossReason(10), readLossReason(200), readNotice(0)]).toEqual(["damaged", "other:200", "region_off"]);
});

it("reads results of schema 2, without what came later, and of later releases, with more", () => {
  const track = [1, 1, [0, 0, 4, 4], 0.5, 0, null, null, null, true];
  const old = (tracks: unknown[][]) => [2, 7, 1, 6, 5, 4, 0, null, [64, 48], 0, [], tracks, [], "worker", []];
  const read = readFrameResult(old([track]));
  expect([read.notices, read.tracks[0]?.class_share, read.schema]).toEqual([[], null, 2]);
  const later = readFrameResult([...old([[...track, 0.75, "new"]]), [7, 99], "new"]);
  expect([later.notices, later.tracks[0]?.class_share]).toEqual([["doubtful", "other:99"], 0.75]);
});

it("writes a message as a map with one entry and a positional value", () => {
  const bytes = encode(
    writeClientMessage({
      kind: "subscribe",
      value: { cameras: ["a"], results: true, preview_width: 640, resume_after: "5-0", max_rate: null },
    }),
  );
  expect(decode(bytes)).toEqual({ subscribe: [["a"], true, 640, "5-0", null] });
});
