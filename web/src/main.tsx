import { render } from "preact";

import { App } from "./app";
import { session } from "./session";

const root = document.getElementById("app");
if (root !== null) {
  render(<App />, root);
  session.start();
}
