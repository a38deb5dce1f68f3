// The browser test, in order: each part finds what those before it have left.
import fs from "node:fs";
import { decide } from "./decide.mjs";
import { guards } from "./guards.mjs";
import { ended, figures, launch, note, people } from "./browser.mjs";
import { live } from "./live.mjs";
import { look } from "./pages.mjs";
import { shots } from "./shots.mjs";

const browser = await launch();
figures.browser = browser.version();
for (const section of [decide, look, guards, shots, live]) await section(browser);
fs.writeFileSync(process.argv[2], JSON.stringify({ promotion: people.ballot?.id, voters: people.voters.slice(0, 2).map((v) => v.name), figures }));
await browser.close();
if (ended().length) {
  note(`${ended().length} parts failed: ${ended().join("; ")}`);
  process.exit(1);
}
