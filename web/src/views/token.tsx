import { useState } from "preact/hooks";

import { session } from "../session";
import { isToken, setToken, tokenWanted } from "../token";
import { Wing } from "./shapes";

/** The gateway asks who is there. */
export function TokenView() {
  const [mistake, setMistake] = useState<string>();
  return (
    <section class="empty" data-testid="token">
      <Wing />
      <h1>This gateway asks for a token</h1>
      <p role="status">{mistake ?? tokenWanted.value}</p>
      <form
        class="token"
        onSubmit={(event) => {
          event.preventDefault();
          const field = event.currentTarget.elements.namedItem("token");
          const text = field instanceof HTMLInputElement ? field.value.trim() : "";
          if (!isToken(text)) {
            setMistake("A token has letters, digits and - . _ ~ only. Copy it again.");
            return;
          }
          setMistake(undefined);
          setToken(text);
          session.start();
        }}
      >
        <label for="token">Token</label>
        <input id="token" name="token" type="password" autocomplete="current-password" required autofocus />
        <button class="button" type="submit">
          Enter
        </button>
      </form>
      <p>It is kept until this tab is closed.</p>
    </section>
  );
}
