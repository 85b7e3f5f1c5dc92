// What a calibration implies, in words: a length that was mistyped shows as a camera or a person that cannot be.

import type { SeenFrom } from "../api";
import { plural } from "../format";
import type { Track } from "../wire";
import type { Point } from "./config";
import { type Ground, toGround } from "./ground";

/** Height of the person that views are described with, metres. */
const PERSON_M = 1.7;
/** Heights of people as detectors see them, bent and cut ones too, metres. */
const PEOPLE_M = [0.8, 3] as const;
/** From steeper above, a box is not as high as a person, degrees. */
const STEEPEST_DEG = 50;

/** Where the camera would be and what it would show. */
export function viewWords(view: SeenFrom): string {
  const { camera_height_m: height, nearest_m: near, farthest_m: far, person_px: person } = view;
  const extent = `from ${metres(near)} ${far === null ? "to the horizon" : `to ${metres(far)}`}`;
  const tall =
    person === null ? "" : ` A person of ${PERSON_M} m among the points would be ${pixels(person)} pixels tall.`;
  return `The camera would be ${metres(height)} above the ground and show it ${extent}.${tall}`;
}

/** Where the head of a person is seen who stands on a pixel; nothing where there is no ground. */
export function headOf(view: SeenFrom, ground: Ground, foot: Point): Point | undefined {
  const at = toGround(ground, foot);
  if (at === undefined) return undefined;
  const [x = 0, y = 0, w = 0] = view.image_from_space.map((row) => row[0] * at[0] + row[1] * at[1] + row[2] * PERSON_M + row[3]); // prettier-ignore
  return w > 0 ? [x / w, y / w] : undefined;
}

/** How tall the people in the picture would be, metres, the smallest first. */
export function heightsOfPeople(
  view: SeenFrom,
  ground: Ground,
  tracks: readonly Track[],
  person: number,
  height: number,
): number[] {
  if (view.tilt_deg > STEEPEST_DEG) return [];
  const heights = tracks.flatMap(({ class_id: classId, state, xyxy: [left, top, right, bottom] }) => {
    // Who is cut by the picture's edge is as tall as nobody.
    const whole = top > 2 && bottom < height - 2;
    const at = toGround(ground, [(left + right) / 2, bottom]);
    const [, row, depth] = view.image_from_space;
    if (
      classId !== person ||
      state === "lost" ||
      !whole ||
      at === undefined ||
      row === undefined ||
      depth === undefined
    )
      return [];
    const onGround = ([a, b, , d]: readonly number[]): number => (a ?? 0) * at[0] + (b ?? 0) * at[1] + (d ?? 0);
    const metresTall = (top * onGround(depth) - onGround(row)) / (row[2] - top * depth[2]);
    return Number.isFinite(metresTall) && metresTall > 0 ? [metresTall] : [];
  });
  return heights.sort((a, b) => a - b);
}

/** What is said of the people in the picture, and whether people are like that. */
export function peopleWords(heights: readonly number[]): { text: string; fine: boolean } | undefined {
  const [smallest, largest] = [heights[0], heights.at(-1)];
  const middle = heights[Math.floor(heights.length / 2)];
  if (smallest === undefined || largest === undefined || middle === undefined) return undefined;
  const range = metres(smallest) === metres(largest) ? metres(smallest) : `${metres(smallest)} to ${metres(largest)}`;
  const who = heights.length === 1 ? "The person" : `The ${plural(heights.length, "person", "people")}`;
  return {
    text: `${who} in the picture would be ${range} tall.`,
    fine: middle >= PEOPLE_M[0] && middle <= PEOPLE_M[1],
  };
}

/** A length for people: 5.4 cm, 0.8 m, 265 m, 3.2 km. */
export function metres(value: number): string {
  if (value < 0.5) return `${figures(value * 100)} cm`;
  return value < 1000 ? `${figures(value)} m` : `${figures(value / 1000)} km`;
}

function figures(value: number): string {
  return value.toFixed(value < 10 ? 1 : 0);
}

function pixels(value: number): string {
  return value.toFixed(value < 3 ? 1 : 0);
}
