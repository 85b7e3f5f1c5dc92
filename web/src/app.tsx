import { useEffect } from "preact/hooks";

import { listenToKeys } from "./keys";
import { route } from "./route";
import { session } from "./session";
import { tokenWanted } from "./token";
import { CameraView } from "./views/camera";
import { Header } from "./views/header";
import { HelpDialog } from "./views/help";
import { Notice } from "./views/notice";
import { TokenView } from "./views/token";
import { Wall } from "./views/wall";

export function App() {
  const at = route.value;
  useEffect(() => listenToKeys(), []);
  const title = at.view === "camera" ? `${session.nameOf(at.camera)} · Peregrine` : "Peregrine";
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
        {tokenWanted.value !== undefined ? (
          <TokenView />
        ) : at.view === "wall" ? (
          <Wall search={at.search} />
        ) : (
          <CameraView key={at.camera} camera={at.camera} />
        )}
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
