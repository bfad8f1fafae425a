// Presses a button of each of some pages, and says where that led and what the browser said.

import { Visitor, main } from "./browser.mjs";

await main(async (browser, { origins, pages, button }) => {
  const led = {};
  for (const url of pages) {
    const visitor = await Visitor.open(browser, { origins });
    await visitor.go(url);
    const refused = visitor.page.waitForEvent("console", (message) => message.type() === "error");
    const left = visitor.page.waitForURL((at) => at.href !== url);
    await visitor.page.getByRole("button", { name: button, exact: true }).click({ noWaitAfter: true });
    // Whichever does not happen fails, now or by its own timeout.
    await Promise.any([refused, left]);
    led[url] = { at: visitor.page.url(), wrong: visitor.wrong() };
    await visitor.close();
  }
  return led;
});
