import { expect, it } from "vitest";

import { parseRoute, routeHref, type Route } from "./address";

it("every view survives the way through the address", () => {
  const routes: Route[] = [
    { view: "wall", search: "" },
    { view: "wall", search: "gate & yard?" },
    { view: "camera", camera: "gate-north" },
    { view: "camera", camera: "a/b c%" },
    { view: "camera", camera: "yard", at: "1700000000000-2" },
    { view: "setup", camera: "a/b c%", part: "source" },
    { view: "setup", camera: "gate-north", part: "calibration" },
    { view: "add" },
    { view: "system" },
    { view: "stream", stream: "simulator" },
    { view: "device" },
  ];
  for (const route of routes) expect(parseRoute(routeHref(route))).toEqual(route);
});

it("a moment that is none is left out", () => {
  expect(parseRoute("#/camera/yard?at=now")).toEqual({ view: "camera", camera: "yard" });
});

it("an address that makes no sense shows the wall", () => {
  for (const hash of ["", "#", "#/nowhere", "#/camera/", "#/camera/%E0%A4%A", "#/stream/"]) {
    expect(parseRoute(hash)).toEqual({ view: "wall", search: "" });
  }
});
