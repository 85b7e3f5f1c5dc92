// What a person is about to make of a camera: everything on the setup page that is not saved yet.

import { count } from "../format";
import type { CalibrationConfig, CalibrationPoint, CameraConfig, Point } from "./config";
import { type NumberRange, numberText, readNumber } from "./number";
import { crossesItself } from "./polygon";
import { type PictureShape, stretch, stretched } from "./shape";

export interface Draft {
  id: string;
  name: string;
  uri: string;
  loop: boolean;
  /** Class names to keep; all where empty. */
  classes: readonly string[];
  confidence: number;
  /** Source pixels. */
  region: readonly Point[];
  /** The picture that the region was drawn on; undefined where nobody said. */
  regionOn: PictureShape | undefined;
  calibration: CalibrationDraft;
}

/** `matrix`: was given as one, which this page shows and leaves alone. */
export type CalibrationMode = "none" | "rectangle" | "points" | "matrix";

/** Both ways keep what they have when the other one is chosen. */
export interface CalibrationDraft {
  mode: CalibrationMode;
  /** The picture whose pixels the corners, the points and the matrix are in; undefined where nobody said. */
  drawnOn: PictureShape | undefined;
  /** A rectangle on the ground: its corners as clicked, near left, near right, far right, far left. */
  corners: readonly Point[];
  /** From near left to near right, metres, as typed. */
  widthM: string;
  /** From near to far, metres, as typed. */
  lengthM: string;
  points: readonly PointDraft[];
}

/** Its metres are typed after the click, and kept as typed. */
export interface PointDraft {
  image: Point;
  x: string;
  y: string;
}

/** Metres of a rectangle's side, and of a coordinate; the gateway takes no more. */
export const SIDE_M: NumberRange = { above: 0, most: 1e7 };
export const COORDINATE_M: NumberRange = { most: 1e7 };

export const LEAST_POINTS = 4;
const DEFAULT_CONFIDENCE = 0.35;

const NO_CALIBRATION: CalibrationDraft = {
  mode: "none",
  drawnOn: undefined,
  corners: [],
  widthM: "",
  lengthM: "",
  points: [],
};

export const NEW_DRAFT: Draft = {
  id: "",
  name: "",
  uri: "",
  loop: false,
  classes: [],
  confidence: DEFAULT_CONFIDENCE,
  region: [],
  regionOn: undefined,
  calibration: NO_CALIBRATION,
};

export function draftOf({ id, name = "", source, analysis = {}, calibration }: CameraConfig): Draft {
  return {
    id,
    name,
    uri: source.uri,
    loop: source.loop ?? false,
    classes: analysis.classes ?? [],
    confidence: analysis.confidence ?? DEFAULT_CONFIDENCE,
    region: analysis.region ?? [],
    regionOn: analysis.region_drawn_on,
    calibration: { ...calibrationDraftOf(calibration), drawnOn: calibration?.drawn_on },
  };
}

function calibrationDraftOf(calibration: CalibrationConfig | undefined): CalibrationDraft {
  if (calibration?.world_from_image !== undefined) return { ...NO_CALIBRATION, mode: "matrix" };
  const given = calibration?.points ?? [];
  if (given.length === 0) return NO_CALIBRATION;
  const points = given.map(({ image, ground: [x, y] }) => ({ image, x: numberText(x), y: numberText(y) }));
  const [a, b, c, d] = given.map(({ ground }) => ground);
  const [width = 0] = b ?? [];
  const [, length = 0] = c ?? [];
  const isRectangle = (corners: (Point | undefined)[]): boolean =>
    JSON.stringify(corners) === JSON.stringify([[0, 0], [width, 0], [width, length], [0, length]]); // prettier-ignore
  if (given.length === 4 && width > 0 && length > 0 && isRectangle([a, b, c, d])) {
    const corners = given.map(({ image }) => image);
    return {
      ...NO_CALIBRATION,
      mode: "rectangle",
      corners,
      widthM: numberText(width),
      lengthM: numberText(length),
      points,
    };
  }
  return { ...NO_CALIBRATION, mode: "points", points };
}

/** The configuration that the draft asks for; what this page does not know stays as it is in `before`. */
export function configOf(draft: Draft, before: CameraConfig | undefined): CameraConfig {
  const { calibration: kept, ...rest } = before ?? { id: draft.id, source: { uri: draft.uri } };
  const { drawnOn } = draft.calibration;
  const calibration = draft.calibration.mode === "matrix" ? matrixOn(kept, drawnOn) : pointsConfig(draft.calibration);
  const region_drawn_on = draft.region.length > 0 ? draft.regionOn : undefined;
  return {
    ...rest,
    id: draft.id.trim(),
    name: draft.name.trim(),
    source: { ...rest.source, uri: draft.uri.trim(), loop: draft.loop },
    analysis: {
      ...rest.analysis,
      classes: draft.classes,
      confidence: draft.confidence,
      region: draft.region,
      region_drawn_on,
    },
    ...(calibration === undefined ? {} : { calibration }),
  };
}

function pointsConfig(calibration: CalibrationDraft): CalibrationConfig | undefined {
  const points = calibrationPoints(calibration);
  return points === undefined ? undefined : { points, drawn_on: calibration.drawnOn };
}

/** A matrix in the pixels of another picture of the scene. */
export function matrixOn(
  calibration: CalibrationConfig | undefined,
  picture: PictureShape | undefined,
): CalibrationConfig | undefined {
  const { world_from_image: matrix, drawn_on: before } = calibration ?? {};
  if (matrix === undefined || picture === undefined) return calibration;
  const by = [...stretch(before, picture), 1];
  return { world_from_image: matrix.map((row) => row.map((value, i) => value / (by[i] ?? 1))), drawn_on: picture };
}

/** The calibration as it lies on a picture; what is drawn from here on is drawn on that one. */
export function calibrationOn(calibration: CalibrationDraft, picture: PictureShape): CalibrationDraft {
  const by = stretch(calibration.drawnOn, picture);
  return {
    ...calibration,
    drawnOn: picture,
    corners: stretched(calibration.corners, by),
    points: calibration.points.map((point) => ({ ...point, image: stretched([point.image], by)[0] ?? point.image })),
  };
}

/** The region as it lies on a picture, and that picture. */
export function regionOn(draft: Draft, picture: PictureShape): Pick<Draft, "region" | "regionOn"> {
  return { region: stretched(draft.region, stretch(draft.regionOn, picture)), regionOn: picture };
}

/** The points of the ground as soon as they are complete: each with its metres, and four or more. */
export function calibrationPoints(calibration: CalibrationDraft): readonly CalibrationPoint[] | undefined {
  if (calibration.mode === "rectangle") {
    const { corners } = calibration;
    const w = readNumber(calibration.widthM, SIDE_M).value;
    const l = readNumber(calibration.lengthM, SIDE_M).value;
    if (corners.length !== 4 || w === undefined || l === undefined) return undefined;
    const grounds: Point[] = [
      [0, 0],
      [w, 0],
      [w, l],
      [0, l],
    ];
    return corners.map((image, i) => ({ image, ground: grounds[i] ?? [0, 0] }));
  }
  if (calibration.mode !== "points") return undefined;
  const points = calibration.points.flatMap(({ image, ...typed }) => {
    const [x, y] = [readNumber(typed.x, COORDINATE_M).value, readNumber(typed.y, COORDINATE_M).value];
    return x === undefined || y === undefined ? [] : [{ image, ground: [x, y] as const }];
  });
  return points.length < calibration.points.length || points.length < LEAST_POINTS ? undefined : points;
}

/** Which part of the setup a problem is in. */
export type Part = "source" | "region" | "calibration";

export interface DraftProblem {
  part: Part;
  text: string;
}

/** What is missing before this can be saved, each with the way out. The gateway knows more. */
export function problemsOf(draft: Draft): DraftProblem[] {
  const problems: DraftProblem[] = [];
  const check = (fine: boolean, part: Part, text: string): void => {
    if (!fine) problems.push({ part, text });
  };
  const { region, calibration } = draft;
  check(draft.uri.trim() !== "", "source", "Give the source's address.");
  const idWords = "An id has letters, digits, “-”, “_” or “.”, up to 64, and begins with a letter or digit.";
  check(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(draft.id.trim()), "source", idWords);
  const inUnit = draft.confidence >= 0 && draft.confidence <= 1;
  check(inUnit, "source", "The confidence is a number from 0 to 1.");
  check(
    region.length === 0 || region.length >= 3,
    "region",
    `The region has ${region.length === 1 ? "one corner" : "two corners"}: add more, or remove them.`,
  );
  check(!crossesItself(region), "region", "The region's edges cross: move a corner.");
  const unread = unreadWords(calibration);
  check(unread === undefined, "calibration", unread ?? "");
  const missing = missingWords(calibration);
  check(missing === undefined || unread !== undefined, "calibration", missing ?? "");
  const bow = calibration.mode === "rectangle" && crossesItself(calibration.corners);
  check(!bow, "calibration", "The rectangle's edges cross: go round it, near left first.");
  return problems;
}

/** The first typed number of the calibration that cannot be used, and why. */
function unreadWords({ mode, widthM, lengthM, points }: CalibrationDraft): string | undefined {
  const typed: (readonly [string, string, NumberRange])[] =
    mode === "rectangle"
      ? [
          ["Width", widthM, SIDE_M],
          ["Length", lengthM, SIDE_M],
        ]
      : mode === "points"
        ? points.flatMap(({ x, y }, i) => [
            [`X of point ${i + 1}`, x, COORDINATE_M] as const,
            [`Y of point ${i + 1}`, y, COORDINATE_M] as const,
          ])
        : [];
  for (const [name, text, range] of typed) {
    const { problem } = readNumber(text, range);
    if (problem !== undefined) return `${name}: ${problem}`;
  }
  return undefined;
}

/** What the calibration still needs; nothing where it is complete. */
export function missingWords(calibration: CalibrationDraft): string | undefined {
  if (calibrationPoints(calibration) !== undefined) return undefined;
  if (calibration.mode === "rectangle") {
    const corner = ["near left", "near right", "far right", "far left"][calibration.corners.length];
    if (corner !== undefined) return `Click the rectangle's ${corner} corner.`;
    return "Type the rectangle's width and length in metres.";
  }
  if (calibration.mode === "points") {
    const wanting = LEAST_POINTS - calibration.points.length;
    if (wanting > 0) return `Click ${count(wanting)} more ${wanting === 1 ? "point" : "points"} of the ground.`;
    return "Type the metres of each point.";
  }
  return undefined;
}

/** An id made of a name or a source's address, not one of those that are taken. */
export function suggestId(name: string, uri: string, taken: ReadonlySet<string>): string {
  const base = slug(name) || slug(fromAddress(uri)) || "camera";
  if (!taken.has(base)) return base;
  for (let n = 2; ; n += 1) if (!taken.has(`${base}-${n}`)) return `${base}-${n}`;
}

function slug(text: string): string {
  return text
    .normalize("NFKD")
    .toLowerCase()
    .replaceAll(/\p{Mark}/gu, "")
    .replaceAll(/[^a-z0-9]+/g, "-")
    .slice(0, 48)
    .replaceAll(/^-+|-+$/g, "");
}

/** The part of an address that tells cameras apart: its host, or a file's name; nothing where that may be a password. */
function fromAddress(uri: string): string {
  const address = /^(?!file:)[a-z0-9+.-]+:\/\/(.*)$/i.exec(uri.trim())?.[1];
  if (address !== undefined) return address.replace(/^.*@/, "").split(/[/:?#]/)[0] ?? "";
  const path = uri.trim().replace(/^(?:file|images|v4l2|synthetic):/i, "").split("?")[0] ?? ""; // prettier-ignore
  return /[@:=&%]/.test(path) ? "" : (path.split("/").at(-1) ?? "").replace(/\.[a-z0-9]{2,4}$/i, "");
}

/** What the fit is worth, in a word and a sentence. */
export interface Verdict {
  word: "good" | "check" | "poor";
  text: string;
}

/** Judges a fit by how far the points lie from it in the picture; of four points alone nothing can be told. */
export function verdict(rmsPx: number, points: number, width: number): Verdict {
  const share = rmsPx / Math.max(1, width);
  // No number at all is poor, too.
  if (!(share <= 0.01)) {
    return { word: "poor", text: "The points contradict each other: begin with the worst one, and with its metres." };
  }
  if (points <= LEAST_POINTS) {
    return { word: "check", text: "Four points always fit: check a length that you know with the ruler." };
  }
  if (share > 0.003)
    return { word: "check", text: "The points fit roughly: check a length that you know with the ruler." };
  return { word: "good", text: "The points agree with each other." };
}
