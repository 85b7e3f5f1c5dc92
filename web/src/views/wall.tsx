import { plural, rate } from "../format";
import { routeHref } from "../address";
import { setSearch } from "../route";
import { session } from "../session";
import { situation, type Situation } from "../situation";
import type { CameraState, StreamState } from "../wire";
import { Picture } from "./picture";
import { Icon, Mark } from "./shapes";
import { Empty } from "./empty";
import { StreamTile } from "./stream";
import { Tiles } from "./tiles";

/** All cameras at once: is everything alive? */
export function Wall({ search }: { search: string }) {
  const cameras = session.cameras.value;
  const connection = session.connection.value;
  if (cameras === undefined) {
    if (connection.state === "closed" || (connection.state === "connecting" && connection.attempt > 0)) {
      return (
        <Empty
          title="The gateway cannot be reached"
          text={`This page keeps trying${connection.state === "closed" ? `: ${connection.reason}` : ""}. Is the gateway running? The whole system starts with`}
          command="./dev demo"
        >
          <button
            class="button"
            type="button"
            onClick={() => {
              session.retry();
            }}
          >
            Try now
          </button>
        </Empty>
      );
    }
    return <Loading />;
  }
  const streams = session.streams.value ?? [];
  if (cameras.length === 0 && streams.length === 0) {
    return (
      <Empty
        title="No cameras yet"
        text="Add one from any video file or address, or start the whole system with one. For example"
        command="./dev demo --video traffic.mp4"
      >
        <a class="button" href="#/add">
          Add a camera
        </a>
      </Empty>
    );
  }
  const wanted = search.trim().toLowerCase();
  const found = cameras.filter(({ camera, name }) => `${camera} ${name}`.toLowerCase().includes(wanted));
  const foundStreams = streams.filter(({ stream }) => stream.toLowerCase().includes(wanted));
  return (
    <div class="wall">
      <Summary cameras={cameras} found={found.length} />
      {found.length === 0 && foundStreams.length === 0 ? (
        <Empty title="No camera matches" text={`None of the ${cameras.length} has “${search.trim()}” in its name.`}>
          <button
            class="button"
            type="button"
            onClick={() => {
              setSearch("");
            }}
          >
            Show all
          </button>
        </Empty>
      ) : (
        <Tiles count={found.length}>
          {found.map((camera) => (
            <li key={camera.camera}>
              <Tile camera={camera} />
            </li>
          ))}
        </Tiles>
      )}
      {foundStreams.length > 0 && <StreamTiles streams={foundStreams} />}
    </div>
  );
}

/** Simulators and robots that send their steps. */
function StreamTiles({ streams }: { streams: readonly StreamState[] }) {
  return (
    <section class="streams" aria-labelledby="streams-title">
      <h2 id="streams-title">{plural(streams.length, "stream")} of steps</h2>
      <ul class="tiles">
        {streams.map((stream) => (
          <li key={stream.stream}>
            <StreamTile stream={stream} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function Tile({ camera }: { camera: CameraState }) {
  const numbers = session.feed(camera.camera).numbers.value;
  const doing = situation(camera, session.connection.value, numbers.seen);
  const name = camera.name || camera.camera;
  return (
    <article class="tile">
      <Picture camera={camera} situation={doing} large={false} />
      <div class="tile-words">
        <a class="tile-name" href={routeHref({ view: "camera", camera: camera.camera })} title={camera.camera}>
          {name}
        </a>
        <span class="tile-objects">
          {numbers.frameId === undefined || doing.old ? "–" : plural(numbers.objects, "object")}
        </span>
        <span class="tile-rates">
          <abbr title="Frames a second published and analysed">FPS</abbr> <span>in</span> {rate(camera.fps_in)}{" "}
          <span>out</span> {rate(camera.fps_out)}
        </span>
      </div>
    </article>
  );
}

/** How many cameras are in which state, worst first. */
function Summary({ cameras, found }: { cameras: readonly CameraState[]; found: number }) {
  const groups = new Map<string, { doing: Situation; n: number }>();
  for (const camera of cameras) {
    const doing = situation(camera, session.connection.value, session.feed(camera.camera).numbers.value.seen);
    const group = groups.get(doing.word) ?? { doing, n: 0 };
    group.n += 1;
    groups.set(doing.word, group);
  }
  const order = { bad: 0, warn: 1, quiet: 2, good: 3 };
  const sorted = [...groups.values()].sort((a, b) => order[a.doing.tone] - order[b.doing.tone]);
  return (
    <div class="summary">
      <h1>
        {found === cameras.length
          ? plural(cameras.length, "camera")
          : `${found} of ${plural(cameras.length, "camera")}`}
      </h1>
      <ul aria-label="Cameras by state">
        {sorted.map(({ doing, n }) => (
          <li key={doing.word} class={`state ${doing.tone}`}>
            <Mark shape={doing.shape} />
            {n} {doing.word}
          </li>
        ))}
      </ul>
      <a class="tool worded last" href="#/add">
        <Icon name="add" />
        Add a camera
      </a>
    </div>
  );
}

function Loading() {
  return (
    <div class="wall" aria-busy="true">
      <div class="summary">
        <h1>Connecting…</h1>
      </div>
      <ul class="tiles" aria-hidden="true">
        {[0, 1, 2].map((n) => (
          <li key={n}>
            <div class="tile ghost">
              <div class="picture small" />
              <div class="tile-words">
                <span class="tile-name">&nbsp;</span>
                <span class="tile-rates">&nbsp;</span>
              </div>
            </div>
          </li>
        ))}
      </ul>
    </div>
  );
}
