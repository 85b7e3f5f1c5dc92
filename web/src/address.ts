/** What the address says. */
export type Route =
  | { view: "wall"; search: string }
  | { view: "camera"; camera: string }
  | { view: "stream"; stream: string }
  | { view: "device" };

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?");
  const [, view, name] = path.split("/");
  if ((view === "camera" || view === "stream") && name !== undefined && name !== "") {
    try {
      const of = decodeURIComponent(name);
      return view === "camera" ? { view, camera: of } : { view, stream: of };
    } catch {
      return { view: "wall", search: "" };
    }
  }
  if (view === "device") return { view };
  return { view: "wall", search: new URLSearchParams(query).get("search") ?? "" };
}

export function routeHref(route: Route): string {
  if (route.view === "camera") return `#/camera/${encodeURIComponent(route.camera)}`;
  if (route.view === "stream") return `#/stream/${encodeURIComponent(route.stream)}`;
  if (route.view === "device") return "#/device";
  return route.search === "" ? "#/" : `#/?${new URLSearchParams({ search: route.search }).toString()}`;
}
