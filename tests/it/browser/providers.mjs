// Somebody connects a provider on the account page, which sends the browser on to yet another place to sign in.

import { Visitor, main } from "./browser.mjs";

await main(async (browser, { origin, origins, username, password, provider }) => {
  const visitor = await Visitor.open(browser, { origins: [origin, ...origins] });
  await visitor.go(`${origin}/auth/login`);
  await visitor.fill("E-mail address or username", username);
  await visitor.fill("Password", password);
  await visitor.click("Sign in");
  const button = visitor.page.getByRole("button", { name: `Connect ${provider}`, exact: true });
  await button.click();
  // A policy that keeps the browser from going there leaves it where it is.
  const place = origins.at(-1);
  await visitor.page.waitForURL((url) => url.origin === place, { timeout: 5000 }).catch(() => {});
  const wrong = visitor.wrong();
  const at = visitor.page.url();
  await visitor.close();
  return { wrong, at };
});
