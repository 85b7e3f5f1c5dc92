import { useEffect, useRef } from "preact/hooks";

import { helpOpen, KEYS } from "../keys";

export function HelpDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = helpOpen.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  const close = (): void => {
    helpOpen.value = false;
  };
  return (
    <dialog
      ref={dialog}
      class="help"
      aria-labelledby="help-title"
      onCancel={close} // at once: a key right after Esc is already one for the page
      onClose={close}
      onClick={(event) => {
        if (event.target === dialog.current) close();
      }}
    >
      <div class="help-body">
        <h2 id="help-title">Keyboard</h2>
        <dl class="keys">
          {KEYS.map(({ keys, does }) => (
            <div key={does}>
              <dt>
                {keys.map((key) => (
                  <kbd key={key}>{key}</kbd>
                ))}
              </dt>
              <dd>{does}</dd>
            </div>
          ))}
        </dl>
        <h2>On the picture</h2>
        <p>
          A solid box is seen in this very frame, a dashed one is predicted. The line behind it is where its foot stood
          in the last seconds. Speeds are given with one standard error and only once they are known to be good. Objects
          outside the region are pale and not counted.
        </p>
        <button class="button" type="button" onClick={close} autofocus>
          Close
        </button>
      </div>
    </dialog>
  );
}
