import { useEffect } from "preact/hooks";

import { listenToKeys } from "./keys";
import { route } from "./route";
import { session } from "./session";
import { CameraView } from "./views/camera";
import { DeviceView } from "./views/device";
import { Header } from "./views/header";
import { HelpDialog } from "./views/help";
import { Notice } from "./views/notice";
import { StreamView } from "./views/stream";
import { Wall } from "./views/wall";

export function App() {
  const at = route.value;
  useEffect(() => listenToKeys(), []);
  const name = at.view === "camera" ? session.nameOf(at.camera) : at.view === "stream" ? at.stream : undefined;
  const title = name === undefined ? "Peregrine" : `${name} · Peregrine`;
  useEffect(() => {
    document.title = title;
  }, [title]);
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        Skip to the content
      </a>
      <Header />
      <main id="main" tabIndex={-1}>
        {at.view === "wall" && <Wall search={at.search} />}
        {at.view === "camera" && <CameraView key={at.camera} camera={at.camera} />}
        {at.view === "device" && <DeviceView />}
        {at.view === "stream" && <StreamView key={at.stream} stream={at.stream} />}
      </main>
      <Notice />
      <HelpDialog />
    </>
  );
}

/** The address holds the view, so this link moves the focus itself. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}
