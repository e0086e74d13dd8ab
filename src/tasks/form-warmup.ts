/**
 * A warm-up that teaches the form of an answer and nothing else. A small model hardly ever writes the paper's tags and
 * JSON by itself: every completion would be worth the same, and there would be nothing to learn from.
 */
import type { Warmup } from "../rl/task.ts";

export interface FormWarmupOptions<E> {
  /** A completion in the right form with a query. */
  write(example: E, query: string): string;
  /** Words of the user's own that are the query, the first so many. Default 12. */
  queryWords?: number;
}

/** Texts for `warmupSteps`: each training example's prompt, answered with the user's own words. */
export function formWarmup<E extends object>({ write, queryWords = 12 }: FormWarmupOptions<E>): Warmup<E> {
  return {
    examples: ({ task, train }) =>
      train.flatMap(({ example }) => {
        const words = task.raw(example)?.trim().split(/\s+/) ?? [];
        if (words.length === 0) return [];
        const query = words.slice(0, queryWords).join(" ");
        return [{ messages: task.prompt(example), completion: write(example, query) }];
      }),
  };
}
