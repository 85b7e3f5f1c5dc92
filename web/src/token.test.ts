import { afterEach, expect, it } from "vitest";

import { offeredProtocols } from "./link/protocols";
import { authorization, checkIn, grafana, isToken, role, setToken, token, tokenWanted } from "./token";

const answering = (status: number, body = "{}") =>
  ((_: unknown, init?: RequestInit) => {
    asked = new Headers(init?.headers).get("authorization");
    return Promise.resolve(new Response(body, { status }));
  }) as typeof fetch;
let asked: string | null = null;

afterEach(() => {
  setToken(undefined);
  tokenWanted.value = undefined;
});

it("sends the token in a header and never in an address", async () => {
  expect(authorization()).toEqual({});
  setToken("abc");
  expect(await checkIn(answering(200, '{"role":"viewer","grafana":"http://grafana.test/"}'))).toBe(true);
  expect(grafana.value).toBe("http://grafana.test/");
  expect(asked).toBe("Bearer abc");
  expect(role.value).toBe("viewer");
});

it("asks for a token when there is none, and says so when one is refused", async () => {
  expect(await checkIn(answering(401))).toBe(false);
  expect(tokenWanted.value).toContain("has a token for you");
  setToken("wrong");
  expect(await checkIn(answering(401))).toBe(false);
  expect(tokenWanted.value).toContain("not accepted");
  expect(await checkIn(answering(429))).toBe(false);
  expect(tokenWanted.value).toContain("Too many");
});

it("asks for nothing when the gateway is away or older", async () => {
  expect(await checkIn(() => Promise.reject(new TypeError("away")))).toBe(true);
  expect(await checkIn(answering(404))).toBe(true);
  expect(tokenWanted.value).toBeUndefined();
  expect(token.value).toBeUndefined();
});

it("offers its own protocol first, so that the gateway has one to answer with", () => {
  expect(offeredProtocols(undefined)).toEqual(["peregrine.compact", "peregrine.msgpack"]);
  expect(offeredProtocols("abc")).toEqual(["peregrine.compact", "peregrine.msgpack", "peregrine.bearer.abc"]);
});

it("takes what can be sent only", () => {
  expect(isToken("0f-A.b_c~")).toBe(true);
  expect(isToken("a b")).toBe(false);
  expect(isToken("")).toBe(false);
});
