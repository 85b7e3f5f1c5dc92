import { effect, signal, type Signal } from "@preact/signals";

import type { SpeedUnit } from "./format";

export type Theme = "auto" | "light" | "dark";

/** A choice that this browser remembers. */
function remembered<T extends string>(name: string, values: readonly [T, ...T[]]): Signal<T> {
  const key = `peregrine.${name}`;
  let stored: string | null = null;
  try {
    stored = localStorage.getItem(key);
  } catch {
    // Storage can be forbidden: then nothing is remembered.
  }
  const choice = signal<T>(values.find((value) => value === stored) ?? values[0]);
  effect(() => {
    const { value } = choice;
    try {
      localStorage.setItem(key, value);
    } catch {
      // As above.
    }
  });
  return choice;
}

export const speedUnit: Signal<SpeedUnit> = remembered<SpeedUnit>("speed-unit", ["km/h", "mph"]);
export const theme: Signal<Theme> = remembered<Theme>("theme", ["auto", "light", "dark"]);

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

export function nextTheme(): void {
  theme.value = theme.value === "auto" ? "dark" : theme.value === "dark" ? "light" : "auto";
}

export function nextUnit(): void {
  speedUnit.value = speedUnit.value === "km/h" ? "mph" : "km/h";
}
