/** What the checks look at: a task, its examples, its recommender, and a way to ask it that counts and never throws. */
import { RecommenderError, TaskError, throwIfAborted } from "../../core/errors.ts";
import { distinctWords } from "../../core/words.ts";
import { relevantIds } from "../../ranking/judgments.ts";
import type { Relevance } from "../../ranking/judgments.ts";
import type { Hit, Recommender } from "../../recommenders/recommender.ts";
import { searchAll } from "../../rl/search.ts";
import type { SearchOutcome } from "../../rl/search.ts";
import type { LoadedExample, SplitName, Task } from "../../rl/task.ts";
import { textOfHit } from "../baselines/collection.ts";

export interface Patient<E extends object> {
  task: Task<E>;
  recommender: Recommender;
  splits: Partial<Record<SplitName, LoadedExample<E>[]>>;
  /** The examples that queries are sent for. */
  sample: readonly LoadedExample<E>[];
  /** Hits, or why there are none, by query. */
  ask: (queries: readonly string[]) => Promise<Map<string, SearchOutcome>>;
  /** One call to the recommender as it is; null where it threw. */
  askOnce: (queries: readonly string[], topK?: number) => Promise<Hit[][] | null>;
  /** Words of items in the catalogue that are worth asking for alone: four letters or more, no stop words. */
  plainWords: readonly string[];
  signal: AbortSignal | undefined;
}

/** Words that analyzers leave out on purpose, of four letters and more. */
const usualStopWords = new Set(
  (
    "about above after again against also because been before being below between both could does doing down during each " +
    "from further have having here hers herself himself into itself just more most myself once only other ours over same " +
    "should some such than that their theirs them themselves then there these they this those through under until very " +
    "were what when where which while whom will with would your yours yourself"
  ).split(" "),
);

/** Ids of an example's relevant items; none where it has no judgments. @throws DataError on a gain that is no number */
export function relevantOf(example: object): string[] {
  const { relevant } = example as { relevant?: Relevance };
  return relevant === undefined || relevant === null ? [] : relevantIds(relevant);
}

export function hitsOf(outcome: SearchOutcome | undefined): Hit[] {
  return outcome && "hits" in outcome ? outcome.hits : [];
}

/** Words that items of the catalogue have, most frequent first, ties in order of first use. */
export function collectPlainWords(outcomes: Iterable<SearchOutcome>, limit: number): string[] {
  const counts = new Map<string, number>();
  const seen = new Set<string>();
  for (const outcome of outcomes) {
    for (const hit of hitsOf(outcome)) {
      if (seen.has(hit.id)) continue;
      seen.add(hit.id);
      for (const word of distinctWords(textOfHit(hit), 4)) {
        if (/^\p{L}+$/u.test(word) && !usualStopWords.has(word)) counts.set(word, (counts.get(word) ?? 0) + 1);
      }
    }
  }
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .slice(0, limit)
    .map(([word]) => word);
}

/** An asker for a patient, and how many queries it has sent. */
export function createAsker<E extends object>(
  task: Task<E>,
  recommender: Recommender,
  signal: AbortSignal | undefined,
): Pick<Patient<E>, "ask" | "askOnce"> & { sent: () => number } {
  let sent = 0;
  const options = signal ? { signal } : {};
  return {
    sent: () => sent,
    ask: async (queries) => {
      sent += new Set(queries).size;
      return searchAll(recommender, queries, { topK: task.topK, ...options });
    },
    askOnce: async (queries, topK = task.topK) => {
      sent += queries.length;
      throwIfAborted(signal);
      try {
        return await recommender.search(
          queries.map((text) => ({ text })),
          { topK, ...options },
        );
      } catch (error) {
        throwIfAborted(signal);
        if (error instanceof RecommenderError) return null;
        throw error;
      }
    },
  };
}

/** What the task's own code gave, or the message of the TaskError that it ended in. */
export async function tryTask<T>(call: () => T | Promise<T>): Promise<{ value: T } | { fault: string }> {
  try {
    return { value: await call() };
  } catch (error) {
    if (error instanceof TaskError) return { fault: error.message };
    throw error;
  }
}

export const quote = (text: string): string => JSON.stringify(text.length <= 80 ? text : `${text.slice(0, 77)}...`);
export const percent = (part: number, whole: number): string =>
  `${whole === 0 ? 0 : ((100 * part) / whole).toFixed(1).replace(/\.0$/, "")} %`;
