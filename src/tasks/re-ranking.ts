/**
 * Re-ranking: the candidates stand in the prompt, the policy answers with their order. No engine is asked again, so the
 * task comes with a recommender of its own, {@link orderRecommender}, that hands out the order as hits.
 */
import { RecommenderError, throwIfAborted } from "../core/errors.ts";
import { readRankingFile } from "../datasets/read-rankings.ts";
import type { RankingExample, SearchExample } from "../datasets/task-examples.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import { answerBlocks } from "../rl/answer.ts";
import type { TaskDefinition } from "../rl/task.ts";
import { judgedNdcg } from "./paper-reward.ts";
import { hitsNeeded, metric, type PresetParts } from "./preset.ts";
import { withLoader } from "./product-search.ts";

export interface ReRankingOptions extends PresetParts<RankingExample> {
  /** Files of `{query, candidates: [{id, title} …], relevant}`, examples, or functions that load them. */
  data: TaskDefinition<RankingExample>["data"];
  /** Cut of the reward's NDCG. Default 10. */
  rewardTopK?: number;
}

/** The preset as a task's definition, for `defineTask`; its recommender is {@link orderRecommender}. */
export function reRanking(options: ReRankingOptions): TaskDefinition<RankingExample> {
  const { data, rewardTopK, ...parts } = options;
  return {
    name: "re-ranking",
    data: withLoader(data, readRankingFile),
    prompt: ({ query, candidates }) => [
      { role: "system", content: "You put search results in order. Answer with the order only." },
      {
        role: "user",
        content: `Query: ${query}\n\n${candidates.map(({ title }, i) => `[${i + 1}] ${title}`).join("\n")}\n\nBest first, all of them, such as: [2] > [1]`,
      },
    ],
    shorten: shortenTitles,
    parse: parseOrder,
    write: (order, { candidates }) =>
      readOrder(order)
        .map((id) => `[${candidates.findIndex((candidate) => candidate.id === id) + 1}]`)
        .join(" > "),
    reward: ({ hits, example }) => (hits ? judgedNdcg(hits, example, rewardTopK ?? 10) : -0.5),
    topK: hitsNeeded("order", rewardTopK),
    metrics: [metric("ndcg", 10), metric("mrr", 10), metric("map", 100)],
    raw: ({ candidates }) => writeOrder(candidates.map(({ id }) => id)),
    ...parts,
  };
}

/** Every title cut to half of the longest one's words; null when all are single words. */
function shortenTitles(example: RankingExample): RankingExample | null {
  const wordsOf = (title: string): string[] => title.trim().split(/\s+/);
  const longest = Math.max(...example.candidates.map(({ title }) => wordsOf(title).length));
  if (longest < 2) return null;
  const cut = Math.floor(longest / 2);
  const candidates = example.candidates.map(({ id, title }) => ({ id, title: wordsOf(title).slice(0, cut).join(" ") }));
  return { ...example, candidates };
}

/**
 * The order in an answer as the text that {@link orderRecommender} takes: numbers of candidates, best first, in brackets
 * or not, in an `<answer>` block or not. Numbers that are no candidate's and repetitions count for nothing; candidates
 * that the answer leaves out follow in the order they had. Null where the answer names no candidate.
 */
export function parseOrder(completion: string, { candidates }: RankingExample): string | null {
  const block = answerBlocks(completion).findLast((text) => /\d/.test(text));
  if (block === undefined) return null;
  const numbers = /\[\d+\]/.test(block) ? block.match(/\[\d{1,6}\]/g) : block.match(/\d{1,6}/g);
  const places = [...new Set(numbers?.map((text) => Number(text.replace(/\D/g, "")) - 1))].filter(
    (place) => place >= 0 && place < candidates.length,
  );
  if (places.length === 0) return null;
  const named = places.map((place) => candidates[place] as RankingExample["candidates"][number]);
  return writeOrder([...named, ...candidates.filter((candidate) => !named.includes(candidate))].map(({ id }) => id));
}

/** An order of ids as a query of {@link orderRecommender}. */
export function writeOrder(ids: readonly string[]): string {
  return JSON.stringify(ids);
}

/** A recommender whose queries are orders, see {@link writeOrder}: the hits are the ids in that order. */
export function orderRecommender(): Recommender {
  return {
    name: "order",
    async search(queries, { topK, signal }) {
      throwIfAborted(signal);
      await Promise.resolve();
      return queries.map(({ text }) => {
        const ids = readOrder(text);
        return ids.slice(0, topK).map((id, rank) => ({ id, score: ids.length - rank }));
      });
    },
    fingerprint: () => Promise.resolve("order"),
    close: () => Promise.resolve(),
  };
}

function readOrder(text: string): string[] {
  try {
    const ids: unknown = JSON.parse(text);
    if (Array.isArray(ids) && ids.every((id) => typeof id === "string")) return [...new Set(ids)];
  } catch {
    // Reported below, with every other text that is no order.
  }
  throw new RecommenderError("NOT_AN_ORDER", `order: expected a JSON list of item ids, got ${text.slice(0, 80)}`);
}

/**
 * Re-ranking examples from search examples: each query's candidates are what a first-stage engine finds for it.
 * Examples for which it finds nothing relevant are left out: no order can help them.
 */
export async function findCandidates(
  examples: readonly SearchExample[],
  {
    recommender,
    candidates = 10,
    titleOf,
  }: { recommender: Recommender; candidates?: number; titleOf: (id: string) => string },
): Promise<RankingExample[]> {
  const found = await recommender.search(
    examples.map(({ query }) => ({ text: query })),
    { topK: candidates },
  );
  return examples.flatMap(({ id, query, relevant }, i) => {
    const hits = found[i] ?? [];
    const example = { id, query, relevant, candidates: hits.map((hit) => ({ id: hit.id, title: titleOf(hit.id) })) };
    return judgedNdcg(hits, example, candidates) > 0 ? [example] : [];
  });
}
