/** Query expansion: the user's words stay, the policy adds words. A policy that has nothing to add does no harm. */
import { distinctWords, splitWords } from "../core/words.ts";

/**
 * The user's words and those of the completion's first line that they lack, each once: repeating a word buys it no
 * weight. Use it as a task's `parse`.
 * @param maxWords most words added. Default 6.
 */
export function expandQuery(query: string, completion: string, { maxWords = 6 }: { maxWords?: number } = {}): string {
  const own = new Set(splitWords(query));
  const added = distinctWords(completion.split("\n")[0] ?? "").filter((word) => !own.has(word));
  return [query, ...added.slice(0, maxWords)].join(" ");
}
