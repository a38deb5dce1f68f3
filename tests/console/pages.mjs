// Every page, whatever the browser: no finding of axe, no breach of the policy,
// nothing wider than a telephone, and all of it to be read without JavaScript.
import { clean, everything, everyWay, facts, figures, must, none, note, part, people, signIn, someone } from "./browser.mjs";

export const pages = new Set();

// kind is a page's address without what tells it from its neighbours.
const kind = (at) => at.replace(/\?.*$/, (q) => "?" + [...new URLSearchParams(q).keys()].sort()).replace(/(runs|models|rollouts|requests|proposals|withdrawals|audit|versions)\/[^/?]+/g, "$1/*").replace(/catalog\/[^/]+\/[^/?]+/, "catalog/*");

export async function look(browser) {
  const { admin } = people;

  await part("axe finds nothing on any page, in the light, in the dark and at 360 px, where none scrolls sideways", async () => {
    const todo = ["/console/", "/console/settings", ...facts.pages, `/console/requests/${people.waiting.id}`, `/console/requests/${people.ballot.id}`];
    const named = new Set(todo);
    const kinds = new Map();
    const found = [];
    while (todo.length) {
      const at = todo.shift();
      if (!named.has(at) && (kinds.get(kind(at)) || 0) >= 2) continue; // two of a kind are enough
      kinds.set(kind(at), (kinds.get(kind(at)) || 0) + 1);
      const resp = await admin.goto(at);
      if (!(resp.headers()["content-type"] || "").startsWith("text/html")) continue;
      if (resp.status() !== 200 && !/nobody-has-it|nowhere/.test(at)) found.push(`${at}, which a page links to, is answered with ${resp.status()}`);
      pages.add(at);
      found.push(...await everyWay(admin, at));
      for (const href of await admin.locator("main a[href], header a[href]").evaluateAll((all) => all.map((a) => new URL(a.href)).filter((u) => u.origin === location.origin).map((u) => u.pathname + u.search))) {
        if (href.startsWith("/console/") && !/\/(assets|auth|export|signin)\b/.test(href) && !pages.has(href) && !todo.includes(href)) todo.push(href);
      }
    }
    // Pages that only a form or a visitor without a session comes to.
    await admin.goto(`/console/catalog/${facts.tenant}/held-out-rows`);
    await admin.getByRole("button", { name: "See what a withdrawal would reach" }).click();
    await admin.getByRole("button", { name: "Withdraw the consent" }).waitFor();
    found.push(...await everyWay(admin, "what a withdrawal would reach"));
    const nobody = await someone(browser);
    await nobody.goto("/console/runs");
    found.push(...await everyWay(nobody, "the sign-in"));
    await nobody.getByRole("main").getByRole("link", { name: "Sign in" }).click();
    found.push(...await everyWay(nobody, "the development provider"));
    await nobody.getByLabel("Name").fill("Not A Name");
    await nobody.getByRole("button", { name: "Sign in" }).click();
    found.push(...await everyWay(nobody, "what the development provider refuses"));
    await nobody.context().close();
    figures.pages = pages.size + 4;
    figures.kinds = kinds.size + 4;
    note(`${figures.pages} pages of ${figures.kinds} kinds, each four times: ${[...kinds.keys()].join(" ")}`);
    none(found, "found");
  });

  await part("the dark is dark, and a telephone's touch finds the buttons", async () => {
    const small = await someone(browser, { viewport: { width: 360, height: 740 }, colorScheme: "dark", isMobile: true, hasTouch: true });
    await signIn(small, "mira", everything);
    await small.locator(`a[href='/console/requests/${people.waiting.id}']`).tap();
    await small.waitForURL(`**/requests/${people.waiting.id}`);
    none(await clean(small), "axe");
    const dark = await small.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    must(/rgb\((\d+)/.exec(dark)?.[1] < 80, `the dark is ${dark}`);
    const low = await small.locator("main button, header button, main .button").evaluateAll((all) => all.filter((b) => b.offsetParent && b.getBoundingClientRect().height < 24).map((b) => b.textContent));
    none(low, "buttons lower than 24 px");
    await small.context().close();
  });

  await part("without JavaScript everything can be read, and the terminal's command is shown", async () => {
    const page = await someone(browser, { javaScriptEnabled: false });
    await signIn(page, "osei", ["approver", "data-scientist"]);
    for (const at of pages) {
      const resp = await page.goto(at);
      must(resp.status() < 500, `${at}: ${resp.status()}`);
      must((await page.getByRole("main").textContent()).trim().length > 10, `${at} is empty`);
    }
    await page.goto(`/console/requests/${people.waiting.id}`);
    must(await page.locator("#decide button:enabled").count() === 0, "a button works, without a key");
    await page.locator("#decide noscript .warn").waitFor(); // says that the buttons need JavaScript
    await page.getByText("Vote from a terminal").click();
    await page.getByText(`fabric approve ${people.waiting.id}`).waitFor();
    await page.goto("/console/runs");
    await page.getByLabel("State").selectOption("stopped");
    await page.getByRole("button", { name: "Show" }).click();
    must(await page.locator("tbody tr").count() === 1, "the filter does not work");
    await page.goto("/console/settings");
    await page.locator("#my-key noscript .warn").waitFor();
    await page.getByRole("button", { name: "Sign out" }).first().click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await page.context().close();
  });
}
