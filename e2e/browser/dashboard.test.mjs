// The dashboard on a running system with a synthetic camera. `cargo test -p peregrine-e2e --test browser` starts one; for
// another, say where it is:
//   PEREGRINE_URL             the gateway, http://127.0.0.1:8080
//   PEREGRINE_CAMERA          a synthetic camera; the first there is, unless said
//   PEREGRINE_STACK_CONTROL   changes the stack, as in `stack ctl --run-dir DIR`: is given `stop gateway`, `start gateway`

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import {
  accessibilityProblems,
  connectionOf,
  openPage,
  screenshot,
  shownFrame,
  startBrowser,
  until,
  watchSmoothness,
} from "./browser.mjs";

const url = process.env.PEREGRINE_URL?.replace(/\/*$/, "/");
const control = process.env.PEREGRINE_STACK_CONTROL;
const without = (value, name) =>
  value ? false : `${name} is not set: run this by cargo test -p peregrine-e2e --test browser`;

describe("dashboard on a running system", { skip: without(url, "PEREGRINE_URL") }, () => {
  let browser;
  let page;
  let camera = process.env.PEREGRINE_CAMERA;
  before(async () => {
    browser = await startBrowser();
    page = await openPage(browser, url);
    await until(
      () => connectionOf(page),
      (state) => state === "open",
      "the connection",
    );
    const link = page.locator("a.tile-name").first();
    await link.waitFor();
    camera ??= await link.getAttribute("title");
    await page.goto(`${url}#/camera/${encodeURIComponent(camera)}`);
  });
  after(() => browser?.close());

  /** Has the stack do something. */
  async function tell(...words) {
    const [program, ...arguments_] = control.split(" ");
    await promisify(execFile)(program, [...arguments_, ...words], { timeout: 60_000 });
  }

  const withBoxes = () =>
    until(
      () => shownFrame(page, camera),
      (shown) => shown !== null && shown.boxes > 0,
      "a picture with boxes",
      60_000,
    );

  /** Ids, pixels and result of some frames agree. */
  async function frameIsItsOwn(samples) {
    const seen = new Set();
    for (let i = 0; i < samples; i += 1) {
      const shown = await shownFrame(page, camera);
      assert.equal(shown.resultId, shown.frameId, "the overlay is of another frame than the picture");
      assert.notEqual(shown.frameNumber, null, "the picture carries no frame number");
      assert.equal(
        shown.frameNumber,
        shown.position % 2 ** 24,
        "the picture's pixels are of another frame than the result",
      );
      if (shown.boxes > 0) assert.ok(shown.overlayPixels > 0, "there are boxes, but none is drawn");
      seen.add(shown.frameId);
      await page.waitForTimeout(60);
    }
    return seen.size;
  }

  test("boxes lie on another frame than their own", async () => {
    await withBoxes();
    const different = await frameIsItsOwn(60);
    console.log(`60 looks at ${camera}: ${different} different frames, each with its own boxes`);
    assert.ok(different >= 5, `only ${different} different frames were painted`);
    assert.deepEqual(page.complaints, []);
  });

  test("age, rates or stages are missing", async () => {
    const age = await page.getByTestId("age").innerText();
    assert.match(age, /^\d+(\.\d)? m?s old$/);
    const waterfall = await page.locator(".waterfall").innerText();
    for (const stage of ["decode", "credit", "queue", "preprocess", "infer", "track", "commit", "deliver", "paint"]) {
      assert.match(waterfall, new RegExp(`${stage}\\s+\\d`), `${stage} has no time:\n${waterfall}`);
    }
    // A frame's header is written with it, and cannot say how long that took.
    assert.match(waterfall, /publish\s+within queue/);
    assert.ok(Number(await page.locator(".figures dd").nth(2).innerText()) > 0, "no results a second");
  });

  test("going back in time shows a frame with another one's boxes", async () => {
    await withBoxes();
    await page.waitForTimeout(3_000);
    const at = () => page.locator(".timeline").getAttribute("data-at");
    /** The frame on the screen, once it is the one where the page stands; its picture and its pixels are its own. */
    const standsOn = async (different) => {
      const id = await until(at, (now) => now !== "" && now !== different, "another position");
      const shown = await until(
        () => shownFrame(page, camera),
        (now) => now?.resultId === id,
        `frame ${id}`,
      );
      assert.equal(shown.frameId, id, "the picture is of another frame");
      assert.equal(shown.frameNumber, shown.position % 2 ** 24, "the pixels are of another frame than the result");
      if (shown.boxes > 0) assert.ok(shown.overlayPixels > 0, "there are boxes, but none is drawn");
      return shown;
    };
    await page.keyboard.press("Space");
    const paused = await standsOn("");
    let last = paused;
    for (const key of [",", ",", ",", ".", ",", ",", ".", "."]) {
      await page.keyboard.press(key);
      const shown = await standsOn(last.frameId);
      const by = shown.position - last.position;
      assert.ok(key === "." ? by > 0 && by < 4 : by < 0 && by > -4, `${key} went by ${by} frames`);
      last = shown;
    }
    await screenshot(page, "live-camera-paused");
    const bar = page.locator(".timeline-bar");
    await bar.focus();
    await page.keyboard.press("ArrowLeft");
    const second = await standsOn(last.frameId);
    const back = Number(last.frameId.split("-")[0]) - Number(second.frameId.split("-")[0]);
    assert.ok(Math.abs(back - 1_000) < 250, `an arrow went back by ${back} ms`);
    await page.keyboard.press("Space");
    await page.waitForTimeout(500);
    await frameIsItsOwn(10);
    await page.keyboard.press("l");
    await until(
      () => page.getByTestId("age").innerText(),
      (text) => /^\d+ ms old$/.test(text),
      "live again",
    );
    assert.deepEqual(page.complaints, []);
  });

  test("the page's thread is held up or things move by themselves", async () => {
    const smoothness = await watchSmoothness(page, 5_000);
    console.log(`steady state, camera view: ${JSON.stringify(smoothness)}`);
    assert.deepEqual(smoothness.moved, []);
  });

  test(
    "the loss of the gateway is not told, or the page does not recover",
    { skip: without(control, "PEREGRINE_STACK_CONTROL") },
    async () => {
      const { frameId } = await withBoxes();
      await page.evaluate(() => (window.sameDocument = true));
      await tell("stop", "gateway");
      await until(
        () => connectionOf(page),
        (state) => state !== "open",
        "the loss",
      );
      await until(
        () => page.getByTestId("connection").innerText(),
        (text) => /Reconnecting/.test(text),
        "the word `Reconnecting`",
      );
      await until(
        () => page.locator(".picture.old").count(),
        (n) => n === 1,
        "a grey picture",
      );
      await screenshot(page, "live-camera-disconnected");
      await tell("start", "gateway");
      await until(
        () => connectionOf(page),
        (state) => state === "open",
        "the new connection",
        40_000,
      );
      await until(
        () => shownFrame(page, camera),
        (shown) => shown.frameId !== frameId && shown.boxes > 0,
        "new pictures with boxes",
        40_000,
      );
      await until(
        () => page.locator(".picture.old").count(),
        (n) => n === 0,
        "a live picture",
      );
      assert.equal(await page.evaluate(() => window.sameDocument), true, "the page was loaded anew");
      await frameIsItsOwn(20);
    },
  );

  describe("setting up a camera in the browser", () => {
    const SCENE = { width: 768, height: 432 };
    const id = "street";
    let own;
    before(async () => {
      own = await openPage(browser, `${url}#/add`);
    });
    after(() => own?.context().close());
    const button = (name) => own.getByRole("button", { name, exact: true });

    test("a synthetic camera that is added does not show its boxes", async () => {
      await own
        .getByRole("textbox", { name: "Source", exact: true })
        .fill(`synthetic:road?w=${SCENE.width}&h=${SCENE.height}&fps=10`);
      await own.getByRole("textbox", { name: "Name", exact: true }).fill("Street");
      await until(
        () => own.getByRole("textbox", { name: "Id", exact: true }).inputValue(),
        (proposed) => proposed === id,
        "an id made of the name",
      );
      await button("Add").click();
      await own.waitForURL(/#\/camera\/street\/setup$/);
      const shown = await until(
        () => shownFrame(own, id),
        (frame) => frame !== null && frame.boxes > 0,
        "a picture with boxes",
        60_000,
      );
      assert.equal(shown.resultId, shown.frameId);
      assert.equal(shown.frameNumber, shown.position % 2 ** 24);
      assert.deepEqual(own.complaints, []);
    });

    test("speeds by a calibration of clicks are wrong by 3% or more", async () => {
      await own.goto(`${url}#/camera/${id}/setup/calibration`);
      await own.locator(".still").waitFor();
      await own.getByText("Rectangle", { exact: true }).click();
      const box = await own.locator(".editor").boundingBox();
      // The outer lines of the road, which its documentation says are 14 m apart, at 20 m and at 50 m.
      for (const ground of [
        [-7, 20],
        [7, 20],
        [7, 50],
        [-7, 50],
      ]) {
        // prettier-ignore
        const [x, y] = imageOf(ground, SCENE);
        await own.mouse.click(box.x + (x / SCENE.width) * box.width, box.y + (y / SCENE.height) * box.height);
      }
      await own.getByRole("textbox", { name: "Width" }).pressSequentially("14");
      await own.getByRole("textbox", { name: "Length" }).pressSequentially("30");
      await own.getByTestId("ruler").waitFor();
      await screenshot(own, "live-calibration");
      // The test's model sees a person of any height, which the page may doubt: at first, or between two looks at it.
      const confirm = own.getByRole("checkbox", { name: "It is right: save it so" });
      await until(
        async () => {
          if ((await confirm.count()) > 0) await confirm.check({ timeout: 500 }).catch(() => undefined);
          await button("Save").click({ timeout: 500 }).catch(() => undefined);
          return own.locator(".save-words").innerText();
        },
        (text) => /^Saved, and/.test(text),
        "results by the new calibration",
        30_000,
      );
      const { config } = await (await fetch(`${url}api/cameras/${id}`)).json();
      const answer = await fetch(`${url}api/calibration`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ points: config.calibration.points }),
      });
      const { world_from_image: matrix } = await answer.json();
      const errors = speedErrors(matrix, SCENE);
      const worst = Math.max(...errors);
      console.log(`calibrated by clicks: worst speed error ${(100 * worst).toFixed(2)}% of ${errors.length} places`);
      assert.ok(worst < 0.03, `a vehicle's speed is wrong by ${(100 * worst).toFixed(1)}%`);
    });

    test("a camera that is removed stays", async () => {
      await own.goto(`${url}#/camera/${id}/setup`);
      await button("Remove this camera…").click();
      await button("Remove").click();
      await until(
        () => own.locator(`a.tile-name[title="${id}"]`).count(),
        (n) => n === 0,
        "a wall without it",
      );
    });
  });

  describe("this device's camera", () => {
    const id = "phone";
    let device;
    before(async () => {
      device = await openPage(browser, `${url}#/device`);
    });
    after(async () => {
      await device?.context().close();
      await fetch(`${url}api/cameras/${id}`, { method: "DELETE" });
    });
    const number = (name) =>
      device
        .getByTestId(name)
        .innerText()
        .then((text) => Number(text.replace(/\D/g, "")));
    const more = (name, than) =>
      until(
        () => number(name),
        (n) => n > than,
        `more than ${than} frames ${name}`,
        60_000,
      );

    test("its frames are not analysed, or not shown", async () => {
      await device.getByRole("textbox", { name: "Camera id" }).fill(id);
      await device.getByRole("button", { name: "Start", exact: true }).click();
      await more("taken", 10);
      assert.match(await device.locator(".camera-head").innerText(), /sending|waiting/);
      await screenshot(device, "live-device");
      const watching = await openPage(browser, `${url}#/camera/${id}`);
      const first = await until(
        () => shownFrame(watching, id),
        (shown) => shown !== null && shown.boxes > 0,
        "a picture with boxes",
        60_000,
      );
      assert.equal(first.frameId, first.resultId);
      assert.ok(first.overlayPixels > 0, "there are boxes, but none is drawn");
      const picture = watching.locator(`canvas[data-camera="${id}"]`);
      const colours = await picture.evaluate((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;
      });
      assert.ok(colours > 50, `the picture has ${colours} colours: it is not the camera's`);
      await until(
        () => shownFrame(watching, id),
        (shown) => shown.frameId !== first.frameId,
        "the next frame",
      );
      await screenshot(watching, "live-device-watched");
      assert.deepEqual(watching.complaints, []);
      await watching.context().close();
    });

    test(
      "frames queue up while nobody analyses them, or are not counted",
      { skip: without(control, "PEREGRINE_STACK_CONTROL") },
      async () => {
        await tell("stop", "processor-1");
        // Two may wait for the processor; no other is asked for.
        await more("skipped", (await number("skipped")) + 20);
        const taken = await number("taken");
        await more("skipped", (await number("skipped")) + 20);
        assert.ok((await number("taken")) <= taken + 1, "frames go on although nobody analyses them");
        const { backlog } = (await (await fetch(`${url}api/cameras/${id}`)).json()).state;
        assert.ok(backlog <= 3, `${backlog} frames wait`);
        await tell("start", "processor-1");
        await more("taken", taken + 10);
      },
    );

    test("frames that come too fast queue up, or are not counted", async () => {
      const jpeg = Buffer.from(await (await fetch(`${url}api/cameras/${camera}/snapshot`)).arrayBuffer());
      const socket = new WebSocket(`${url.replace(/^http/, "ws")}ws/ingest/${id}`, "peregrine.frames");
      const answers = [];
      await new Promise((done, failed) => {
        socket.onopen = () => {
          for (let i = 0; i < 200; i += 1) socket.send(jpeg);
        };
        socket.onmessage = ({ data }) => {
          answers.push(JSON.parse(data));
          if (answers.length === 200) done();
        };
        socket.onclose = ({ reason }) => failed(new Error(`closed after ${answers.length} answers: ${reason}`));
      });
      socket.close();
      const skipped = answers.filter(({ taken }) => !taken).length;
      assert.deepEqual(
        answers.map(({ frame }) => frame),
        Array.from(answers, (_, i) => i + 1),
      );
      assert.equal(answers.at(-1).skipped, skipped);
      assert.ok(skipped > 100, `only ${skipped} of 200 frames at once were skipped`);
    });
  });

  for (const [scheme, size, width, height] of [
    ["dark", "wide", 1440, 900],
    ["light", "narrow", 360, 740],
  ]) {
    test(`inaccessible: ${scheme}, ${size}`, async () => {
      const other = await openPage(browser, url, {
        scheme,
        width,
        height,
        deviceScaleFactor: size === "narrow" ? 2 : 1,
      });
      for (const [name, path] of [
        ["wall", "#/"],
        ["camera", `#/camera/${encodeURIComponent(camera)}`],
      ]) {
        await other.goto(url + path);
        await until(
          () => shownFrame(other, camera),
          (shown) => shown !== null,
          "a picture",
        );
        await other.waitForTimeout(1_500);
        assert.deepEqual(await accessibilityProblems(other), [], name);
        await screenshot(other, `live-${name}-${scheme}-${size}`, {
          fullPage: true,
        });
      }
      assert.deepEqual(other.complaints, []);
      await other.context().close();
    });
  }
});

// The synthetic scene's camera: a pinhole 10 m over the ground that looks 13.5° down along the road, with a focal length
// of one and a half heights of the picture.
const PITCH = (13.5 * Math.PI) / 180;

/** Where a point of the ground in metres is seen, in pixels. */
function imageOf([x, y], { width, height }) {
  const depth = y * Math.cos(PITCH) + 10 * Math.sin(PITCH);
  const down = 10 * Math.cos(PITCH) - y * Math.sin(PITCH);
  return [width / 2 + (1.5 * height * x) / depth, height / 2 + (1.5 * height * down) / depth];
}

/** By which part the speed of a vehicle on each lane is wrong by this matrix, at every other metre of the way. */
function speedErrors(matrix, size) {
  const groundOf = (pixel) => {
    const [x, y, w] = matrix.map((row) => row[0] * pixel[0] + row[1] * pixel[1] + row[2]);
    return [x / w, y / w];
  };
  const errors = [];
  for (const lane of [-5.25, -1.75, 1.75, 5.25]) {
    for (let y = 18; y <= 60; y += 2) {
      // One metre of the way, as it is seen, measured by the calibration.
      const [from, to] = [y, y + 1].map((at) => groundOf(imageOf([lane, at], size)));
      errors.push(Math.abs(Math.hypot(to[0] - from[0], to[1] - from[1]) - 1));
    }
  }
  return errors;
}
