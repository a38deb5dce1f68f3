// The parts of the browser test, in order: each finds what those before it have left.
import fs from "node:fs";
import path from "node:path";
import { api, breaches, clean, facts, faults, launch, must, none, promote, signIn, someone, wide } from "./browser.mjs";

const browser = await launch();
const failed = [];
const result = { promotion: "", voters: [] };

async function part(name, run) {
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

const everything = ["data-scientist", "operator", "approver", "auditor", "admin"];
const admin = await someone(browser);
const voters = [];
let kim, ballot, waiting;

await part("an admin signs in and comes back to where they were going", async () => {
  await signIn(admin, "mira", everything, "/console/settings");
  must(new URL(admin.url()).pathname === "/console/settings", `they are at ${admin.url()}`);
});

await part("people make keys in their browsers, and the admin registers them", async () => {
  for (const { name, role } of facts.approvers) {
    const page = await someone(browser);
    await signIn(page, name, ["approver"]);
    await page.goto("/console/settings");
    await page.getByRole("button", { name: "Make a key in this browser" }).click();
    const to = await page.locator("#key-link").getAttribute("href");
    const digest = await page.locator("#key-digest").textContent();
    await admin.goto(to);
    must((await admin.getByRole("main").textContent()).includes(digest), "the admin does not see the digest that the person sees");
    none(await clean(admin), "the registration, says axe");
    none([...await breaches(page), ...await breaches(admin)], "breaches");
    await admin.getByLabel("Role that their vote counts for").selectOption(role);
    await admin.getByRole("button", { name: "Register the key" }).click();
    await admin.getByText("The key is registered.").waitFor();
    voters.push({ name, page });
  }
});

await part("two people approve one promotion in two browsers, one of them with a double click", async () => {
  ballot = await promote("staging");
  must(ballot.need === 2, `${ballot.need} approvals are needed`);
  for (const [i, { page, name }] of voters.entries()) {
    await page.goto("/console/");
    await page.getByRole("link", { name: ballot.summary }).first().click();
    await page.waitForURL(`**/requests/${ballot.id}`);
    const confirm = page.locator("#confirm");
    if (await confirm.count()) await confirm.fill(ballot.id);
    await page.getByLabel("Reason").fill(`I am ${name}. ${facts.script}`);
    const approve = page.getByRole("button", { name: "Approve", exact: true });
    await page.locator("button[value=approve]:enabled").waitFor();
    if (i === 0) await approve.dblclick();
    else await approve.click();
    await page.getByText("Your vote counts.").waitFor();
    none(await breaches(page), "breaches");
    result.voters.push(name);
  }
  const after = await api("GET", `/approvals/${ballot.id}`);
  must(after.outcome === "approved", `it is ${after.outcome}`);
  must(after.votes.length === 2 && after.refused.length === 0, `${after.votes.length} votes, ${after.refused.length} refused`);
  result.promotion = ballot.id;
});

await part("a stale page changes nothing", async () => {
  const { page } = voters[0];
  await page.goto(`/console/requests/${ballot.id}`);
  must(await page.locator("button[value=approve]:enabled").count() === 0, "one may approve again");
});

await part("a third without the right sees why not", async () => {
  waiting = await promote("dev");
  kim = await someone(browser);
  await signIn(kim, facts.outsider, ["auditor"]);
  await kim.goto(`/console/requests/${waiting.id}`);
  must(await kim.locator("#decide button:enabled").count() === 0, "a button can be pressed");
  const said = await kim.locator("#decide").textContent();
  must(/not|only|role|approver/i.test(said), `it says: ${said}`);
  const button = kim.locator("button[value=approve]");
  const why = await button.getAttribute("aria-describedby");
  must(why && (await kim.locator(`#${why}`).textContent()).trim() !== "", "the button does not say why");
  await kim.goto("/console/");
  await kim.getByText("cannot").first().waitFor();
});

const pages = new Set();
await part("axe finds nothing on any page, no page breaks the policy, none runs a text", async () => {
  const todo = ["/console/", "/console/settings", `/console/runs/${facts.run}`, `/console/requests/${waiting.id}`, `/console/requests/${ballot.id}`];
  const kind = (p) => p.replace(/\?.*$/, "").replace(/[0-9a-f-]{20,}|promote-[^/]*/g, "*").replace(/\/\d+$/, "/*");
  const kinds = new Map();
  const found = [];
  while (todo.length) {
    const at = todo.shift();
    if ((kinds.get(kind(at)) || 0) >= 2 || pages.size > 60) continue; // two of a kind are enough
    kinds.set(kind(at), (kinds.get(kind(at)) || 0) + 1);
    const resp = await admin.goto(at);
    if (!(resp.headers()["content-type"] || "").startsWith("text/html")) continue;
    must(resp.status() < 500, `${at}: ${resp.status()}`);
    pages.add(at);
    for (const one of [...await clean(admin), ...await breaches(admin)]) found.push(`${at}: ${one}`);
    for (const href of await admin.locator("a[href^='/console/'], a[href^='?'], a[href^='./']").evaluateAll((all) => all.map((a) => a.getAttribute("href").startsWith("?") ? location.pathname + a.getAttribute("href") : new URL(a.href).pathname + new URL(a.href).search))) {
      if (!href.includes("/assets/") && !href.includes("/auth/") && !pages.has(href) && !todo.includes(href)) todo.push(href);
    }
  }
  console.log(`         ${pages.size} pages: ${[...kinds.keys()].join(" ")}`);
  none(found, "found");
});

await part("every page fits 360 px, dark and light, and axe finds nothing in the dark", async () => {
  const found = [];
  const small = await someone(browser, { viewport: { width: 360, height: 740 }, colorScheme: "dark", isMobile: true, hasTouch: true });
  await signIn(small, "mira", everything);
  for (const at of pages) {
    await small.goto(at);
    const over = await wide(small);
    if (over) found.push(`${at}: ${over}`);
    for (const one of await clean(small)) found.push(`${at} in the dark: ${one}`);
  }
  const dark = await small.evaluate(() => getComputedStyle(document.body).backgroundColor);
  must(/rgb\((\d+)/.exec(dark)?.[1] < 80, `the dark is ${dark}`);
  await small.context().close();
  none(found, "found");
});

await part("without JavaScript everything can be read, and the terminal's command is shown", async () => {
  const page = await someone(browser, { javaScriptEnabled: false });
  await signIn(page, "osei", ["approver"]);
  for (const at of pages) {
    const resp = await page.goto(at);
    must(resp.status() < 500, `${at}: ${resp.status()}`);
    if (resp.ok()) must((await page.getByRole("main").textContent()).trim().length > 10, `${at} is empty`);
  }
  await page.goto(`/console/requests/${waiting.id}`);
  must(await page.locator("#decide button:enabled").count() === 0, "a button works, without a key");
  await page.getByText("The buttons need JavaScript").waitFor();
  await page.getByText("Vote from a terminal").click();
  await page.getByText(`fabric approve ${waiting.id}`).waitFor();
  await page.goto("/console/settings");
  await page.getByRole("button", { name: "Sign out" }).first().click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.context().close();
});

await part("the keyboard alone goes from the inbox to a vote", async () => {
  const { page, name } = voters[1];
  await page.goto("/console/");
  const focus = () => page.evaluate(() => ({ text: document.activeElement.textContent.trim(), id: document.activeElement.id, value: document.activeElement.value || "", outline: getComputedStyle(document.activeElement).outlineStyle }));
  const tab = async (until, what) => {
    for (let i = 0; i < 80; i++) {
      await page.keyboard.press("Tab");
      const at = await focus();
      must(at.outline !== "none" || at.id === "" && at.text === "", `no outline around ${at.text || at.id}`);
      if (until(at)) return;
    }
    throw new Error(`the keyboard does not reach ${what}`);
  };
  await tab((at) => at.text === waiting.summary, "the request");
  await page.keyboard.press("Enter");
  await page.waitForURL(`**/requests/${waiting.id}`);
  await page.locator("button[value=reject]:enabled").waitFor();
  await tab((at) => at.id === "reason", "the reason");
  await page.keyboard.type("by keyboard");
  if (await page.locator("#confirm").count()) {
    await tab((at) => at.id === "confirm", "the confirmation");
    await page.keyboard.type(waiting.id);
  }
  await tab((at) => at.value === "approve", "the button");
  await page.keyboard.press("Enter");
  await page.getByText("Your vote counts.").waitFor();
  const after = await api("GET", `/approvals/${waiting.id}`);
  must(after.votes.some((v) => v.approver === name && v.reason === "by keyboard"), "the vote is not there");
});

await part("an expired session leads to the sign-in, and nothing is done", async () => {
  const page = await someone(browser);
  await signIn(page, "mira", everything, "/console/settings");
  await page.getByText("Refuse a person's tokens").click();
  await page.locator("#subject").fill("nobody-at-all");
  await page.locator("#token-reason").fill("it must not be done");
  await page.context().clearCookies();
  await page.getByRole("button", { name: "Refuse all their tokens up to now" }).click();
  await page.getByRole("heading", { name: /Sign in|session/i }).first().waitFor();
  const list = await api("GET", "/tokens/revocations");
  must(!list.items.some((r) => r.subject === "nobody-at-all"), "it was done");
  await page.context().close();
});

await part("a form of another site is refused", async () => {
  const page = await someone(browser);
  await signIn(page, "mira", everything);
  const cookies = await page.context().cookies();
  must(cookies.length > 0 && cookies.every((c) => c.httpOnly && c.sameSite !== "None"), `cookies: ${cookies.map((c) => `${c.name} ${c.sameSite} ${c.httpOnly}`)}`);
  const resp = await page.context().request.post("/console/signout", { headers: { Origin: "https://evil.example", "Sec-Fetch-Site": "cross-site" } });
  must(resp.status() === 403, `it is answered ${resp.status()}`);
  await page.goto("/console/settings");
  must(new URL(page.url()).pathname === "/console/settings", "they are signed out");
  await page.context().close();
});

await part("the inbox is there in less than a second", async () => {
  const times = [];
  for (let i = 0; i < 5; i++) {
    const began = Date.now();
    await admin.goto("/console/", { waitUntil: "domcontentloaded" });
    await admin.locator("#inbox").waitFor();
    times.push(Date.now() - began);
  }
  const weight = await admin.evaluate(() => [...performance.getEntriesByType("resource"), ...performance.getEntriesByType("navigation")].reduce((sum, e) => sum + e.encodedBodySize, 0));
  console.log(`         interactive after ${times.join(", ")} ms; ${weight} bytes`);
  must(Math.min(...times) < 1000, `after ${times} ms`);
  must(weight < 150_000, `${weight} bytes`);
});

await part("a change is on an open page within a second", async () => {
  const { id } = await api("POST", "/train/round", { model_id: "live", tenants: (await api("GET", `/train/status/${facts.run}`)).tenants, params: { ...(await api("GET", `/train/status/${facts.run}`)).params, rounds: 200 } });
  await admin.goto(`/console/runs/${id}`);
  await admin.getByRole("button", { name: /pause|hold/i }).waitFor();
  const delays = [];
  for (const turn of ["pause", "resume"]) {
    const began = Date.now();
    await api("POST", `/train/runs/${id}/${turn}`, {});
    await admin.getByRole("button", { name: turn === "pause" ? /resume|go on/i : /pause|hold/i }).waitFor();
    delays.push(Date.now() - began);
  }
  await api("POST", `/train/runs/${id}/stop`, {});
  console.log(`         seen after ${delays.join(", ")} ms, the request included`);
  must(delays.every((d) => d < 1000), `after ${delays} ms`);
});

await part("pictures of each kind of page", async () => {
  const named = new Map();
  for (const at of pages) {
    const name = at === "/console/" ? "inbox" : at.slice("/console/".length).replace(/\?.*$/, "").replace(facts.run, "").replace(ballot.id, "decided").replace(waiting.id, "").replace(facts.model, "").replace(/[0-9a-f-]{20,}/g, "").replace(/\W+/g, "-").replace(/^-|-$/g, "");
    if (name && !named.has(name) && named.size < 24) named.set(name, at);
  }
  for (const [width, scheme] of [[1440, "light"], [360, "dark"]]) {
    const page = await someone(browser, { viewport: { width, height: width === 360 ? 740 : 900 }, colorScheme: scheme, reducedMotion: "reduce" });
    await signIn(page, "mira", everything);
    for (const [name, at] of named) {
      await page.goto(at);
      await page.waitForTimeout(300);
      await page.screenshot({ path: path.join(facts.shots, `${name}-${width}-${scheme}.png`) });
    }
    await page.context().close();
  }
});

fs.writeFileSync(process.argv[2], JSON.stringify(result));
await browser.close();
if (failed.length) {
  console.log(`    ${failed.length} parts failed: ${failed.join("; ")}`);
  process.exit(1);
}
