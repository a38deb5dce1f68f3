// How fast: the inbox is there, and what happens is on the pages that are open.
import { api, facts, figures, must, note, part, people, promote, someone } from "./browser.mjs";
import { pressable } from "./decide.mjs";
import { runRequest } from "./guards.mjs";

const most = 1000; // milliseconds, for both
const loads = 11; // of the inbox; their median is judged

// appears begins to watch for a text in the first element that a selector names,
// and returns when it was there, by the clock of this machine.
async function appears(page, selector, text) {
  await page.evaluate(([selector, text]) => {
    window.__seen = new Promise((done) => {
      const look = () => [...document.querySelectorAll(selector)].some((e) => e.textContent.includes(text)) && (done(Date.now()), true);
      if (!look()) new MutationObserver((_, o) => look() && o.disconnect()).observe(document.documentElement, { subtree: true, childList: true, characterData: true, attributes: true });
    });
  }, [selector, text]);
  return (within = 20_000) => page.evaluate((within) => Promise.race([window.__seen, new Promise((done) => setTimeout(() => done(0), within))]), within);
}

// delay is from an event to its being seen; the page was never loaded anew.
async function delay(page, selector, text, happen) {
  const loaded = await page.evaluate(() => window.__loaded = performance.timeOrigin);
  const seen = await appears(page, selector, text);
  const at = await happen();
  const then = await seen();
  must(then > 0, `"${text}" is not on the page after 20 s`);
  must(await page.evaluate(() => window.__loaded) === loaded, "the page was loaded anew");
  return Math.max(0, Math.round(then - at));
}

export async function live(browser) {
  const { admin } = people;

  await part("what happens is on the open pages within a second", async () => {
    const delays = {};
    await admin.goto("/console/?show=all");
    await admin.waitForTimeout(1000); // until the page follows
    let ballot;
    delays["a new request in the inbox"] = await delay(admin, "#inbox tr:first-child th", `in apac: version ${facts.newer}`, async () => {
      ballot = await promote("apac", facts.older);
      return Date.now(); // it is open
    });
    const { page, name } = people.voters[0];
    await page.goto(`/console/requests/${ballot.id}`);
    await pressable(page);
    if (await page.locator("#confirm").count()) await page.locator("#confirm").fill(ballot.id);
    delays["a vote in the inbox"] = await delay(admin, `#inbox tr:has(a[href$='${ballot.id}'])`, `1 of ${ballot.need}`, async () => {
      const answered = page.waitForResponse((r) => r.request().method() === "POST" && r.url().endsWith("/votes"));
      const at = Date.now(); // signing it and the request included
      await page.getByRole("button", { name: "Approve", exact: true }).click();
      await answered;
      return at;
    });
    must(name, "nobody voted");

    await admin.goto("/console/runs");
    await admin.waitForTimeout(1000);
    let run;
    delays["a new run in the table"] = await delay(admin, "tbody tr:first-child", "of 200", async () => {
      ({ id: run } = await api("POST", "/train/round", await runRequest(200)));
      return Date.now();
    });
    const steer = (what) => async () => {
      const at = Date.now(); // the request included
      await api("POST", `/train/runs/${run}/${what}`, {});
      return at;
    };
    delays["a run held, in the table"] = await delay(admin, `tr:has(a[href$='${run}'])`, "held", steer("pause"));
    await admin.goto(`/console/runs/${run}`);
    await admin.waitForTimeout(1000);
    delays["a run resumed, on its page"] = await delay(admin, "#acts", "It is not held.", steer("resume"));
    delays["a run held, on its page"] = await delay(admin, "#acts", "It holds already.", steer("pause"));
    await api("POST", `/train/runs/${run}/stop`, {});
    figures.live = delays;
    for (const [what, ms] of Object.entries(delays)) note(`${what}: ${ms} ms`);
    const late = Object.entries(delays).filter(([, ms]) => ms >= most);
    must(late.length === 0, `later than ${most} ms: ${late.map(([what, ms]) => `${what} ${ms} ms`).join(", ")}`);
  });

  await part("the inbox is interactive in less than a second and weighs less than 150 kB", async () => {
    const state = await admin.context().storageState();
    const times = [];
    let weight = 0, rows = 0;
    while (times.length < loads) { // each time with nothing kept
      const context = await browser.newContext({ baseURL: facts.url, storageState: state, viewport: { width: 1440, height: 900 } });
      const page = await context.newPage();
      await page.goto("/console/?show=all", { waitUntil: "load" });
      const seen = await page.evaluate(() => {
        const [at] = performance.getEntriesByType("navigation");
        const all = [at, ...performance.getEntriesByType("resource")];
        return { ms: at.domContentLoadedEventEnd, bytes: all.reduce((sum, e) => sum + e.transferSize, 0), rows: document.querySelectorAll("#inbox tbody tr").length, alive: typeof htmx };
      });
      must(seen.alive === "object", "its scripts do not run");
      times.push(Math.round(seen.ms));
      weight = Math.max(weight, seen.bytes);
      rows = seen.rows;
      await context.close();
    }
    times.sort((a, b) => a - b);
    const median = times[(loads - 1) / 2];
    figures.interactive = { median, most: times.at(-1), loads };
    figures.bytes = weight;
    figures.rows = rows;
    note(`interactive ${times.join(", ")} ms after the navigation began, nothing kept from before; ${weight} bytes over the wire; ${rows} rows`);
    must(median < most, `after ${median} ms, the median of ${times}`);
    must(weight < 150_000, `${weight} bytes`);
  });
}
