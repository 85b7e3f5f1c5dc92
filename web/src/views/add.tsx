import { useEffect, useMemo } from "preact/hooks";

import { go } from "../route";
import { Setup } from "../setup/setup";
import { SaveBar } from "./setup/save";
import { SourceForm } from "./setup/source";
import { Icon } from "./shapes";

/** A new camera: as soon as it is added, its setup shows the picture. */
export function AddView() {
  const setup = useMemo(() => new Setup(undefined), []);
  useEffect(() => setup.start(), [setup]);
  const add = async (): Promise<void> => {
    const camera = setup.draft.value.id.trim();
    if (await setup.save()) go({ view: "setup", camera, part: "source" });
  };
  return (
    <div class="add">
      <div class="camera-head">
        <a class="tool" href="#/" aria-label="All cameras" title="All cameras (Esc)">
          <Icon name="back" />
        </a>
        <h1>Add a camera</h1>
      </div>
      <p class="soft">
        The camera of this phone or computer? <a href="#/device">Use it</a> without an address.
      </p>
      <form
        class="side"
        onSubmit={(event) => {
          event.preventDefault();
          if (setup.problems.value.length === 0) void add();
        }}
      >
        <section class="card panel" aria-label="Source">
          <SourceForm setup={setup} />
        </section>
        <SaveBar setup={setup} save={() => void add()} label="Add">
          The picture comes next, then the region and the calibration.
        </SaveBar>
        <input type="submit" hidden />
      </form>
    </div>
  );
}
