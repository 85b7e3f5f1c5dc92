import { signal } from "@preact/signals";

import { parseRoute, type Route, routeHref } from "./address";

/** What the address says now. */
export const route = signal<Route>(parseRoute(location.hash));
window.addEventListener("hashchange", () => {
  route.value = parseRoute(location.hash);
});

/** What the address says this very moment: the page may still be about to follow. */
export function here(): Route {
  return parseRoute(location.hash);
}

export function go(to: Route): void {
  location.hash = routeHref(to);
}

/**
 * Puts the moment on the screen into the address without filling the history; none for live. The page is there
 * already, so `route` does not change: only who follows a link to a moment is led to it. An address that has gone on
 * to something else, with the page about to follow, is not called back.
 */
export function setMoment(camera: string, at: string | undefined): void {
  const now = here();
  if (now.view !== "camera" || now.camera !== camera) return;
  const href = routeHref({ view: "camera", camera, ...(at === undefined ? {} : { at }) });
  if (location.hash !== href) history.replaceState(null, "", href);
}

/** Puts what is typed into the address without filling the history. */
export function setSearch(search: string): void {
  history.replaceState(null, "", routeHref({ view: "wall", search }));
  route.value = { view: "wall", search };
}
