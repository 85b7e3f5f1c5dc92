import { useCallback, useEffect, useState } from "preact/hooks";

import { gaps } from "../api";
import { age, plural, timeOfDay } from "../format";
import { usePolled } from "../poll";
import { session } from "../session";
import { SPEEDS } from "../player";
import { gapParts, timeline } from "../timeline";
import type { CameraState } from "../wire";
import { between, Icon } from "./shapes";

/** What is held is asked for this often. */
const REFRESH_MS = 5_000;
/** And where there is nothing in it. */
const GAPS_EVERY_MS = 15_000;
/** What an arrow on the handle moves by. */
const ARROW_MS = 1_000;

/** What is held of a camera, where in it this page is, and how to move. */
export function Timeline({ camera }: { camera: CameraState }) {
  const feed = session.feed(camera.camera);
  const { player } = feed;
  const moment = player.moment.value;
  const open = session.connection.value.state === "open";
  const [dragged, setDragged] = useState<number | undefined>(undefined);

  useEffect(() => {
    if (!open) return undefined;
    player.refresh();
    const timer = setInterval(() => {
      if (!document.hidden) player.refresh();
    }, REFRESH_MS);
    return () => {
      clearInterval(timer);
    };
  }, [player, open]);

  const ask = useCallback((signal: AbortSignal) => gaps(camera.camera, signal), [camera.camera]);
  const missing = usePolled(ask, GAPS_EVERY_MS).value ?? [];

  const stretch = timeline(moment, feed.shown, session.nowMs.value, camera.health);
  const { firstMs, lastMs, atMs } = stretch;
  const parts = gapParts(missing, stretch);
  const shownMs = dragged ?? atMs;
  const moving = moment.state === "playing" || moment.state === "buffering" || moment.state === "live";
  const seek = (ms: number): void => {
    player.seek(`${Math.round(Math.min(lastMs, Math.max(firstMs, ms)))}-0`, true);
  };
  const arrow = (event: KeyboardEvent): void => {
    if (event.key === "ArrowLeft" || event.key === "ArrowDown") seek(shownMs - ARROW_MS);
    else if (event.key === "ArrowRight" || event.key === "ArrowUp") seek(shownMs + ARROW_MS);
    else if (event.key === "Home") seek(firstMs);
    else if (event.key === "End") player.goLive();
    else return;
    event.preventDefault();
  };
  const behindMs = Math.max(0, lastMs - shownMs);
  const where = moment.state === "live" && dragged === undefined ? "live" : `${age(behindMs)} behind`;
  return (
    <section class="timeline" aria-label="Timeline" data-state={moment.state} data-at={moment.at ?? ""}>
      <div class="timeline-buttons">
        <button
          class="tool"
          type="button"
          aria-label="One frame back"
          title="One frame back (,)"
          disabled={!open}
          onClick={() => {
            player.step(-1, feed.shown);
          }}
        >
          <Icon name="stepBack" />
        </button>
        <button
          class="tool"
          type="button"
          aria-label={moving ? "Stand still" : "Play on"}
          title={moving ? "Stand still (space)" : "Play on (space)"}
          disabled={!open}
          onClick={() => {
            player.toggle(feed.shown);
          }}
        >
          <Icon name={moving ? "pause" : "play"} />
        </button>
        <button
          class="tool"
          type="button"
          aria-label="One frame on"
          title="One frame on (.)"
          disabled={!open}
          onClick={() => {
            player.step(1, feed.shown);
          }}
        >
          <Icon name="stepOn" />
        </button>
        <select
          class="tool"
          aria-label="Speed of playing"
          title="Speed of playing"
          value={String(player.speed.value)}
          onChange={(event) => {
            player.chooseSpeed(Number(event.currentTarget.value));
          }}
        >
          {SPEEDS.map((speed) => (
            <option key={speed} value={String(speed)}>
              {speed}×
            </option>
          ))}
        </select>
        <span class="timeline-where">
          <time>{atMs > 0 ? timeOfDay(shownMs) : "–"}</time> <span>{where}</span>
        </span>
        <button
          class={`tool timeline-live ${moment.state === "live" ? "now" : ""}`}
          type="button"
          aria-pressed={moment.state === "live"}
          title="Live again (l)"
          disabled={!open}
          onClick={() => {
            player.goLive();
          }}
        >
          Live
        </button>
      </div>
      <div class="timeline-gaps" aria-hidden="true">
        {parts.map(({ from, to }) => (
          <span key={from} style={{ clipPath: between(from, to) }} />
        ))}
      </div>
      <input
        class="timeline-bar"
        type="range"
        aria-label="Position in what is held"
        aria-valuetext={`${timeOfDay(shownMs)}, ${where}`}
        min={firstMs}
        max={lastMs}
        step="1"
        value={shownMs}
        disabled={!open || firstMs >= lastMs}
        onInput={(event) => {
          const ms = Number(event.currentTarget.value);
          setDragged(ms);
          seek(ms);
        }}
        onChange={() => {
          setDragged(undefined);
        }}
        onKeyDown={arrow}
      />
      <p class="timeline-words">
        {moment.problem !== undefined ? (
          <span role="status">{moment.problem}</span>
        ) : (
          firstMs < lastMs &&
          `${age(lastMs - firstMs)} held, since ${timeOfDay(firstMs)}${parts.length > 0 ? `, with ${plural(parts.length, "gap")}` : ""}`
        )}
      </p>
    </section>
  );
}
