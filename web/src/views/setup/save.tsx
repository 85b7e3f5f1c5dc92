import type { ComponentChildren } from "preact";

import type { Setup } from "../../setup/setup";
import { Icon, Mark } from "../shapes";

interface SaveBarProps {
  setup: Setup;
  save: () => void;
  label: string;
  /** Another reason why it cannot be saved. */
  doubt?: string | undefined;
  /** Something has to be found out first. */
  wait?: boolean;
  /** What the changes imply. */
  implied?: ComponentChildren;
  /** Said while there is nothing to save. */
  children?: ComponentChildren;
}

/** What is not saved, why it cannot be, and the ways back. */
export function SaveBar({ setup, save, label, doubt, wait = false, implied, children }: SaveBarProps) {
  const { past, future } = setup.history.value;
  const error = setup.error.value;
  const changed = setup.changed.value;
  const problem = changed ? (setup.problems.value[0]?.text ?? doubt) : undefined;
  const saving = setup.doing.value === "saving";
  return (
    <section class={`card save-bar ${changed ? "changed" : ""}`} aria-label="Save">
      {implied}
      <div class="save-words" role="status">
        {error !== undefined ? (
          <span class="state bad wraps">
            <Mark shape="cross" />
            <span>{error.status === 412 ? "Somebody else changed this camera meanwhile." : error.message}</span>
          </span>
        ) : problem !== undefined ? (
          <span class="state warn wraps">
            <Mark shape="triangle" />
            <span>{problem}</span>
          </span>
        ) : changed ? (
          "Not saved yet."
        ) : (
          (children ?? "Nothing to save.")
        )}
      </div>
      <div class="save-buttons">
        <button
          type="button"
          class="tool"
          aria-label="Undo"
          title="Undo (Ctrl-Z)"
          disabled={past.length === 0}
          onClick={() => {
            setup.undo();
          }}
        >
          <Icon name="undo" />
        </button>
        <button
          type="button"
          class="tool"
          aria-label="Redo"
          title="Redo (Ctrl-Shift-Z)"
          disabled={future.length === 0}
          onClick={() => {
            setup.redo();
          }}
        >
          <Icon name="redo" />
        </button>
        {error?.status === 412 ? (
          <>
            <button type="button" class="button second" onClick={() => void setup.save(true)}>
              Save mine
            </button>
            <button
              type="button"
              class="button"
              onClick={() => {
                setup.discard();
                void setup.load();
              }}
            >
              Take theirs
            </button>
          </>
        ) : (
          <>
            <button
              type="button"
              class="button second"
              disabled={!changed || saving}
              onClick={() => {
                setup.discard();
              }}
            >
              Discard
            </button>
            <button
              type="button"
              class="button"
              disabled={!changed || problem !== undefined || wait || saving}
              onClick={save}
            >
              {saving ? "Saving…" : label}
            </button>
          </>
        )}
      </div>
    </section>
  );
}
