// Going back in time, against the mock gateway: what is on the screen is the very frame that was asked for.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { connectionOf, screenshot, shownFrame, until } from "./browser.mjs";
import { camera } from "./mock.mjs";
import { workplace } from "./workplace.mjs";

describe("timeline", () => {
  const place = workplace();
  let yard;

  /** A page that shows a camera live, with some frames held already. */
  async function start({ path = "#/camera/yard", frames = 40, overrides = {}, more = {} } = {}) {
    yard = camera("yard", { fps: 20, ...overrides });
    await place.start([yard]);
    await until(
      () => yard.history.frames.length,
      (n) => n >= frames,
      "frames to go back to",
    );
    return place.open(path, more);
  }
  const shown = (page) => shownFrame(page, "yard");
  const stateOf = (page) => page.locator(".timeline").getAttribute("data-state");
  const atOf = (page) => page.locator(".timeline").getAttribute("data-at");
  const running = (page) =>
    until(
      () => shown(page),
      (frame) => frame !== null,
      "a picture",
    );
  const standing = (page) =>
    until(
      () => stateOf(page),
      (state) => state === "paused",
      "standing still",
    );
  /** What is on the screen once it is this frame: picture, pixels and overlay. */
  async function exactly(page, id) {
    const frame = await until(
      () => shown(page),
      (now) => now?.resultId === id,
      `frame ${id}`,
    );
    assert.equal(frame.frameId, id, "the picture is of another frame");
    assert.equal(frame.frameNumber, frame.position, "the pixels are of another frame than the result");
    assert.ok(frame.boxes === 0 || frame.overlayPixels > 0, "boxes are not drawn");
    return frame;
  }
  async function paused(page) {
    await page.keyboard.press("Space");
    await standing(page);
    return atOf(page);
  }
  const indexOf = (id) => yard.history.indexOf(id);
  const idAt = (index) => yard.history.frames[index].id;

  test("pause shows another frame, moves on, or calls it stale", async () => {
    const page = await start();
    await running(page);
    const at = await paused(page);
    await exactly(page, at);
    await page.waitForTimeout(2_600);
    await exactly(page, at);
    assert.equal(await atOf(page), at);
    assert.match(await page.getByTestId("age").innerText(), /^paused · \d+\.\d s old$/);
    assert.match(await page.locator(".camera-head").innerText(), /paused/);
    assert.equal(await page.locator(".picture.old").count(), 0, "grey, though nothing is wrong");
    await screenshot(page, "timeline-paused-dark-wide");
    await page.keyboard.press("l");
    await until(
      () => shown(page),
      (frame) => indexOf(frame.frameId) > indexOf(at) + 10,
      "live again",
    );
    await until(
      () => page.getByTestId("age").innerText(),
      (text) => /^\d+ ms old$/.test(text),
      "the age of what is live",
    );
    assert.deepEqual(page.complaints, []);
  });

  test("a step shows another frame than the next", async () => {
    const page = await start();
    await running(page);
    let index = indexOf(await paused(page));
    for (const [key, by] of [",,,,.,..,,".split("").map((key) => [key, key === "," ? -1 : 1])].flat()) {
      await page.keyboard.press(key);
      index += by;
      await exactly(page, idAt(index));
    }
    for (let i = 0; i < 7; i += 1) await page.keyboard.press(",");
    await exactly(page, idAt(index - 7));
    assert.deepEqual(page.complaints, []);
  });

  test("scrubbing ends on another frame than the handle says", async () => {
    const page = await start({ frames: 60 });
    await running(page);
    const bar = page.locator(".timeline-bar");
    await paused(page);
    const box = await bar.boundingBox();
    assert.ok(box.height >= 44, `the handle is ${box.height} px high`);
    await page.mouse.move(box.x + box.width * 0.9, box.y + box.height / 2);
    await page.mouse.down();
    for (let i = 90; i >= 30; i -= 2) {
      await page.mouse.move(box.x + (box.width * i) / 100, box.y + box.height / 2);
    }
    const wanted = Number(await bar.inputValue());
    await page.mouse.up();
    const nearest = yard.history.frames[yard.history.nearest(`${wanted}-0`)].id;
    await until(
      () => atOf(page),
      (at) => at === nearest,
      `the frame nearest to ${wanted}`,
    );
    const frame = await exactly(page, nearest);
    await page.waitForTimeout(300);
    assert.equal((await shown(page)).frameId, frame.frameId, "a frame of before came later");
    await bar.focus();
    await page.keyboard.press("ArrowRight");
    await until(
      () => atOf(page),
      (at) => Math.abs(Number(at.split("-")[0]) - wanted - 1_000) < 200,
      "one second on",
    );
    assert.deepEqual(page.complaints, []);
  });

  test("playing leaves the order of frames, or does not end live", async () => {
    const page = await start({ frames: 60 });
    await running(page);
    const from = indexOf(await paused(page)) - 30;
    await page.locator(".timeline select").selectOption("4");
    await page.evaluate((id) => (location.hash = `#/camera/yard?at=${id}`), idAt(from));
    await exactly(page, idAt(from));
    await page.keyboard.press("Space");
    let last = from;
    await until(
      async () => {
        const frame = await shown(page);
        assert.equal(frame.resultId, frame.frameId);
        const index = indexOf(frame.frameId);
        assert.ok(index >= last, "went back");
        last = index;
        return stateOf(page);
      },
      (state) => state === "live",
      "live, by playing faster than it happens",
    );
    assert.ok(last > from + 30);
    assert.deepEqual(page.complaints, []);
  });

  test("waiting for what is to come looks like playing, live or broken", async () => {
    const page = await start({ frames: 60 });
    await running(page);
    const from = indexOf(await paused(page)) - 30;
    await page.evaluate((id) => (location.hash = `#/camera/yard?at=${id}`), idAt(from));
    await exactly(page, idAt(from));
    yard.history.stalled = true;
    await page.keyboard.press("Space");
    await until(
      () => stateOf(page),
      (state) => state === "buffering",
      "the wait",
    );
    await page.locator(".camera-head").getByText("loading").waitFor();
    assert.match(await page.getByTestId("age").innerText(), /^paused · /);
    await page.getByRole("button", { name: "Stand still" }).waitFor();
    await exactly(page, idAt(from));
    assert.equal(await page.locator(".picture.old").count(), 0, "grey, though nothing is wrong");
    yard.history.stalled = false;
    await until(
      () => stateOf(page),
      (state) => state === "playing",
      "going on",
    );
    await until(
      () => shown(page),
      (frame) => indexOf(frame.frameId) > from + 3,
      "the next frames",
    );
    assert.deepEqual(page.complaints, []);
  });

  test("the end of a file looks like a standstill, or cannot be left", async () => {
    const page = await start({ frames: 60 });
    await running(page);
    yard.frozen = true;
    yard.history.ended = true;
    await page.waitForTimeout(200);
    const last = yard.history.frames.length - 1;
    await page.evaluate((id) => (location.hash = `#/camera/yard?at=${id}`), idAt(last - 10));
    await exactly(page, idAt(last - 10));
    await page.keyboard.press("Space");
    await until(
      () => stateOf(page),
      (state) => state === "ended",
      "the end",
    );
    await exactly(page, idAt(last));
    await page.locator(".camera-head").getByText("end of the file").waitFor();
    await page.getByRole("button", { name: "Play on" }).waitFor();
    await page.keyboard.press(",");
    await exactly(page, idAt(last - 1));
    assert.equal(await stateOf(page), "paused");
    assert.deepEqual(page.complaints, []);
  });

  test("frames a second go on being counted while nothing moves", async () => {
    const page = await start();
    await running(page);
    const fps = async () =>
      Number(await page.locator(".figures div", { hasText: "FPS shown" }).locator("dd").innerText());
    await until(fps, (n) => n > 10, "frames a second");
    await paused(page);
    await page.waitForTimeout(600);
    assert.equal(await fps(), 0);
  });

  test("a gap is not drawn, or somewhere else", async () => {
    const page = await start();
    await running(page);
    assert.equal(await page.locator(".timeline-gaps span").count(), 0);
    yard.frozen = true;
    await page.waitForTimeout(3_000);
    yard.frozen = false;
    await page.waitForTimeout(1_000);
    await page.reload();
    await running(page);
    await paused(page);
    const drawn = page.locator(".timeline-gaps span");
    await drawn.waitFor({ state: "attached" });
    assert.equal(await drawn.count(), 1);
    assert.match(await page.locator(".timeline-words").innerText(), /, with 1 gap$/);
    const [{ after, first }] = yard.history.gaps("yard");
    const bar = await page
      .locator(".timeline-bar")
      .evaluate(({ min, max }) => ({ min: Number(min), max: Number(max) }));
    const share = (id) => (Number(id.split("-")[0]) - bar.min) / (bar.max - bar.min);
    const inset = await drawn.evaluate((gap) => gap.style.clipPath);
    const [right, left] = [...inset.matchAll(/([\d.]+)%/g)].slice(-2).map(([, percent]) => Number(percent) / 100);
    assert.ok(Math.abs(left - share(after)) < 0.05, `begins at ${left}, not at ${share(after)}`);
    assert.ok(Math.abs(1 - right - share(first)) < 0.05, `ends at ${1 - right}, not at ${share(first)}`);
    await screenshot(page, "timeline-gap-dark-wide");
    assert.deepEqual(page.complaints, []);
  });

  test("a link to a moment shows another one", async () => {
    const page = await start();
    await running(page);
    const at = await paused(page);
    await until(
      () => page.url(),
      (url) => url.endsWith(`#/camera/yard?at=${at}`),
      "the moment in the address",
    );
    const colleague = await place.openUrl(page.url());
    await exactly(colleague, at);
    assert.equal(await stateOf(colleague), "paused");
    await colleague.keyboard.press(".");
    await exactly(colleague, idAt(indexOf(at) + 1));
    assert.ok(colleague.url().endsWith(idAt(indexOf(at) + 1)));
    await exactly(page, at);
    await page.keyboard.press("l");
    await until(
      () => page.url(),
      (url) => url.endsWith("#/camera/yard"),
      "an address without a moment",
    );
    const late = await place.open("#/camera/yard?at=1000-0");
    await until(
      () => late.locator(".timeline-words").innerText(),
      (text) => /not held any more/.test(text),
      "a word about what is gone",
    );
    await running(late);
    assert.equal(await stateOf(late), "live");
  });

  test("a frame without a picture shows another one's, or no boxes", async () => {
    const page = await start({ overrides: { pictures: false } });
    await until(
      () => stateOf(page),
      (state) => state === "live",
      "the timeline",
    );
    await page.waitForTimeout(300);
    const at = await paused(page);
    const canvas = page.locator("canvas.pixels");
    await until(
      () => canvas.getAttribute("data-result-id"),
      (id) => id === at,
      "the boxes of the frame",
    );
    assert.equal(await canvas.getAttribute("data-frame-id"), null);
    assert.ok(Number(await canvas.getAttribute("data-boxes")) > 0);
    await page.getByText("No picture of this frame is held").waitFor();
    await screenshot(page, "timeline-without-picture-dark-wide");
    yard.pictures = true;
    await page.keyboard.press("l");
    await running(page);
    assert.deepEqual(page.complaints, []);
  });

  test("a lost gateway or a hidden tab loses the moment", async () => {
    const page = await start();
    await running(page);
    const at = await paused(page);
    const hide = (hidden) =>
      page.evaluate((value) => {
        Object.defineProperty(document, "hidden", { value, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, hidden);
    await hide(true);
    await until(
      () => place.mock.subscriptions()[0],
      (list) => list.length === 0,
      "no subscription",
    );
    await hide(false);
    await until(
      () => place.mock.subscriptions()[0],
      (list) => list.length === 1,
      "the subscription again",
    );
    await page.waitForTimeout(300);
    await exactly(page, at);
    const port = Number(new URL(place.mock.url).port);
    await place.stop();
    await until(
      () => connectionOf(page),
      (state) => state !== "open",
      "the loss",
    );
    await place.start([yard], { port });
    await until(
      () => connectionOf(page),
      (state) => state === "open",
      "the new connection",
    );
    await page.waitForTimeout(500);
    await exactly(page, at);
    await page.keyboard.press(",");
    await exactly(page, idAt(indexOf(at) - 1));
  });

  test("the timeline does not fit a phone", async () => {
    const page = await start({ more: { width: 360, height: 740, scheme: "light", deviceScaleFactor: 2 } });
    await running(page);
    await page.getByRole("button", { name: "Stand still" }).click();
    await standing(page);
    await page.getByRole("button", { name: "One frame back" }).click();
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "scrolls sideways");
    await screenshot(page, "timeline-paused-light-narrow", { fullPage: true });
  });
});
