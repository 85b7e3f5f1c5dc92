// Debian's Chromium, headless and quiet, and what the tests ask of a page.

import { access, mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { readFrameNumber, rowsOf } from "./frame-number.mjs";

const ARTIFACTS = fileURLToPath(new URL("./artifacts/", import.meta.url));
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** Starts the browser that CHROMIUM names, Debian's otherwise, with a fresh profile; `language` is its user interface's. */
export async function startBrowser(language = "en-US") {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  await access(executablePath).catch(() => {
    throw new Error(`no browser at ${executablePath}: apt-get install chromium, or set CHROMIUM to one`);
  });
  await mkdir(ARTIFACTS, { recursive: true });
  return chromium.launch({
    executablePath,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      `--lang=${language}`,
      // A camera that shows a moving clock, and nobody to ask whether it may be used.
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
    ],
  });
}

/** A page whose errors, warnings and refused loads are collected in `page.complaints`. */
export async function openPage(browser, url, { width = 1440, height = 900, scheme = "dark", ...more } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    bypassCSP: false,
    ...more,
  });
  // On a busy machine everything takes longer; whoever waits goes on as soon as it is there.
  context.setDefaultTimeout(90_000);
  const page = await context.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(error.message));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) page.complaints.push(message.text());
  });
  await page.goto(url);
  return page;
}

/**
 * What a camera's canvases show at one moment: the ids that they carry, the frame number in the picture's own pixels,
 * and whether anything is painted on the overlay. Null before the first frame.
 */
export async function shownFrame(page, camera) {
  const height = await page.evaluate(pictureHeight, camera);
  if (height === null) return null;
  const { columns, ...shown } = await page.evaluate(lookAtFrame, { camera, rows: rowsOf(height) });
  return {
    ...shown,
    boxes: Number(shown.boxes),
    position: Number(shown.position),
    frameNumber: readFrameNumber(columns),
  };
}

function pictureHeight(camera) {
  return document.querySelector(`canvas[data-camera="${CSS.escape(camera)}"][data-frame-id]`)?.height ?? null;
}

// Runs in the page, between two paints.
function lookAtFrame({ camera, rows: [top, bottom] }) {
  const picture = document.querySelector(`canvas[data-camera="${CSS.escape(camera)}"][data-frame-id]`);
  const overlay = picture.parentElement.querySelector(".overlay");
  const pixels = (canvas, from, height, toWidth, toHeight) => {
    const scratch = new OffscreenCanvas(toWidth, toHeight).getContext("2d", { willReadFrequently: true });
    scratch.drawImage(canvas, 0, from, canvas.width, height, 0, 0, toWidth, toHeight);
    return scratch.getImageData(0, 0, toWidth, toHeight).data;
  };
  const { width } = picture;
  const strip = pixels(picture, top, bottom - top, width, bottom - top);
  const columns = new Array(width).fill(0);
  for (let i = 0; i < strip.length; i += 4) columns[(i / 4) % width] += strip[i + 1] / (bottom - top);
  const overlayPixels = pixels(overlay, 0, overlay.height, 160, 90).filter(
    (value, i) => i % 4 === 3 && value > 0,
  ).length;
  return { ...picture.dataset, columns, overlayPixels };
}

/** Waits until a condition on the page's own state holds; says what there was instead. */
export async function until(read, fine, what, longestMs = 60_000) {
  const deadline = performance.now() + longestMs;
  let last;
  while (performance.now() < deadline) {
    last = await read();
    if (fine(last)) return last;
    await new Promise((done) => setTimeout(done, 40));
  }
  throw new Error(`${what} did not happen within ${longestMs / 1000} s; last seen: ${JSON.stringify(last)}`);
}

export const connectionOf = (page) => page.evaluate(() => document.body.dataset.connection);

/** What axe-core finds wrong, a line each. */
export async function accessibilityProblems(page) {
  // The page's policy forbids inline scripts; through the debugger it is not inline.
  await page.evaluate(await readFile(AXE, "utf8"));
  const { violations } = await page.evaluate(() =>
    window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }),
  );
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id} at ${target.join(" ")}: ${failureSummary}`),
  );
}

/** Which elements moved by themselves, and for how long the page was busy, over some seconds. */
export function watchSmoothness(page, milliseconds) {
  return page.evaluate(async (ms) => {
    const longTasks = [];
    const moved = new Set();
    const observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        if (entry.entryType === "longtask") longTasks.push(Math.round(entry.duration));
        else if (!entry.hadRecentInput) {
          for (const { node } of entry.sources) {
            // Digits may come and go in the room that is reserved for them, and rows in a list of fixed height.
            const element = node instanceof Text ? undefined : node;
            if (element && !element.closest(".tracks")) moved.add(element.outerHTML.slice(0, 120));
          }
        }
      }
    });
    observer.observe({ type: "longtask" });
    observer.observe({ type: "layout-shift" });
    const gaps = [];
    const ends = performance.now() + ms;
    // A timer that should fire every 4 ms tells how long the page's thread was taken, also below 50 ms.
    await new Promise((done) => {
      let last = performance.now();
      const beat = () => {
        const now = performance.now();
        gaps.push(now - last);
        last = now;
        if (now > ends) done();
        else setTimeout(beat, 4);
      };
      beat();
    });
    observer.disconnect();
    gaps.sort((a, b) => a - b);
    const at = (q) => Math.round(gaps[Math.floor(q * (gaps.length - 1))] * 10) / 10;
    return { longTasks, moved: [...moved], busyMs: { p50: at(0.5), p99: at(0.99), max: at(1) } };
  }, milliseconds);
}

export function screenshot(page, name, options = {}) {
  return page.screenshot({ path: `${ARTIFACTS}${name}.png`, ...options });
}
