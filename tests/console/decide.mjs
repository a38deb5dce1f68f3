// People decide: each with a key of their own browser, one of them too late, one
// without the right, one without a mouse.
import { api, breaches, everything, everyWay, facts, figures, must, none, note, part, people, promote, signIn, someone, until } from "./browser.mjs";

const counted = (page) => page.getByText("Your vote counts.").waitFor();

// pressable waits until one may decide here, or says what the page says.
export async function pressable(page) {
  try {
    await page.locator("button[value=approve]:enabled").waitFor();
  } catch {
    throw new Error(`nothing can be pressed: ${(await page.locator("#decide").innerText()).replace(/\s+/g, " ").slice(0, 600)}`);
  }
}

// ready opens a request from the inbox and fills the form in, up to the button.
async function ready(page, ballot, reason) {
  await page.goto("/console/");
  await page.locator(`a[href='/console/requests/${ballot.id}']`).click();
  await page.waitForURL(`**/requests/${ballot.id}`);
  await pressable(page);
  await page.getByLabel("Reason").fill(reason);
  const confirm = page.locator("#confirm");
  if (await confirm.count()) await confirm.fill(ballot.id);
  return page.getByRole("button", { name: "Approve", exact: true });
}

export async function decide(browser) {
  people.admin = await someone(browser);
  const { admin } = people;

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
      const to = await page.locator("#key-link[href]").getAttribute("href");
      const digest = await page.locator("#key-digest").textContent();
      await admin.goto(to);
      must((await admin.getByRole("main").textContent()).includes(digest), "the admin does not see the digest that the person sees");
      none([...await breaches(page), ...people.voters.length ? [] : [...await everyWay(page, "the settings with a key"), ...await everyWay(admin, "the registration")]], "found");
      await admin.getByLabel("Role that their vote counts for").selectOption(role);
      await admin.getByRole("button", { name: "Register the key" }).click();
      await admin.getByText("The key is registered.").waitFor();
      people.voters.push({ name, page });
    }
    const held = await people.voters[0].page.evaluate(() => new Promise((done, fail) => {
      const open = indexedDB.open("fabric-keys", 1);
      open.onsuccess = () => {
        const all = open.result.transaction("keys").objectStore("keys").getAll();
        all.onsuccess = () => crypto.subtle.exportKey("pkcs8", all.result[0].pair.privateKey).then(() => done("it came out"), (e) => done(e.name));
      };
      open.onerror = () => fail(open.error);
    }));
    must(held === "InvalidAccessError", `asked for the private key, the browser says: ${held}`);
  });

  await part("two people approve one promotion at once in two browsers, one of them with a double click", async () => {
    const ballot = people.ballot = await promote("eu");
    must(ballot.need === 2, `${ballot.need} approvals are needed`);
    const [one, two, late] = people.voters;
    const button = await ready(one.page, ballot, `I am ${one.name}. ${facts.script}`);
    const other = await ready(two.page, ballot, `I am ${two.name}.`);
    await ready(late.page, ballot, "too late");
    await Promise.all([button.dblclick().then(() => counted(one.page)), other.click().then(() => counted(two.page))]);
    none([...await breaches(one.page), ...await breaches(two.page)], "breaches");
    const after = await api("GET", `/approvals/${ballot.id}`);
    must(after.outcome === "approved", `it is ${after.outcome}`);
    must(after.votes.length === 2 && after.refused.length === 0, `${after.votes.length} votes, ${after.refused.length} refused`);
  });

  await part("a page that was open before the decision changes nothing, and says why", async () => {
    const { page } = people.voters[2];
    await page.getByRole("button", { name: "Reject", exact: true }).click();
    await page.waitForFunction(() => document.getElementById("vote-state")?.className === "error" || document.querySelector("main h1") && !document.getElementById("vote"));
    note(`it says: ${(await page.locator("#vote-state.error, main").first().textContent()).trim().replace(/\s+/g, " ").slice(0, 200)}`);
    none(await breaches(page), "breaches");
    const after = await api("GET", `/approvals/${people.ballot.id}`);
    must(after.outcome === "approved" && after.votes.length === 2, `it is ${after.outcome}, ${after.votes.length} votes`);
    await page.goto(`/console/requests/${people.ballot.id}`);
    must(await page.locator("button[value=approve]:enabled").count() === 0, "one may approve again");
  });

  await part("a third without the right sees why not", async () => {
    await until(async () => (await api("GET", `/promotions/${people.ballot.id}`)).state === "applied", "the promotion is applied");
    people.waiting = await promote("apac");
    const kim = await someone(browser);
    await signIn(kim, facts.outsider, ["auditor"]);
    await kim.goto(`/console/requests/${people.waiting.id}`);
    must(await kim.locator("#decide button:enabled").count() === 0, "a button can be pressed");
    const button = kim.locator("button[value=approve]");
    const why = await button.getAttribute("aria-describedby");
    const said = why && (await kim.locator(`#${why}`).textContent()).trim();
    must(said, "the button does not say why");
    note(`${facts.outsider} reads: ${said}`);
    none(await everyWay(kim, "the request of one who may not"), "found");
    await kim.goto("/console/");
    await kim.locator("tr", { hasText: people.waiting.summary }).getByText("cannot").waitFor();
    await kim.context().close();
  });

  await part("the keyboard alone signs in, opens a request and votes, and one sees where it is", async () => {
    const { page, name } = people.voters[2];
    let stops = 0;
    const tab = async (until, what) => {
      for (let i = 0; i < 90; i++) {
        await page.keyboard.press("Tab");
        const at = await page.evaluate(() => {
          const e = document.activeElement, look = getComputedStyle(e), box = e.getBoundingClientRect();
          return {
            tag: e.tagName, text: e.textContent.trim(), id: e.id, name: e.getAttribute("name") || "", value: e.value || "", href: e.getAttribute("href") || "",
            outline: look.outlineStyle === "none" ? 0 : parseFloat(look.outlineWidth), seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
          };
        });
        if (at.tag === "BODY" || at.tag === "HTML") continue; // round again
        stops++;
        must(at.outline >= 2, `no outline around ${at.tag} ${at.text.slice(0, 40) || at.id}`);
        must(at.seen, `${at.tag} ${at.text.slice(0, 40) || at.id} has the focus and is out of sight`);
        if (until(at)) return;
      }
      throw new Error(`the keyboard does not reach ${what}`);
    };
    await page.goto("/console/");
    await tab((at) => at.href === "#main", "the way past the menu");
    await tab((at) => at.text === "Sign out", "signing out");
    await page.keyboard.press("Enter");
    await page.getByText("You are signed out.").waitFor();
    await tab((at) => at.text === "Sign in", "signing in");
    await page.keyboard.press("Enter");
    await page.getByLabel("Name").waitFor();
    await tab((at) => at.name === "subject", "the name");
    await page.keyboard.type(name);
    await tab((at) => at.name === "tenant", "the tenant");
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.type(facts.tenant);
    await tab((at) => at.value === "approver", "the role");
    if (!await page.getByRole("checkbox", { name: "approver" }).isChecked()) await page.keyboard.press("Space");
    await tab((at) => at.tag === "BUTTON", "the provider's button");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/console\/$/);
    await tab((at) => at.href === `/console/requests/${people.waiting.id}`, "the request");
    await page.keyboard.press("Enter");
    await page.waitForURL(`**/requests/${people.waiting.id}`);
    await pressable(page);
    await tab((at) => at.id === "reason", "the reason");
    await page.keyboard.type("by keyboard");
    if (await page.locator("#confirm").count()) {
      await tab((at) => at.id === "confirm", "the confirmation");
      await page.keyboard.type(people.waiting.id);
    }
    await tab((at) => at.value === "approve", "the button");
    await page.keyboard.press("Enter");
    await counted(page);
    const after = await api("GET", `/approvals/${people.waiting.id}`);
    must(after.votes.some((v) => v.approver === name && v.reason === "by keyboard"), "the vote is not there");
    await until(async () => (await api("GET", `/promotions/${people.waiting.id}`)).state === "applied", "the promotion is applied");
    people.waiting = await promote("eu", facts.older);
    figures.keyboard = stops;
    note(`${stops} stops of the focus, all to be seen`);
  });
}
