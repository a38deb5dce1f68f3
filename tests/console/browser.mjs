// What every part of the tests does with a browser.
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";

export const facts = JSON.parse(process.env.CONSOLE_FACTS);
const require = createRequire(path.join(facts.modules, "node_modules", "x.js"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export const faults = []; // what no page may ever do, found on the way
export const figures = {}; // what was measured, for the report
export const people = { voters: [] }; // who has signed in, with their pages
export const everything = ["data-scientist", "operator", "approver", "auditor", "admin"];

const failed = [];

// part runs one of the tests; the next ones run whatever came of it.
export async function part(name, run) {
  const began = Date.now();
  try {
    await run();
    none(faults.splice(0), "on the way");
    console.log(`    ok   ${name} (${Date.now() - began} ms)`);
  } catch (e) {
    failed.push(name);
    console.log(`    FAIL ${name}\n         ${String(e.message).replaceAll("\n", "\n         ")}`);
    faults.splice(0);
  }
}

// ended says which parts did not hold.
export const ended = () => failed;

export const note = (text) => console.log(`         ${text}`);

export async function launch() {
  return chromium.launch({ executablePath: facts.chromium, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

// someone opens a browser of their own, with nobody's cookies and keys.
export async function someone(browser, options = {}) {
  const context = await browser.newContext({ baseURL: facts.url, viewport: { width: 1440, height: 900 }, ...options });
  context.setDefaultTimeout(20_000);
  if (options.javaScriptEnabled !== false) {
    await context.addInitScript(() => {
      window.__breaches = [];
      document.addEventListener("securitypolicyviolation", (e) => window.__breaches.push(`${e.violatedDirective}: ${e.blockedURI}`));
    });
  }
  const page = await context.newPage();
  watch(page);
  return page;
}

// watch notes errors of scripts, breaches of the policy, and dialogs.
function watch(page) {
  page.on("pageerror", (e) => faults.push(`${page.url()}: a script failed: ${e.message}`));
  page.on("console", (m) => {
    if (m.type() === "error" && !/status of (4|5)\d\d/.test(m.text())) faults.push(`${page.url()}: ${m.text()}`);
  });
  page.on("dialog", (d) => { faults.push(`${page.url()}: a dialog: ${d.message()}`); d.dismiss(); });
}

export async function breaches(page) {
  const found = await page.evaluate(() => window.__breaches || []);
  if (await page.title().then((t) => t.includes("owned"))) found.push("a text was run as a script");
  return found;
}

// signIn goes through the development provider as a person.
export async function signIn(page, name, roles, to = "/console/") {
  await page.goto(to);
  if (await page.getByRole("link", { name: "Sign in", exact: true }).count()) await page.getByRole("main").getByRole("link", { name: "Sign in" }).click();
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Tenant").fill(facts.tenant);
  for (const box of await page.getByRole("checkbox").all()) await box.setChecked(roles.includes(await box.getAttribute("value")));
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(/\/console\//);
}

// clean says what axe finds on the page as it is.
export async function clean(page, rules) {
  if (!await page.evaluate(() => !!window.axe)) await page.evaluate(axe); // not an inline script: the policy stays as it is
  const { violations } = await page.evaluate((rules) => window.axe.run(document, { resultTypes: ["violations"], ...rules && { runOnly: rules } }), rules);
  return violations.map((v) => `${v.id} (${v.impact}): ${v.help}: ${v.nodes.map((n) => n.target.join(" ")).slice(0, 3).join("; ")}`);
}

// everyWay looks at an open page in the light and in the dark, wide and on the
// smallest telephone, and says what is wrong with it.
export async function everyWay(page, where) {
  const found = [];
  for (const width of [1440, 360]) {
    await page.setViewportSize({ width, height: width === 360 ? 740 : 900 });
    const over = await wide(page);
    if (over) found.push(`${where} at ${width} px is as wide as ${over}`);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      const rules = colorScheme === "dark" ? ["color-contrast", "link-in-text-block"] : undefined; // in the dark nothing but colours is another
      for (const one of await clean(page, rules)) found.push(`${where} at ${width} px, ${colorScheme}: ${one}`);
    }
  }
  for (const one of await breaches(page)) found.push(`${where}: ${one}`);
  await page.emulateMedia({ colorScheme: "light", reducedMotion: null });
  await page.setViewportSize({ width: 1440, height: 900 });
  return found;
}

// wide says whether a page scrolls sideways.
export const wide = (page) => page.evaluate(() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= most) return "";
  const at = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > most + 1).slice(0, 3);
  return `${document.documentElement.scrollWidth} px, by ${at.map((e) => e.tagName.toLowerCase() + "." + e.className).join(", ")}`;
});

export function must(ok, why) {
  if (!ok) throw new Error(why);
}

export function none(list, where) {
  must(list.length === 0, `${where}:\n  ${list.join("\n  ")}`);
}

// api asks the gateway as the lead, behind the pages' back.
export async function api(method, target, body) {
  const resp = await fetch(facts.url + target, {
    method, body: body && JSON.stringify(body),
    headers: { Authorization: `Bearer ${facts.token}`, "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() },
  });
  const text = await resp.text();
  must(resp.ok, `${method} ${target}: ${resp.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

// until waits until something is so.
export async function until(so, what) {
  for (let tries = 0; tries < 300; tries++) {
    if (await so()) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`it does not come to be that ${what}`);
}

// promote asks for a version in a region of production, and waits for its ballot.
export async function promote(region, version = facts.newer) {
  const request = { version, environment: "production", regions: [region], canary: { none: true } };
  const planned = await api("POST", `/models/${facts.model}/promotions`, request);
  const { id } = await api("POST", `/models/${facts.model}/promotions`, { ...request, apply: true, plan_digest: planned.plan_digest });
  for (let tries = 0; tries < 1500; tries++) {
    const resp = await fetch(`${facts.url}/approvals/${id}`, { headers: { Authorization: `Bearer ${facts.token}` } });
    if (resp.ok) return (await resp.json());
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`no ballot of ${id}`);
}
