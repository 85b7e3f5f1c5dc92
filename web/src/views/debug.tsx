import { useEffect } from "preact/hooks";

import { count, rate } from "../format";
import { debugOpen, toggleDebug } from "../keys";
import type { Quantiles } from "../link/traffic";
import { session } from "../session";
import { connectionWords } from "../situation";
import { Icon } from "./shapes";

/** What the connection carries and what showing it costs. */
export function DebugPanel() {
  return debugOpen.value ? <Panel /> : null;
}

function Panel() {
  useEffect(() => {
    session.measure(true);
    return () => {
      session.measure(false);
    };
  }, []);
  const connection = session.connection.value;
  const traffic = session.traffic.value;
  const missed = [...session.missed.value.values()].reduce((sum, n) => sum + n, 0);
  const rows: readonly (readonly [string, string, string])[] = [
    ["Connection", connectionWords(connection, session.nowMs.value), "To the gateway"],
    ["Gateway", connection.state === "open" ? connection.version : "–", "Its release"],
    ["Messages", traffic === undefined ? "–" : `${rate(traffic.messagesPerSecond)} / s`, "Over the last two seconds"],
    [
      "Bytes",
      traffic === undefined ? "–" : bytes(traffic.bytesPerSecond),
      "Over the last two seconds, without framing",
    ],
    ["Decode", quantiles(traffic?.decodeMs), "Reading a message, in the worker: median and 95th percentile"],
    ["Picture", quantiles(traffic?.pictureMs), "Decoding a JPEG, beside the page: median and 95th percentile"],
    ["Paint", quantiles(session.paintMs.value), "All pictures and overlays of one refresh: median and 95th percentile"],
    ["Missed", count(missed), "Messages that this browser was too slow for"],
    ["Round trip", milliseconds(session.roundTripMs.value), "To the gateway and back; the shortest of the last pings"],
    ["Clock offset", milliseconds(session.clockOffsetMs.value), "What the gateway's clock is ahead of this browser's"],
  ];
  return (
    <aside class="debug" aria-label="Debug panel">
      <h2>
        Debug
        <button type="button" class="tool" aria-label="Close the debug panel" title="Close (d)" onClick={toggleDebug}>
          <Icon name="remove" />
        </button>
      </h2>
      <dl class="rows">
        {rows.map(([name, value, about]) => (
          <div key={name} title={about}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </aside>
  );
}

function quantiles(of: Quantiles | undefined): string {
  return of === undefined ? "–" : `${of.median.toFixed(1)} · ${of.p95.toFixed(1)} ms`;
}

function milliseconds(ms: number | undefined): string {
  return ms === undefined ? "–" : `${ms.toFixed(1)} ms`;
}

function bytes(perSecond: number): string {
  const kilo = perSecond / 1000;
  return kilo < 999.5 ? `${kilo.toFixed(kilo < 99.95 ? 1 : 0)} kB / s` : `${(kilo / 1000).toFixed(2)} MB / s`;
}
