/** A value with what it was before and, after an undo, what it was then. */
export interface History<T> {
  past: readonly T[];
  present: T;
  future: readonly T[];
  /** What the last edit was about: further ones about the same make one step. */
  about: string | undefined;
}

const MOST_STEPS = 200;

export function begin<T>(present: T): History<T> {
  return { past: [], present, future: [], about: undefined };
}

/** Edits that follow each other and are `about` the same thing (a drag, the typing in a field) are undone at once. */
export function edit<T>(history: History<T>, present: T, about?: string): History<T> {
  if (about !== undefined && about === history.about) return { ...history, present, future: [] };
  return { past: [...history.past, history.present].slice(-MOST_STEPS), present, future: [], about };
}

export function undo<T>(history: History<T>): History<T> {
  const { past, present, future } = history;
  if (past.length === 0) return history;
  return {
    past: past.slice(0, -1),
    present: past[past.length - 1] as T,
    future: [present, ...future],
    about: undefined,
  };
}

export function redo<T>(history: History<T>): History<T> {
  const { past, present, future } = history;
  if (future.length === 0) return history;
  return { past: [...past, present], present: future[0] as T, future: future.slice(1), about: undefined };
}

/** The next edit is a step of its own, whatever it is about. */
export function settle<T>(history: History<T>): History<T> {
  return { ...history, about: undefined };
}
