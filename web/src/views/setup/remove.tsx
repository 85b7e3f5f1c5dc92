import { useState } from "preact/hooks";

import { go } from "../../route";
import { session } from "../../session";
import type { Setup } from "../../setup/setup";

/** Removes the camera; asks once, and says what becomes of its results. */
export function Remove({ setup }: { setup: Setup }) {
  const [asked, setAsked] = useState(false);
  if (!asked) {
    return (
      <button
        type="button"
        class="button second bad"
        onClick={() => {
          setAsked(true);
        }}
      >
        Remove this camera…
      </button>
    );
  }
  const remove = async (): Promise<void> => {
    if (await setup.remove()) go({ view: "wall", search: "" });
  };
  return (
    <div class="ask" role="alertdialog" aria-label="Remove this camera?">
      <p>
        <strong>Remove {session.nameOf(setup.camera ?? "")}?</strong> Its source is closed and its settings are gone.
        Results so far stay in the stream until newer ones or their age push them out; a camera with the same id
        continues them.
      </p>
      <div class="save-buttons">
        <button
          type="button"
          class="button second"
          autofocus
          onClick={() => {
            setAsked(false);
          }}
        >
          Keep it
        </button>
        <button type="button" class="button danger" onClick={() => void remove()}>
          Remove
        </button>
      </div>
    </div>
  );
}
