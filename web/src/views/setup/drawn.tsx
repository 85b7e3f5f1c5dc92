import { isSameShape, type PictureShape, shapeWords } from "../../setup/shape";
import { Mark } from "../shapes";

interface DrawnOnProps {
  what: "region" | "calibration";
  /** What it was drawn on; undefined where nobody said. */
  on: PictureShape | undefined;
  /** The picture of now. */
  picture: PictureShape;
  /** Begins anew. */
  again: () => void;
  /** Takes it as it lies on the picture of now. */
  keep: () => void;
}

/** Asks what is to become of something drawn, where it may not belong to the picture of now; else nothing. */
export function DrawnOn({ what, on, picture, again, keep }: DrawnOnProps) {
  if (on !== undefined && isSameShape(on, picture)) return null;
  return (
    <div class="drawn-on" role="status">
      {on === undefined ? (
        <p class="hint">
          This {what} does not say what picture it was drawn on. If it lies right on this one, keep it so: other sizes
          of the same shape are then scaled to.
        </p>
      ) : (
        <p class="state warn wraps">
          <Mark shape="triangle" />
          <span>
            Switched off: the {what} was drawn on a picture of {shapeWords(on)}, and this one has another shape,{" "}
            {shapeWords(picture)}. It is shown stretched to it.
          </span>
        </p>
      )}
      <p class="card-row">
        <button type="button" class="button second" onClick={again}>
          Draw again
        </button>
        <button type="button" class="button second" onClick={keep}>
          It is still right
        </button>
      </p>
    </div>
  );
}
