import { describe, expect, it } from "vitest";

import type { Connection } from "./link/messages";
import { badgeWords, connectionWords, situation, type Seen } from "./situation";
import type { CameraHealth, CameraState } from "./wire";

const OPEN: Connection = { state: "open", version: "1" };
const FRESH: Seen = {
  pictureAgeMs: 120,
  watchedForMs: 9_000,
  resultAgeMs: 100,
  skipped: undefined,
  playback: "live",
  bare: false,
  damaged: false,
};
const NOTHING: Seen = { ...FRESH, pictureAgeMs: undefined, resultAgeMs: undefined };

function camera(health: CameraHealth): CameraState {
  return {
    camera: "a",
    name: "",
    health,
    error: null,
    source: null,
    source_fps: 0,
    fps_in: 0,
    fps_out: 0,
    backlog: 0,
    owner: null,
    model: null,
    region: [],
    calibrated: false,
  };
}

describe("situation", () => {
  it("is paused, not stale, where somebody stands still on an old frame", () => {
    const seen: Seen = { ...FRESH, pictureAgeMs: 90_000, playback: "paused" };
    expect(situation(camera("live"), OPEN, seen)).toMatchObject({ word: "paused", old: false, help: undefined });
    expect(situation(camera("failed"), OPEN, seen).word).toBe("paused");
    expect(badgeWords(seen)).toBe("paused · 2 min old");
    expect(badgeWords(FRESH)).toBe("120 ms old");
    expect(badgeWords({ ...FRESH, damaged: true })).toBe("damaged · 120 ms old");
    expect(situation(camera("live"), { state: "connecting", attempt: 1 }, seen).old).toBe(true);
  });

  it("says where a frame has no picture", () => {
    const seen: Seen = { ...FRESH, playback: "paused", bare: true };
    expect(situation(camera("live"), OPEN, seen).help?.title).toMatch(/No picture/);
  });

  it("is live with a fresh picture and says nothing more", () => {
    expect(situation(camera("live"), OPEN, FRESH)).toMatchObject({
      word: "live",
      tone: "good",
      old: false,
      help: undefined,
    });
  });
  it("says why a file stands still", () => {
    const waits = { ...camera("live"), error: "the file has a gap of 300 s: it goes on after 10 s" };
    expect(situation(waits, OPEN, { ...FRESH, pictureAgeMs: 2_001 }).help?.title).toBe(waits.error);
    expect(situation(waits, OPEN, FRESH).help).toBeUndefined();
  });
  it("is stale from two seconds on, and looks old", () => {
    expect(situation(camera("live"), OPEN, { ...FRESH, pictureAgeMs: 2_001 })).toMatchObject({
      word: "stale",
      old: true,
    });
    expect(situation(camera("live"), OPEN, { ...FRESH, pictureAgeMs: 1_999 })).toMatchObject({ old: false });
  });
  it("never looks live without a connection", () => {
    for (const connection of [
      { state: "connecting", attempt: 2 },
      { state: "closed", attempt: 1, retryAtMs: 0, reason: "gone" },
    ] satisfies Connection[]) {
      expect(situation(camera("live"), connection, FRESH)).toMatchObject({ word: "disconnected", old: true });
    }
  });
  it("tells results without pictures from no results at all", () => {
    expect(situation(camera("live"), OPEN, { ...NOTHING, resultAgeMs: 50 }).help?.title).toMatch(/pictures do not/);
    expect(situation(camera("live"), OPEN, NOTHING).help?.title).toMatch(/first picture/);
  });
  it("says why frames are not analysed", () => {
    const slow = situation(camera("live"), OPEN, { ...FRESH, pictureAgeMs: 5_000, skipped: "too_old" });
    expect(slow.help).toMatchObject({ title: "Frames are not analysed: too old", command: "./dev scale processor=2" });
    expect(situation(camera("live"), OPEN, { ...NOTHING, skipped: "inference_failed" }).help?.next).toMatch(/log/);
  });
  it("gives every state but a live one its next step", () => {
    for (const health of ["starting", "reconnecting", "no_owner", "no_producer", "ended", "failed"] as const) {
      const { help, word } = situation(camera(health), OPEN, NOTHING);
      expect(help?.next, word).toBeTruthy();
    }
  });
});

it("the connection counts down in words", () => {
  const closed: Connection = { state: "closed", attempt: 1, retryAtMs: 5_200, reason: "gone" };
  expect(connectionWords(closed, 2_000)).toBe("Reconnecting in 4 s");
  expect(connectionWords(closed, 6_000)).toBe("Reconnecting…");
  expect(connectionWords({ state: "connecting", attempt: 0 }, 0)).toBe("Connecting…");
  expect(connectionWords({ state: "connecting", attempt: 3 }, 0)).toBe("Reconnecting…");
  expect(connectionWords(OPEN, 0)).toBe("Connected");
});
