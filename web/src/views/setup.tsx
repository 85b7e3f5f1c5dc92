import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { routeHref } from "../address";
import { plural } from "../format";
import { session } from "../session";
import type { Part } from "../setup/draft";
import { Setup } from "../setup/setup";
import { type PictureShape, shapeWords } from "../setup/shape";
import { type Situation, situation } from "../situation";
import type { CameraState } from "../wire";
import { Empty } from "./empty";
import { Picture } from "./picture";
import { CalibrationEditor, CalibrationPanel, type Calibrating, useCalibrating } from "./setup/calibration";
import { Implied, useJudgement } from "./setup/implied";
import { RegionEditor, RegionPanel } from "./setup/region";
import { Remove } from "./setup/remove";
import { SaveBar } from "./setup/save";
import { SourceForm } from "./setup/source";
import { Icon, Mark, State } from "./shapes";

const PARTS: readonly { part: Part; name: string }[] = [
  { part: "source", name: "Source" },
  { part: "region", name: "Region" },
  { part: "calibration", name: "Calibration" },
];

/** Sets a camera up: its source, the region drawn on its picture, and the ground measured in it. */
export function SetupView({ camera: id, part }: { camera: string; part: Part }) {
  const setup = useMemo(() => new Setup(id), [id]);
  useEffect(() => setup.start(), [setup]);
  useEffect(() => listenToUndo(setup), [setup]);
  const camera = session.cameras.value?.find((each) => each.camera === id);
  const picture = session.feed(id).numbers.value.picture ?? camera?.source ?? undefined;
  const calibrating = useCalibrating(setup, picture);
  const judgement = useJudgement(setup, camera ?? null, calibrating);
  const error = setup.error.value;
  if (setup.doing.value === "failed") {
    return (
      <Empty
        title={error?.forbidden === true ? "Not allowed" : "This camera cannot be set up now"}
        text={error?.message ?? ""}
      >
        {error?.status === 404 ? (
          <a class="button" href="#/">
            All cameras
          </a>
        ) : (
          <button class="button" type="button" onClick={() => void setup.load()}>
            Try again
          </button>
        )}
      </Empty>
    );
  }
  if (setup.doing.value === "loading") return <Empty title="Loading…" text={`Reading how ${id} is set up.`} />;
  const doing = camera && situation(camera, session.connection.value, session.feed(id).numbers.value.seen);
  return (
    <div class="camera setup">
      <div class="camera-head">
        <a
          class="tool"
          href={routeHref({ view: "camera", camera: id })}
          aria-label="Back to the camera"
          title="Back to the camera (Esc)"
        >
          <Icon name="back" />
        </a>
        <h1>Set up {session.nameOf(id)}</h1>
        {doing !== undefined && <State situation={doing} />}
      </div>
      <div class="camera-main">
        {camera === undefined || doing === undefined ? (
          <div class="picture large">
            <div class="advice middle">
              <strong>Waiting for the gateway to list this camera</strong>
              <span>This takes a second.</span>
            </div>
          </div>
        ) : (
          <EditedPicture {...{ setup, camera, picture, part, calibrating }} situation={doing} />
        )}
      </div>
      <aside class="side" aria-label="Settings">
        <nav class="parts" aria-label="Parts of the setup">
          {PARTS.map(({ part: each, name }) => (
            <a
              key={each}
              href={routeHref({ view: "setup", camera: id, part: each })}
              aria-current={each === part ? "page" : undefined}
            >
              {name}
              {(setup.problems.value.some((problem) => problem.part === each) ||
                (each === "calibration" && judgement.doubt !== undefined)) && (
                <span class="state warn" title="Not complete">
                  <Mark shape="triangle" />
                </span>
              )}
            </a>
          ))}
        </nav>
        <section class="card panel" aria-label={PARTS.find((each) => each.part === part)?.name}>
          {part === "source" && <SourceForm setup={setup} />}
          {part === "source" && <Remove setup={setup} />}
          {part === "region" && <RegionPanel setup={setup} picture={picture} />}
          {part === "calibration" && <CalibrationPanel setup={setup} picture={picture} calibrating={calibrating} />}
        </section>
        <SaveBar
          setup={setup}
          save={() => void setup.save()}
          label="Save"
          doubt={judgement.doubt}
          wait={judgement.wait}
          implied={part === "calibration" && <Implied judgement={judgement} />}
        >
          {setup.savedAtMs.value === undefined || camera === undefined ? undefined : (
            <Arrivals savedAtMs={setup.savedAtMs.value} camera={camera} />
          )}
        </SaveBar>
      </aside>
    </div>
  );
}

interface EditedPictureProps {
  setup: Setup;
  camera: CameraState;
  picture: PictureShape | undefined;
  situation: Situation;
  part: Part;
  calibrating: Calibrating;
}

/** The picture with what is drawn on it; for the calibration it stands still. */
function EditedPicture({ setup, camera, picture, situation: doing, part, calibrating }: EditedPictureProps) {
  const [moving, setMoving] = useState(false);
  const has = session.feed(camera.camera).numbers.value.frameId !== undefined;
  const still = part === "calibration" && has && !moving;
  // The region is drawn by the editor.
  const shown = useMemo(() => (part === "source" ? camera : { ...camera, region: NO_REGION }), [camera, part]);
  return (
    <>
      <Picture camera={shown} situation={still ? { ...doing, help: undefined, old: false } : doing} large>
        {still && <Still />}
        {picture !== undefined && has && part === "region" && <RegionEditor setup={setup} picture={picture} />}
        {picture !== undefined && has && part === "calibration" && (
          <CalibrationEditor setup={setup} picture={picture} calibrating={calibrating} />
        )}
      </Picture>
      <p class="picture-words" hidden={part === "source"}>
        {!has && "Points can be set as soon as there is a picture."}
        {has && part === "calibration" && (
          <>
            <span>{still ? "The picture stands still, so that you can point at it." : "The picture is live."}</span>
            <button
              type="button"
              class="button second"
              onClick={() => {
                setMoving(still);
              }}
            >
              {still ? "Live picture" : "Stand still"}
            </button>
          </>
        )}
        {has && part === "region" && sizeWords(picture)}
      </p>
    </>
  );
}

const NO_REGION: [number, number][] = [];

function sizeWords(picture: PictureShape | undefined): string {
  return picture === undefined ? "" : `${shapeWords(picture)} pixels. Points are kept in the source's pixels.`;
}

/** The picture of this moment over the live one. */
function Still() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [taken, setTaken] = useState(false);
  useEffect(() => {
    const still = canvas.current;
    const live = still?.parentElement?.querySelector<HTMLCanvasElement>("canvas.pixels");
    if (!still || !live) return undefined;
    let asked = 0;
    const take = (): void => {
      // Before the first picture is painted on it, the canvas is black.
      if (live.dataset.frameId === undefined) {
        asked = requestAnimationFrame(take);
        return;
      }
      still.width = live.width;
      still.height = live.height;
      still.getContext("2d", { alpha: false })?.drawImage(live, 0, 0);
      setTaken(true);
    };
    take();
    return () => {
      cancelAnimationFrame(asked);
    };
  }, []);
  return <canvas class="still" ref={canvas} width="16" height="9" hidden={!taken} aria-hidden="true" />;
}

/** After a save: that results come by the new settings. */
function Arrivals({ savedAtMs, camera }: { savedAtMs: number; camera: CameraState }) {
  const { seen, tracks } = session.feed(camera.camera).numbers.value;
  const sinceMs = session.nowMs.value - savedAtMs;
  const fresh = seen.resultAgeMs !== undefined && seen.resultAgeMs < sinceMs;
  if (!fresh) return <span>Saved. Waiting for the first result…</span>;
  if (!camera.calibrated) return <span>Saved, and results arrive. Without a calibration they have no speeds.</span>;
  const withSpeed = tracks.filter(({ speed }) => speed !== null).length;
  if (withSpeed === 0)
    return <span>Saved, and results arrive. The first speed comes when something has moved a little.</span>;
  return <span data-testid="speeds">Saved, and speeds arrive: {plural(withSpeed, "object")} with one now.</span>;
}

/** Ctrl-Z and Ctrl-Shift-Z, but for fields, which have their own. Returns how to stop. */
function listenToUndo(setup: Setup): () => void {
  const onKey = (event: KeyboardEvent): void => {
    const { target, key, shiftKey } = event;
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    if (target instanceof HTMLInputElement && ["text", "number"].includes(target.type)) return;
    if (key.toLowerCase() === "z") {
      if (shiftKey) setup.redo();
      else setup.undo();
    } else if (key.toLowerCase() === "y") setup.redo();
    else return;
    event.preventDefault();
  };
  window.addEventListener("keydown", onKey);
  return () => {
    window.removeEventListener("keydown", onKey);
  };
}
