/**
 * Icon search: find an icon by a word that people use for it when only icon names are indexed. The same file trains in this
 * process and on a cluster; nothing in it says where.
 *
 *     rec-r1 train examples/icon-search/task.ts --run runs/icons --steps 10
 *     rec-r1 train examples/icon-search/task.ts --run runs/icons-cluster --steps 10 --engine http://127.0.0.1:8000
 */
import { defineTask, loadIcons, ndcg, type IconExample } from "rec-r1";
import { LanceDbRecommender } from "rec-r1/recommenders/lancedb";

export const recommender = async () => {
  const { catalogue } = await loadIcons();
  return LanceDbRecommender.fromRows(
    catalogue.map((row) => ({ ...row })),
    { text: ["title"] },
  );
};

export const config = { promptsPerStep: 8, groupSize: 8, maxTokens: 12, evalLimit: 50 };

export default async () => {
  const { train, valid, test } = await loadIcons();
  return defineTask<IconExample>({
    name: "icon-search",
    data: { train, valid, test },
    prompt: ({ query }) => [
      { role: "system", content: "You name icons. Answer with one to four words, nothing else." },
      { role: "user", content: `Other words for an icon of: ${query}` },
    ],
    // The user's own words stay in the query, so that a useless completion costs little.
    parse: (completion, { query }) => `${query} ${completion.split("\n")[0] ?? ""}`.slice(0, 200),
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : 0),
    topK: 10,
  });
};
