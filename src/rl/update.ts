/** Optimizer steps, as reinforcement learning and the warm-up take them. */
import type { AdamParams, Datum, ForwardBackwardResult, Loss } from "../engines/engine.ts";
import type { Loop } from "./loop.ts";
import type { UpdateMetrics } from "./step-metrics.ts";
import type { TrainConfig } from "./train-config.ts";

/** The supervised loss of a batch, over its tokens. */
export function crossEntropy(data: readonly Datum[]): Loss {
  const tokens = data.reduce((sum, { completion }) => sum + completion.length, 0);
  return { name: "cross_entropy", batch: { tokens, completions: data.length } };
}

/** What the optimizer is told. */
export function adamParams({ beta1, beta2, weightDecay, maxGradNorm }: TrainConfig, learningRate: number): AdamParams {
  return { learningRate, beta1, beta2, weightDecay, maxGradNorm };
}

/** One optimizer step; nothing changes, and it is counted, when loss or gradients aren't finite. */
export async function applyGradients<E extends object>(
  loop: Loop<E>,
  update: {
    step: number;
    adam: AdamParams;
    result: ForwardBackwardResult;
    data: readonly Datum[];
    metrics: UpdateMetrics;
  },
): Promise<void> {
  const { engine, folder } = loop;
  const isFinite = Number.isFinite(update.result.loss);
  if (!isFinite) await engine.zeroGrad();
  loop.weightsInMidStep = true;
  const outcome = isFinite ? await engine.optimStep(update.adam) : { gradNorm: Number.NaN, applied: false };
  update.metrics.addOptimStep(outcome);
  if (outcome.applied) return;
  const plain = update.data.map(({ oldLogprobs, refLogprobs, ...datum }) => ({
    ...datum,
    oldLogprobs: Array.from(oldLogprobs ?? []),
    refLogprobs: Array.from(refLogprobs ?? []),
  }));
  await folder.writeJson("skipped-batch.json", { step: update.step, loss: update.result.loss, data: plain });
}
