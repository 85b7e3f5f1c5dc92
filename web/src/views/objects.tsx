import type { ComponentChildren } from "preact";

import { plural } from "../format";
import { speedUnit } from "../settings";

interface ObjectsProps {
  /** What is listed, as a word of one of them: `track`. */
  one: string;
  title: string;
  /** What the second column says. */
  second: string;
  nothing: string;
  /** Rows of three cells: the object, the second column, its speed. */
  rows: readonly ComponentChildren[];
  children?: ComponentChildren;
}

/** Objects with their speeds. The list has a fixed height: it scrolls, nothing below it moves. */
export function Objects({ one, title, second, nothing, rows, children }: ObjectsProps) {
  const id = `${one}s-title`;
  return (
    <section class="card" aria-labelledby={id}>
      <h2 id={id}>
        {title}
        <span class="card-figure">{plural(rows.length, one)}</span>
      </h2>
      <div class="tracks" tabIndex={0} role="region" aria-label={`List of ${one}s`}>
        {rows.length === 0 ? (
          <p class="nothing">{nothing}</p>
        ) : (
          <table>
            <thead>
              <tr>
                <th scope="col">Object</th>
                <th scope="col">{second}</th>
                <th scope="col" class="number">
                  Speed, {speedUnit.value}
                </th>
              </tr>
            </thead>
            <tbody>{rows}</tbody>
          </table>
        )}
      </div>
      {children}
    </section>
  );
}
