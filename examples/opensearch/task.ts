/**
 * OpenSearch (or Elasticsearch) behind the loop. Where there is none, `node scripts/opensearch.mjs` starts one on
 * http://127.0.0.1:9220 (Java 17 and Maven) and runs it until Ctrl-C.
 *
 *     node examples/opensearch/load.mjs
 *     rec-r1 train examples/opensearch/task.ts --run runs/opensearch --steps 10
 *
 * OPENSEARCH_URL is its address; OPENSEARCH_USER and OPENSEARCH_PASSWORD say who asks, where it wants to know.
 */
import { defineTask, loadIcons, ndcg } from "rec-r1";
import { OpenSearchRecommender } from "rec-r1/recommenders/opensearch";

export const recommender = () => {
  const { OPENSEARCH_URL, OPENSEARCH_USER: username, OPENSEARCH_PASSWORD: password } = process.env;
  return OpenSearchRecommender.open({
    node: OPENSEARCH_URL ?? "http://127.0.0.1:9220",
    ...(username !== undefined && password !== undefined ? { auth: { username, password } } : {}),
    index: "icons",
    query: { bool: { should: [{ match: { title: "{{query}}" } }, { match_phrase: { title: "{{query}}" } }] } },
    tieBreaker: "name",
    payload: ["title"],
  });
};

export const config = { maxTokens: 16, evalLimit: 100 };

export default async () =>
  defineTask({
    name: "icons-opensearch",
    data: await loadIcons(),
    prompt: ({ query }) => `An icon is called by other words than these: ${query}\nOther words for it:`,
    parse: (completion, { query }) => `${query} ${completion.split("\n")[0]}`,
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 100 }) : 0),
    topK: 100,
  });
