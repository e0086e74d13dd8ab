// A next-item model as a recommender: lines of text are a history, what comes next is the answer.
//   node examples/recommenders/sequential.mjs
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SequentialRecommender, trainSequential } from "rec-r1/recommenders/sequential";

const titles = ["Printer", "Ink cartridge", "Photo paper", "Picture frame", "Desk", "Desk lamp", "Light bulb"];
const items = titles.map((title, i) => ({ id: `${i}`, title }));
// Everyone who buys one of these buys the next, and whoever has the last begins anew.
const train = items.flatMap((_, i) =>
  [1, 2, 3].map((length) => {
    const ids = Array.from({ length: length + 1 }, (__, j) => `${(i + j) % items.length}`);
    return { history: ids.slice(0, -1), target: ids.at(-1) };
  }),
);

const folder = mkdtempSync(join(tmpdir(), "rec-r1-sequential-"));
const catalogue = join(folder, "items.jsonl");
writeFileSync(catalogue, items.map((item) => `${JSON.stringify(item)}\n`).join(""));
const model = await trainSequential({
  items: items.map(({ id }) => id),
  train,
  hiddenSize: 16,
  learningRate: 1e-2,
  epochs: 60,
});
const recommender = await SequentialRecommender.open(model, catalogue);
for (const text of ["desk", "Printer\nink for my printer", "a lamp for the desk"]) {
  const [hits] = await recommender.search([{ text }], { topK: 2 });
  console.log(JSON.stringify(text));
  for (const { id, score, payload } of hits) console.log(`  ${score.toFixed(2)}  ${id}  ${payload.title}`);
}
await recommender.close();
rmSync(folder, { recursive: true });
