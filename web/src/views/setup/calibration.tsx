import { useMemo, useState } from "preact/hooks";

import type { SeenFrom } from "../../api";
import { plural } from "../../format";
import type { Point } from "../../setup/config";
import {
  type CalibrationDraft,
  type CalibrationMode,
  calibrationOn,
  calibrationPoints,
  COORDINATE_M,
  LEAST_POINTS,
  missingWords,
  SIDE_M,
  verdict,
} from "../../setup/draft";
import { type Fit, useFit } from "../../setup/fit";
import { type Grid, type Ground, groundGrid, groundOf, metresBetween } from "../../setup/ground";
import { moveCorner, removeCorner } from "../../setup/polygon";
import type { Setup } from "../../setup/setup";
import type { PictureShape } from "../../setup/shape";
import { headOf } from "../../setup/view";
import { Icon, Mark } from "../shapes";
import { DrawnOn } from "./drawn";
import { Editor, type HandleSpec, type Scale, svgPoints } from "./editor";
import { NumberField } from "./fields";

const CORNER_NAMES = ["near left", "near right", "far right", "far left"];

/** What the calibration's editor and its panel both show. */
export interface Calibrating {
  fit: Fit;
  ground: Ground | undefined;
  grid: Grid | undefined;
  /** The walking ruler's ends, source pixels. */
  ruler: readonly Point[];
  setRuler: (ends: readonly Point[]) => void;
}

/** Asks the gateway for the homography of the draft's points whenever they change. */
export function useCalibrating(setup: Setup, picture: PictureShape | undefined): Calibrating {
  const { calibration: draft } = setup.draft.value;
  const calibration = picture === undefined ? draft : calibrationOn(draft, picture);
  const points = calibrationPoints(calibration);
  const saved = calibration.mode === "matrix" ? setup.savedMatrix(picture) : undefined;
  const given = saved === undefined ? points && { points } : { world_from_image: saved };
  const fit = useFit(
    given && { ...given, picture: picture === undefined ? null : { width: picture.width, height: picture.height } },
  );
  const [ends, setRuler] = useState<readonly Point[]>();
  const { width, height } = picture ?? { width: 1, height: 1 };
  const matrix = fit.calibrated?.world_from_image;
  const ground = useMemo(() => {
    // Whoever gave a matrix had the ground at the bottom of the picture.
    const seen = points?.[0]?.image ?? [width / 2, height];
    return matrix === undefined ? undefined : groundOf(matrix, seen);
  }, [matrix, width, height]);
  const grid = useMemo(() => ground && groundGrid(ground, { width, height }), [ground, width, height]);
  const ruler = ends ?? [
    [width * 0.4, height * 0.87],
    [width * 0.6, height * 0.87],
  ];
  return { fit, ground, grid, ruler, setRuler };
}

interface EditorProps {
  setup: Setup;
  picture: PictureShape;
  calibrating: Calibrating;
}

/** Points of the ground, the grid that they make of it, and a ruler on it. */
export function CalibrationEditor({
  setup,
  picture,
  calibrating: { fit, ground, grid, ruler, setRuler },
}: EditorProps) {
  const { mode, corners, points } = calibrationOn(setup.draft.value.calibration, picture);
  const change = (part: Partial<CalibrationDraft>, about?: string): void => {
    setup.change({ calibration: { ...calibrationOn(setup.draft.value.calibration, picture), ...part } }, about);
  };
  const cornerHandles = corners.map((at, i): HandleSpec => ({
    name: `Corner ${i + 1}, ${CORNER_NAMES[i] ?? ""},`,
    text: String(i + 1),
    at,
    kind: "point",
    move: (to) => {
      change({ corners: moveCorner(corners, i, to) }, `corner ${i}`);
    },
    remove: () => {
      change({ corners: removeCorner(corners, i) });
    },
  }));
  const pointHandles = points.map(({ image }, i): HandleSpec => ({
    name: `Point ${i + 1}`,
    text: String(i + 1),
    at: image,
    kind: "point",
    move: (to) => {
      change({ points: points.map((point, j) => (j === i ? { ...point, image: to } : point)) }, `point ${i}`);
    },
    remove: () => {
      change({ points: points.filter((_, j) => j !== i) });
    },
  }));
  const rulerHandles = ruler.map((at, i): HandleSpec => ({
    name: `Ruler's ${i === 0 ? "first" : "second"} end`,
    text: "",
    at,
    kind: "ruler",
    move: (to) => {
      setRuler(moveCorner(ruler, i, to));
    },
  }));
  const own = mode === "rectangle" ? cornerHandles : mode === "points" ? pointHandles : [];
  const add = (at: Point): void => {
    if (mode === "rectangle") change({ corners: [...corners, at] });
    else change({ points: [...points, { image: at, x: "", y: "" }] });
  };
  const takesMore = (mode === "rectangle" && corners.length < 4) || mode === "points";
  return (
    <Editor
      size={picture}
      label="Calibration: a click or Enter adds a point of the ground at the crosshair, arrow keys move it"
      handles={[...own, ...(ground === undefined ? [] : rulerHandles)]}
      {...(takesMore ? { add } : {})}
      settle={() => {
        setup.settle();
      }}
    >
      {(scale) => (
        <>
          {grid !== undefined && <GridLines grid={grid} scale={scale} />}
          {mode === "rectangle" && (
            <polygon class={`outline ${corners.length === 4 ? "closed" : ""}`} points={svgPoints(corners, scale)} />
          )}
          {ground !== undefined && (
            <Ruler ground={ground} view={fit.calibrated?.view ?? null} ends={ruler} scale={scale} />
          )}
        </>
      )}
    </Editor>
  );
}

function GridLines({ grid, scale }: { grid: Grid; scale: Scale }) {
  const path = grid.lines.map(([from, to]) => `M${svgPoints([from], scale)}L${svgPoints([to], scale)}`).join("");
  return (
    <>
      <path class="grid-shadow" d={path} />
      <path class="grid" d={path} />
    </>
  );
}

interface RulerProps {
  ground: Ground;
  view: SeenFrom | null;
  ends: readonly Point[];
  scale: Scale;
}

/** A length on the ground; a post at each end is as tall as a person. */
function Ruler({ ground, view, ends, scale }: RulerProps) {
  const [from, to] = ends;
  if (from === undefined || to === undefined) return null;
  const [x, y] = [((from[0] + to[0]) / 2) * scale[0], ((from[1] + to[1]) / 2) * scale[1]];
  return (
    <>
      {ends.map((foot, i) => {
        const head = view === null ? undefined : headOf(view, ground, foot);
        return head && <polyline key={i} class="person" points={svgPoints([foot, head], scale)} />;
      })}
      <polyline class="ruler" points={svgPoints(ends, scale)} />
      <text class="ruler-words" x={x} y={y - 10}>
        {rulerWords(ground, ends)}
      </text>
    </>
  );
}

function rulerWords(ground: Ground, [from, to]: readonly Point[]): string {
  const metres = from === undefined || to === undefined ? undefined : metresBetween(ground, from, to);
  return metres === undefined ? "no ground here" : `${metres.toFixed(metres < 100 ? 2 : 0)} m`;
}

interface PanelProps {
  setup: Setup;
  picture: PictureShape | undefined;
  calibrating: Calibrating;
}

export function CalibrationPanel({ setup, picture, calibrating }: PanelProps) {
  const { calibration } = setup.draft.value;
  const { mode, corners, points, widthM, lengthM } = calibration;
  const change = changes(setup);
  const missing = missingWords(calibration);
  const modes: (readonly [CalibrationMode, string])[] = [
    ["none", "None"],
    ["rectangle", "Rectangle"],
    ["points", "Points"],
    ...(setup.savedMatrix() === undefined ? [] : [["matrix", "Matrix"] as const]),
  ];
  return (
    <>
      <fieldset class="segments">
        <legend class="hidden-words">Way of calibration</legend>
        {modes.map(([value, name]) => (
          <label key={value}>
            <input
              type="radio"
              name="calibration-mode"
              checked={mode === value}
              onChange={() => {
                change({ mode: value });
              }}
            />
            <span>{name}</span>
          </label>
        ))}
      </fieldset>
      {mode === "none" && (
        <p>
          Without a calibration there are no speeds. The simplest way is a rectangle on the ground whose sides you know:
          a parking bay, a court, a stretch of road between two lines.
        </p>
      )}
      {picture !== undefined && mode !== "none" && (mode === "matrix" || corners.length > 0 || points.length > 0) && (
        <DrawnOn
          what="calibration"
          on={calibration.drawnOn}
          picture={picture}
          again={() => {
            const mode = calibration.mode === "matrix" ? "rectangle" : calibration.mode;
            change({ mode, corners: [], points: [], drawnOn: undefined });
          }}
          keep={() => {
            change(calibrationOn(calibration, picture));
          }}
        />
      )}
      {mode === "matrix" && <p>This camera was given a matrix. Choose another way to replace it.</p>}
      {mode === "rectangle" && (
        <>
          <p>Click its four corners: near left, near right, far right, far left. Then type its sides.</p>
          <div class="sides">
            <NumberField
              label="Width, 1 to 2"
              value={widthM}
              range={SIDE_M}
              unit="m"
              change={(value) => {
                change({ widthM: value }, "width");
              }}
            />
            <NumberField
              label="Length, 2 to 3"
              value={lengthM}
              range={SIDE_M}
              unit="m"
              change={(value) => {
                change({ lengthM: value }, "length");
              }}
            />
          </div>
        </>
      )}
      {mode === "points" && (
        <p>Click points of the ground and type where they are: X to the right, Y away, from any origin.</p>
      )}
      {(mode === "rectangle" || mode === "points") && (
        <p class="card-row">
          <strong role="status">{missing ?? plural(mode === "points" ? points.length : 4, "point")}</strong>
          <button
            type="button"
            class="button second"
            disabled={(mode === "points" ? points : corners).length === 0}
            onClick={() => {
              change(mode === "points" ? { points: [] } : { corners: [] });
            }}
          >
            Begin again
          </button>
        </p>
      )}
      <Result calibration={calibration} picture={picture} calibrating={calibrating} />
      {mode === "points" && <Points setup={setup} fit={calibrating.fit} />}
    </>
  );
}

/** A way to change a part of the calibration. */
function changes(setup: Setup): (part: Partial<CalibrationDraft>, about?: string) => void {
  return (part, about) => {
    setup.change({ calibration: { ...setup.draft.value.calibration, ...part } }, about);
  };
}

/** The points with their metres and by how much each misses the fit. */
function Points({ setup, fit }: { setup: Setup; fit: Fit }) {
  const { points } = setup.draft.value.calibration;
  const change = changes(setup);
  const residuals = fit.calibrated?.residuals_px ?? [];
  const worst = Math.max(...residuals);
  if (points.length === 0) return null;
  return (
    <ol class="points">
      <li class="heads" aria-hidden="true">
        <span />
        <span>X, right</span>
        <span>Y, away</span>
      </li>
      {points.map(({ x, y }, i) => {
        const set = (part: { x?: string; y?: string }, axis: string): void => {
          change({ points: points.map((point, j) => (j === i ? { ...point, ...part } : point)) }, `${axis} ${i}`);
        };
        const residual = residuals.length === points.length ? residuals[i] : undefined;
        return (
          <li key={i}>
            <span class="number">{i + 1}</span>
            <NumberField
              label={`X of point ${i + 1}`}
              labelHidden
              value={x}
              range={COORDINATE_M}
              unit="m"
              change={(value) => {
                set({ x: value }, "x");
              }}
            />
            <NumberField
              label={`Y of point ${i + 1}`}
              labelHidden
              value={y}
              range={COORDINATE_M}
              unit="m"
              change={(value) => {
                set({ y: value }, "y");
              }}
            />
            <button
              type="button"
              class="tool"
              aria-label={`Remove point ${i + 1}`}
              title="Remove"
              onClick={() => {
                change({ points: points.filter((_, j) => j !== i) });
              }}
            >
              <Icon name="remove" />
            </button>
            <Residual px={residual} worst={points.length > 4 && residual === worst && worst >= 0.5} most={worst} />
          </li>
        );
      })}
    </ol>
  );
}

function Residual({ px, worst, most }: { px: number | undefined; worst: boolean; most: number }) {
  const share = px === undefined ? 0 : px / Math.max(1, most);
  return (
    <span class={`residual ${worst ? "worst" : ""}`}>
      <span class="bar" aria-hidden="true">
        <span style={{ clipPath: `inset(0 ${(100 - share * 100).toFixed(1)}% 0 0)` }} />
      </span>
      <span>{px === undefined ? "misses by –" : `misses by ${px.toFixed(1)} px${worst ? ", the worst" : ""}`}</span>
    </span>
  );
}

interface ResultProps {
  calibration: CalibrationDraft;
  picture: PictureShape | undefined;
  calibrating: Calibrating;
}

/** What the fit is worth. The room for it is always there: nothing moves when it comes. */
function Result({ calibration, picture, calibrating: { fit, ground, grid, ruler } }: ResultProps) {
  const n = calibrationPoints(calibration)?.length ?? 0;
  const { calibrated, error } = fit;
  const judged = calibrated && n > 0 && verdict(calibrated.rms_px, n, picture?.width ?? 1280);
  const tone = judged ? { good: "good", check: "warn", poor: "bad" }[judged.word] : undefined;
  return (
    <div class="fit" data-testid="fit">
      {error !== undefined && (
        <p class="state bad wraps" role="alert">
          <Mark shape="cross" />
          <span>{error}</span>
        </p>
      )}
      {calibrated !== undefined && judged && (
        <>
          <p class={`state ${tone ?? ""}`}>
            <Mark shape={judged.word === "good" ? "dot" : judged.word === "check" ? "triangle" : "cross"} />
            <strong>{judged.word}</strong>
            {n > LEAST_POINTS && ` · ${calibrated.rms_px.toFixed(1)} px off (root mean square)`}
          </p>
          <p class="hint">{judged.text}</p>
        </>
      )}
      {ground !== undefined && (
        <dl class="rows">
          <div>
            <dt>Grid</dt>
            <dd>{grid === undefined ? "none" : `${grid.stepM} m`}</dd>
          </div>
          <div>
            <dt>Ruler (drag its ends)</dt>
            <dd data-testid="ruler">{rulerWords(ground, ruler)}</dd>
          </div>
          {calibrated?.view && (
            <div>
              <dt>Posts at its ends</dt>
              <dd>a person, 1.7 m</dd>
            </div>
          )}
        </dl>
      )}
    </div>
  );
}
