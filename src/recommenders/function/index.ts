/** Anything at all as a recommender: a function from queries to hits. */
import { randomUUID } from "node:crypto";
import { isAbort } from "../../core/abort.ts";
import { RecommenderError, throwIfAborted } from "../../core/errors.ts";
import { Lifetime } from "../lifetime.ts";
import { raceAbort } from "../race-abort.ts";
import type { Hit, Query, Recommender, SearchOptions } from "../recommender.ts";
import { validateAnswers } from "../validate.ts";

/** Hits of each query, best first, at most `topK` of them. What it throws is a failure of the recommender. */
export type SearchFunction = (
  queries: readonly Query[],
  options: SearchOptions,
) => Promise<readonly (readonly Hit[])[]> | readonly (readonly Hit[])[];

export interface FromFunctionOptions {
  /** Short name for logs and reports. Default `function`. */
  name?: string;
  /**
   * Identifies what answers, so that caches and resumed runs know it again; change it when answers change. Default:
   * a new one for every call of {@link fromFunction}, since a function's answers can't be known from its text.
   */
  fingerprint?: string;
  /** Whether the catalogue has this id. */
  has?: (id: string) => boolean | Promise<boolean>;
  /** Frees what the function holds; called once. */
  close?: () => void | Promise<void>;
}

/**
 * A recommender that asks `search`. Its answers are checked (one list for each query, ids that differ, finite scores,
 * best first, at most `topK`), and what it throws becomes a `RecommenderError` that may be retried.
 */
export function fromFunction(search: SearchFunction, options: FromFunctionOptions = {}): Recommender {
  const name = options.name ?? "function";
  const fingerprint = options.fingerprint ?? randomUUID();
  const { has, close } = options;
  const lifetime = new Lifetime(name);
  const ask = async (queries: readonly Query[], searchOptions: SearchOptions): Promise<unknown> => {
    try {
      return await search(queries, searchOptions);
    } catch (cause) {
      throwIfAborted(searchOptions.signal);
      if (cause instanceof RecommenderError) throw cause;
      const reason = isAbort(cause) ? "it stopped by itself" : String((cause as Error | undefined)?.message ?? cause);
      throw new RecommenderError("RECOMMENDER_FAILED", `${name}: ${reason}`, { cause, retryable: true });
    }
  };
  return {
    name,
    async search(queries, searchOptions) {
      lifetime.admit(searchOptions);
      if (queries.length === 0) return [];
      const answers = await raceAbort(lifetime.track(ask(queries, searchOptions)), searchOptions.signal);
      return validateAnswers(name, queries, answers, searchOptions.topK);
    },
    fingerprint: () => Promise.resolve(`${name}:${fingerprint}`),
    ...(has ? { has: async (id: string) => has(id) } : {}),
    close: () => lifetime.end(close),
  };
}
