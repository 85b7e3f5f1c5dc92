import { useLayoutEffect, useRef } from "preact/hooks";

import { helpOpen, searchWanted } from "../keys";
import { route, setSearch } from "../route";
import { session } from "../session";
import { nextTheme, nextUnit, speedUnit, theme } from "../settings";
import { connectionWords } from "../situation";
import { Icon, Mark, Wing } from "./shapes";

export function Header() {
  return (
    <header class="top">
      <a class="brand" href="#/" aria-label="Peregrine: all cameras">
        <Wing />
        <span>Peregrine</span>
      </a>
      {route.value.view === "wall" ? <Search text={route.value.search} /> : <span class="search-room" />}
      <ConnectionLight />
      <div class="tools">
        <UnitButton />
        <ThemeButton />
        <a
          class="tool"
          href="#/system"
          aria-label="System"
          title="System: workers and where every frame went"
          aria-current={route.value.view === "system" ? "page" : undefined}
        >
          <Icon name="system" />
        </a>
        <button
          class="tool"
          type="button"
          aria-label="Keyboard help"
          title="Keyboard help (?)"
          onClick={() => (helpOpen.value = true)}
        >
          <Icon name="help" />
        </button>
      </div>
    </header>
  );
}

function Search({ text }: { text: string }) {
  const field = useRef<HTMLInputElement>(null);
  const wanted = searchWanted.value;
  useLayoutEffect(() => {
    if (!wanted) return;
    field.current?.focus();
    searchWanted.value = false;
  }, [wanted]);
  return (
    <label class="search">
      <Icon name="search" />
      <input
        ref={field}
        id="search"
        type="search"
        placeholder="Search cameras"
        aria-label="Search cameras"
        autocomplete="off"
        spellcheck={false}
        value={text}
        onInput={(event) => {
          setSearch(event.currentTarget.value);
        }}
      />
      <kbd aria-hidden="true">/</kbd>
    </label>
  );
}

function ConnectionLight() {
  const connection = session.connection.value;
  const roundTrip = session.roundTripMs.value;
  const open = connection.state === "open";
  return (
    <span
      class={`connection ${open ? "good" : connection.state === "closed" ? "bad" : "quiet"}`}
      data-testid="connection"
    >
      <Mark shape={open ? "dot" : connection.state === "closed" ? "cross" : "ring"} />
      <span class="connection-words">{connectionWords(connection, session.nowMs.value)}</span>
      <span class="connection-trip" title="Round trip to the gateway">
        {open && roundTrip !== undefined ? `${roundTrip.toFixed(roundTrip < 9.95 ? 1 : 0)} ms` : ""}
      </span>
    </span>
  );
}

function UnitButton() {
  const unit = speedUnit.value;
  return (
    <button
      class="tool unit"
      type="button"
      aria-label={`Speeds in ${unit}: change`}
      title="Unit of speeds (u)"
      onClick={nextUnit}
    >
      {unit}
    </button>
  );
}

function ThemeButton() {
  const at = theme.value;
  const name = at === "auto" ? "as the system" : at;
  return (
    <button
      class="tool"
      type="button"
      aria-label={`Theme ${name}: change`}
      title={`Theme: ${name} (t)`}
      onClick={nextTheme}
    >
      <Icon name={at === "auto" ? "auto" : at === "dark" ? "moon" : "sun"} />
    </button>
  );
}
