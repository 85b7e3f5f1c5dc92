import { afterEach, expect, it, vi } from "vitest";

import { Models } from "./models";

let asked = 0;
function announced(...models: { name: string; classes: string[] }[]): void {
  asked = 0;
  vi.stubGlobal("document", { baseURI: "http://gateway.test/" });
  vi.stubGlobal("fetch", () => {
    asked += 1;
    return Promise.resolve(new Response(JSON.stringify({ models })));
  });
}
afterEach(() => {
  vi.unstubAllGlobals();
});

it("class names are asked for with every list of cameras, or not for another model", async () => {
  const models = new Models();
  announced({ name: "a", classes: ["person", "car"] });
  await models.need([null]);
  expect(asked).toBe(0);
  await models.need(["a", null]);
  await models.need(["a"]);
  expect(asked).toBe(1);
  expect(models.classes("a")).toEqual(["person", "car"]);
  expect(models.classes(null)).toEqual([]);
  announced({ name: "b", classes: ["cup"] });
  await models.need(["b"]);
  expect(models.classes("b")).toEqual(["cup"]);
  models.suspect();
  announced({ name: "b", classes: ["mug"] });
  await models.need(["b"]);
  expect(models.classes("b")).toEqual(["mug"]);
});

it("one refusal is the last word", async () => {
  const models = new Models();
  announced();
  vi.stubGlobal("fetch", () => Promise.resolve(new Response("{}", { status: 503 })));
  await models.need(["a"]);
  announced({ name: "a", classes: ["person"] });
  await models.need(["a"]);
  expect(models.classes("a")).toEqual(["person"]);
});
