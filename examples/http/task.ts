/**
 * A search API behind the loop. In one terminal the API, in another the training:
 *
 *     node examples/http/server.mjs
 *     rec-r1 train examples/http/task.ts --run runs/http --steps 10
 *
 * SEARCH_API is the API's address; default http://127.0.0.1:8765.
 */
import { defineTask, loadIcons, ndcg } from "rec-r1";
import { HttpRecommender } from "rec-r1/recommenders/http";

export const recommender = () => {
  const api = process.env.SEARCH_API ?? "http://127.0.0.1:8765";
  return HttpRecommender.open({
    url: `${api}/search`,
    body: { q: "{{query}}", n: "{{topK}}" },
    hits: "$.results[*]",
    id: "$.name",
    score: "$.score",
    fingerprint: { url: `${api}/version`, path: "$.version" },
  });
};

export const config = { maxTokens: 16, evalLimit: 100 };

export default async () =>
  defineTask({
    name: "icons-http",
    data: await loadIcons(),
    prompt: ({ query }) => `An icon is called by other words than these: ${query}\nOther words for it:`,
    // The user's words stay in the query, so that it can't get worse than by leaving them out.
    parse: (completion, { query }) => `${query} ${completion.split("\n")[0]}`,
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 100 }) : 0),
    topK: 100,
  });
