import type { Shape, Situation } from "../situation";

/** A state's mark: told by shape, not by colour alone. */
export function Mark({ shape }: { shape: Shape }) {
  return (
    <svg class="mark" viewBox="0 0 12 12" aria-hidden="true">
      {shape === "dot" && <circle cx="6" cy="6" r="4" fill="currentColor" />}
      {shape === "ring" && <circle cx="6" cy="6" r="3.5" fill="none" stroke="currentColor" stroke-width="1.75" />}
      {shape === "triangle" && <path d="M6 1.5 11 10.5H1z" fill="currentColor" />}
      {shape === "square" && <rect x="2.25" y="2.25" width="7.5" height="7.5" rx="1" fill="currentColor" />}
      {shape === "cross" && (
        <path d="m2.5 2.5 7 7m0-7-7 7" stroke="currentColor" stroke-width="2.25" stroke-linecap="round" />
      )}
    </svg>
  );
}

/** Mark and word. */
export function State({ situation }: { situation: Situation }) {
  return (
    <span class={`state ${situation.tone}`}>
      <Mark shape={situation.shape} />
      {situation.word}
    </span>
  );
}

const ICONS = {
  back: "M10 3.5 5.5 8 10 12.5",
  next: "M6 3.5 10.5 8 6 12.5",
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9M10.3 10.3 13.5 13.5",
  sun: "M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9",
  moon: "M13 9.6A5.5 5.5 0 0 1 6.4 3 5.5 5.5 0 1 0 13 9.6z",
  auto: "M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11M8 2.5v11",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.2 12.5 8 5 12.8z",
  stepBack: "M11.5 3.5 6 8 11.5 12.5M4 3.5v9",
  stepOn: "M4.5 3.5 10 8 4.5 12.5M12 3.5v9",
  add: "M8 3v10M3 8h10",
  undo: "M6 3 2.8 6.2 6 9.4M3 6.2h6.2a3.6 3.6 0 0 1 0 7.2H6.5",
  redo: "M10 3l3.2 3.2L10 9.4M13 6.2H6.8a3.6 3.6 0 0 0 0 7.2h2.7",
  remove: "M4 4l8 8M12 4l-8 8",
  setup:
    "M3 5h6M12 5h1M3 11h1M7 11h6M9 3.4a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2M5.5 9.4a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2",
  system: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.1M5 11h.1",
  gauge: "M2.5 11.5a5.8 5.8 0 1 1 11 0M8 10.5l2.6-4",
  chart: "M2.5 2.5v11h11M5 10.5l2.5-3.5 2.5 2 3-5",
  help: "M6 6.2a2 2 0 1 1 2.9 1.8c-.6.3-.9.7-.9 1.4M8 11.7v.1",
} as const;

export type IconName = keyof typeof ICONS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path
        d={ICONS[name]}
        fill="none"
        stroke="currentColor"
        stroke-width="1.5"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
    </svg>
  );
}

export function Wing() {
  return (
    <svg class="wing" viewBox="0 0 32 24" aria-hidden="true">
      <path
        d="M1 6c6.5.4 11.8 2.8 15 8.6C19.2 8.8 24.5 6.4 31 6c-5.8 2.6-8.8 6.2-10.3 11.3L16 22.5l-4.7-5.2C9.8 12.2 6.8 8.6 1 6z"
        fill="currentColor"
      />
      <circle class="head" cx="16" cy="4" r="2.8" />
    </svg>
  );
}

/** The part of a full bar that is shown, at least two pixels of it. */
export function between(from: number, to: number): string {
  const percent = (share: number): string => `${(Math.min(1, Math.max(0, share)) * 100).toFixed(2)}%`;
  return `inset(0 max(0%, ${percent(1 - to)} - 2px) 0 ${percent(from)})`;
}
