/**
 * Reranking: BM25 finds ten candidates for the user's words, the policy says in which order they should stand, and NDCG
 * is measured on that order.
 *
 *     rec-r1 train examples/rerank/task.ts --run runs/rerank --steps 10
 */
import { defineTask, loadIcons, ndcg } from "rec-r1";
import type { Hit, IconExample } from "rec-r1";
import { LanceDbRecommender } from "rec-r1/recommenders/lancedb";
import { addCandidates, listCandidates, rerank, toRerankQuery } from "rec-r1/recommenders/rerank";

const topCandidates = 10;

const openCandidates = async () => {
  const { catalogue } = await loadIcons();
  return LanceDbRecommender.fromRows(catalogue, { text: ["title"] });
};

export const recommender = async () => rerank({ candidates: await openCandidates(), by: "order", topCandidates });

export const config = { maxTokens: 40, promptsPerStep: 8, evalLimit: 100 };

type Candidates = IconExample & { candidates: Hit[] };

/** Examples in which there is something to gain: candidates of which at least one is right, but not the first. */
async function withCandidates(examples: readonly IconExample[]): Promise<Candidates[]> {
  const source = await openCandidates();
  const filled = await addCandidates(examples, source, { topCandidates });
  await source.close();
  return filled.filter(({ candidates, relevant }) => candidates.slice(1).some(({ id }) => relevant.includes(id)));
}

export default async () => {
  const { train, valid, test } = await loadIcons();
  return defineTask<Candidates>({
    name: "icons-rerank",
    data: {
      train: () => withCandidates(train),
      valid: () => withCandidates(valid),
      test: () => withCandidates(test),
    },
    prompt: ({ query, candidates }) =>
      `Which icons fit "${query}"? Best first, as numbers, such as [3] > [1] > [2].\n${listCandidates(candidates, "title")}`,
    parse: (completion, { query }) => toRerankQuery(query, completion),
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: topCandidates }) : 0),
    topK: topCandidates,
  });
};
