import { afterEach, expect, it, vi } from "vitest";

import { ApiError, changeCamera, getCamera, refusal, workers } from "./api";
import { tokenWanted } from "./token";

const answer = (status: number, body: unknown, headers: Record<string, string> = {}): Response =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });

function gateway(fetch: (url: URL, init: RequestInit) => Promise<Response>): void {
  vi.stubGlobal("fetch", fetch);
  vi.stubGlobal("document", { baseURI: "http://gateway.test/dashboard/" });
}
afterEach(() => {
  vi.unstubAllGlobals();
});

it("a problem document is not shown as a sentence", async () => {
  const problem = { title: "Unprocessable", status: 422, detail: "the points lie on one line: spread them" };
  const error = await refusal(answer(422, problem));
  expect([error.status, error.message]).toEqual([422, "The points lie on one line: spread them."]);
  expect((await refusal(answer(400, { detail: "`x` is no camera id" }))).message).toBe("`x` is no camera id.");
});

it("a refusal without a problem document says nothing", async () => {
  for (const status of [401, 403, 404, 500]) {
    const error = await refusal(answer(status, "<html>"));
    expect(error.message).toMatch(/^[A-Z].*\.$|^[A-Z].*\?$/);
    expect(error.forbidden).toBe(status === 401 || status === 403);
  }
});

it("an id leaves its place in the address", async () => {
  let asked: string | undefined;
  gateway((url) => {
    asked = url.href;
    return Promise.resolve(answer(200, { state: {}, config: null }, { ETag: '"7"' }));
  });
  expect((await getCamera("a/b?c")).etag).toBe('"7"');
  expect(asked).toBe("http://gateway.test/dashboard/api/cameras/a%2Fb%3Fc");
});

it("a change overwrites another one", async () => {
  const seen: (string | null)[] = [];
  gateway((_, init) => {
    seen.push(new Headers(init.headers).get("if-match"));
    return Promise.resolve(answer(412, {}));
  });
  const config = { id: "a", source: { uri: "b" } };
  await expect(changeCamera(config, '"7"')).rejects.toMatchObject({ status: 412 });
  await expect(changeCamera(config, undefined)).rejects.toMatchObject({ status: 412 });
  expect(seen).toEqual(['"7"', null]);
});

it("a token that does not hold any more is not asked for again", async () => {
  const never = new AbortController().signal;
  gateway(() => Promise.resolve(answer(401, { detail: "this token is not accepted here" })));
  await expect(workers(never)).rejects.toThrow(/not accepted/);
  await vi.waitFor(() => {
    expect(tokenWanted.value).toBeDefined();
  });
  tokenWanted.value = undefined;
});

it("a gateway that is away, silent or none is not told apart", async () => {
  const never = new AbortController().signal;
  gateway(() => Promise.reject(new TypeError("failed to fetch")));
  await expect(workers(never)).rejects.toThrow(/cannot be reached/);
  gateway(() => Promise.reject(new DOMException("slow", "TimeoutError")));
  await expect(workers(never)).rejects.toThrow(/did not answer within/);
  gateway(() => Promise.resolve(answer(200, "<html>")));
  await expect(workers(never)).rejects.toThrow(/no JSON/);
  const gone = AbortSignal.abort();
  gateway(() => Promise.reject(new DOMException("gone", "AbortError")));
  await expect(workers(gone)).rejects.not.toBeInstanceOf(ApiError);
});
