import { beforeEach, expect, it } from "vitest";

import type { Ask } from "./link/messages";
import { Player } from "./player";
import type { Playback } from "./wire";

let sent: { id: number; ask: Ask }[] = [];
let player: Player;
beforeEach(() => {
  sent = [];
  player = new Player((id, ask) => sent.push({ id, ask }));
});

function told(overrides: Partial<Playback>): Playback {
  return {
    request_id: null,
    camera: "a",
    seek_epoch: 1,
    state: "paused",
    speed: 1,
    at: "5-0",
    first: "1-0",
    last: "9-0",
    has_picture: true,
    problem: null,
    ...overrides,
  };
}
const asks = (): Ask[] => sent.map(({ ask }) => ask);
const answerLast = (overrides: Partial<Playback> = {}): void => {
  player.receive(told({ request_id: sent.at(-1)?.id ?? null, ...overrides }));
};

it("pauses on the very frame that is on the screen", () => {
  player.pause("7-0");
  expect(asks()).toEqual([{ kind: "seek", to: "7-0", nearest: true }]);
});

it("has one request on its way, and of those that wait only the newest is sent", () => {
  for (const to of ["1-0", "2-0", "3-0", "4-0"]) player.seek(to, true);
  expect(asks()).toEqual([{ kind: "seek", to: "1-0", nearest: true }]);
  answerLast();
  expect(asks()[1]).toEqual({ kind: "seek", to: "4-0", nearest: true });
  answerLast();
  expect(sent).toHaveLength(2);
});

it("adds up steps that wait", () => {
  player.receive(told({}));
  for (let i = 0; i < 5; i += 1) player.step(1, "5-0");
  answerLast();
  expect(asks()).toEqual([
    { kind: "step", frames: 1 },
    { kind: "step", frames: 4 },
  ]);
});

it("a step while live pauses first", () => {
  player.step(-1, "7-0");
  answerLast();
  expect(asks()).toEqual([
    { kind: "seek", to: "7-0", nearest: true },
    { kind: "step", frames: -1 },
  ]);
});

it("space plays what stands still and pauses what moves", () => {
  player.receive(told({}));
  player.speed.value = 2;
  player.toggle("5-0");
  answerLast({ state: "playing" });
  player.toggle("6-0");
  answerLast();
  expect(asks()).toEqual([{ kind: "speed", speed: 2 }, { kind: "pause" }]);
});

it("a lost connection blocks nothing", () => {
  player.seek("1-0", true);
  player.forgetAsked();
  player.seek("2-0", true);
  expect(sent).toHaveLength(2);
});

it("a refusal is told, and the next answer clears it", () => {
  player.open("3-0");
  expect(player.at).toBe("3-0");
  answerLast({ state: "live", at: null, problem: "not held" });
  expect(player.live).toBe(true);
  expect(player.moment.value.problem).toBe("not held");
  player.seek("5-0", true);
  answerLast();
  expect(player.moment.value.problem).toBeUndefined();
});

it("a link to a moment is not overtaken by a question", () => {
  player.open("3-0");
  player.forgetAsked();
  player.refresh();
  expect(asks()).toEqual([{ kind: "seek", to: "3-0", nearest: false }]);
});

it("asks what is held without moving, and not while an answer is awaited", () => {
  player.refresh();
  player.refresh();
  expect(asks()).toEqual([{ kind: "play" }]);
  answerLast();
  player.refresh();
  expect(asks()[1]).toEqual({ kind: "pause" });
  answerLast({ state: "playing" });
  player.refresh();
  expect(sent).toHaveLength(2);
});
