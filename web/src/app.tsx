import { useEffect } from "preact/hooks";

import type { Route } from "./address";
import { listenToKeys } from "./keys";
import { route } from "./route";
import { session } from "./session";
import { tokenWanted } from "./token";
import { AddView } from "./views/add";
import { CameraView } from "./views/camera";
import { DebugPanel } from "./views/debug";
import { DeviceView } from "./views/device";
import { Header } from "./views/header";
import { HelpDialog } from "./views/help";
import { Notice } from "./views/notice";
import { SetupView } from "./views/setup";
import { StreamView } from "./views/stream";
import { SystemView } from "./views/system";
import { TokenView } from "./views/token";
import { Wall } from "./views/wall";

export function App() {
  const at = route.value;
  useEffect(() => listenToKeys(), []);
  const title = titleOf(at);
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
        {tokenWanted.value !== undefined ? <TokenView /> : <View at={at} />}
      </main>
      <DebugPanel />
      <Notice />
      <HelpDialog />
    </>
  );
}

function View({ at }: { at: Route }) {
  switch (at.view) {
    case "wall":
      return <Wall search={at.search} />;
    case "camera":
      return <CameraView key={at.camera} camera={at.camera} at={at.at} />;
    case "add":
      return <AddView />;
    case "setup":
      return <SetupView key={at.camera} camera={at.camera} part={at.part} />;
    case "stream":
      return <StreamView key={at.stream} stream={at.stream} />;
    case "device":
      return <DeviceView />;
    case "system":
      return <SystemView />;
  }
}

function titleOf(at: Route): string {
  switch (at.view) {
    case "wall":
      return "Peregrine";
    case "camera":
      return `${session.nameOf(at.camera)} · Peregrine`;
    case "add":
      return "Add a camera · Peregrine";
    case "setup":
      return `Set up ${session.nameOf(at.camera)} · Peregrine`;
    case "stream":
      return `${at.stream} · Peregrine`;
    case "device":
      return "This device's camera · Peregrine";
    case "system":
      return "System · Peregrine";
  }
}

/** The address holds the view, so this link moves the focus itself. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}
