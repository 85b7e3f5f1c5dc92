import { expect, it } from "vitest";

import type { Matrix, SeenFrom } from "../api";
import type { Track } from "../wire";
import type { Point } from "./config";
import { type Ground, groundOf } from "./ground";
import { headOf, heightsOfPeople, metres, peopleWords, viewWords } from "./view";

// A pinhole camera 8 m over the ground that looks 20° down, written out by hand: focal length 1000 px.
const [SIN, COS] = [Math.sin(Math.PI / 9), Math.cos(Math.PI / 9)];
const image = (x: number, y: number, z: number): Point => {
  const depth = y * COS + (8 - z) * SIN;
  return [640 + (1000 * x) / depth, 360 + (1000 * ((8 - z) * COS - y * SIN)) / depth];
};
const WORLD_FROM_IMAGE: Matrix = [
  [8, 0, -8 * 640],
  [0, -8 * SIN, 8 * (1000 * COS + 360 * SIN)],
  [0, COS, 1000 * SIN - 360 * COS],
];
const VIEW: SeenFrom = {
  camera_height_m: 8,
  tilt_deg: 20,
  nearest_m: 9.5,
  farthest_m: null,
  person_px: 93,
  image_from_space: [
    [1000, 640 * COS, -640 * SIN, 640 * 8 * SIN],
    [0, 360 * COS - 1000 * SIN, -360 * SIN - 1000 * COS, 8 * (360 * SIN + 1000 * COS)],
    [0, COS, -SIN, 8 * SIN],
  ],
};

function ground(): Ground {
  const found = groundOf(WORLD_FROM_IMAGE, [640, 700]);
  if (found === undefined) throw new Error("no ground");
  return found;
}

function person(x: number, y: number, tall: number, part: Partial<Track> = {}): Track {
  const [[left, bottom], [, top]] = [image(x - 0.3, y, 0), image(x, y, tall)];
  const [right] = image(x + 0.3, y, 0);
  return { class_id: 0, state: "confirmed", xyxy: [left, top, right, bottom], ...part } as Track;
}

it("a person's head is where a pinhole shows it", () => {
  const head = headOf(VIEW, ground(), image(2, 20, 0));
  const [x, y] = image(2, 20, 1.7);
  expect(head?.[0]).toBeCloseTo(x, 6);
  expect(head?.[1]).toBeCloseTo(y, 6);
  expect(headOf(VIEW, ground(), [640, -400])).toBeUndefined();
});

it("people are as tall as they are", () => {
  const tracks = [person(0, 20, 1.8), person(-3, 30, 1.6), person(1, 25, 1.7, { class_id: 2 })];
  const heights = heightsOfPeople(VIEW, ground(), tracks, 0, 720);
  expect(heights).toHaveLength(2);
  expect(heights[0]).toBeCloseTo(1.6, 1);
  expect(heights[1]).toBeCloseTo(1.8, 1);
  // Lost ones, and those that the picture's edge cuts, tell nothing; nor do boxes from straight above.
  expect(heightsOfPeople(VIEW, ground(), [person(0, 20, 1.8, { state: "lost" }), person(0, 7, 1.8)], 0, 720)).toEqual(
    [],
  );
  expect(heightsOfPeople({ ...VIEW, tilt_deg: 70 }, ground(), tracks, 0, 720)).toEqual([]);
});

it("a person of 20 m or of 2 cm is not taken for one", () => {
  expect(peopleWords([])).toBeUndefined();
  expect(peopleWords([1.7])).toEqual({ text: "The person in the picture would be 1.7 m tall.", fine: true });
  expect(peopleWords([16, 17, 20])).toEqual({
    text: "The 3 people in the picture would be 16 m to 20 m tall.",
    fine: false,
  });
  expect(peopleWords([0.017])?.fine).toBe(false);
  // One that is bent or cut does not spoil the others.
  expect(peopleWords([0.4, 1.6, 1.7])?.fine).toBe(true);
});

it("lengths are said in the unit that people use", () => {
  expect([0.054, 0.8, 5.42, 265.4, 3210].map(metres)).toEqual(["5.4 cm", "0.8 m", "5.4 m", "265 m", "3.2 km"]);
  expect(viewWords(VIEW)).toBe(
    "The camera would be 8.0 m above the ground and show it from 9.5 m to the horizon. A person of 1.7 m among the points would be 93 pixels tall.",
  );
  expect(viewWords({ ...VIEW, farthest_m: 42, person_px: null })).toMatch(/from 9.5 m to 42 m\.$/);
});
