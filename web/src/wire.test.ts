import { decode, encode } from "@msgpack/msgpack";
import { expect, it } from "vitest";

import { readFrameResult, readServerMessage, WireError, writeClientMessage } from "./wire";

it("refuses what is no message, whatever it is", () => {
  for (const value of [null, 3, "ping", [], {}, { result: [] }, { nonsense: [1] }, { result: ["a"], preview: [] }]) {
    expect(() => readServerMessage(value), JSON.stringify(value)).toThrow(WireError);
  }
  expect(() => readFrameResult([1, 2, 3])).toThrow(WireError);
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
