import { useEffect, useRef } from "preact/hooks";

import { View } from "../draw/above";
import { session } from "../session";
import { speedUnit } from "../settings";

interface AboveProps {
  stream: string;
  /** With labels, and the view can be moved; tiles have no room for it. */
  large: boolean;
  /** There is nothing to move about in: what is shown are the boxes of a result. */
  still?: boolean;
  /** What is shown is not the present. */
  old: boolean;
}

/** A stream of steps from above; asks for steps only while it is on the screen. */
export function Above({ stream, large, still = false, old }: AboveProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const view = useRef(new View());
  const feed = session.streamFeed(stream);
  const unit = speedUnit.value;

  useEffect(() => {
    feed.redraw();
  }, [unit, feed]);

  useEffect(() => {
    const element = canvas.current;
    if (element === null) return undefined;
    if (!large) view.current.pixelsPerMetre = 3;
    const detach = feed.attach({ canvas: element, view: view.current, labels: large });
    const onScreen = new IntersectionObserver(
      (entries) => {
        if (entries.at(-1)?.isIntersecting === true) session.follow(stream);
        else session.unfollow(stream);
      },
      { rootMargin: "100px" },
    );
    onScreen.observe(element);
    const resized = new ResizeObserver(() => {
      feed.redraw();
    });
    resized.observe(element);
    const stopMoving = large
      ? moveWith(element, view.current, () => {
          feed.redraw();
        })
      : undefined;
    return () => {
      onScreen.disconnect();
      resized.disconnect();
      stopMoving?.();
      detach();
      session.unfollow(stream);
    };
  }, [feed, stream, large]);

  const change = (by: (view: View, element: HTMLCanvasElement) => void) => () => {
    if (canvas.current === null) return;
    by(view.current, canvas.current);
    feed.redraw();
  };
  const label = still ? `Boxes of ${stream}` : `${stream} from above`;
  if (!large || still) {
    return (
      <div class={`above ${large ? "large still" : "small"} ${old ? "old" : ""}`}>
        <canvas ref={canvas} role="img" aria-label={label} />
      </div>
    );
  }
  return (
    <div class={`above large ${old ? "old" : ""}`}>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="img"
        aria-label={`${label}: arrows move, plus and minus zoom, 0 follows`}
      />
      <div class="above-tools">
        <button type="button" class="tool" aria-label="Zoom in" title="Zoom in (+)" onClick={change(zoom(1.5))}>
          +
        </button>
        <button type="button" class="tool" aria-label="Zoom out" title="Zoom out (−)" onClick={change(zoom(1 / 1.5))}>
          −
        </button>
        <button
          type="button"
          class="tool"
          title="Keep it in the middle (0)"
          onClick={change((of) => {
            of.following = true;
          })}
        >
          Follow
        </button>
      </div>
    </div>
  );
}

/** Zooms about the middle. */
function zoom(factor: number): (view: View, element: HTMLCanvasElement) => void {
  return (view, { clientWidth, clientHeight }) => {
    view.zoom(factor, { x: clientWidth / 2, y: clientHeight / 2 }, clientWidth, clientHeight);
  };
}

/** Drag, wheel, pinch and keys move the view. Returns how to stop. */
function moveWith(element: HTMLCanvasElement, view: View, moved: () => void): () => void {
  const fingers = new Map<number, { x: number; y: number }>();
  const zoomAt = (factor: number, x: number, y: number): void => {
    view.zoom(factor, { x, y }, element.clientWidth, element.clientHeight);
  };
  const stop = new AbortController();
  const { signal } = stop;
  element.addEventListener(
    "pointerdown",
    (event) => {
      element.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    },
    { signal },
  );
  for (const end of ["pointerup", "pointercancel"] as const)
    element.addEventListener(end, (event) => fingers.delete(event.pointerId), { signal });
  element.addEventListener(
    "pointermove",
    (event) => {
      const before = fingers.get(event.pointerId);
      if (before === undefined) return;
      const now = { x: event.offsetX, y: event.offsetY };
      fingers.set(event.pointerId, now);
      const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
      if (other === undefined) view.pan(now.x - before.x, now.y - before.y);
      else {
        const apart = (from: { x: number; y: number }): number => Math.hypot(from.x - other.x, from.y - other.y);
        zoomAt(apart(now) / Math.max(1, apart(before)), other.x, other.y);
      }
      moved();
    },
    { signal },
  );
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoomAt(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
      moved();
    },
    { signal, passive: false },
  );
  element.addEventListener(
    "keydown",
    (event) => {
      const [w, h] = [element.clientWidth, element.clientHeight];
      if (event.key === "+") zoomAt(1.5, w / 2, h / 2);
      else if (event.key === "-") zoomAt(1 / 1.5, w / 2, h / 2);
      else if (event.key === "0") view.following = true;
      else if (event.key === "ArrowLeft") view.pan(w / 10, 0);
      else if (event.key === "ArrowRight") view.pan(-w / 10, 0);
      else if (event.key === "ArrowUp") view.pan(0, h / 10);
      else if (event.key === "ArrowDown") view.pan(0, -h / 10);
      else return;
      event.preventDefault();
      moved();
    },
    { signal },
  );
  return () => {
    stop.abort();
  };
}
