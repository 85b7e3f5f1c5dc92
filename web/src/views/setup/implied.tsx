import { useEffect, useState } from "preact/hooks";

import { session } from "../../session";
import type { Setup } from "../../setup/setup";
import { heightsOfPeople, peopleWords, viewWords } from "../../setup/view";
import type { CameraState } from "../../wire";
import { Mark } from "../shapes";
import type { Calibrating } from "./calibration";

/** Whether a calibration may be saved as it is. */
export interface Judgement {
  /** What it implies about the camera, and how tall people in the picture would be. */
  words: readonly string[];
  /** What can hardly be right. */
  warnings: readonly string[];
  confirmed: boolean;
  confirm: (confirmed: boolean) => void;
  /** Why it is not saved. */
  doubt: string | undefined;
  /** It is being judged. */
  wait: boolean;
}

/** Judges the draft's calibration. A change takes a confirmation back; what is saved needs none. */
export function useJudgement(setup: Setup, camera: CameraState | null, calibrating: Calibrating): Judgement {
  const { fit, ground } = calibrating;
  const { calibrated, error, asking, asked } = fit;
  const [confirmed, confirm] = useState<string>();
  const people = usePeople(camera, calibrating);
  const view = calibrated?.view;
  const seen = people?.of === asked ? people : undefined;
  const warnings = calibrated === undefined ? [] : calibrated.warnings.map(begun);
  if (seen?.fine === false) warnings.push(`${seen.text} Check the lengths.`);
  const words = view && ground !== undefined ? [viewWords(view)] : [];
  if (seen?.fine === true) words.push(seen.text);
  const isConfirmed = asked !== undefined && confirmed === asked;
  const fresh = !setup.calibrationSaved.value;
  return {
    words: error === undefined ? words : [],
    warnings,
    confirmed: isConfirmed,
    confirm: (yes) => {
      confirm(yes ? asked : undefined);
    },
    doubt: !fresh
      ? undefined
      : error !== undefined
        ? "This calibration cannot be used."
        : warnings.length > 0 && !isConfirmed
          ? "This calibration can hardly be right: correct it, or confirm it."
          : undefined,
    wait: fresh && asking,
  };
}

/** What was last seen of the people in the picture by the present calibration. */
function usePeople(camera: CameraState | null, { fit, ground }: Calibrating) {
  const [people, setPeople] = useState<{ text: string; fine: boolean; of: string | undefined }>();
  const { asked, asking, calibrated } = fit;
  const tracks = camera === null ? undefined : session.feed(camera.camera).numbers.value.tracks;
  const view = calibrated?.view;
  useEffect(() => {
    if (asking || !camera?.source || ground === undefined || !view || tracks === undefined) return;
    const person = session.models.classes(camera.model).indexOf("person");
    const words = peopleWords(heightsOfPeople(view, ground, tracks, person, camera.source.height));
    if (words !== undefined) setPeople({ ...words, of: asked });
  }, [tracks, asked, asking]);
  return people;
}

/** What a calibration implies, beside the button that saves it. */
export function Implied({ judgement: { words, warnings, confirmed, confirm } }: { judgement: Judgement }) {
  const said = words.length + warnings.length;
  useEffect(() => {
    // The field that is typed into stays in sight when there is less room for it.
    const field = document.activeElement;
    if (field instanceof HTMLInputElement && field.closest(".panel") !== null)
      field.scrollIntoView({ block: "nearest" });
  }, [said]);
  if (said === 0) return null;
  return (
    <div class="implied" data-testid="implied">
      <div class="implied-words" tabIndex={0} role="group" aria-label="What the calibration implies">
        {warnings.map((text) => (
          <p key={text} class="state warn wraps">
            <Mark shape="triangle" />
            <span>{text}</span>
          </p>
        ))}
        {words.map((text) => (
          <p key={text} class="hint">
            {text}
          </p>
        ))}
      </div>
      {warnings.length > 0 && (
        <label class="check">
          <input
            type="checkbox"
            checked={confirmed}
            onChange={(event) => {
              confirm(event.currentTarget.checked);
            }}
          />
          It is right: save it so
        </label>
      )}
    </div>
  );
}

/** A sentence with its capital and full stop. */
function begun(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
