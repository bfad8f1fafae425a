// What scripts of tests drive Debian's Chromium with: a visitor without JavaScript, as pages are meant
// to work, and axe beside it, which needs JavaScript and so looks at a copy of the same page.

import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
// WCAG 2.2 AA, and what axe's authors hold to be good practice.
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const PATIENCE = 15_000;

// Reads what the test gave on standard input, runs, and says the result on standard output.
export async function main(run) {
  const input = JSON.parse(readFileSync(0, "utf8"));
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
  try {
    const result = await run(browser, input);
    process.stdout.write(JSON.stringify(result));
  } finally {
    await browser.close();
  }
}

// Somebody with a browser of their own: no cookies of anybody else, no JavaScript unless it is asked for.
export class Visitor {
  // `origins`: where requests may go. `width`, `scheme` ("light" or "dark"): how they look at it.
  static async open(browser, { origins, width = 1280, scheme = "light", javaScript = false }) {
    const context = await browser.newContext({
      ignoreHTTPSErrors: true,
      javaScriptEnabled: javaScript,
      colorScheme: scheme,
      viewport: { width, height: width < 600 ? 780 : 900 },
    });
    context.setDefaultTimeout(PATIENCE);
    const visitor = new Visitor();
    Object.assign(visitor, { browser, context, origins, width, scheme, strays: [], complaints: [] });
    context.on("request", (request) => {
      const { origin } = new URL(request.url());
      if (!origins.includes(origin)) visitor.strays.push(request.url());
    });
    visitor.page = await context.newPage();
    // Browsers say here what a policy kept from being loaded.
    visitor.page.on("console", (message) => {
      // An app's page may name no icon, and then the browser asks by itself for one that is not there.
      const isIcon = message.location().url.endsWith("/favicon.ico");
      if (message.type() === "error" && !isIcon) visitor.complaints.push(message.text());
    });
    return visitor;
  }

  async go(url) {
    const response = await this.page.goto(url, { waitUntil: "load" });
    return response.status();
  }

  async fill(label, value) {
    await this.page.getByLabel(label, { exact: true }).fill(value);
  }

  // A button or link, by the words that a screen reader says.
  async click(words) {
    const named = { name: words, exact: true };
    const button = this.page.getByRole("button", named);
    const pressed = button.or(this.page.getByRole("link", named)).first();
    await this.leave(() => pressed.click());
  }

  // Does what leads to another page, and waits until that is there: the one that is left is loaded too.
  async leave(act) {
    await Promise.all([this.page.waitForNavigation({ waitUntil: "load" }), act()]);
  }

  async text() {
    return this.page.locator("body").innerText();
  }

  async screenshot(folder, name) {
    mkdirSync(folder, { recursive: true });
    await this.page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  }

  // How many pixels the page is wider than the window: nobody should have to scroll sideways.
  async overflow() {
    return this.page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
  }

  // What axe finds on the page as it is now, also where it answers a form.
  async axe() {
    const html = await this.page.content();
    const url = this.page.url();
    const { page } = (this.copy ??= await this.openCopy());
    await page.route(url, (route) => route.fulfill({ body: html, contentType: "text/html; charset=utf-8" }), { times: 1 });
    await page.goto(url, { waitUntil: "load" });
    const found = await page.evaluate(
      (rules) => globalThis.axe.run(document, { runOnly: { type: "tag", values: rules }, resultTypes: ["violations"] }),
      RULES,
    );
    // A page without a rule that applies was not looked at.
    if (found.passes.length === 0) throw new Error(`axe looked at nothing on ${url}`);
    return found.violations.map(
      ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`,
    );
  }

  // Where copies are looked at: as wide and as dark, with JavaScript.
  async openCopy() {
    const context = await this.browser.newContext({
      ignoreHTTPSErrors: true,
      bypassCSP: true,
      colorScheme: this.scheme,
      reducedMotion: "reduce",
      viewport: this.page.viewportSize(),
    });
    context.setDefaultTimeout(PATIENCE);
    await context.addInitScript({ path: AXE });
    return { context, page: await context.newPage() };
  }

  // All that can be wrong with the page as it is now, which is photographed. Browsers say every refused page
  // aloud; `expected` is the status that is meant.
  async look(folder, name, expected) {
    const overflow = await this.overflow();
    const wrong = overflow > 0 ? [`${overflow} px too wide`] : [];
    wrong.push(...(await this.axe()));
    const meant = (text) => expected && text.includes(`status of ${expected}`);
    wrong.push(...this.wrong().filter((text) => !meant(text)));
    this.strays.length = this.complaints.length = 0;
    if (folder) await this.screenshot(folder, `${name}-${this.width}-${this.scheme}`);
    return wrong.map((what) => `${name}, ${this.width} px, ${this.scheme}: ${what}`);
  }

  // Requests that left the origins, and what the browser complained of.
  wrong() {
    const strays = this.strays.map((url) => `left the origin: ${url}`);
    return strays.concat(this.complaints.map((text) => `browser: ${text}`));
  }

  async close() {
    await this.copy?.context.close();
    await this.context.close();
  }
}
