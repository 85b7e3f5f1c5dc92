import { expect, it } from "vitest";

import { begin, edit, redo, settle, undo } from "./history";

it("an edit is lost by undo and redo", () => {
  let history = edit(edit(begin("a"), "b"), "c");
  history = undo(undo(undo(history)));
  expect(history.present).toBe("a");
  history = redo(redo(redo(history)));
  expect(history.present).toBe("c");
});

it("a drag is more than one step", () => {
  let history = edit(begin(0), 1, "corner 2");
  for (const at of [2, 3, 4]) history = edit(history, at, "corner 2");
  expect(history.present).toBe(4);
  expect(undo(history).present).toBe(0);
  history = edit(settle(history), 9, "corner 2");
  expect(undo(history).present).toBe(4);
});

it("what was undone comes back after another edit", () => {
  const history = edit(undo(edit(begin("a"), "b")), "c");
  expect(redo(history).present).toBe("c");
  expect(undo(history).present).toBe("a");
});

it("the history grows without end", () => {
  let history = begin(0);
  for (let i = 1; i < 1000; i += 1) history = edit(history, i);
  expect(history.past.length).toBeLessThanOrEqual(200);
});
