// Numbers typed key by key, at several speeds and in browsers of several languages, against the mock gateway.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { accessibilityProblems, until } from "./browser.mjs";
import { camera } from "./mock.mjs";
import { workplace } from "./workplace.mjs";

const CORNERS = [[113, 520], [1167, 520], [838, 260], [442, 260]]; // prettier-ignore
const SLOW_MS = 130;

/** What is typed for a side, and the metres that it is. */
const SIDES = [
  ["6.87", 6.87],
  ["6,87", 6.87],
  ["12.5", 12.5],
  ["0.5", 0.5],
  ["1.05", 1.05],
  ["2.50", 2.5],
  ["3,5", 3.5],
  ["0,500", 0.5],
  [".75", 0.75],
  [" 5 ", 5],
  ["1.000", 1],
  ["٣", 3],
  ["٦٫٨٧", 6.87],
];
/** What is typed for a coordinate. */
const COORDINATES = [
  ["-16.75", -16.75],
  ["-13,5", -13.5],
  ["−3", -3],
  ["0.25", 0.25],
];
/** What cannot be a side, and what is said. */
const REFUSED = [
  ["1,000", /can mean 1 or 1000/],
  ["1.234,5", /nothing between thousands/],
  ["1 000", /nothing between thousands/],
  ["1e3", /without “e”/],
  ["5m", /without a unit/],
  ["-", /Type a number/],
  [".", /Type a number/],
  ["-2", /above 0/],
  ["0", /above 0/],
  ["wide", /digits only/],
];

const field = (page, name) => page.getByRole("textbox", { name });
const save = (page) => page.getByRole("button", { name: "Save", exact: true });
const saveWords = (page) => page.locator(".save-words").innerText();

/** The calibration of a camera that has none, with four points of the ground clicked. */
async function openCalibration(place, mode) {
  await place.start([camera("gate", { calibrated: false })]);
  const page = await place.open("#/camera/gate/setup/calibration", { locale: place.language });
  await place.live(page, "gate");
  await page.getByText(mode, { exact: true }).click();
  await clickCorners(page);
  return page;
}

async function clickCorners(page) {
  const box = await page.locator(".editor").boundingBox();
  for (const [x, y] of CORNERS) {
    await page.mouse.click(box.x + (x / 1280) * box.width, box.y + (y / 720) * box.height);
  }
}

/** Presses key after key. At any time the field shows what was typed, with the caret behind it. */
async function typeInto(page, input, text, delayMs = 0) {
  await input.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Backspace");
  let typed = "";
  for (const key of text) {
    await page.keyboard.type(key);
    if (delayMs > 0) await page.waitForTimeout(delayMs);
    typed += key;
    const shown = await input.evaluate(({ value, selectionEnd }) => [value, selectionEnd]);
    assert.deepEqual(shown, [typed, typed.length], `while ${text} is typed`);
  }
}

/** Waits until the gateway was asked about points of which one has this coordinate. */
function asked(place, axis, value) {
  const last = () => place.mock.rest.calibrations.at(-1)?.points.map(({ ground }) => ground[axis]);
  return until(last, (found) => found?.includes(value), `${value} m at the gateway`);
}

for (const language of ["de-DE", "ar"]) {
  describe(`numbers in a browser that speaks ${language}`, () => {
    const place = Object.assign(workplace(language), { language });

    test("a side and a coordinate are shown, measured and saved as they were typed", async () => {
      const page = await openCalibration(place, "Points");
      for (const [i, [x, y]] of [["0", "0"], ["14", "0"], ["14", "26.4"], ["0", "26.4"]].entries()) {
        await typeInto(page, field(page, `X of point ${i + 1}`), x);
        await typeInto(page, field(page, `Y of point ${i + 1}`), y);
      } // prettier-ignore
      for (const [text, value] of COORDINATES) {
        await typeInto(page, field(page, "Y of point 2"), text);
        await asked(place, 1, value);
      }
      await page.getByText("Rectangle", { exact: true }).click();
      await clickCorners(page);
      await typeInto(page, field(page, "Length"), "26,4", SLOW_MS);
      // All of them in one language, some in the others.
      for (const [text, value] of SIDES.filter((_, i) => language === "de-DE" || i % 3 === 0)) {
        await typeInto(page, field(page, "Width"), text);
        await asked(place, 0, value);
        assert.equal(await field(page, "Width").getAttribute("aria-invalid"), "false", text);
      }
      await typeInto(page, field(page, "Width"), "13.75", SLOW_MS);
      await save(page).click();
      await until(() => saveWords(page), (text) => /^Saved/.test(text), "the word `Saved`"); // prettier-ignore
      assert.deepEqual(
        place.mock.rest.config("gate").calibration.points.map(({ ground }) => ground),
        [[0, 0], [13.75, 0], [13.75, 26.4], [0, 26.4]],
      ); // prettier-ignore
      assert.deepEqual(page.complaints, []);
    });
  });
}

describe("numbers that are typed", () => {
  const place = Object.assign(workplace(), { language: "en-US" });

  test("keys take away and insert where the caret is", async () => {
    const page = await openCalibration(place, "Points");
    const input = field(page, "X of point 1");
    await typeInto(page, input, "-13.497");
    for (const left of ["-13.49", "-13.4", "-13.", "-13", "-1", "-", ""]) {
      await page.keyboard.press("Backspace");
      assert.equal(await input.inputValue(), left);
    }
    await typeInto(page, input, "1687");
    for (const key of ["Home", "-", "ArrowRight", "Delete", "ArrowRight", "."]) await page.keyboard.press(key);
    assert.equal(await input.inputValue(), "-18.7");
    assert.equal(await input.evaluate(({ selectionStart }) => selectionStart), 4);
    await page.keyboard.press("5");
    assert.equal(await input.inputValue(), "-18.57");
    // The arrow keys and the wheel change no number.
    for (const key of ["ArrowUp", "ArrowDown"]) await page.keyboard.press(key);
    await page.mouse.wheel(0, 50);
    assert.equal(await input.inputValue(), "-18.57");
  });

  test("what cannot be used is marked, explained and not saved", async () => {
    const page = await openCalibration(place, "Rectangle");
    await typeInto(page, field(page, "Length"), "26.4");
    await typeInto(page, field(page, "Width"), "14");
    await until(() => save(page).isEnabled(), (enabled) => enabled, "something to save"); // prettier-ignore
    const width = field(page, "Width");
    for (const [text, says] of REFUSED) {
      await typeInto(page, width, text);
      assert.equal(await width.getAttribute("aria-invalid"), "true", text);
      const words = page.locator(`#${await width.getAttribute("aria-describedby")}`);
      assert.match(await words.innerText(), says);
      assert.match(await saveWords(page), says);
      assert.match(await saveWords(page), /^Width: /);
      assert.equal(await save(page).isDisabled(), true, text);
    }
    await page.getByRole("link", { name: "Source" }).click();
    assert.equal(await save(page).isDisabled(), true, "saved from another part of the setup");
    await page.getByRole("link", { name: "Calibration" }).click();
    await typeInto(page, width, "");
    assert.equal(await width.getAttribute("aria-invalid"), "false");
    assert.match(await saveWords(page), /Type the rectangle's width and length/);
    assert.equal(await save(page).isDisabled(), true, "saved without a width");
    await typeInto(page, width, "1.500");
    const note = page.locator(`#${await width.getAttribute("aria-describedby")}`);
    assert.match(await note.innerText(), /Read as 1\.5\./);
  });

  test("a calibration that can hardly be right is saved only when it is confirmed", async () => {
    const page = await openCalibration(place, "Rectangle");
    const [width, length] = [field(page, "Width"), field(page, "Length")];
    const implied = page.getByTestId("implied");
    const fine = () => save(page).isEnabled();
    await typeInto(page, length, "26.4");
    await typeInto(page, width, "14");
    await until(fine, (enabled) => enabled, "something to save");
    // The mock's camera is some 5 m up.
    assert.match(await implied.innerText(), /The camera would be [456]\.\d m above the ground and show it from/);
    assert.equal(await implied.getByRole("checkbox").count(), 0);
    await typeInto(page, width, "1400");
    await typeInto(page, length, "2640");
    const confirm = implied.getByRole("checkbox", { name: "It is right: save it so" });
    await confirm.waitFor();
    assert.match(await implied.innerText(), /5\d\d\S* m above the ground: check each length/);
    assert.match(await saveWords(page), /can hardly be right: correct it, or confirm it/);
    assert.equal(await fine(), false);
    await page.getByRole("link", { name: "Source" }).click();
    assert.equal(await fine(), false, "saved from another part of the setup");
    await page.getByRole("link", { name: "Calibration" }).click();
    await confirm.check();
    await until(fine, (enabled) => enabled, "a confirmed calibration that can be saved");
    await typeInto(page, length, "2641");
    await until(() => confirm.isChecked(), (checked) => !checked, "a confirmation that is asked for again"); // prettier-ignore
    assert.equal(await fine(), false);
    await confirm.check();
    assert.deepEqual(await accessibilityProblems(page), []);
    await save(page).click();
    await until(() => saveWords(page), (text) => /^Saved/.test(text), "the word `Saved`"); // prettier-ignore
    // What was confirmed once is not asked for again with other changes.
    await page.getByRole("link", { name: "Source" }).click();
    await typeInto(page, field(page, "Name"), "Gate 2");
    await until(fine, (enabled) => enabled, "another name to save");
  });

  test("points on a line are said once, and not saved", async () => {
    const page = await openCalibration(place, "Points");
    for (let i = 1; i <= 4; i += 1) {
      await typeInto(page, field(page, `X of point ${i}`), String(i));
      await typeInto(page, field(page, `Y of point ${i}`), "0");
    }
    await page.getByText("The points lie on one line").waitFor();
    assert.equal(await page.getByText("lie on one line").count(), 1);
    assert.match(await saveWords(page), /This calibration cannot be used/);
    assert.equal(await save(page).isDisabled(), true);
  });

  test("the picture that stands still is one that was painted", async () => {
    await place.start([camera("gate")]);
    const page = await place.open("#/camera/gate");
    await place.live(page, "gate");
    const brightness = () =>
      page.evaluate(() => {
        const still = document.querySelector(".still:not([hidden])");
        if (still === null) return undefined;
        const { data } = still.getContext("2d").getImageData(0, 0, still.width, still.height);
        return data.reduce((sum, value) => sum + value, 0) / data.length;
      });
    for (const there of ["#/camera/gate/setup/calibration", "#/camera/gate", "#/camera/gate/setup/calibration"]) {
      await page.evaluate((hash) => (location.hash = hash), there);
      await page.locator(there.endsWith("gate") ? ".timeline" : ".editor").waitFor();
    }
    const bright = await until(brightness, (found) => found !== undefined, "a picture that stands still");
    assert.ok(bright > 100, `black: ${bright}`);
    await page.goBack();
    await page.goForward();
    const again = await until(brightness, (found) => found !== undefined, "a picture that stands still");
    assert.ok(again > 100, `black: ${again}`);
  });

  test("undo, redo and a reload bring back what was typed, character for character", async () => {
    const page = await openCalibration(place, "Rectangle");
    const width = field(page, "Width");
    await typeInto(page, field(page, "Length"), "26,40");
    await typeInto(page, width, "6,8");
    const press = (name) => page.getByRole("button", { name, exact: true }).click();
    await press("Undo");
    assert.equal(await width.inputValue(), "");
    assert.equal(await field(page, "Length").inputValue(), "26,40");
    await press("Redo");
    assert.equal(await width.inputValue(), "6,8");
    // In the field the browser's own undo works, and the measures follow.
    await width.click();
    await page.keyboard.press("End");
    await page.keyboard.type("7");
    await page.keyboard.press("Control+z");
    const typed = await width.inputValue();
    assert.notEqual(typed, "6,87");
    await typeInto(page, width, "6,");
    await page.reload();
    await width.waitFor();
    assert.equal(await width.inputValue(), "6,");
    assert.equal(await field(page, "Length").inputValue(), "26,40");
  });

  test("what is typed while a save is under way stays", async () => {
    const page = await openCalibration(place, "Rectangle");
    await typeInto(page, field(page, "Length"), "26.4");
    await typeInto(page, field(page, "Width"), "14");
    await until(() => save(page).isEnabled(), (enabled) => enabled, "something to save"); // prettier-ignore
    let answer;
    const held = new Promise((go) => (answer = go));
    await page.route("**/api/cameras/gate", async (route) => {
      await held;
      await route.continue();
    });
    await save(page).click();
    await typeInto(page, field(page, "Width"), "13,5");
    answer();
    await until(() => place.mock.rest.config("gate").calibration, (found) => found !== undefined, "the save"); // prettier-ignore
    await until(() => save(page).isEnabled(), (enabled) => enabled, "something else to save"); // prettier-ignore
    assert.equal(await field(page, "Width").inputValue(), "13,5");
  });

  test("numbers that an earlier release of the page kept are shown", async () => {
    await place.start([camera("gate")]);
    const page = await place.open("#/camera/gate/setup/calibration");
    const calibration = { mode: "rectangle", corners: CORNERS, widthM: 6.87, points: [{ image: [1, 2], x: -3.5 }] };
    await page.evaluate((kept) => sessionStorage.setItem("peregrine.draft.gate", JSON.stringify(kept)), {
      calibration,
    });
    await page.reload();
    await field(page, "Width").waitFor();
    assert.equal(await field(page, "Width").inputValue(), "6.87");
    assert.equal(await field(page, "Length").inputValue(), "");
    await page.getByText("Points", { exact: true }).click();
    assert.equal(await field(page, "X of point 1").inputValue(), "-3.5");
    assert.equal(await field(page, "Y of point 1").inputValue(), "");
  });
});
