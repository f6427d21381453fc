// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Drives the status page in Chromium, for TestThePageInABrowser of
// extension/reflexextension. It says "ready" when it watches, is told the Unix time in
// ms at which the level changed, and answers with one line of JSON: what it saw.
//
// node drive.mjs URL CHROMIUM [DIRECTORY for screenshots]
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [url, executablePath, shots] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
const saw = { errors: [], elsewhere: [], stops: [] };

const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, colorScheme: "light" });
const page = await context.newPage();
page.on("console", (m) => { if (m.type() === "error" || m.type() === "warning") saw.errors.push(m.text()); });
page.on("pageerror", (e) => saw.errors.push(String(e)));
page.on("request", (r) => { if (!r.url().startsWith(url)) saw.elsewhere.push(r.url()); });
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const shoot = async (name, options = {}) => { if (shots) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true, ...options }); };

try {
  await page.goto(url);
  await page.waitForSelector("#link.live", { timeout: 10_000 });
  saw.calm = await page.textContent("#head .level");
  await page.evaluate(() => {
    new MutationObserver(() => {
      if (!window.contained && document.querySelector("#head .level.l2")) window.contained = Date.now();
    }).observe(document.getElementById("head"), { childList: true, subtree: true });
  });
  console.log("ready");
  const changed = Number((await lines.next()).value);
  await page.waitForFunction(() => window.contained, null, { timeout: 10_000 });
  saw.delay_ms = (await page.evaluate(() => window.contained)) - changed;
  saw.title = await page.title();

  // It explains itself.
  const latest = page.locator("#episodes details").first();
  await page.waitForFunction(() => document.querySelector("#episodes details")?.innerText.includes("What was done"), null, { timeout: 10_000 });
  saw.explained = await latest.innerText();
  saw.leases = await page.innerText("#leases");
  await page.waitForTimeout(1500); // a few points more in the chart
  saw.chart = await page.locator("#score svg.chart polyline.scores").count();
  await shoot("status-page");

  // By keyboard alone: everything that does something is reached, and what is closed
  // stays closed while the page goes on.
  await page.evaluate(() => document.activeElement.blur());
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const e = document.activeElement;
      return e === document.body ? "" : e.id || e.className || e.getAttribute("href") || e.tagName.toLowerCase();
    });
    if (stop === "" || saw.stops.includes(stop)) break;
    saw.stops.push(stop);
  }
  await page.focus("#episodes summary");
  await page.keyboard.press("Enter");
  await page.waitForTimeout(1200);
  saw.stays_closed = !(await latest.evaluate((d) => d.open));
  saw.keeps_focus = await page.evaluate(() => document.activeElement.tagName === "SUMMARY");
  await page.keyboard.press("Enter");

  // Dark: by the system's word, and by the button.
  const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  saw.light = await back();
  await page.emulateMedia({ colorScheme: "dark" });
  saw.dark = await back();
  await shoot("status-page-dark");
  await page.focus("#theme");
  await page.keyboard.press("Enter"); // light, whatever the system says
  saw.chosen = await back();

  // Narrow, as in a window beside a terminal: nothing is wider than it.
  await page.setViewportSize({ width: 420, height: 800 });
  saw.overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

  // Without scripts it still says what matters.
  const bare = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
  await bare.goto(url);
  saw.without_scripts = await bare.textContent("#head .level");

  saw.seen = true;
} catch (e) {
  saw.errors.push(String(e));
}
// The page says when it has lost the collector; that the browser says so too is no error
// of the page.
console.log(JSON.stringify(saw));
const before = saw.errors.length;
await lines.next(); // the collector has ended
let lost = "";
try {
  await page.waitForSelector("#link.lost", { timeout: 10_000 });
  lost = await page.textContent("#link");
} catch (e) { lost = String(e); }
saw.errors.length = before;
console.log(JSON.stringify({ lost }));
await browser.close();
process.exit(0); // whoever started this keeps its input open
