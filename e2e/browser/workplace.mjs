// What tests against the mock gateway share: one browser for all of them, and for each a gateway and pages of its own.

import { after, afterEach, before } from "node:test";

import { openPage, shownFrame, startBrowser, until } from "./browser.mjs";
import { startMock } from "./mock.mjs";

/** For one `describe`: starts and ends everything around its tests; `language` is the browser's. */
export function workplace(language) {
  let browser;
  const pages = [];
  const place = {
    /** The gateway of this test, once it was started. */
    mock: undefined,
    /** Starts the gateway with these cameras; `more` as for `startMock`. */
    async start(cameras, more) {
      place.mock = await startMock({ cameras, ...more });
      return place.mock;
    },
    /** A page of the dashboard, in a context of its own. */
    open: (path = "", more = {}) => place.openUrl(place.mock.url + path, more),
    async openUrl(url, more = {}) {
      const page = await openPage(browser, url, more);
      pages.push(page);
      return page;
    },
    /** What a camera's canvases show, once there is a picture. */
    live: (page, id) =>
      until(
        () => shownFrame(page, id),
        (shown) => shown !== null,
        `a picture of ${id}`,
      ),
    async stop() {
      await place.mock?.stop();
      place.mock = undefined;
    },
  };
  before(async () => {
    browser = await startBrowser(language);
  });
  after(() => browser.close());
  afterEach(async () => {
    for (const page of pages.splice(0)) await page.context().close();
    await place.stop();
  });
  return place;
}
