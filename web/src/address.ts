import type { Part } from "./setup/draft";

/** What the address says. */
export type Route =
  | { view: "wall"; search: string }
  | { view: "camera"; camera: string; at?: string }
  | { view: "add" }
  | { view: "device" }
  | { view: "setup"; camera: string; part: Part }
  | { view: "stream"; stream: string }
  | { view: "system" };

const FRAME_ID = /^\d{1,16}-\d{1,16}$/;

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?");
  const [, view, name, more, part] = path.split("/");
  if (view === "add" || view === "device" || view === "system") return { view };
  if ((view === "camera" || view === "stream") && name !== undefined && name !== "") {
    try {
      const id = decodeURIComponent(name);
      if (view === "stream") return { view, stream: id };
      if (more === "setup") return { view: more, camera: id, part: partOf(part) };
      const at = new URLSearchParams(query).get("at") ?? "";
      return { view, camera: id, ...(FRAME_ID.test(at) ? { at } : {}) };
    } catch {
      return { view: "wall", search: "" };
    }
  }
  return { view: "wall", search: new URLSearchParams(query).get("search") ?? "" };
}

export function routeHref(route: Route): string {
  switch (route.view) {
    case "camera": {
      const moment = route.at === undefined ? "" : `?at=${route.at}`;
      return `#/camera/${encodeURIComponent(route.camera)}${moment}`;
    }
    case "setup":
      return `#/camera/${encodeURIComponent(route.camera)}/setup${route.part === "source" ? "" : `/${route.part}`}`;
    case "stream":
      return `#/stream/${encodeURIComponent(route.stream)}`;
    case "add":
    case "device":
    case "system":
      return `#/${route.view}`;
    case "wall":
      return route.search === "" ? "#/" : `#/?${new URLSearchParams({ search: route.search }).toString()}`;
  }
}

function partOf(text: string | undefined): Part {
  return text === "region" || text === "calibration" ? text : "source";
}
