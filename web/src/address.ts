/** What the address says. */
export type Route = { view: "wall"; search: string } | { view: "camera"; camera: string };

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?");
  const [, view, camera] = path.split("/");
  if (view === "camera" && camera !== undefined && camera !== "") {
    try {
      return { view: "camera", camera: decodeURIComponent(camera) };
    } catch {
      return { view: "wall", search: "" };
    }
  }
  return { view: "wall", search: new URLSearchParams(query).get("search") ?? "" };
}

export function routeHref(route: Route): string {
  if (route.view === "camera") return `#/camera/${encodeURIComponent(route.camera)}`;
  return route.search === "" ? "#/" : `#/?${new URLSearchParams({ search: route.search }).toString()}`;
}
