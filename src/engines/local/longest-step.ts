/** Made-up prompts and data as long as a step can have, to try whether there is memory for them. */
import type { Datum, LongestStep } from "../engine.ts";
import { groupData } from "./batches.ts";
import type { BatchLimits, PlannedGroup } from "./plan-batches.ts";
import { measureBatch, planBatches } from "./plan-batches.ts";

/** Prompts of the longest length that have nothing in common, so that nothing is shared. */
export function makeLongestPrompts({ prompts, promptTokens }: LongestStep, vocabSize: number): number[][] {
  return Array.from({ length: prompts }, (_, p) => countIn(vocabSize, p, promptTokens));
}

/** `length` ids that differ from those of any other `index`, where that many ids can differ. */
function countIn(vocabSize: number, index: number, length: number): number[] {
  let rest = index;
  return Array.from({ length }, () => {
    const digit = rest % vocabSize;
    rest = Math.floor(rest / vocabSize);
    return digit;
  });
}

/** The data of the largest batch that such a step is cut into. @throws EngineError `ENGINE_MEMORY` where none fits */
export function makeLargestBatch(
  prompts: readonly number[][],
  { sampling }: LongestStep,
  vocabSize: number,
  limits: BatchLimits,
): Datum[] {
  const { n, maxTokens } = sampling;
  const data = prompts.flatMap((prompt) =>
    Array.from({ length: n }, (_, i): Datum => {
      const zeros = new Float32Array(maxTokens);
      const completion = countIn(vocabSize, i, maxTokens);
      return { prompt, completion, oldLogprobs: zeros, refLogprobs: zeros, advantage: i % 2 === 0 ? 1 : -1 };
    }),
  );
  const groups = groupData(data);
  const sizeOf = (batch: readonly PlannedGroup[]): number => {
    const sizes = measureBatch(batch);
    return limits.memory ? limits.memory.estimate(sizes) : sizes.rows;
  };
  const largest = planBatches(groups, limits).reduce((a, b) => (sizeOf(b) > sizeOf(a) ? b : a));
  return largest.flatMap(({ index, members }) => members.flatMap((member) => groups[index]?.data[member] ?? []));
}
