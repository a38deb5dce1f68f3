// What goes wrong for people, and what others try.
import { api, breaches, everything, facts, must, none, note, part, people, signIn, someone } from "./browser.mjs";

export async function guards(browser) {
  await part("an expired session leads to the sign-in and back, and nothing is done", async () => {
    const page = await someone(browser);
    await signIn(page, "mira", everything, "/console/settings");
    await page.getByText("Refuse a person's tokens").click();
    await page.locator("#subject").fill("nobody-at-all");
    await page.locator("#token-reason").fill("it must not be done");
    await page.context().clearCookies();
    await page.getByRole("button", { name: "Refuse all their tokens up to now" }).click();
    await page.getByRole("heading", { name: "You are not signed in" }).waitFor();
    await page.getByText("Nothing was changed.").waitFor();
    const list = await api("GET", "/tokens/revocations");
    must(!list.items.some((r) => r.subject === "nobody-at-all"), "it was done");
    await page.getByRole("link", { name: "Sign in and go back" }).click();
    await signInHere(page, "mira", everything);
    must(new URL(page.url()).pathname === "/console/settings", `they are back at ${page.url()}`);
    // The same for a page that is asked for.
    await page.context().clearCookies();
    await page.goto("/console/runs?status=stopped");
    await signInHere(page, "mira", everything);
    must(page.url().endsWith("/console/runs?status=stopped"), `they are back at ${page.url()}`);
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

  await part("a script in a name, a description or a reason is a text", async () => {
    const { admin } = people;
    const resp = await fetch(`${facts.url}/train/round`, {
      method: "POST", headers: { Authorization: `Bearer ${facts.token}`, "Content-Type": "application/json" },
      body: JSON.stringify({ ...await runRequest(), model_id: facts.script }),
    });
    must(resp.status === 400 || resp.status === 422, `a model of that name: ${resp.status}`);
    for (const [at, where] of [
      [`/console/models/${encodeURIComponent(facts.script)}`, ""], [`/console/runs?model=${encodeURIComponent(facts.script)}`, ""], [`/console/catalog?q=${encodeURIComponent(facts.script)}`, ""],
      [`/console/requests/${people.ballot.id}`, "main"], ["/console/catalog", "main"], [`/console/catalog/${facts.tenant}/scripted`, "main"], ["/console/?done=" + encodeURIComponent(facts.script), ""],
    ]) {
      await admin.goto(at);
      none(await breaches(admin), at);
      must(await admin.locator("script:not([src]), main img").count() === 0, `${at} holds a script`);
      if (where) must((await admin.locator(where).textContent()).includes("<script>"), `${at} does not show it`);
    }
  });

  await part("a browser without WebCrypto is told what else it can do", async () => {
    const page = await someone(browser);
    await page.context().addInitScript(() => Object.defineProperty(Crypto.prototype, "subtle", { get: () => undefined }));
    await signIn(page, facts.approvers[0].name, ["approver"]);
    await page.goto(`/console/requests/${people.waiting.id}`);
    const said = page.locator("#vote-state.error");
    await said.waitFor();
    note(`it says: ${await said.textContent()}`);
    must(await page.locator("#decide button:enabled").count() === 0, "a button can be pressed");
    await page.goto("/console/settings");
    await page.locator("#key-state.error").waitFor();
    await page.context().close();
  });
}

async function signInHere(page, name, roles) {
  if (new URL(page.url()).pathname === "/console/signin") await page.getByRole("main").getByRole("link", { name: "Sign in" }).click();
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Tenant").fill(facts.tenant);
  for (const box of await page.getByRole("checkbox").all()) await box.setChecked(roles.includes(await box.getAttribute("value")));
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL((u) => u.pathname.startsWith("/console/") && !/\/(signin|auth)/.test(u.pathname));
}

// runRequest is that of a run that ended, to ask for a longer one like it: with so
// much noise that what is left of the privacy budget covers it.
export async function runRequest(rounds = 3) {
  const { model_id, tenants, params } = await api("GET", `/train/status/${facts.run}`);
  return { model_id, tenants, params: { ...params, rounds, privacy: { ...params.privacy, noise_multiplier: 60 } } };
}
