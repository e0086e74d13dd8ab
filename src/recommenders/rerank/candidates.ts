/** Candidates in the data and in the prompt: what the policy has to see before it can order them. */
import { ConfigError } from "../../core/errors.ts";
import type { Hit, Recommender } from "../recommender.ts";

export interface AddCandidatesOptions<E> {
  /** Candidates of each example. Default 20. */
  topCandidates?: number;
  /** The user's words. Default: the example's `query`. */
  queryOf?: (example: E) => string;
  signal?: AbortSignal;
}

/** Queries in one search. */
const batchSize = 256;

/**
 * Examples with what a recommender finds by the user's own words, best first, as `candidates`.
 * @throws RecommenderError, AbortError
 */
export async function addCandidates<E extends object>(
  examples: readonly E[],
  recommender: Recommender,
  options: AddCandidatesOptions<E> = {},
): Promise<(E & { candidates: Hit[] })[]> {
  const { topCandidates = 20, queryOf = (example: E) => (example as { query?: string }).query ?? "", signal } = options;
  const filled: (E & { candidates: Hit[] })[] = [];
  for (let start = 0; start < examples.length; start += batchSize) {
    const batch = examples.slice(start, start + batchSize);
    const answers = await recommender.search(
      batch.map((example) => ({ text: queryOf(example) })),
      { topK: topCandidates, ...(signal ? { signal } : {}) },
    );
    batch.forEach((example, i) => filled.push({ ...example, candidates: answers[i] as Hit[] }));
  }
  return filled;
}

/**
 * Candidates as numbered lines for a prompt: `[1] account box`.
 * @param field What is shown of a candidate's payload; its id where that isn't there. A line end becomes a space.
 * @param maxChars Longer texts are cut. Default 80.
 */
export function listCandidates(candidates: readonly Hit[], field?: string, maxChars = 80): string {
  if (!Number.isInteger(maxChars) || maxChars < 1) {
    throw new ConfigError("CONFIG_BAD_NUMBER", `listCandidates: maxChars is ${maxChars}; expected 1 or more.`);
  }
  return candidates
    .map(({ id, payload }, i) => {
      const value = field === undefined ? undefined : payload?.[field];
      const text = typeof value === "string" || typeof value === "number" ? String(value) : id;
      return `[${i + 1}] ${text.replace(/\s+/g, " ").trim().slice(0, maxChars)}`;
    })
    .join("\n");
}
