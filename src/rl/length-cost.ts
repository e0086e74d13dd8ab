/** A cost of long queries in the reward: without one, a policy may find that writing everything always helps a little. */
import { countWords } from "../core/words.ts";
import type { Task } from "./task.ts";

export interface LengthCost {
  /** Subtracted from the reward for each word of the query beyond `freeWords`. */
  perWord: number;
  /** Words that cost nothing. */
  freeWords: number;
}

/**
 * A task whose reward is its own minus `perWord` for each word of the query beyond `freeWords`; an answer without a
 * query costs nothing. The parts of the reward then hold `queryWords` and `lengthCost`, so that both have curves.
 */
export function withLengthCost<E extends object>(task: Task<E>, { perWord, freeWords }: LengthCost): Task<E> {
  if (perWord === 0) return task;
  return {
    ...task,
    reward: async (scored) => {
      const { reward, parts } = await task.reward(scored);
      const queryWords = scored.query === null ? 0 : countWords(scored.query);
      const lengthCost = perWord * Math.max(0, queryWords - freeWords);
      return { reward: reward - lengthCost, parts: { ...parts, queryWords, lengthCost } };
    },
  };
}
