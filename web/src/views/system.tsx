import { routeHref } from "../address";
import { type LedgerEntry, ledger, workers, type WorkerState } from "../api";
import { apart, balance, bottleneck, reasons } from "../balance";
import { age, count, plural, rate } from "../format";
import { debugOpen, toggleDebug } from "../keys";
import { type Polled, usePolled } from "../poll";
import { session } from "../session";
import { type Seen, situation } from "../situation";
import { grafana } from "../token";
import type { CameraState } from "../wire";
import { Empty } from "./empty";
import { between, Icon, Mark, State } from "./shapes";

const EVERY_MS = 1_000;
/** A worker that was not seen for so long is about to lose its cameras. */
const SILENT_MS = 5_000;

/** Who does the work, how it flows, and where every frame went. */
export function SystemView() {
  const working = usePolled(workers, EVERY_MS);
  const accounts = usePolled(ledger, EVERY_MS);
  const cameras = session.cameras.value;
  if (working.error?.forbidden === true && working.value === undefined) {
    return <Empty title="Not allowed" text={working.error.message} />;
  }
  return (
    <div class="system">
      <div class="camera-head">
        <a class="tool" href="#/" aria-label="All cameras" title="All cameras (Esc)">
          <Icon name="back" />
        </a>
        <h1>System</h1>
        {grafana.value !== undefined && (
          <a
            class="tool worded last"
            href={grafana.value}
            target="_blank"
            rel="noreferrer"
            title="Grafana: every metric over time"
          >
            <Icon name="chart" />
            Grafana
          </a>
        )}
        <button
          type="button"
          class={`tool worded ${grafana.value === undefined ? "last" : ""}`}
          aria-pressed={debugOpen.value}
          title="Debug panel (d)"
          onClick={toggleDebug}
        >
          <Icon name="gauge" />
          Debug
        </button>
      </div>
      <p class="bottleneck" data-testid="bottleneck">
        {cameras === undefined ? "Waiting for the gateway…" : bottleneck(cameras)}
      </p>
      <section class="card" aria-labelledby="workers-title">
        <h2 id="workers-title">
          Workers
          <span class="card-figure">
            {working.value === undefined ? "–" : plural(working.value.workers.length, "worker")}
          </span>
        </h2>
        <Failure polled={working} />
        {working.value?.notices.map((notice) => (
          <p key={notice} class="state warn wraps" data-testid="system-notice">
            <Mark shape="triangle" />
            <span>{notice}</span>
          </p>
        ))}
        {working.value !== undefined && <Workers workers={working.value.workers} />}
      </section>
      <section class="card" aria-labelledby="streams-title">
        <h2 id="streams-title">Streams</h2>
        {cameras !== undefined && <Streams cameras={cameras} />}
      </section>
      <section class="card" aria-labelledby="ledger-title">
        <h2 id="ledger-title">Where every frame went</h2>
        <Failure polled={accounts} />
        {accounts.value !== undefined && <Ledger entries={accounts.value} />}
      </section>
    </div>
  );
}

/** Why the newest numbers are missing; the last ones stay below. */
function Failure({ polled: { value, error } }: { polled: Polled<unknown> }) {
  if (error !== undefined) {
    return (
      <p class="state bad wraps" role="alert">
        <Mark shape="cross" />
        <span>
          {error.message} {value === undefined ? "" : "What follows is old."}
        </span>
      </p>
    );
  }
  return value === undefined ? <p class="nothing">Loading…</p> : null;
}

function Workers({ workers: all }: { workers: readonly WorkerState[] }) {
  if (all.length === 0) {
    return (
      <p class="nothing">
        Nobody works. Start a producer and a processor: <code>./dev demo</code>
      </p>
    );
  }
  return (
    <ul class="workers">
      {all.map(({ worker, role, seen_ms_ago: ms, cameras, unfit }) => (
        <li key={`${role} ${worker}`}>
          <span>
            <span class={`swatch ${role}`} />
            {worker} <span class="soft">{role}</span>
          </span>
          <span class={`state ${ms < SILENT_MS ? "good" : "warn"}`}>
            <Mark shape={ms < SILENT_MS ? "dot" : "triangle"} />
            {age(ms)} ago
          </span>
          <span>
            {cameras.length === 0 && <span class="soft">holds no camera</span>}
            {cameras.map((id) => (
              <CameraLink key={id} id={id} />
            ))}
            {Object.entries(unfit).map(([id, why]) => (
              <span key={id} class="state warn wraps">
                <Mark shape="triangle" />
                <span>
                  cannot have <CameraLink id={id} />: {why}
                </span>
              </span>
            ))}
          </span>
        </li>
      ))}
    </ul>
  );
}

function CameraLink({ id }: { id: string }) {
  return (
    <a class="camera-link" href={routeHref({ view: "camera", camera: id })}>
      {session.nameOf(id)}
    </a>
  );
}

function Streams({ cameras }: { cameras: readonly CameraState[] }) {
  if (cameras.length === 0) {
    return (
      <p class="nothing">
        No cameras yet. <a href="#/add">Add one</a>
      </p>
    );
  }
  return (
    <div class="table" tabIndex={0} role="region" aria-label="List of streams">
      <table>
        <thead>
          <tr>
            <th scope="col">Camera</th>
            <th scope="col" class="number">
              FPS in
            </th>
            <th scope="col" class="number">
              FPS out
            </th>
            <th scope="col" class="number">
              Waiting
            </th>
            <th scope="col" class="optional">
              Processor
            </th>
          </tr>
        </thead>
        <tbody>
          {cameras.map((camera) => (
            <tr key={camera.camera}>
              <td>
                <CameraLink id={camera.camera} />
                <State situation={situation(camera, session.connection.value, NOT_SEEN)} />
              </td>
              <td class="number">{rate(camera.fps_in)}</td>
              <td class="number">{rate(camera.fps_out)}</td>
              <td class="number">{count(camera.backlog)}</td>
              <td class="optional">{camera.owner ?? <span class="soft">none</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Here no picture is on the screen. */
const NOT_SEEN: Seen = {
  pictureAgeMs: undefined,
  watchedForMs: 0,
  resultAgeMs: undefined,
  skipped: undefined,
  playback: "live",
  bare: false,
  damaged: false,
};

function Ledger({ entries }: { entries: readonly LedgerEntry[] }) {
  if (entries.length === 0) return <p class="nothing">No camera has an account yet.</p>;
  return (
    <ul class="ledger">
      {entries.map((entry) => (
        <Account key={entry.camera} entry={entry} />
      ))}
    </ul>
  );
}

function Account({ entry }: { entry: LedgerEntry }) {
  const { published, processed, waiting } = entry;
  const balanced = balance(entry);
  const { skipped, lost, missing, problem } = balanced;
  const onTheWay = apart(balanced);
  const unpublished = reasons(entry.unpublished ?? []);
  const parts = [
    { name: "processed", n: processed, why: "" },
    { name: "skipped", n: skipped, why: reasons(entry.skipped) },
    { name: "lost", n: lost, why: reasons(entry.lost) },
    { name: "waiting", n: waiting, why: "" },
    { name: "unexplained", n: problem === undefined ? 0 : Math.max(0, missing), why: "" },
  ];
  const whole = Math.max(1, published, processed + skipped + lost + waiting);
  let before = 0;
  return (
    <li>
      <h3>
        <CameraLink id={entry.camera} />
        <span class={`state ${problem === undefined ? "good" : "warn"}`}>
          <Mark shape={problem === undefined ? "dot" : "triangle"} />
          {problem === undefined ? "balanced" : "does not balance"}
        </span>
      </h3>
      <div class="account" aria-hidden="true">
        {parts.map(({ name, n }) => {
          const [from, to] = [before / whole, (before + n) / whole];
          before += n;
          return n > 0 && <span key={name} class={name} style={{ clipPath: between(from, to) }} />;
        })}
      </div>
      <p class="sum">
        <span>
          <strong>{count(published)}</strong> published =
        </span>
        {parts
          .filter(({ name, n }) => name !== "unexplained" || n > 0)
          .map(({ name, n, why }, i) => (
            <span key={name}>
              {i > 0 && "+ "}
              <span class={name}>
                <strong>{count(n)}</strong> {name}
              </span>
              {why !== "" && <span class="soft"> ({why})</span>}
            </span>
          ))}
        {onTheWay !== undefined && <span class="soft">({onTheWay})</span>}
      </p>
      {unpublished !== "" && <p class="hint">Never published: {unpublished}.</p>}
      {problem !== undefined && <p class="hint">{problem}</p>}
    </li>
  );
}
