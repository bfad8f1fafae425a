// Somebody lets a device in, or refuses it, and is then signed out by its app, after being asked. axe looks at each page of
// the gateway, and it is photographed.

import { Visitor, main } from "./browser.mjs";

async function journey(browser, { origin, app, password, folder }, told) {
  const { width, scheme, username, page, shows, decision } = told;
  const wrong = [];
  const visitor = await Visitor.open(browser, { origins: [origin, app], width, scheme });
  const expect = (is, what) => is || wrong.push(`${what}, at ${visitor.page.url()}`);
  const at = (url) => expect(visitor.page.url() === url, `not at ${url}`);
  const look = async (name, words, expected) => {
    const text = await visitor.text();
    for (const said of words) expect(text.includes(said), `${name} does not say ${said}, but ${text}`);
    wrong.push(...(await visitor.look(folder, `device-walk-${name}`, expected)));
  };
  const signIn = async () => {
    await visitor.fill("E-mail address or username", username);
    await visitor.fill("Password", password);
    await visitor.click("Sign in");
  };

  // What the device shows: where to go, and what to type there.
  await visitor.go(page);
  await signIn();
  at(page);
  await look("code", ["Connect a device"]);
  await visitor.fill("Code", "bbbb bbbb");
  await visitor.click("Continue");
  await look("code-wrong", ["There is no such code"], 404);
  await visitor.fill("Code", shows.toLowerCase().replace("-", " "));
  await visitor.click("Continue");
  await look("confirm", ["Living Room TV", shows, username, "Read your notes", "Did somebody send you this code?", "It stays connected when you sign out."]);
  await visitor.click(decision);
  at(`${page}?user_code=${shows}`);
  await look(`done-${decision}`, [decision === "Allow" ? "Device connected" : "Device not connected"]);

  // Its app wants people gone, once to where it may send nobody.
  const leave = (place) => {
    const query = new URLSearchParams({ client_id: "tv", post_logout_redirect_uri: place, state: "a b" });
    return visitor.go(`${origin}/auth/oauth/logout?${query}`);
  };
  await leave(`${app}/elsewhere`);
  await look("sign-out-refused", ["The app made a mistake"], 400);
  await visitor.click("Sign out here");
  at(`${origin}/auth/logout`);
  await look("sign-out-own", ["Sign out?", username]);
  expect(!(await visitor.text()).includes("asks to sign you out"), "says that an app asks");
  await leave(`${app}/bye`);
  await look("sign-out", ["Living Room TV", "asks to sign you out", username]);
  await visitor.click("Stay signed in");
  at(`${origin}/auth/account`);
  await look("account", [username, decision === "Allow" ? "Living Room TV" : "No app has access"]);
  await leave(`${app}/bye`);
  await visitor.click("Sign out");
  at(`${app}/bye?state=a+b`);
  await visitor.go(`${origin}/auth/account`);
  expect(visitor.page.url().startsWith(`${origin}/auth/login?`), "still signed in");
  await visitor.close();
  return wrong;
}

await main(async (browser, told) => {
  const journeys = told.looks.map((look) => journey(browser, told, look));
  return { wrong: (await Promise.all(journeys)).flat() };
});
