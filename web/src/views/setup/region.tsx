import { plural } from "../../format";
import type { Point } from "../../setup/config";
import { regionOn } from "../../setup/draft";
import { addCorner, crossesItself, moveCorner, removeCorner } from "../../setup/polygon";
import type { Setup } from "../../setup/setup";
import type { PictureShape } from "../../setup/shape";
import { Mark } from "../shapes";
import { DrawnOn } from "./drawn";
import { Editor, svgPoints } from "./editor";

/** The region of interest on the live picture. */
export function RegionEditor({ setup, picture }: { setup: Setup; picture: PictureShape }) {
  const { region } = regionOn(setup.draft.value, picture);
  const change = (corners: readonly Point[], about?: string): void => {
    setup.change({ region: corners, regionOn: picture }, about);
  };
  return (
    <Editor
      size={picture}
      label="Region: a click or Enter adds a corner at the crosshair, arrow keys move it, Delete removes the last corner"
      handles={region.map((at, i) => ({
        name: `Corner ${i + 1}`,
        text: String(i + 1),
        at,
        kind: "corner",
        move: (to) => {
          change(moveCorner(region, i, to), `corner ${i}`);
        },
        remove: () => {
          change(removeCorner(region, i));
        },
      }))}
      add={(at, reach) => {
        change(addCorner(region, at, reach));
      }}
      settle={() => {
        setup.settle();
      }}
    >
      {(scale) => <polygon class={`outline ${outlineOf(region)}`} points={svgPoints(region, scale)} />}
    </Editor>
  );
}

function outlineOf(region: readonly Point[]): string {
  if (crossesItself(region)) return "crossed";
  return region.length >= 3 ? "closed" : "";
}

export function RegionPanel({ setup, picture }: { setup: Setup; picture: PictureShape | undefined }) {
  const draft = setup.draft.value;
  const { region } = draft;
  return (
    <>
      <p>
        Click the corners of the ground on which objects count, one after the other. Drag a corner to move it; a click
        on an edge adds one there. An object is where its foot is.
      </p>
      <p class="card-row">
        <strong>{region.length === 0 ? "The whole picture" : plural(region.length, "corner")}</strong>
        <button
          type="button"
          class="button second"
          disabled={region.length === 0}
          onClick={() => {
            setup.change({ region: [], regionOn: undefined });
          }}
        >
          Whole picture
        </button>
      </p>
      {crossesItself(region) && (
        <p class="state bad wraps" role="alert">
          <Mark shape="cross" />
          <span>The region's edges cross: move a corner, or begin with the whole picture again.</span>
        </p>
      )}
      {picture !== undefined && region.length > 0 && (
        <DrawnOn
          what="region"
          on={draft.regionOn}
          picture={picture}
          again={() => {
            setup.change({ region: [], regionOn: undefined });
          }}
          keep={() => {
            setup.change(regionOn(draft, picture));
          }}
        />
      )}
      <p class="hint">
        By keyboard: Tab to the picture, arrow keys move the crosshair (Shift: by one pixel), Enter adds a corner. Tab
        on to the corners: arrow keys move one, Delete removes it.
      </p>
    </>
  );
}
