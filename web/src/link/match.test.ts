import { describe, expect, it } from "vitest";

import { compareIds, FrameMatch } from "./match";

describe("compareIds", () => {
  it("orders by time and then by sequence, as numbers", () => {
    expect(compareIds("9-0", "10-0")).toBeLessThan(0);
    expect(compareIds("10-9", "10-10")).toBeLessThan(0);
    expect(compareIds("1795260582672-3", "1795260582672-3")).toBe(0);
  });
});

describe("FrameMatch", () => {
  it("pairs by id, whichever comes first", () => {
    const match = new FrameMatch<string, string>(8);
    expect(match.picture("1-0", "picture 1")).toBeUndefined();
    expect(match.result("1-0", "result 1")).toBe("picture 1");
    expect(match.result("2-0", "result 2")).toBeUndefined();
    expect(match.picture("2-0", "picture 2")).toBe("result 2");
    expect(match.waiting).toBe(0);
  });

  it("never pairs neighbours", () => {
    const match = new FrameMatch<string, string>(8);
    match.picture("1-0", "picture");
    expect(match.result("1-1", "result")).toBeUndefined();
    expect(match.result("2-0", "result")).toBeUndefined();
  });

  it("never goes back: what is older than the last pair makes none", () => {
    const match = new FrameMatch<string, string>(8);
    match.picture("5-0", "picture");
    match.picture("6-0", "picture");
    expect(match.result("6-0", "result")).toBe("picture");
    expect(match.result("5-0", "late result")).toBeUndefined();
    expect(match.picture("5-0", "late picture")).toBeUndefined();
    expect(match.waiting).toBe(0);
  });

  it("keeps no more than its capacity of either, the newest", () => {
    const match = new FrameMatch<number, number>(4);
    for (let i = 0; i < 100; i += 1) match.picture(`${i}-0`, i);
    expect(match.waiting).toBe(4);
    expect(match.result("95-0", 0)).toBeUndefined();
    expect(match.result("96-0", 0)).toBe(96);
  });

  it("starts anew after clear, also with older ids", () => {
    const match = new FrameMatch<string, string>(4);
    match.picture("9-0", "p");
    match.result("9-0", "r");
    match.clear();
    match.picture("3-0", "older");
    expect(match.result("3-0", "r")).toBe("older");
  });
});
