// Somebody without an account signs in to an app: registers, denies, allows, uses the app, sees it on the
// account page, takes it back, and signs out of the app and of the gateway. axe looks at each page of the
// gateway, and it is photographed.

import { Visitor, main } from "./browser.mjs";

await main(async (browser, { issuer, app, username, password, width, scheme, folder }) => {
  const wrong = [];
  const visitor = await Visitor.open(browser, { origins: [issuer, app], width, scheme });
  const expect = (is, what) => is || wrong.push(`${what}, at ${visitor.page.url()}`);
  const at = (start) => expect(visitor.page.url().startsWith(start), `not at ${start}`);
  const says = async (words) => {
    const text = await visitor.text();
    expect(text.includes(words), `does not say ${words}, but ${text}`);
  };
  const look = async (name) => {
    const say = (what) => wrong.push(`${name}: ${what}`);
    const overflow = await visitor.overflow();
    if (overflow > 0) say(`${overflow} px too wide`);
    (await visitor.axe()).forEach(say);
    visitor.wrong().forEach(say);
    visitor.strays.length = visitor.complaints.length = 0;
    await visitor.screenshot(folder, `oidc-${name}-${width}-${scheme}`);
  };
  // The app has no icon, and refuses whoever is not let in: a browser says both aloud.
  const leaveTheApp = () => (visitor.complaints.length = 0);

  await visitor.go(app);
  leaveTheApp();
  await visitor.click("Sign in with Portcullis");
  at(`${issuer}/auth/login`);
  await look("sign-in");
  await visitor.click("Create an account");
  await visitor.fill("Username", username);
  await visitor.fill("Password", password);
  await visitor.click("Create account");
  at(`${issuer}/auth/oauth/authorize`);
  await says("Dashboards");
  await look("consent");
  await visitor.click("Deny");
  at(`${app}/login/callback?`);
  await says("You are not signed in");
  leaveTheApp();

  await visitor.go(`${app}/login`);
  await visitor.click("Allow");
  at(`${app}/`);
  await says(`Welcome, ${username}!`);
  await says("You are here as Viewer.");
  await visitor.screenshot(folder, `oidc-app-${width}-${scheme}`);
  leaveTheApp();

  await visitor.go(`${issuer}/auth/account`);
  await says("Dashboards");
  await look("connected");

  await visitor.go(app);
  leaveTheApp();
  await visitor.click("Sign out");
  at(`${app}/goodbye?`);
  await says("Goodbye!");
  leaveTheApp();
  await visitor.go(`${issuer}/auth/account`);
  at(`${issuer}/auth/login`);

  // Signed in again, and not asked again: until it is taken back.
  await visitor.go(`${app}/login`);
  await visitor.fill("E-mail address or username", username);
  await visitor.fill("Password", password);
  await visitor.click("Sign in");
  await says(`Welcome, ${username}!`);
  leaveTheApp();
  await visitor.go(`${issuer}/auth/account`);
  await visitor.click("Disconnect Dashboards");
  await look("disconnected");
  await says("No app has access to your account.");
  await visitor.go(`${app}/login`);
  at(`${issuer}/auth/oauth/authorize`);
  await visitor.close();
  return { wrong };
});
