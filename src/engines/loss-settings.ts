/**
 * What a loss leaves to its defaults, and how its token terms are added up: the same for every engine, wherever the
 * terms themselves are computed.
 */
import { EngineError } from "../core/errors.ts";
import { type Aggregation, type Datum, type Loss, type LossName, lossNames } from "./engine.ts";

/** A loss's numbers with defaults filled in; they decide the terms of its tokens. */
export interface LossShape {
  name: LossName;
  clipLow: number;
  clipHigh: number;
  klCoef: number;
  klEstimator: "k1" | "k2" | "k3";
}

const defaultClips: Partial<Record<LossName, { low: number; high: number }>> = {
  dapo: { low: 0.2, high: 0.28 },
  gspo: { low: 0.03, high: 0.04 },
};

const defaultAggregations: Partial<Record<LossName, Aggregation>> = {
  grpo: "sequence",
  gspo: "sequence",
  dr_grpo: "constant",
};

/** The loss with its defaults filled in. @throws EngineError on an unknown name or a number that can't be meant */
export function resolveLoss(loss: Loss): LossShape & { aggregation: Aggregation } {
  if (!lossNames.includes(loss.name)) {
    throw new EngineError("ENGINE_LOSS", `There is no loss "${loss.name}". Losses: ${lossNames.join(", ")}.`);
  }
  for (const field of ["clipLow", "clipHigh", "klCoef"] as const) {
    const value = loss[field] ?? 0;
    if (Number.isFinite(value) && value >= 0) continue;
    throw new EngineError("ENGINE_LOSS", `The loss "${loss.name}" needs ${field} to be 0 or more, got ${value}.`);
  }
  const clip = defaultClips[loss.name] ?? { low: 0.2, high: 0.2 };
  return {
    name: loss.name,
    clipLow: loss.clipLow ?? clip.low,
    clipHigh: loss.clipHigh ?? clip.high,
    klCoef: loss.klCoef ?? 0,
    klEstimator: loss.klEstimator ?? "k3",
    aggregation: loss.aggregation ?? defaultAggregations[loss.name] ?? "token",
  };
}

/** What the batch's sums are divided by. */
export interface BatchSize {
  tokens: number;
  completions: number;
}

export function countBatch(data: readonly Datum[]): BatchSize {
  return { tokens: data.reduce((sum, { completion }) => sum + completion.length, 0), completions: data.length };
}

/** Weight of each token of a completion of `length` tokens in the batch's loss. */
export function tokenWeight(aggregation: Aggregation, length: number, batch: BatchSize, loss: Loss): number {
  if (aggregation === "token") return 1 / batch.tokens;
  if (aggregation === "sequence") return 1 / (batch.completions * length);
  if (!loss.maxTokens) {
    throw new EngineError("ENGINE_LOSS", `The loss "${loss.name}" with constant aggregation needs maxTokens.`);
  }
  return 1 / (batch.completions * loss.maxTokens);
}

/**
 * Advantages of the completion's tokens `[T]`.
 * @throws EngineError `ENGINE_DATUM` where the datum has none, or not one for every token
 */
export function requireAdvantages(datum: Datum, loss: Loss): Float32Array {
  const { advantage, advantages, completion } = datum;
  if (advantages?.length === completion.length && advantages.every(Number.isFinite)) return advantages;
  if (advantages === undefined && advantage !== undefined && Number.isFinite(advantage)) {
    return new Float32Array(completion.length).fill(advantage);
  }
  const got = advantages ? `${advantages.length} of them` : advantage;
  throw new EngineError(
    "ENGINE_DATUM",
    `The loss "${loss.name}" needs a finite advantage for every datum or for each of its ${completion.length} tokens, got ${got}.`,
  );
}

/**
 * Log-probs of the completion's tokens `[T]` that the loss compares with.
 * @throws EngineError `ENGINE_DATUM` where they are missing or too few
 */
export function requireLogprobs(datum: Datum, field: "oldLogprobs" | "refLogprobs", loss: Loss): Float32Array {
  const logprobs = datum[field];
  if (logprobs?.length === datum.completion.length) return logprobs;
  throw new EngineError(
    "ENGINE_DATUM",
    `The loss "${loss.name}" needs ${field} of ${datum.completion.length} tokens, got ${logprobs?.length ?? "none"}.`,
  );
}
