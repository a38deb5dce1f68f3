// Pictures of the pages, for people: docs/console shows them.
import path from "node:path";
import { everything, facts, part, people, signIn, someone } from "./browser.mjs";
import { pages } from "./pages.mjs";

// tallest is where a picture ends; what is below is more of the same.
const tallest = { 1280: 1500, 360: 1800 };

// shown are the pictures' names, and the pages that they are of.
function shown() {
  const first = (pattern) => [...pages].find((at) => pattern.test(at));
  return {
    inbox: "/console/",
    request: `/console/requests/${facts.rollout}`,
    "request-policy": `/console/requests/${facts.proposal}?replay=7`,
    runs: "/console/runs",
    run: `/console/runs/${facts.run}`,
    models: "/console/models",
    model: `/console/models/${facts.model}`,
    version: `/console/models/${facts.model}/versions/${facts.newer}`,
    rollouts: "/console/rollouts",
    rollout: `/console/rollouts/${facts.rollout}`,
    regions: "/console/regions",
    policies: "/console/policies",
    "policy-rollout": first(/policies\/rollouts\/(?!proposal)/),
    proposal: `/console/policies/proposals/${facts.proposal}`,
    catalog: "/console/catalog",
    feature: `/console/catalog/${facts.tenant}/held-out-rows`,
    withdrawal: first(/withdrawals\//),
    audit: "/console/audit?match=vote",
    leaf: "/console/audit?match=vote", // and then the first of them
    settings: "/console/settings",
    problem: "/console/nowhere",
  };
}

export async function shots(browser) {
  await part("pictures of each page", async () => {
    const own = people.voters[0].page; // a browser that holds a key: its buttons can be pressed
    for (const [width, colorScheme] of [[1280, "light"], [1280, "dark"], [360, "light"], [360, "dark"]]) {
      const page = await someone(browser, { viewport: { width, height: width === 360 ? 740 : 900 }, colorScheme, reducedMotion: "reduce" });
      if (colorScheme === "light") {
        await page.goto("/console/");
        await take(page, "signin", width, colorScheme);
      }
      await signIn(page, "mira", everything);
      let i = 0;
      for (const [name, at] of Object.entries(shown())) {
        i++;
        // Wide ones in the light, and the decisive ones in the dark; narrow ones take turns.
        if (width === 1280 && colorScheme === "dark" && !["inbox", "request", "run", "rollout", "regions", "version"].includes(name)) continue;
        if (width === 360 && (colorScheme === "dark") !== (i % 2 === 0)) continue;
        await page.goto(at);
        if (name === "leaf") await page.goto(await page.locator("tbody a[href*='/audit/']").first().getAttribute("href"));
        await take(page, name, width, colorScheme);
      }
      await page.context().close();
    }
    await own.setViewportSize({ width: 1280, height: 900 });
    await own.goto(`/console/requests/${people.waiting.id}`);
    await own.locator("button[value=approve]:enabled").waitFor();
    await own.locator("#decide").screenshot({ path: path.join(facts.shots, "decide-1280-light.png") });
    await own.goto("/console/settings");
    await own.locator("#key-digest").waitFor();
    await take(own, "settings-key", 1280, "light");
  });
}

async function take(page, name, width, scheme) {
  await page.waitForTimeout(200);
  const high = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.screenshot({ path: path.join(facts.shots, `${name}-${width}-${scheme}.png`), fullPage: true, clip: { x: 0, y: 0, width, height: Math.min(high, tallest[width]) } });
}
