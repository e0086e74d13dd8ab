/**
 * Asking the recommender for many queries at once: equal queries once, failures told apart query by query, answers
 * checked before anything is made of them.
 */
import { isAbort } from "../core/abort.ts";
import { RecommenderError, throwIfAborted } from "../core/errors.ts";
import type { Hit, Recommender } from "../recommenders/recommender.ts";

/** A query's hits, or why there are none. */
export type SearchOutcome = { hits: Hit[] } | { failure: string };

export interface SearchAllOptions {
  topK: number;
  /** Failed queries after which the rest is given up; their outcome is then a failure, too. Default: no limit. */
  maxFailures?: number;
  signal?: AbortSignal;
}

/**
 * Outcomes by query text. One batched call; when that fails, each query alone, so that one bad query costs only itself.
 * @throws AbortError; whatever the recommender throws that is not a `RecommenderError` (a bug, not a failure)
 */
export async function searchAll(
  recommender: Recommender,
  queries: Iterable<string>,
  { topK, maxFailures = Infinity, signal }: SearchAllOptions,
): Promise<Map<string, SearchOutcome>> {
  const unique = [...new Set(queries)];
  const outcomes = new Map<string, SearchOutcome>();
  if (unique.length === 0) return outcomes;
  const batch = await searchBatch(recommender, unique, topK, signal);
  if (Array.isArray(batch)) {
    unique.forEach((query, i) => outcomes.set(query, checkHits(recommender.name, batch[i] as unknown, topK)));
    return outcomes;
  }
  let failures = 0;
  for (const query of unique) {
    const alone =
      unique.length === 1 || failures > maxFailures ? batch : await searchBatch(recommender, [query], topK, signal);
    const outcome = Array.isArray(alone) ? checkHits(recommender.name, alone[0] as unknown, topK) : alone;
    if ("failure" in outcome) failures++;
    outcomes.set(query, outcome);
  }
  return outcomes;
}

async function searchBatch(
  recommender: Recommender,
  queries: readonly string[],
  topK: number,
  signal: AbortSignal | undefined,
): Promise<Hit[][] | { failure: string }> {
  throwIfAborted(signal);
  try {
    const options = signal ? { topK, signal } : { topK };
    const answers: unknown = await recommender.search(
      queries.map((text) => ({ text })),
      options,
    );
    if (Array.isArray(answers) && answers.length === queries.length) return answers as Hit[][];
    const got = Array.isArray(answers) ? `${answers.length} answers` : typeof answers;
    return { failure: `${recommender.name} gave ${got} to ${queries.length} queries` };
  } catch (error) {
    throwIfAborted(signal);
    if (isAbort(error) || !(error instanceof RecommenderError)) throw error;
    return { failure: `${error.code}: ${error.message}` };
  }
}

/** Refuses answers that no metric could be trusted with: not a list, hits without an id, an id twice. */
function checkHits(name: string, hits: unknown, topK: number): SearchOutcome {
  if (!Array.isArray(hits))
    return { failure: `${name} answered with ${typeof hits} where a list of hits was expected` };
  const seen = new Set<string>();
  for (const hit of hits as Partial<Hit>[]) {
    if (typeof hit?.id !== "string") return { failure: `${name} gave a hit without an id` };
    if (seen.has(hit.id)) return { failure: `${name} gave the id "${hit.id}" twice in one answer` };
    seen.add(hit.id);
  }
  return { hits: (hits as Hit[]).slice(0, topK) };
}
