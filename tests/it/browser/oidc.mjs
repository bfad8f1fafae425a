// Somebody without an account signs in to an app: registers, denies, allows, uses the app, sees it on the
// account page, signs out there and in again, signs out in the app and in again, and takes it back. axe looks at each page of the
// gateway, and it is photographed.

import { Visitor, main } from "./browser.mjs";

async function journey(browser, { issuer, app, password, folder }, { width, scheme, username }) {
  const wrong = [];
  const visitor = await Visitor.open(browser, { origins: [issuer, app], width, scheme });
  const expect = (is, what) => is || wrong.push(`${what}, at ${visitor.page.url()}`);
  const at = (start) => expect(visitor.page.url().startsWith(start), `not at ${start}`);
  const says = async (words) => {
    const text = await visitor.text();
    expect(text.includes(words), `does not say ${words}, but ${text}`);
  };
  const look = async (name) => wrong.push(...(await visitor.look(folder, `oidc-${name}`)));

  await visitor.go(app);
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
  // A browser says aloud that the app answers this with 403.
  visitor.complaints.length = 0;

  await visitor.go(`${app}/login`);
  await visitor.click("Allow");
  at(`${app}/`);
  await says(`Welcome, ${username}!`);
  await says("You are here as Viewer.");
  await visitor.screenshot(folder, `oidc-app-${width}-${scheme}`);

  await visitor.go(`${issuer}/auth/account`);
  await says("Dashboards");
  await look("connected");

  await visitor.click("Sign out");
  at(`${issuer}/auth/signed-out`);

  // Signed in again, and not asked again: until it is taken back.
  await visitor.go(`${app}/login`);
  await visitor.fill("E-mail address or username", username);
  await visitor.fill("Password", password);
  await visitor.click("Sign in");
  await says(`Welcome, ${username}!`);

  // Out of the app is out of the gateway as well, and back to the app.
  await visitor.click("Sign out");
  at(`${app}/goodbye`);
  await says("You are signed out, here and at the gateway.");
  await visitor.go(`${app}/login`);
  at(`${issuer}/auth/login`);
  await visitor.fill("E-mail address or username", username);
  await visitor.fill("Password", password);
  await visitor.click("Sign in");
  await says(`Welcome, ${username}!`);
  await visitor.go(`${issuer}/auth/account`);
  await visitor.click("Disconnect Dashboards");
  await look("disconnected");
  await says("No app has access to your account.");
  await visitor.go(`${app}/login`);
  at(`${issuer}/auth/oauth/authorize`);
  await visitor.close();
  return wrong;
}

await main(async (browser, told) => {
  const journeys = told.looks.map((look) => journey(browser, told, look));
  return { wrong: (await Promise.all(journeys)).flat() };
});
