import { useEffect, useRef, useState } from "preact/hooks";

import { Device, type DeviceState } from "../device";
import { count } from "../format";
import { routeHref } from "../address";
import { session } from "../session";
import type { Situation } from "../situation";
import { Icon, State } from "./shapes";

/** Makes the camera of this phone or computer one of the system's. */
export function DeviceView() {
  const [device] = useState(() => new Device());
  const [camera, setCamera] = useState("this-device");
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    place.current?.replaceChildren(device.video);
    return () => {
      device.stop();
    };
  }, [device]);
  const at = device.state.value;
  const counts = device.counts.value;
  const running = at.state !== "off" && at.state !== "failed";
  const known = session.cameras.value?.some((each) => each.camera === camera) ?? false;
  return (
    <div class="device">
      <div class="camera-head">
        <a class="tool" href="#/" aria-label="All cameras" title="All cameras (Esc)">
          <Icon name="back" />
        </a>
        <h1>This device’s camera</h1>
        <State situation={deviceSituation(at)} />
      </div>
      <form
        class="device-form"
        onSubmit={(event) => {
          event.preventDefault();
          if (running) device.stop();
          else void device.start(camera, known);
        }}
      >
        <label>
          Camera id
          <input
            value={camera}
            required
            pattern="[A-Za-z0-9][A-Za-z0-9._\-]{0,63}"
            title="1 to 64 letters, digits, hyphens, underscores or full stops"
            autocomplete="off"
            spellcheck={false}
            disabled={running}
            onInput={(event) => {
              setCamera(event.currentTarget.value);
            }}
          />
        </label>
        <button class="button" type="submit">
          {running ? "Stop" : "Start"}
        </button>
        {running && (
          <a class="device-link" href={routeHref({ view: "camera", camera })} target="_blank" rel="noreferrer">
            Open what it sees
          </a>
        )}
      </form>
      <p class="nothing device-words" role="status">
        {deviceWords(at)}
      </p>
      <div class="device-picture" ref={place} />
      <dl class="figures device-figures">
        <div title="Frames that went on to the producer">
          <dt>Taken</dt>
          <dd data-testid="taken">{count(counts.taken)}</dd>
        </div>
        <div title="Frames that came while the pipeline was busy">
          <dt>Skipped</dt>
          <dd data-testid="skipped">{count(counts.skipped)}</dd>
        </div>
      </dl>
    </div>
  );
}

function deviceSituation({ state }: DeviceState): Situation {
  const as = (word: string, shape: Situation["shape"], tone: Situation["tone"]): Situation => ({
    word,
    shape,
    tone,
    old: false,
    help: undefined,
  });
  switch (state) {
    case "off":
      return as("off", "square", "quiet");
    case "asking":
      return as("starting", "ring", "quiet");
    case "sending":
      return as("sending", "dot", "good");
    case "waiting":
      return as("waiting", "triangle", "warn");
    case "failed":
      return as("failed", "cross", "bad");
  }
}

function deviceWords(at: DeviceState): string {
  switch (at.state) {
    case "off":
      return "Its pictures go to this gateway and nowhere else, while this page is open.";
    case "asking":
      return "The browser asks whether this page may use the camera.";
    case "sending":
      return "While the pipeline is busy, pictures are skipped and counted: what it gets is never old.";
    case "waiting":
    case "failed":
      return at.why;
  }
}
