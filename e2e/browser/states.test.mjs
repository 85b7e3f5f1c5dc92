// Every state of the dashboard, against the mock gateway.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { accessibilityProblems, connectionOf, screenshot, shownFrame, until, watchSmoothness } from "./browser.mjs";
import { camera, stream } from "./mock.mjs";
import { workplace } from "./workplace.mjs";

const REGION = [
  [150, 400],
  [500, 200],
  [800, 200],
  [1200, 700],
  [100, 700],
];
const everyState = () => [
  camera("gate-north", { name: "Gate north", region: REGION }),
  camera("junction", { name: "Junction 4, eastbound", calibrated: false }),
  camera("yard", { name: "Yard", health: "no_owner" }),
  camera("dock", { name: "Loading dock", health: "failed", error: "rtsp://***@10.0.0.7/main: 401 Unauthorized" }),
  camera("clip", { name: "clip.mp4", health: "ended" }),
  camera("roof", { health: "reconnecting", error: "rtsp://roof.local/1: no route to host" }),
  camera("cellar", { health: "no_producer" }),
  camera("attic", { health: "starting" }),
];

describe("dashboard", () => {
  const place = workplace();
  const { start, open, live } = place;

  test("picture and overlay of different frames", async () => {
    await start([camera("a", { fps: 25 })]);
    const page = await open("#/camera/a");
    await live(page, "a");
    const seen = new Set();
    for (let i = 0; i < 40; i += 1) {
      const shown = await shownFrame(page, "a");
      assert.equal(shown.frameId, shown.resultId);
      assert.equal(shown.frameNumber, shown.position, "the pixels are of another frame than the result");
      assert.ok(shown.boxes > 0 && shown.overlayPixels > 0, JSON.stringify(shown));
      seen.add(shown.frameId);
      await page.waitForTimeout(30);
    }
    assert.ok(seen.size > 10, `only ${seen.size} different frames were painted`);
    assert.deepEqual(page.complaints, []);
  });

  test("painted frames are not reported with plausible times", async () => {
    await start([camera("a")]);
    const page = await open();
    await live(page, "a");
    await until(
      () => place.mock.painted.length,
      (n) => n > 20,
      "20 reports",
    );
    for (const { camera: of, id, deliverUs, paintUs } of place.mock.painted) {
      assert.equal(of, "a");
      assert.match(id, /^\d+-\d+$/);
      assert.ok(deliverUs < 5e6 && paintUs < 5e6, `${deliverUs} ${paintUs}`);
    }
    assert.equal(
      new Set(place.mock.painted.map(({ id }) => id)).size,
      place.mock.painted.length,
      "a frame was reported twice",
    );
  });

  test("a token is not asked for, not refused, or shows in the address", async () => {
    await start([camera("a")], { token: "right-token" });
    const page = await open();
    const view = page.getByTestId("token");
    await view.waitFor();
    assert.match(await view.innerText(), /has a token for you/);
    assert.deepEqual(await accessibilityProblems(page), []);
    await screenshot(page, "token");
    await page.getByLabel("Token", { exact: true }).fill("wrong-token");
    await page.keyboard.press("Enter");
    await view.getByText("not accepted").waitFor();
    await page.getByLabel("Token", { exact: true }).fill("right-token");
    await page.keyboard.press("Enter");
    await live(page, "a");
    assert.ok(!page.url().includes("token"), page.url());
    await page.reload();
    await live(page, "a");
  });

  test("a token that does not hold any more is not asked for again", async () => {
    await start([camera("a")], { token: "old-token" });
    const page = await open("#/system");
    await page.getByLabel("Token", { exact: true }).fill("old-token");
    await page.keyboard.press("Enter");
    await page.getByText("worker-1").first().waitFor();
    place.mock.changeToken("new-token");
    await page.getByTestId("token").getByText("not accepted").waitFor();
    await page.getByLabel("Token", { exact: true }).fill("new-token");
    await page.keyboard.press("Enter");
    await page.getByText("worker-1").first().waitFor();
  });

  test("a state without its word or its next step", async () => {
    await start(everyState());
    const page = await open();
    await live(page, "gate-north");
    const expected = {
      Yard: [/no processor/, /\.\/dev scale processor=1/],
      "Loading dock": [/failed/, /401 Unauthorized.*Correct the source/s],
      "clip.mp4": [/ended/, /loop = true/],
      roof: [/reconnecting/, /no route to host.*keeps trying/s],
      cellar: [/no producer/, /Start the producer/],
      attic: [/starting/, /Opening the source/],
    };
    for (const [name, patterns] of Object.entries(expected)) {
      const text = await page.locator(".tile", { hasText: name }).innerText();
      for (const pattern of patterns) assert.match(text, pattern);
    }
    assert.match(await page.locator(".summary").innerText(), /8 cameras/);
  });

  test("an old picture looks live", async () => {
    const cameras = [camera("a")];
    await start(cameras);
    const page = await open();
    await live(page, "a");
    assert.match(await page.locator(".tile").innerText(), /live/);
    cameras[0].frozen = true;
    await until(
      () => page.locator(".tile").innerText(),
      (text) => /stale/.test(text) && /2\.\d s old/.test(text),
      "a stale badge",
      6_000,
    );
    assert.equal(await page.locator(".picture.old").count(), 1);
    cameras[0].frozen = false;
    await until(
      () => page.locator(".picture.old").count(),
      (n) => n === 0,
      "a live picture again",
    );
  });

  test("a lost gateway is not told, or the page does not recover by itself", async () => {
    await start([camera("a")]);
    const port = Number(new URL(place.mock.url).port);
    const page = await open("#/camera/a");
    await live(page, "a");
    await place.mock.stop();
    await until(
      () => connectionOf(page),
      (state) => state === "closed",
      "the loss",
    );
    await until(
      () => page.getByTestId("connection").innerText(),
      (text) => /Reconnecting in \d+ s/.test(text),
      "the countdown",
    );
    await until(
      () => page.locator(".camera-head").innerText(),
      (text) => /disconnected/.test(text),
      "the word",
    );
    assert.equal(await page.locator(".picture.old").count(), 1);
    await screenshot(page, "camera-disconnected-dark-wide");
    const before = await shownFrame(page, "a");
    await start([camera("a")], { port });
    await until(
      () => connectionOf(page),
      (state) => state === "open",
      "the new connection",
    );
    await until(
      () => shownFrame(page, "a"),
      (shown) => shown.frameId !== before.frameId,
      "a new picture",
    );
    await until(
      () => page.locator(".picture.old").count(),
      (n) => n === 0,
      "a live picture again",
    );
  });

  test("a tile off the screen or a hidden tab stays subscribed", async () => {
    await start(Array.from({ length: 24 }, (_, i) => camera(`camera-${String(i).padStart(2, "0")}`, { fps: 5 })));
    const page = await open("", { width: 800, height: 500 });
    await live(page, "camera-00");
    const subscribed = () => place.mock.subscriptions()[0] ?? [];
    assert.ok(subscribed().length < 12, `${subscribed().length} of 24 subscribed`);
    await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
    await until(subscribed, (list) => list.includes("camera-23") && !list.includes("camera-00"), "the other end");
    const hide = (hidden) =>
      page.evaluate((value) => {
        Object.defineProperty(document, "hidden", { value, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, hidden);
    await hide(true);
    await until(subscribed, (list) => list.length === 0, "no subscription");
    await hide(false);
    await until(subscribed, (list) => list.includes("camera-23"), "the subscription again");
  });

  test("garbage from the gateway breaks the page", async () => {
    await start([camera("a")]);
    const page = await open();
    await live(page, "a");
    for (const bytes of [[0xc1], [0x81, 0xa1, 0x61, 0xc0], Array(64).fill(0xdd), []])
      place.mock.raw(Buffer.from(bytes));
    place.mock.tell("result", ["a", "1-0", 1, Buffer.from([1, 2, 3])]);
    place.mock.tell("preview", ["a", "9999999999999-0", [1, 1], Buffer.from("no jpeg")]);
    await until(
      () => page.locator(".notice").innerText(),
      (text) => /cannot read/.test(text),
      "a notice",
    );
    const before = await shownFrame(page, "a");
    await until(
      () => shownFrame(page, "a"),
      (shown) => shown.frameId !== before.frameId,
      "another picture",
    );
    assert.deepEqual(page.complaints, []);
  });

  test("a key does not do what the help says", async () => {
    await start([camera("a"), camera("b"), camera("c")]);
    const page = await open();
    await live(page, "a");
    await page.keyboard.press("?");
    await page.getByRole("dialog").waitFor();
    assert.deepEqual(await accessibilityProblems(page), []);
    await screenshot(page, "help-dark-wide");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Enter");
    await page.waitForURL(/#\/camera\/b$/);
    await page.keyboard.press("ArrowRight");
    await page.waitForURL(/#\/camera\/c$/);
    await page.keyboard.press("ArrowLeft");
    await page.waitForURL(/#\/camera\/b$/);
    await page.keyboard.press("u");
    await until(
      () => page.locator(".tracks th.number").innerText(),
      (text) => /mph/.test(text),
      "mph",
    );
    await page.keyboard.press("Escape");
    await page.waitForURL(/#\/$/);
    await page.keyboard.press("/");
    await page.locator("#search:focus").waitFor();
    await page.keyboard.type("B");
    await until(
      () => page.locator(".tile").count(),
      (n) => n === 1,
      "one tile",
    );
    await page.waitForURL(/#\/\?search=B$/);
    await page.keyboard.type("zz");
    await page.getByText("No camera matches").waitFor();
    await page.getByRole("button", { name: "Show all" }).click();
    await until(
      () => page.locator(".tile").count(),
      (n) => n === 3,
      "all tiles",
    );
  });

  test("an empty, unknown or unreachable place without the next step", async () => {
    const cameras = [];
    await start(cameras);
    const page = await open();
    await page.getByText("No cameras yet").waitFor();
    assert.deepEqual(await accessibilityProblems(page), []);
    await screenshot(page, "empty-dark-wide");
    await page.goto(`${place.mock.url}#/camera/nobody`);
    await page.getByText("No such camera").waitFor();
    place.mock.refuse();
    const page2 = await open();
    await page2.getByText("The gateway cannot be reached").waitFor();
  });

  test("pinching does not zoom the view from above", async () => {
    await start([], { streams: [stream("robot")] });
    const page = await open("#/stream/robot", { hasTouch: true });
    const canvas = page.locator(".above.large canvas");
    await until(
      () => canvas.getAttribute("data-objects"),
      (n) => n !== null,
      "a step",
    );
    const box = await canvas.boundingBox();
    const session = await page.context().newCDPSession(page);
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const fingers = (type, apart) =>
      session.send("Input.dispatchTouchEvent", {
        type,
        touchPoints: apart === undefined ? [] : [-1, 1].map((side, id) => ({ x: x + side * apart, y, id })),
      });
    const zoom = () => canvas.getAttribute("data-pixels-per-metre").then(Number);
    const before = await zoom();
    await fingers("touchStart", 40);
    for (const apart of [50, 60, 70, 80]) await fingers("touchMove", apart);
    await fingers("touchEnd");
    const wider = await until(zoom, (now) => now > before, "a closer look");
    assert.ok(wider > 1.7 * before && wider < 2.3 * before, `${before} became ${wider} by fingers twice as far apart`);
    assert.equal(await page.evaluate(() => visualViewport.scale), 1, "the whole page is zoomed");
  });

  test("Grafana is not linked, or without an address", async () => {
    await start([camera("a")], { grafana: "http://grafana.test:3000/" });
    const page = await open("#/system");
    const link = page.getByRole("link", { name: "Grafana" });
    await link.waitFor();
    assert.equal(await link.getAttribute("href"), "http://grafana.test:3000/");
    await place.stop();
    await start([camera("a")]);
    const without = await open("#/system");
    await without.getByText("worker-1").first().waitFor();
    assert.equal(await without.getByRole("link", { name: "Grafana" }).count(), 0);
  });

  test("things move by themselves or the page's thread is held up", async () => {
    await start([camera("a", { fps: 30 }), camera("b", { fps: 30 })]);
    const page = await open("#/camera/a");
    await live(page, "a");
    await page.waitForTimeout(1_500);
    const smoothness = await watchSmoothness(page, 5_000);
    console.log(`30 frames/s, camera view: ${JSON.stringify(smoothness)}`);
    assert.deepEqual(smoothness.moved, []);
  });

  const stepShown = (page, id) =>
    page.evaluate((name) => {
      const canvas = document.querySelector(`canvas[data-stream="${CSS.escape(name)}"]`);
      return canvas === null ? null : { ...canvas.dataset };
    }, id);
  const steps = (page, id) =>
    until(
      () => stepShown(page, id),
      (shown) => shown !== null && Number(shown.mapLines) === 4,
      `a step of ${id} with its map`,
    );

  test("results made elsewhere do not show", async () => {
    await start([], { streams: [stream("elsewhere", { rate: 15, results: true })] });
    const page = await open("#/stream/elsewhere");
    const first = await until(
      () => stepShown(page, "elsewhere"),
      (shown) => Number(shown?.objects) > 1,
      "boxes",
    );
    await until(
      () => stepShown(page, "elsewhere"),
      (shown) => Number(shown.step) > Number(first.step) + 10,
      "later results",
    );
    const canvas = page.locator("canvas[data-stream]");
    const { width, height, painted } = await canvas.evaluate((of) => {
      const { data } = of.getContext("2d").getImageData(0, 0, of.width, of.height);
      return {
        width: of.width,
        height: of.height,
        painted: data.filter((value, i) => i % 4 === 3 && value > 0).length,
      };
    });
    assert.ok(Math.abs(width / height - 16 / 9) < 0.01, `${width}x${height} has not the shape of the picture`);
    assert.ok(painted > 1_000, `only ${painted} pixels are painted`);
    assert.match(await page.locator(".tracks").innerText(), /class 2 \d+/);
    assert.equal(await page.getByRole("button", { name: "Zoom in" }).count(), 0, "there is nothing to zoom");
    assert.deepEqual(await accessibilityProblems(page), []);
    await screenshot(page, "stream-results-dark-wide");
    assert.deepEqual(page.complaints, []);
  });

  test("steps of a simulator do not show from above", async () => {
    const streams = [stream("sim")];
    await start([camera("a")], { streams });
    const page = await open();
    await page.locator(".streams .tile").getByText("live").waitFor();
    await page.getByRole("link", { name: "sim" }).click();
    await page.waitForURL(/#\/stream\/sim$/);
    const first = await steps(page, "sim");
    assert.equal(first.objects, "3");
    await until(
      () => stepShown(page, "sim"),
      (shown) => Number(shown.step) > Number(first.step) + 20,
      "later steps",
    );
    await until(
      () => page.locator(".figures").innerText(),
      (text) => /× 0\.9\d|× 1\.0\d/.test(text),
      "the real-time factor",
      6_000,
    );
    const side = await page.locator(".side").innerText();
    assert.match(side, /perceive\s+8\.1/);
    assert.match(side, /reward/);
    assert.match(side, /truck 2/);
    const pixels = () =>
      page.evaluate(() => {
        const canvas = document.querySelector("canvas[data-stream]");
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return data.filter((value, i) => i % 4 === 3 && value > 40).length;
      });
    assert.ok((await pixels()) > 2_000, "nothing is painted");
    const canvas = page.locator(".above canvas");
    await canvas.focus();
    for (const key of ["+", "ArrowLeft", "-", "0"]) await page.keyboard.press(key);
    await canvas.hover();
    await page.mouse.wheel(0, 400);
    streams[0].silent = true;
    place.mock.streamsChanged();
    await page.locator(".camera-head").getByText("silent").waitFor();
    assert.equal(await page.locator(".above.old").count(), 1);
    await page.goto(`${place.mock.url}#/stream/nobody`);
    await page.getByText("No such stream").waitFor();
    await until(
      () => place.mock.followed()[0],
      (followed) => followed.length === 0,
      "a stream that is not on the screen is no longer sent",
    );
    assert.deepEqual(page.complaints, []);
  });

  test("60 steps a second hold up the page's thread", async () => {
    await start([], { streams: [stream("sim", { rate: 60 })] });
    const page = await open("#/stream/sim");
    await steps(page, "sim");
    await page.waitForTimeout(2_500);
    const smoothness = await watchSmoothness(page, 4_000);
    console.log(`60 steps/s, from above: ${JSON.stringify(smoothness)}`);
    assert.deepEqual(smoothness.moved, []);
  });

  for (const [scheme, size, width, height] of [
    ["dark", "wide", 1440, 900],
    ["light", "wide", 1440, 900],
    ["dark", "narrow", 360, 740],
    ["light", "narrow", 360, 740],
  ]) {
    test(`inaccessible or too wide: ${scheme}, ${size}`, async () => {
      await start(everyState(), { streams: [stream("simulator")] });
      const page = await open("", {
        scheme,
        width,
        height,
        deviceScaleFactor: size === "narrow" ? 2 : 1,
        reducedMotion: "reduce",
      });
      await live(page, "gate-north");
      await page.waitForTimeout(1_200);
      for (const [name, path] of [
        ["wall", ""],
        ["camera", "#/camera/gate-north"],
        ["camera-failed", "#/camera/dock"],
        ["stream", "#/stream/simulator"],
      ]) {
        await page.goto(place.mock.url + path);
        if (name === "stream") await steps(page, "simulator");
        else if (name !== "camera-failed") await live(page, "gate-north");
        await page.waitForTimeout(1_200);
        assert.deepEqual(await accessibilityProblems(page), [], name);
        assert.ok(
          await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
          `${name} scrolls sideways`,
        );
        await screenshot(page, `${name}-${scheme}-${size}`, { fullPage: true });
      }
      assert.deepEqual(page.complaints, []);
    });
  }
});
