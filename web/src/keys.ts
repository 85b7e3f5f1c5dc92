import { signal } from "@preact/signals";

import { go, here } from "./route";
import { session } from "./session";
import { nextTheme, nextUnit } from "./settings";

export const helpOpen = signal(false);
/** The search field takes the focus as soon as it is there. */
export const searchWanted = signal(false);

/** What the help dialog lists. */
export const KEYS: readonly { keys: readonly string[]; does: string }[] = [
  { keys: ["/"], does: "Search cameras" },
  { keys: ["←", "→"], does: "Previous or next camera" },
  { keys: ["Enter"], does: "Open the chosen camera" },
  { keys: ["Esc"], does: "Back to all cameras" },
  { keys: ["u"], does: "km/h or mph" },
  { keys: ["t"], does: "Theme: as the system, dark, light" },
  { keys: ["?"], does: "This help" },
];

/** Listens to the keyboard of the whole page; returns how to stop. */
export function listenToKeys(): () => void {
  window.addEventListener("keydown", onKey);
  return () => {
    window.removeEventListener("keydown", onKey);
  };
}

function onKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || helpOpen.value) return;
  if (event.target instanceof HTMLInputElement) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  switch (event.key) {
    case "/":
      search();
      break;
    case "?":
      helpOpen.value = true;
      break;
    case "Escape":
      if (here().view !== "wall") go({ view: "wall", search: "" });
      break;
    case "ArrowLeft":
    case "ArrowUp":
      step(-1, event.key === "ArrowUp");
      break;
    case "ArrowRight":
    case "ArrowDown":
      step(1, event.key === "ArrowDown");
      break;
    case "u":
      nextUnit();
      break;
    case "t":
      nextTheme();
      break;
    default:
      return;
  }
  if (!event.key.startsWith("Arrow") && event.key !== "Escape") event.preventDefault();
}

function search(): void {
  searchWanted.value = true;
  if (here().view !== "wall") go({ view: "wall", search: "" });
}

/** On the wall, moves the focus among the tiles; with a camera open, opens its neighbour. */
function step(by: number, vertical: boolean): void {
  const at = here();
  if (at.view === "wall") {
    const tiles = [...document.querySelectorAll<HTMLAnchorElement>("a.tile-name")];
    const current = tiles.findIndex((tile) => tile === document.activeElement);
    if (vertical && current < 0) return;
    const columns = vertical ? tiles.filter((tile) => top(tile) === top(tiles[0])).length : 1;
    tiles[current < 0 ? 0 : current + by * columns]?.focus();
    return;
  }
  if (vertical || at.view !== "camera") return;
  const neighbour = neighbourOf(at.camera, by);
  if (neighbour !== undefined) go({ view: "camera", camera: neighbour });
}

function top(element: Element | undefined): number {
  return element?.getBoundingClientRect().top ?? 0;
}

/** The camera before or after one, round the end. */
export function neighbourOf(camera: string, by: number): string | undefined {
  const cameras = session.cameras.value ?? [];
  const index = cameras.findIndex((each) => each.camera === camera);
  if (index < 0 || cameras.length < 2) return undefined;
  return cameras[(index + by + cameras.length) % cameras.length]?.camera;
}
