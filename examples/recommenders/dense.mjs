// Dense search: what is meant, not which words are used. Fetches the encoder once, about 90 MB.
//   node examples/recommenders/dense.mjs
import { LanceDbRecommender } from "rec-r1/recommenders/lancedb";

const catalogue = [
  { id: "1", title: "Stapler, heavy duty", kind: "tool" },
  { id: "2", title: "Ballpoint pens, blue, box of 12", kind: "writing" },
  { id: "3", title: "Sofa with three seats", kind: "furniture" },
  { id: "4", title: "Notebook, lined paper", kind: "writing" },
];

const recommender = await LanceDbRecommender.fromRows(catalogue, {
  text: ["title"],
  search: "dense",
  filterFields: { kind: "string" },
});
const queries = [{ text: "somewhere for guests to sit" }, { text: "something to write with" }];
const show = (answers) =>
  answers.forEach((hits, i) => {
    console.log(queries[i].text);
    for (const { id, score, payload } of hits) console.log(`  ${score.toFixed(3)}  ${id}  ${payload.title}`);
  });
show(await recommender.search(queries, { topK: 2 }));
console.log("\nOf kind writing only:");
show(await recommender.filtered({ kind: "writing" }).search(queries, { topK: 2 }));
await recommender.close();
