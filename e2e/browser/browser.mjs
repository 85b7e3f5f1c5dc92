// Debian's Chromium, headless and quiet.

import { access, mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

export const ARTIFACTS = fileURLToPath(new URL("./artifacts/", import.meta.url));

/** Starts the browser that CHROMIUM names, Debian's otherwise, with a fresh profile. */
export async function startBrowser() {
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
    ],
  });
}

/** What the page says about the picture on the screen, all read at one moment. */
export function shownFrame(page, camera) {
  return page.evaluate((id) => {
    const canvas = document.querySelector(`canvas[data-camera="${CSS.escape(id)}"]`);
    return canvas === null ? null : { ...canvas.dataset };
  }, camera);
}
