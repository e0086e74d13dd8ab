// Data for docs/tutorial.md, for those who have none at hand: a catalogue of 7,447 icons by their names, and a click log as
// an icon shop might have it. People ask by other words than the names (the icons' real aliases); their clicks are
// simulated: a result at position k is looked at with probability 1/k, and clicked when it is the right one, or seldom by
// mistake.
//   node examples/tutorial/make-data.mjs FOLDER
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const folder = process.argv[2] ?? ".";
const icons = JSON.parse(readFileSync(createRequire(import.meta.url).resolve("@mdi/svg/meta.json"), "utf8"));

/** Numbers from 0 to 1 that are the same every time (mulberry32). */
let state = 1;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
}

const words = (name) => name.replaceAll("-", " ");
const catalogue = icons.map(({ name, tags }) => `${name},${words(name)},"${tags.join(", ")}"`);
const log = new Map();
const add = (query, item, position, clicks) => {
  const key = `${query}\t${item}\t${position}`;
  const row = log.get(key) ?? { query, item, position, clicks: 0, impressions: 0 };
  log.set(key, { ...row, clicks: row.clicks + clicks, impressions: row.impressions + 1 });
};
const targets = icons.flatMap(({ name, aliases }) => aliases.map((alias) => ({ query: words(alias), right: name })));
for (const { query, right } of targets) {
  for (let day = 0; day < 12; day++) {
    // What the shop showed differs from day to day.
    const shown = Array.from({ length: 5 }, () => icons[Math.floor(random() * icons.length)].name);
    shown[Math.floor(random() * shown.length)] = right;
    shown.forEach((item, i) => {
      const looked = random() < 1 / (i + 1);
      add(query, item, i + 1, looked && random() < (item === right ? 0.8 : 0.01) ? 1 : 0);
    });
  }
}
const rows = [...log.values()].map((row) => Object.values(row).join(","));
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, "products.csv"), `sku,name,tags\n${catalogue.join("\n")}\n`);
writeFileSync(join(folder, "clicks.csv"), `query,clicked_id,position,clicks,impressions\n${rows.join("\n")}\n`);
console.log(`${folder}: products.csv with ${catalogue.length} items, clicks.csv with ${rows.length} rows`);
