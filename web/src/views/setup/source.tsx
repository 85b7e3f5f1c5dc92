import { session } from "../../session";
import type { Draft } from "../../setup/draft";
import { suggestId } from "../../setup/draft";
import type { Setup } from "../../setup/setup";
import { Field, TextField } from "./fields";

const EXAMPLES: readonly { name: string; uri: string; about: string }[] = [
  {
    name: "RTSP",
    uri: "rtsp://user:password@192.168.1.20/stream1",
    about: "A network camera; its manual has the path.",
  },
  { name: "File", uri: "/videos/parking.mp4", about: "A path on the producer's machine." },
  { name: "USB", uri: "v4l2:/dev/video0", about: "A camera at the producer's machine." },
  { name: "HTTP", uri: "http://192.168.1.30/video.mjpg", about: "Motion JPEG, or a video file on a server." },
  { name: "Synthetic", uri: "synthetic:road?w=1280&h=720&fps=15", about: "A rendered road: nothing else is needed." },
];

/** Classes that people ask for most, shown before the others. */
const FREQUENT = ["person", "bicycle", "car", "motorcycle", "bus", "truck", "dog"];

/** What a camera is and what is looked for. */
export function SourceForm({ setup }: { setup: Setup }) {
  const draft = setup.draft.value;
  const isNew = setup.camera === undefined;
  const cameras = session.cameras.value ?? [];
  const like = cameras.find(({ camera }) => camera === setup.camera) ?? cameras[0];
  const classes = session.models.classes(like?.model ?? null);
  const taken = new Set(cameras.map(({ camera }) => camera));
  const change = (part: Partial<Draft>, about: string): void => {
    // The suggestion follows until somebody types an id.
    // It may have been made before the list of cameras came.
    const isSuggestion = [new Set<string>(), taken].some((ids) => draft.id === suggestId(draft.name, draft.uri, ids));
    const suggested = isNew && (draft.id === "" || isSuggestion);
    const next = { ...draft, ...part };
    const named = next.name.trim() !== "" || next.uri.trim() !== "";
    const id = suggested && part.id === undefined ? { id: named ? suggestId(next.name, next.uri, taken) : "" } : {};
    setup.change({ ...part, ...id }, about);
  };
  return (
    <>
      <TextField
        label="Name"
        hint="For people."
        value={draft.name}
        change={(name) => {
          change({ name }, "name");
        }}
      />
      <Field label="Source" hint={setup.addressLost.value ? ADDRESS_LOST : hintOf(draft.uri)}>
        {(id, hintId) => (
          <>
            <input
              id={id}
              aria-describedby={hintId}
              type="text"
              inputMode="url"
              autocomplete="off"
              autocapitalize="off"
              spellcheck={false}
              value={draft.uri}
              onInput={(event) => {
                change({ uri: event.currentTarget.value }, "uri");
              }}
            />
            <div class="chips" role="group" aria-label="Examples of sources">
              {EXAMPLES.map(({ name, uri, about }) => (
                <button
                  key={name}
                  type="button"
                  class="chip"
                  title={`${about} ${uri}`}
                  onClick={() => {
                    change({ uri }, "example");
                  }}
                >
                  {name}
                </button>
              ))}
            </div>
          </>
        )}
      </Field>
      <TextField
        label="Id"
        hint={
          isNew
            ? "In addresses and keys; it cannot be changed later."
            : "Cannot be changed: add another camera instead."
        }
        value={draft.id}
        disabled={!isNew}
        change={(id) => {
          change({ id }, "id");
        }}
      />
      <label class="check">
        <input
          type="checkbox"
          checked={draft.loop}
          onChange={(event) => {
            change({ loop: event.currentTarget.checked }, "loop");
          }}
        />
        Start a file again at its end
      </label>
      <Classes
        known={classes}
        chosen={draft.classes}
        change={(chosen) => {
          setup.change({ classes: chosen });
        }}
      />
      <Field label="Confidence" hint="Less finds more, and more that is none.">
        {(id, hintId) => (
          <span class="slider">
            <input
              id={id}
              aria-describedby={hintId}
              type="range"
              min="0.05"
              max="0.95"
              step="0.05"
              value={draft.confidence}
              onInput={(event) => {
                change({ confidence: event.currentTarget.valueAsNumber }, "confidence");
              }}
            />
            <output for={id}>{draft.confidence.toFixed(2)}</output>
          </span>
        )}
      </Field>
    </>
  );
}

interface ClassesProps {
  known: readonly string[];
  chosen: readonly string[];
  change: (chosen: readonly string[]) => void;
}

function Classes({ known, chosen, change }: ClassesProps) {
  // A class that the model does not have can still be taken away.
  const all = [...new Set([...known, ...chosen])];
  const first = all.filter((name) => FREQUENT.includes(name) || chosen.includes(name));
  const shown = first.length > 0 ? first : all.slice(0, FREQUENT.length);
  const rest = all.filter((name) => !shown.includes(name));
  const chip = (name: string) => (
    <button
      key={name}
      type="button"
      class="chip"
      aria-pressed={chosen.includes(name)}
      onClick={() => {
        change(chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name]);
      }}
    >
      {name}
    </button>
  );
  return (
    <fieldset class="field">
      <legend>Look for</legend>
      <div class="chips">{shown.map(chip)}</div>
      {rest.length > 0 && (
        <details>
          <summary>{rest.length} more</summary>
          <div class="chips">{rest.map(chip)}</div>
        </details>
      )}
      <p class="hint">
        {all.length === 0
          ? "The model's classes are known as soon as a processor runs. All are looked for."
          : chosen.length === 0
            ? "None chosen: all that the model knows."
            : "Only these are shown and tracked."}
      </p>
    </fieldset>
  );
}

const ADDRESS_LOST =
  "The address that was typed here is not kept, because it may hold a password: type it again. The rest is as it was.";

function hintOf(address: string): string {
  if (address.includes("***")) {
    return "*** stands for what is hidden. It stays as it is, unless you change host, port or scheme: then type it again.";
  }
  const example = EXAMPLES.find(({ uri }) => schemeOf(uri) === schemeOf(address));
  return address.trim() === "" || example === undefined ? "A path or an address; choose an example." : example.about;
}

function schemeOf(uri: string): string {
  const scheme = /^([a-z0-9+.-]+):/i.exec(uri.trim())?.[1]?.toLowerCase() ?? "";
  return { rtsps: "rtsp", https: "http", file: "" }[scheme] ?? scheme;
}
