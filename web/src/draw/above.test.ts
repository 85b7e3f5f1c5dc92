import { expect, it } from "vitest";

import type { Step } from "../wire";
import { GroundTrails, roundMetres, View } from "./above";

function step(seconds: number, x: number): Step {
  return {
    step: Math.round(seconds * 50),
    sim_time_us: Math.round(seconds * 1e6),
    wall_time_us: 0,
    ego: { x, y: 0, heading: 0, speed_mps: 10, size: [4, 2] },
    trajectory: [],
    objects: [],
    timings_us: {},
    scalars: {},
    map: null,
    result: null,
  };
}

it("zooming moves what is under the pointer", () => {
  const view = new View();
  view.pan(37, -12);
  const pointer = { x: 100, y: 40 };
  const before = view.toGround(pointer, 800, 600);
  view.zoom(3.7, pointer, 800, 600);
  const after = view.toScreen(before, 800, 600);
  expect(after.x).toBeCloseTo(pointer.x, 6);
  expect(after.y).toBeCloseTo(pointer.y, 6);
});

it("panning goes the wrong way, or still follows", () => {
  const view = new View();
  const under = view.toGround({ x: 10, y: 20 }, 800, 600);
  view.pan(5, 7);
  expect(view.toScreen(under, 800, 600).x).toBeCloseTo(15, 6);
  expect(view.toScreen(under, 800, 600).y).toBeCloseTo(27, 6);
  expect(view.following).toBe(false);
});

it("+y points down", () => {
  const view = new View();
  expect(view.toScreen({ x: 0, y: 1 }, 100, 100).y).toBeLessThan(50);
});

it("trails grow for ever, or stay when a run begins again", () => {
  const trails = new GroundTrails();
  for (let i = 0; i < 1000; i += 1) trails.add(step(i / 50, i));
  expect(trails.of("ego").length).toBeLessThan(70);
  expect(trails.of("ego").at(-1)?.x).toBeGreaterThan(990);
  trails.add(step(0, 5));
  expect(trails.of("ego").map(({ x }) => x)).toEqual([5]);
});

it("the grid has odd distances", () => {
  for (const [least, round] of [
    [0.3, 0.5],
    [1, 1],
    [1.01, 2],
    [48, 50],
    [51, 100],
  ] as const)
    expect(roundMetres(least)).toBeCloseTo(round, 9);
});
