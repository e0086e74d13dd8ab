/**
 * A warm-up that teaches the form of an answer and nothing else. A small model hardly ever writes the paper's tags and
 * JSON by itself: every completion would be worth the same, and there would be nothing to learn from.
 */
import type { Warmup } from "../rl/task.ts";

/** Texts for `warmupSteps`: each training example's prompt, answered with the first words of the user's own. */
export function formWarmup<E extends object>({ queryWords = 12 }: { queryWords?: number } = {}): Warmup<E> {
  return {
    examples: ({ task, train }) =>
      train.flatMap(({ example }) => {
        const raw = task.raw(example)?.trim() ?? "";
        if (raw === "") return [];
        const query = raw.split(/\s+/).slice(0, queryWords).join(" ");
        return [{ messages: task.prompt(example), completion: task.write(query, example) }];
      }),
  };
}
