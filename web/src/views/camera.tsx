import { useEffect } from "preact/hooks";

import { className } from "../draw/overlay";
import { count, rate, words } from "../format";
import { neighbourOf } from "../keys";
import { routeHref } from "../address";
import { setMoment } from "../route";
import { session } from "../session";
import { ageWords, situation } from "../situation";
import type { Numbers } from "../feed";
import type { CameraState } from "../wire";
import { Empty } from "./empty";
import { Figure } from "./figure";
import { Notices } from "./notices";
import { Picture } from "./picture";
import { Icon, State } from "./shapes";
import { Timeline } from "./timeline";
import { Tracks } from "./tracks";
import { Waterfall } from "./waterfall";

/** One camera: what am I looking at, how old is it, where do the milliseconds go, what was lost? */
export function CameraView({ camera: id, at }: { camera: string; at: string | undefined }) {
  const cameras = session.cameras.value;
  useMoment(id, at);
  const camera = cameras?.find((each) => each.camera === id);
  if (camera === undefined) {
    if (cameras === undefined) return <Empty title="Connecting…" text={`Looking for the camera ${id}.`} />;
    return (
      <Empty title="No such camera" text={`There is no camera “${id}” (any more).`}>
        <a class="button" href="#/">
          All cameras
        </a>
      </Empty>
    );
  }
  const numbers = session.feed(id).numbers.value;
  const doing = situation(camera, session.connection.value, numbers.seen);
  return (
    <div class="camera">
      <div class="camera-head">
        <a class="tool" href="#/" aria-label="All cameras" title="All cameras (Esc)">
          <Icon name="back" />
        </a>
        <h1>{camera.name || id}</h1>
        <State situation={doing} />
        <a
          class="tool worded last"
          href={routeHref({ view: "setup", camera: id, part: "source" })}
          title="Source, region and calibration"
        >
          <Icon name="setup" />
          <span>Set up</span>
        </a>
        <Neighbours camera={id} />
      </div>
      <div class="camera-main">
        <Picture camera={camera} situation={doing} large />
        <Notices notices={numbers.notices} />
        <Timeline camera={camera} />
        <Figures camera={camera} numbers={numbers} />
        <Counts camera={camera} numbers={numbers} />
      </div>
      <aside class="side" aria-label="Details">
        <Waterfall journey={numbers.journey} />
        <Tracks tracks={numbers.tracks} classes={session.models.classes(camera.model)} calibrated={camera.calibrated} />
      </aside>
    </div>
  );
}

/** The address holds the moment: a link shows a colleague the same frame, and standing still makes one. */
function useMoment(camera: string, at: string | undefined): void {
  const { player } = session.feed(camera);
  const moment = player.moment.value;
  useEffect(() => {
    if (at !== undefined) player.open(at);
  }, [player, at]);
  useEffect(() => {
    if (moment.state === "paused") setMoment(camera, moment.at);
    else if (moment.toldAtMs > 0) setMoment(camera, undefined);
  }, [camera, moment.state, moment.at, moment.toldAtMs]);
  useEffect(
    () => () => {
      player.leave();
    },
    [player],
  );
}

function Neighbours({ camera }: { camera: string }) {
  const before = neighbourOf(camera, -1);
  const after = neighbourOf(camera, 1);
  if (before === undefined || after === undefined) return null;
  return (
    <nav class="neighbours" aria-label="Other cameras">
      <a
        class="tool"
        href={routeHref({ view: "camera", camera: before })}
        aria-label={`Previous camera: ${before}`}
        title="Previous camera (←)"
      >
        <Icon name="back" />
      </a>
      <a
        class="tool"
        href={routeHref({ view: "camera", camera: after })}
        aria-label={`Next camera: ${after}`}
        title="Next camera (→)"
      >
        <Icon name="next" />
      </a>
    </nav>
  );
}

function Figures({ camera, numbers }: { camera: CameraState; numbers: Numbers }) {
  const lost = numbers.lost.reduce((sum, { count: n }) => sum + n, 0);
  const missed = session.missed.value.get(camera.camera) ?? 0;
  return (
    <dl class="figures">
      <Figure name="Age" value={ageWords(numbers.seen)} about="From capture until now, for the picture on the screen" />
      <Figure
        name="FPS in"
        value={rate(camera.fps_in)}
        about={`Frames a second published; the source gives ${rate(camera.source_fps)}`}
      />
      <Figure name="FPS out" value={rate(camera.fps_out)} about="Results a second" />
      <Figure name="FPS shown" value={rate(numbers.paintedPerSecond)} about="Frames a second painted by this browser" />
      <Figure name="Objects" value={count(numbers.objects)} about="Seen now, in the region" />
      <Figure name="Waiting" value={count(camera.backlog)} about="Frames in the stream that no processor has taken" />
      <Figure name="Lost" value={count(lost)} about="Frames that ended without a result" />
      <Figure name="Missed" value={count(missed)} about="Messages that this browser was too slow for" />
    </dl>
  );
}

function Counts({ camera, numbers }: { camera: CameraState; numbers: Numbers }) {
  const classes = session.models.classes(camera.model);
  return (
    <section class="card counts" aria-label="Counts">
      <div>
        <h2>In the picture</h2>
        <Rows
          rows={[...numbers.byClass].map(([id, n]) => [className(classes, id), count(n)])}
          nothing="Nothing right now"
        />
      </div>
      <div>
        <h2>Lost frames</h2>
        <Rows rows={numbers.lost.map(({ reason, count: n }) => [words(reason), count(n)])} nothing="None" />
      </div>
      <div>
        <h2>Where</h2>
        <Rows
          rows={[
            ["processor", numbers.worker ?? camera.owner ?? "none"],
            ["source", camera.source === null ? "not known yet" : `${camera.source.width} × ${camera.source.height}`],
          ]}
        />
      </div>
    </section>
  );
}

function Rows({ rows, nothing }: { rows: readonly (readonly [string, string])[]; nothing?: string }) {
  if (rows.length === 0) return <p class="nothing">{nothing}</p>;
  return (
    <dl class="rows">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd title={value}>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
