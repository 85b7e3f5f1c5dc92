/** What the address says. */
export type Route = { view: "wall"; search: string } | { view: "camera"; camera: string; at?: string };

const FRAME_ID = /^\d{1,16}-\d{1,16}$/;

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?");
  const [, view, camera] = path.split("/");
  if (view === "camera" && camera !== undefined && camera !== "") {
    try {
      const at = new URLSearchParams(query).get("at") ?? "";
      const moment = FRAME_ID.test(at) ? { at } : {};
      return { view: "camera", camera: decodeURIComponent(camera), ...moment };
    } catch {
      return { view: "wall", search: "" };
    }
  }
  return { view: "wall", search: new URLSearchParams(query).get("search") ?? "" };
}

export function routeHref(route: Route): string {
  if (route.view === "camera") {
    const moment = route.at === undefined ? "" : `?at=${route.at}`;
    return `#/camera/${encodeURIComponent(route.camera)}${moment}`;
  }
  return route.search === "" ? "#/" : `#/?${new URLSearchParams({ search: route.search }).toString()}`;
}
