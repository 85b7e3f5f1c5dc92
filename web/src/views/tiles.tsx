import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { tileWidth } from "../tile-width";

/** A list of tiles, each as large as lets all of them be seen at once. */
export function Tiles({ count, children }: { count: number; children: ComponentChildren }) {
  const list = useRef<HTMLUListElement>(null);
  const [room, setRoom] = useState<{ width: number; height: number }>();
  useEffect(() => {
    const measure = (): void => {
      if (list.current === null) return;
      const { left, top, width } = list.current.getBoundingClientRect();
      const above = top + window.scrollY;
      // Below the tiles stays as much free as beside them.
      setRoom({ width, height: document.documentElement.clientHeight - above - left });
    };
    const resized = new ResizeObserver(measure);
    if (list.current !== null) resized.observe(list.current);
    window.addEventListener("resize", measure);
    return () => {
      resized.disconnect();
      window.removeEventListener("resize", measure);
    };
  }, []);
  const width = room && tileWidth(count, room.width, room.height);
  return (
    <ul
      class={width === undefined ? "tiles" : "tiles fitted"}
      ref={list}
      style={width === undefined ? undefined : { "--tile": `${width}px` }}
    >
      {children}
    </ul>
  );
}
