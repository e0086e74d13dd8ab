// Hybrid search: words and meaning, fused by reciprocal rank. Fetches the encoder once, about 90 MB.
//   node examples/recommenders/hybrid.mjs
import { LanceDbRecommender } from "rec-r1/recommenders/lancedb";

const catalogue = [
  { id: "1", title: "HP 63XL ink cartridge", description: "Black, for DeskJet printers" },
  { id: "2", title: "Toner for laser printers", description: "Replaces TN-760" },
  { id: "3", title: "Photo paper", description: "Glossy, for ink printers" },
  { id: "4", title: "Desk lamp", description: "LED, with a clamp" },
];

const recommender = await LanceDbRecommender.fromRows(catalogue, {
  text: { title: 2, description: 1 },
  search: "hybrid",
  fusion: { method: "rrf", denseWeight: 0.5 },
});
for (const text of ["63XL", "light for my table", "TN-760 powder"]) {
  const [hits] = await recommender.search([{ text }], { topK: 2 });
  console.log(text);
  for (const { id, score, payload } of hits) console.log(`  ${score.toFixed(4)}  ${id}  ${payload.title}`);
}
await recommender.close();
