import { classColour } from "../draw/colours";
import { shownTracks } from "../draw/overlay";
import { age, count, number, plural, rate, speed, stageMs, words } from "../format";
import { routeHref } from "../address";
import { session } from "../session";
import { speedUnit } from "../settings";
import type { Situation } from "../situation";
import { objectsOf, type StepNumbers } from "../stream";
import type { Step, StreamState } from "../wire";
import { Above } from "./above";
import { Empty } from "./empty";
import { Figure } from "./figure";
import { Objects } from "./objects";
import { Icon, State } from "./shapes";
import { Tracks } from "./tracks";

/** The steps of a simulator or a robot from above: where is everything, does it keep up, where does its time go? */
export function StreamView({ stream: name }: { stream: string }) {
  const streams = session.streams.value;
  const stream = streams?.find((each) => each.stream === name);
  if (stream === undefined) {
    if (streams === undefined) return <Empty title="Connecting…" text={`Looking for the stream ${name}.`} />;
    return (
      <Empty
        title="No such stream"
        text={`Nothing has sent steps to “${name}” in the last hour. It shows here as soon as something does:`}
        command={`python3 examples/simulator.py --stream ${name}`}
      >
        <a class="button" href="#/">
          All cameras
        </a>
      </Empty>
    );
  }
  const numbers = session.streamFeed(name).numbers.value;
  const result = numbers.step?.result ?? null;
  const doing = streamSituation(stream);
  return (
    <div class="camera">
      <div class="camera-head">
        <a class="tool" href="#/" aria-label="All cameras" title="All cameras (Esc)">
          <Icon name="back" />
        </a>
        <h1>{name}</h1>
        <State situation={doing} />
      </div>
      <div class="camera-main">
        <Above stream={name} large still={result !== null} old={doing.old} />
        <Figures stream={name} numbers={numbers} />
      </div>
      <aside class="side" aria-label="Details">
        <Timings timingsUs={numbers.timingsUs} />
        <Scalars scalars={numbers.step?.scalars ?? {}} />
        {result === null ? (
          <Near step={numbers.step} />
        ) : (
          <Tracks tracks={shownTracks(result)} classes={[]} calibrated />
        )}
      </aside>
    </div>
  );
}

/** A stream among the cameras of the wall. */
export function StreamTile({ stream }: { stream: StreamState }) {
  const numbers = session.streamFeed(stream.stream).numbers.value;
  const doing = streamSituation(stream);
  return (
    <article class="tile">
      <Above stream={stream.stream} large={false} old={doing.old} />
      <span class="badge top-left">
        <State situation={doing} />
      </span>
      <div class="tile-words">
        <a class="tile-name" href={routeHref({ view: "stream", stream: stream.stream })}>
          {stream.stream}
        </a>
        <span class="tile-objects">{numbers.step === undefined ? "–" : plural(objectsOf(numbers.step), "object")}</span>
        <span class="tile-rates">
          {rate(numbers.stepsPerSecond)} steps/s, real time {factorWords(numbers)}
        </span>
      </div>
    </article>
  );
}

function streamSituation({ live }: StreamState): Situation {
  if (session.connection.value.state !== "open")
    return { word: "disconnected", shape: "cross", tone: "bad", old: true, help: undefined };
  return live
    ? { word: "live", shape: "dot", tone: "good", old: false, help: undefined }
    : { word: "silent", shape: "square", tone: "quiet", old: true, help: undefined };
}

function factorWords({ realTimeFactor }: StepNumbers): string {
  return realTimeFactor === undefined ? "–" : `× ${realTimeFactor.toFixed(2)}`;
}

function Figures({ stream, numbers }: { stream: string; numbers: StepNumbers }) {
  const { step } = numbers;
  const unit = speedUnit.value;
  const ego = step?.ego ?? undefined;
  return (
    <dl class="figures">
      <Figure name="Step" value={step === undefined ? "–" : count(step.step)} about="The number of the step" />
      <Figure
        name="Sim time"
        value={step === undefined ? "–" : `${(step.sim_time_us / 1e6).toFixed(2)} s`}
        about="Simulated time"
      />
      <Figure name="Real time" value={factorWords(numbers)} about="Simulated seconds a second, lately" />
      <Figure name="Steps/s" value={rate(numbers.stepsPerSecond)} about="Steps a second that arrive here" />
      <Figure
        name={`Speed, ${unit}`}
        value={ego === undefined ? "–" : speed(ego.speed_mps, unit)}
        about="Of the vehicle or robot itself"
      />
      <Figure name="Objects" value={count(step === undefined ? 0 : objectsOf(step))} about="Objects in the step" />
      <Figure
        name="Age"
        value={numbers.ageMs === undefined ? "–" : age(numbers.ageMs)}
        about="How long ago the gateway saw the step on the screen"
      />
      <Figure
        name="Missed"
        value={count(session.missed.value.get(stream) ?? 0)}
        about="Messages that this browser was too slow for"
      />
    </dl>
  );
}

/** What each component takes, beside the others. */
function Timings({ timingsUs }: { timingsUs: ReadonlyMap<string, number> }) {
  const all = [...timingsUs];
  const total = all.reduce((sum, [, us]) => sum + us, 0);
  const longest = Math.max(1, ...all.map(([, us]) => us));
  return (
    <section class="card" aria-labelledby="timings-title">
      <h2 id="timings-title">
        Components
        <span class="card-figure">{all.length === 0 ? "–" : `${stageMs(total)} ms`}</span>
      </h2>
      {all.length === 0 ? (
        <p class="nothing">The steps carry no `timings_us`.</p>
      ) : (
        <ol class="waterfall" aria-label="Components with their milliseconds, the mean of the last two seconds">
          {all.map(([name, us]) => (
            <li key={name} class="processor">
              <span class="stage" title={name}>
                {words(name)}
              </span>
              <span class="track" aria-hidden="true">
                <span
                  class="bar"
                  style={{ clipPath: `inset(0 ${(100 * (1 - us / longest)).toFixed(2)}% 0 0 round 3px)` }}
                />
              </span>
              <span class="ms">{us < 100 ? (us / 1000).toFixed(3) : stageMs(us)}</span>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function Scalars({ scalars }: { scalars: Readonly<Record<string, number>> }) {
  const all = Object.entries(scalars);
  if (all.length === 0) return null;
  return (
    <section class="card" aria-labelledby="scalars-title">
      <h2 id="scalars-title">Scalars</h2>
      <dl class="rows scalars">
        {all.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{number(value)}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Near({ step }: { step: Step | undefined }) {
  const unit = speedUnit.value;
  const sorted = [...(step?.objects ?? [])].sort((a, b) => a.id - b.id);
  const rows = sorted.map((object) => (
    <tr key={object.id}>
      <td>
        <span class="swatch" style={{ background: classColour(object.class).line }} />
        {object.class} {object.id}
      </td>
      <td>{away(step, object)}</td>
      <td class="number">{speed(object.speed_mps, unit)}</td>
    </tr>
  ));
  return <Objects one="object" title="Objects" second="Away" nothing="Nothing is near right now." rows={rows} />;
}

function away(step: Step | undefined, { x, y }: { x: number; y: number }): string {
  const ego = step?.ego ?? undefined;
  return ego === undefined ? "–" : `${Math.hypot(x - ego.x, y - ego.y).toFixed(0)} m`;
}
