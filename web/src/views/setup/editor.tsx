import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import type { Point } from "../../setup/config";
import { within } from "../../setup/polygon";
import type { Size } from "../../wire";

/** A point on the picture that can be moved. */
export interface HandleSpec {
  /** Unique among the handles, and what it is called: `corner 3`. */
  name: string;
  /** On the handle itself. */
  text: string;
  at: Point;
  kind: "corner" | "point" | "ruler";
  move: (to: Point) => void;
  remove?: () => void;
}

/** Screen pixels per source pixel, along x and y: source pixels need not be square. */
export type Scale = Point;

interface EditorProps {
  /** The source picture's, in whose pixels all points are. */
  size: Size;
  /** What this is, and what a click does. */
  label: string;
  handles: readonly HandleSpec[];
  /** A click, or Enter at the crosshair; `reach` is how many source pixels a finger covers. */
  add?: (at: Point, reach: number) => void;
  /** What follows is a step of its own. */
  settle: () => void;
  /** What is drawn, in SVG. */
  children: (scale: Scale) => ComponentChildren;
}

/** Screen pixels that a click may miss an edge by. */
const REACH_PX = 12;
/** Arrow keys move by this share of the picture's width; with Shift by one pixel. */
const KEY_STEP = 0.01;

/** Points on a picture by mouse, finger or keyboard: click adds, drag moves, Delete removes. */
export function Editor({ size, label, handles, add, settle, children }: EditorProps) {
  const surface = useRef<HTMLDivElement>(null);
  const shown = useShownSize(surface);
  const scale: Scale = [shown[0] / Math.max(1, size.width), shown[1] / Math.max(1, size.height)];
  const known = scale[0] > 0 && scale[1] > 0;
  const [crosshair, setCrosshair] = useState<Point>([size.width / 2, size.height / 2]);

  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.target !== surface.current) return;
    const by = arrow(event, size);
    if (by !== undefined) setCrosshair(within([crosshair[0] + by[0], crosshair[1] + by[1]], size));
    else if (event.key === "Enter" || event.key === " ") add?.(crosshair, REACH_PX / scale[0]);
    else if (event.key === "Delete" || event.key === "Backspace") handles.findLast(({ remove }) => remove)?.remove?.();
    else if (event.key === "Escape") surface.current?.blur();
    else return;
    event.preventDefault();
  };
  const place = ([x, y]: Point): { left: string; top: string } => ({
    left: `${x * scale[0]}px`,
    top: `${y * scale[1]}px`,
  });
  return (
    <div
      ref={surface}
      class={`editor ${add === undefined ? "" : "adds"}`}
      role="application"
      tabIndex={0}
      aria-label={label}
      onClick={({ target, offsetX, offsetY }) => {
        if (target === surface.current && known) {
          add?.(within([offsetX / scale[0], offsetY / scale[1]], size), REACH_PX / scale[0]);
        }
      }}
      onKeyDown={onKeyDown}
    >
      <svg aria-hidden="true">{known && children(scale)}</svg>
      <span class="crosshair" style={place(crosshair)}>
        <span class="hidden-words" role="status">
          {`column ${Math.round(crosshair[0])}, row ${Math.round(crosshair[1])}`}
        </span>
      </span>
      {handles.map((handle) => (
        <Handle
          key={handle.name}
          handle={handle}
          size={size}
          scale={scale}
          settle={settle}
          left={() => {
            surface.current?.focus();
          }}
        />
      ))}
    </div>
  );
}

interface HandleProps {
  handle: HandleSpec;
  size: Size;
  scale: Scale;
  settle: () => void;
  /** The handle is about to be gone, and the focus with it. */
  left: () => void;
}

interface Drag {
  from: Point;
  clientX: number;
  clientY: number;
}

function Handle({ handle, size, scale, settle, left }: HandleProps) {
  const drag = useRef<Drag | undefined>(undefined);
  const { name, text, at, kind, move, remove } = handle;
  const end = (): void => {
    drag.current = undefined;
    settle();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const by = arrow(event, size);
    if (by !== undefined) move(within([at[0] + by[0], at[1] + by[1]], size));
    else if ((event.key === "Delete" || event.key === "Backspace") && remove !== undefined) {
      left();
      remove();
    } else if (event.key === "Escape") {
      if (drag.current === undefined) left();
      else move(drag.current.from);
      end();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <button
      type="button"
      class={`handle ${kind}`}
      style={{ left: `${at[0] * scale[0]}px`, top: `${at[1] * scale[1]}px` }}
      aria-label={`${name} at column ${Math.round(at[0])}, row ${Math.round(at[1])}`}
      title={`${name}: drag, or arrow keys${remove === undefined ? "" : "; Delete removes it"}`}
      onPointerDown={(event) => {
        settle();
        event.currentTarget.setPointerCapture(event.pointerId);
        drag.current = { from: at, clientX: event.clientX, clientY: event.clientY };
      }}
      onPointerMove={(event) => {
        if (drag.current === undefined) return;
        const { from, clientX, clientY } = drag.current;
        const [dx, dy] = [(event.clientX - clientX) / scale[0], (event.clientY - clientY) / scale[1]];
        const to = within([from[0] + dx, from[1] + dy], size);
        if (to[0] !== at[0] || to[1] !== at[1]) move(to);
      }}
      onPointerUp={end}
      onPointerCancel={end}
      onKeyDown={onKeyDown}
    >
      <span>{text}</span>
    </button>
  );
}

/** How far an arrow key moves, in source pixels; nothing for other keys. */
function arrow({ key, shiftKey }: KeyboardEvent, { width }: Size): Point | undefined {
  const step = shiftKey ? 1 : Math.max(1, Math.round(width * KEY_STEP));
  switch (key) {
    case "ArrowLeft":
      return [-step, 0];
    case "ArrowRight":
      return [step, 0];
    case "ArrowUp":
      return [0, -step];
    case "ArrowDown":
      return [0, step];
    default:
      return undefined;
  }
}

/** Width and height of an element in screen pixels, 0 before they are known. */
function useShownSize(element: { current: HTMLElement | null }): Point {
  const [size, setSize] = useState<Point>([0, 0]);
  useEffect(() => {
    if (element.current === null) return undefined;
    const resized = new ResizeObserver(([entry]) => {
      if (entry !== undefined) setSize([entry.contentRect.width, entry.contentRect.height]);
    });
    resized.observe(element.current);
    return () => {
      resized.disconnect();
    };
  }, [element]);
  return size;
}

/** Points as an SVG path or polygon takes them. */
export function svgPoints(points: readonly Point[], [sx, sy]: Scale): string {
  return points.map(([x, y]) => `${(x * sx).toFixed(1)},${(y * sy).toFixed(1)}`).join(" ");
}
