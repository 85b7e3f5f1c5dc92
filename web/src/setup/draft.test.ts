import { expect, it } from "vitest";

import type { CameraConfig, Point } from "./config";
import {
  calibrationOn,
  calibrationPoints,
  configOf,
  draftOf,
  missingWords,
  NEW_DRAFT,
  problemsOf,
  regionOn,
  suggestId,
  verdict,
} from "./draft";

const CORNERS: Point[] = [
  [300, 600],
  [900, 600],
  [700, 300],
  [450, 300],
];
const FULL: CameraConfig = {
  id: "gate",
  name: "Gate",
  source: { uri: "rtsp://***@cam/1", fps: 7, pace: "fast", loop: true, every: 2 },
  analysis: { classes: ["car"], confidence: 0.4, nms_iou: 0.6, region: CORNERS, track: { max_tracks: 9 } },
  calibration: { points: CORNERS.map((image, i) => ({ image, ground: [i, i * i] as const })) },
};

it("what the page does not know is lost by saving", () => {
  expect(configOf(draftOf(FULL), FULL)).toEqual(FULL);
  const matrix = {
    ...FULL,
    calibration: {
      world_from_image: [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
      ],
    },
  };
  expect(configOf(draftOf(matrix), matrix)).toEqual(matrix);
});

it("a rectangle comes back as something else", () => {
  const calibration = {
    ...NEW_DRAFT.calibration,
    mode: "rectangle" as const,
    corners: CORNERS,
    widthM: "3,5",
    lengthM: " 20",
  };
  const saved = configOf({ ...NEW_DRAFT, id: "a", uri: "b", calibration }, undefined);
  expect(saved.calibration?.points?.map(({ ground }) => ground)).toEqual([
    [0, 0],
    [3.5, 0],
    [3.5, 20],
    [0, 20],
  ]);
  expect(draftOf(saved).calibration).toMatchObject({
    mode: "rectangle",
    corners: CORNERS,
    widthM: "3.5",
    lengthM: "20",
  });
});

it("a calibration that is removed stays", () => {
  const draft = draftOf(FULL);
  expect(configOf({ ...draft, calibration: { ...draft.calibration, mode: "none" } }, FULL).calibration).toBeUndefined();
});

it("half a calibration is sent", () => {
  const half = {
    ...NEW_DRAFT.calibration,
    mode: "points" as const,
    points: CORNERS.map((image) => ({ image, x: "1", y: "" })),
  };
  expect(calibrationPoints(half)).toBeUndefined();
  expect(missingWords(half)).toMatch(/metres of each point/);
  expect(missingWords({ ...half, points: half.points.slice(0, 1) })).toMatch(/3 more points/);
  expect(missingWords({ ...half, mode: "rectangle", corners: CORNERS.slice(0, 2) })).toMatch(/far right/);
  expect(
    calibrationPoints({ ...half, mode: "rectangle", corners: CORNERS, widthM: "-1", lengthM: "2" }),
  ).toBeUndefined();
});

it("names the field whose number cannot be read", () => {
  const calibration = { ...NEW_DRAFT.calibration, corners: CORNERS, widthM: "1,000", lengthM: "" };
  const draft = { ...NEW_DRAFT, id: "gate", uri: "clip.mp4" };
  const words = (part: Partial<typeof calibration>): string[] =>
    problemsOf({ ...draft, calibration: { ...calibration, ...part } }).map(({ text }) => text);
  expect(words({ mode: "rectangle" })).toEqual(["Width: “1,000” can mean 1 or 1000: type one of these."]);
  expect(words({ mode: "rectangle", widthM: "3", lengthM: "-" })).toEqual(["Length: Type a number."]);
  const points = CORNERS.map((image, i) => ({ image, x: String(i), y: i === 2 ? "1e3" : "2" }));
  expect(words({ mode: "points", points })).toEqual(["Y of point 3: Write the number out, without “e”."]);
  // What was typed for the way that is not chosen is not saved.
  expect(words({ mode: "none", points })).toEqual([]);
});

it("a draft that cannot be right can be saved", () => {
  const fine = { ...NEW_DRAFT, id: "gate", uri: "clip.mp4" };
  expect(problemsOf(fine)).toEqual([]);
  const bad = { ...fine, id: "-gate", uri: " ", confidence: 2, region: CORNERS.slice(0, 2) };
  expect(problemsOf(bad).map(({ part }) => part)).toEqual(["source", "source", "source", "region"]);
  const crossed = [CORNERS[0], CORNERS[2], CORNERS[1], CORNERS[3]] as Point[];
  expect(problemsOf({ ...fine, region: crossed })).toHaveLength(1);
});

it("a suggested id is taken, or carries a password", () => {
  expect(suggestId("Tor Süd", "", new Set())).toBe("tor-sud");
  expect(suggestId("", "rtsp://admin:se@cret@cam-7.local:554/main", new Set())).toBe("cam-7-local");
  expect(suggestId("", "/videos/Parking Lot.mp4", new Set(["parking-lot", "parking-lot-2"]))).toBe("parking-lot-3");
  expect(suggestId("", "synthetic:road?w=768&h=432", new Set())).toBe("road");
  expect(suggestId("", "v4l2:/dev/video0", new Set())).toBe("video0");
  expect(suggestId("", "file:///videos/yard.mp4", new Set())).toBe("yard");
  for (const address of [
    "",
    "admin:secret@cam/1",
    "cam/user=admin_password=secret",
    "opencv:rtspsrc location=rtsp://cam/1 user-pw=secret ! appsink",
    "/proxy/rtsp%3A%2F%2Fadmin%3Asecret%40cam",
  ])
    expect(suggestId("", address, new Set())).toBe("camera");
});

it("a poor fit is called good", () => {
  expect(verdict(1, 6, 1280).word).toBe("good");
  expect(verdict(8, 6, 1280).word).toBe("check");
  expect(verdict(30, 6, 1280).word).toBe("poor");
  expect(verdict(0, 4, 1280).word).toBe("check");
  expect(verdict(NaN, 6, 1280).word).toBe("poor");
});

it("what was drawn on another picture lies elsewhere on this one", () => {
  const [drawn, now] = [
    { width: 1280, height: 720 },
    { width: 640, height: 720, pixel_aspect: 2 },
  ];
  const config = {
    ...FULL,
    analysis: { ...FULL.analysis, region_drawn_on: drawn },
    calibration: { ...FULL.calibration, drawn_on: drawn },
  };
  const draft = draftOf(config);
  expect(configOf(draft, config)).toEqual(config);
  const moved = { ...draft, ...regionOn(draft, now), calibration: calibrationOn(draft.calibration, now) };
  const saved = configOf(moved, config);
  expect(saved.analysis?.region).toEqual(CORNERS.map(([x, y]) => [x / 2, y]));
  expect(saved.analysis?.region_drawn_on).toEqual(now);
  expect(saved.calibration?.points?.[1]).toEqual({ image: [450, 600], ground: [1, 1] });
  expect(saved.calibration?.drawn_on).toEqual(now);
});

it("a matrix is of the picture that it is said to be right on", () => {
  const matrix = [
    [1, 2, 3],
    [4, 5, 6],
    [7, 8, 9],
  ];
  const config = { ...FULL, calibration: { world_from_image: matrix, drawn_on: { width: 640, height: 480 } } };
  const draft = draftOf(config);
  const now = { width: 1280, height: 1920 };
  const saved = configOf({ ...draft, calibration: calibrationOn(draft.calibration, now) }, config);
  // [640, 480] on the old picture is [1280, 1920] on the new one: the same ground.
  expect(saved.calibration?.world_from_image).toEqual(matrix.map(([a = 0, b = 0, c]) => [a / 2, b / 4, c]));
  expect(saved.calibration?.drawn_on).toEqual(now);
});
