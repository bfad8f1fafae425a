// Somebody goes to an app on one host, signs in on another, and is back where they wanted to be.

import { Visitor, main } from "./browser.mjs";

await main(async (browser, { origin, other, third, username, password }) => {
  const visitor = await Visitor.open(browser, { origins: [origin, other, third] });
  await visitor.go(`${other}/a?b=c`);
  await visitor.fill("E-mail address or username", username);
  await visitor.fill("Password", password);
  await visitor.click("Sign in");
  const at = visitor.page.url();
  const text = await visitor.text();
  const kept = await visitor.context.cookies();
  const ofOther = kept.filter(({ domain }) => domain === new URL(other).hostname);
  const cookies = ofOther.map(({ name }) => name);
  const again = await visitor.go(`${other}/again`);
  const wrong = [...visitor.strays, ...visitor.complaints];
  await visitor.go(`${other}/auth/nothing`);
  return { wrong, at, text, cookies, again, missing: await visitor.text() };
});
