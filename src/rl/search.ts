/**
 * Asking the recommender for many queries at once: equal queries once, failures told apart query by query, answers
 * checked before anything is made of them.
 */
import { isAbort } from "../core/abort.ts";
import { RecommenderError, throwIfAborted } from "../core/errors.ts";
import type { Hit, Recommender } from "../recommenders/recommender.ts";
import { validateHits } from "../recommenders/validate.ts";

/** A query's hits, or why there are none. */
export type SearchOutcome = { hits: Hit[] } | { failure: string };

export interface SearchAllOptions {
  topK: number;
  /** Failed queries after which the rest is given up; their outcome is then a failure, too. Default: no limit. */
  maxFailures?: number;
  /** Times that queries are asked, the first one included, whose failure may pass. Default 3. */
  rounds?: number;
  signal?: AbortSignal;
}

/**
 * Outcomes by query text. One batched call; when that fails, each half of it, and so on down to the single query, so
 * that one bad query costs only itself. Those that failed and may succeed later are asked once more when all others
 * are done: a rollout that is lost for a moment's trouble makes another run of it. A recommender that is left alone
 * because it is down isn't asked again.
 * @throws AbortError; whatever the recommender throws that is not a `RecommenderError` (a bug, not a failure)
 */
export async function searchAll(
  recommender: Recommender,
  queries: Iterable<string>,
  { topK, maxFailures = Infinity, rounds = 3, signal }: SearchAllOptions,
): Promise<Map<string, SearchOutcome>> {
  const outcomes = new Map<string, SearchOutcome>();
  let failures = 0;
  let lastFailure: Failure | undefined;
  /** Queries whose failure may pass. */
  let passing: string[] = [];
  const record = (query: string, outcome: SearchOutcome, mayPass = false): void => {
    if ("failure" in outcome) failures++;
    if (mayPass) passing.push(query);
    outcomes.set(query, outcome);
  };
  const ask = async (batch: readonly string[]): Promise<void> => {
    if (batch.length === 0) return;
    const isGivenUp = lastFailure !== undefined && (lastFailure.isDown || failures > maxFailures);
    const answers = isGivenUp ? (lastFailure as Failure) : await searchBatch(recommender, batch, topK, signal);
    if (Array.isArray(answers)) {
      lastFailure = undefined;
      batch.forEach((query, i) => record(query, checkHits(recommender.name, query, answers[i], topK)));
      return;
    }
    lastFailure = answers;
    if (batch.length === 1 || isGivenUp || answers.isDown) {
      for (const query of batch) record(query, { failure: answers.failure }, answers.mayPass);
      return;
    }
    const half = Math.ceil(batch.length / 2);
    await ask(batch.slice(0, half));
    await ask(batch.slice(half));
  };
  await ask([...new Set(queries)]);
  for (let round = 2; round <= rounds && passing.length > 0 && failures <= maxFailures; round++) {
    if (lastFailure?.isDown) break;
    const again = passing;
    passing = [];
    failures -= again.length;
    await ask(again);
  }
  return outcomes;
}

/** Why a call failed. */
interface Failure {
  failure: string;
  /** Whether the same call may succeed later. */
  mayPass: boolean;
  /** Whether asking again now would be in vain. */
  isDown: boolean;
}

async function searchBatch(
  recommender: Recommender,
  queries: readonly string[],
  topK: number,
  signal: AbortSignal | undefined,
): Promise<unknown[] | Failure> {
  throwIfAborted(signal);
  try {
    const options = signal ? { topK, signal } : { topK };
    const answers: unknown = await recommender.search(
      queries.map((text) => ({ text })),
      options,
    );
    if (Array.isArray(answers) && answers.length === queries.length) return answers as unknown[];
    const got = Array.isArray(answers) ? `${answers.length} answers` : typeof answers;
    return { failure: `${recommender.name} gave ${got} to ${queries.length} queries`, mayPass: false, isDown: false };
  } catch (error) {
    throwIfAborted(signal);
    if (isAbort(error) || !(error instanceof RecommenderError)) throw error;
    const { code, message, retryable } = error;
    return { failure: `${code}: ${message}`, mayPass: retryable, isDown: code === "RECOMMENDER_CIRCUIT_OPEN" };
  }
}

/** Refuses answers that no metric could be trusted with. Hits beyond `topK` are no fault and are left out. */
function checkHits(name: string, text: string, hits: unknown, topK: number): SearchOutcome {
  try {
    return { hits: validateHits(name, { text }, Array.isArray(hits) ? hits.slice(0, topK) : hits, topK) };
  } catch (error) {
    if (!(error instanceof RecommenderError)) throw error;
    return { failure: `${error.code}: ${error.message}` };
  }
}
