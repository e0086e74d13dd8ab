/** Query expansion: the user's words stay, the policy adds words. A policy that has nothing to add does no harm. */
import { distinctWords, splitWords } from "../core/words.ts";

export interface ExpandOptions {
  /** Most words added. Default 6. */
  maxWords?: number;
  /**
   * Whether words that the user's text has already are added too, so that engines which count words give them more
   * weight: for texts in which some words matter more than others. Default false.
   */
  repeat?: boolean;
}

/**
 * The user's words and those of the completion's first line, each added once: a completion that repeats a word buys it
 * no weight. Use it as a task's `parse`.
 */
export function expandQuery(
  query: string,
  completion: string,
  { maxWords = 6, repeat = false }: ExpandOptions = {},
): string {
  const own = new Set(repeat ? [] : splitWords(query));
  const added = distinctWords(completion.split("\n")[0] ?? "").filter((word) => !own.has(word));
  return [query, ...added.slice(0, maxWords)].join(" ");
}
