import type { ComponentChildren } from "preact";

import { Wing } from "./shapes";

interface EmptyProps {
  title: string;
  text: string;
  command?: string;
  children?: ComponentChildren;
}

/** Nothing to show: why, and the next step. */
export function Empty({ title, text, command, children }: EmptyProps) {
  return (
    <section class="empty">
      <Wing />
      <h1>{title}</h1>
      <p>{text}</p>
      {command !== undefined && <code>{command}</code>}
      {children}
    </section>
  );
}
