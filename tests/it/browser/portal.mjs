// Somebody makes an account, uses the app, changes the password, signs out and in again, on a page of every
// step as it really is: axe looks at it, and it is photographed in the width and scheme that is told.

import { Visitor, main } from "./browser.mjs";

await main(async (browser, { origin, app, username, password, next, width, scheme, folder }) => {
  const seen = {};
  const wrong = [];
  const visitor = await Visitor.open(browser, { origins: [origin], width, scheme });
  const look = async (name, expected) => {
    wrong.push(...(await visitor.look(folder, `portal-${name}`, expected)));
    seen[name] = { at: visitor.page.url().slice(origin.length), text: await visitor.text() };
  };

  await visitor.go(`${origin}/auth/login?return_to=${encodeURIComponent(app)}`);
  await look("sign-in");
  await visitor.click("Create an account");
  await visitor.fill("Username", username);
  await visitor.fill("Password", "password12345");
  await visitor.click("Create account");
  await look("register-refused", 422);
  await visitor.fill("Password", password);
  await visitor.click("Create account");
  seen.app = { at: visitor.page.url().slice(origin.length), text: await visitor.text() };
  // The app's page names no icon, so that the browser asks for one that is not there.
  visitor.complaints.length = 0;

  await visitor.go(`${origin}/auth/account`);
  await look("account");
  await visitor.fill("Current password", "not-the-password");
  await visitor.fill("New password", next);
  await visitor.click("Change password");
  await look("password-refused", 403);
  await visitor.fill("Current password", password);
  await visitor.fill("New password", next);
  await visitor.click("Change password");
  await look("password-changed");

  // A key for a script of theirs, with the keyboard's own controls.
  await visitor.fill("Name", "Nightly backup");
  await visitor.click("Make token");
  await look("token-refused", 422);
  await visitor.page.getByLabel("Read your notes").check();
  await visitor.page.getByLabel("It ends after").selectOption("7 days");
  await visitor.click("Make token");
  await look("token-made");
  seen.token = await visitor.page.getByLabel("Token", { exact: true }).inputValue();
  await visitor.click("Back to your account");
  await look("token-kept");
  await visitor.click("Revoke Nightly backup");
  await look("token-revoked");
  const cookies = await visitor.context.cookies(origin);
  seen.cookies = cookies.map(({ name, secure, httpOnly, sameSite, path }) => ({ name, secure, httpOnly, sameSite, path }));

  await visitor.click("Sign out");
  await look("signed-out");
  await visitor.click("Sign in again");
  await visitor.fill("E-mail address or username", username);
  await visitor.fill("Password", password);
  await visitor.click("Sign in");
  await look("sign-in-refused", 401);
  // Without a mouse: the keyboard alone.
  await visitor.page.getByLabel("Password", { exact: true }).focus();
  await visitor.page.keyboard.type(next);
  await visitor.leave(() => visitor.page.keyboard.press("Enter"));
  await look("back");
  await visitor.close();
  return { seen, wrong };
});
