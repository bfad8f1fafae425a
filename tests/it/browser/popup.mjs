// An app has somebody sign in in a window of its own: does the page that this ends on still know who opened it?

import { Visitor, main } from "./browser.mjs";

await main(async (browser, { origin, opener, username, password }) => {
  const visitor = await Visitor.open(browser, { origins: [origin, opener], javaScript: true });
  await visitor.go(opener);
  const opened = visitor.page.waitForEvent("popup");
  await visitor.page.evaluate((url) => { globalThis.open(url); }, `${origin}/auth/login?return_to=/app`);
  visitor.page = await opened;
  await visitor.fill("E-mail address or username", username);
  await visitor.fill("Password", password);
  await visitor.click("Sign in");
  const at = visitor.page.url().slice(origin.length);
  const knows = await visitor.page.evaluate(() => globalThis.opener !== null);
  await visitor.close();
  return { at, knows };
});
