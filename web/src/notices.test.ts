import { expect, it } from "vitest";

import { sentence } from "./notices";
import { readNotice } from "./wire";

it("has a sentence and a next step for every notice, and for those of later releases", () => {
  let code = 0;
  for (; !readNotice(code).startsWith("other:"); code += 1) {
    const { title, next } = sentence(readNotice(code));
    expect(title, readNotice(code)).not.toContain("does not know");
    expect(next.endsWith("."), next).toBe(true);
  }
  expect(code).toBeGreaterThan(0);
  expect(sentence(readNotice(250)).title).toContain("other:250");
});
