/**
 * The losses in plain numbers: a completion's share of the loss and its derivative by each token's log-prob. With them
 * any loss can be trained on a server that knows importance sampling only (see `express-loss.ts`).
 */
import type { Aggregation, Datum, Loss } from "../engine.ts";
import { type BatchSize, type LossShape, requireAdvantages, requireLogprobs, tokenWeight } from "../loss-settings.ts";

export type ResolvedLoss = LossShape & { aggregation: Aggregation };

/** Weights of a datum's tokens `[T]` in the batch's sum. @throws EngineError */
export function tokenWeights(datum: Datum, loss: Loss, { aggregation }: ResolvedLoss, batch: BatchSize): Float64Array {
  const { length } = datum.completion;
  const each = (datum.weight ?? 1) * tokenWeight(aggregation, length, batch, loss);
  return Float64Array.from({ length }, (_, t) => each * (datum.weights?.[t] ?? 1));
}

export interface LossTerms {
  /** Sum of the weighted terms. */
  loss: number;
  /** Derivative of {@link loss} by each token's log-prob `[T]`. */
  slopes: Float64Array;
}

/**
 * A datum's share of the loss under `logprobs` `[T]`, with r = exp(logprob − old): cross_entropy −logprob,
 * importance_sampling −r·A, the clipped losses −min(r·A, clip(r)·A), gspo the same with one ratio a sequence, cispo
 * −stopgrad(min(r, 1 + clipHigh))·A·logprob; plus klCoef times the estimator of KL(policy ‖ reference).
 * @param weights of the tokens `[T]`, see {@link tokenWeights}
 * @throws EngineError where the datum lacks what the loss needs
 */
export function computeTerms(
  datum: Datum,
  logprobs: Float32Array,
  { loss, shape, weights }: { loss: Loss; shape: ResolvedLoss; weights: Float64Array },
): LossTerms {
  const slopes = new Float64Array(logprobs.length);
  let total = 0;
  const add = (t: number, term: number, slope: number): void => {
    const weight = weights[t] as number;
    total += weight * term;
    slopes[t] = (slopes[t] as number) + weight * slope;
  };
  if (shape.name === "gspo") addSequenceTerms(datum, logprobs, { loss, shape, weights, slopes }, add);
  else {
    const old = shape.name === "cross_entropy" ? undefined : requireLogprobs(datum, "oldLogprobs", loss);
    const advantages = old && requireAdvantages(datum, loss);
    logprobs.forEach((logprob, t) => {
      if (!old || !advantages) return add(t, -logprob, -1);
      const { term, slope } = tokenTerm(shape, logprob, old[t] as number, advantages[t] as number);
      add(t, term, slope);
    });
  }
  if (shape.klCoef > 0) {
    const reference = requireLogprobs(datum, "refLogprobs", loss);
    logprobs.forEach((logprob, t) => {
      const { term, slope } = klTerm(shape, (reference[t] as number) - logprob);
      add(t, shape.klCoef * term, shape.klCoef * slope);
    });
  }
  return { loss: total, slopes };
}

function tokenTerm(shape: LossShape, logprob: number, old: number, advantage: number): { term: number; slope: number } {
  const ratio = Math.exp(logprob - old);
  if (shape.name === "importance_sampling") return { term: -ratio * advantage, slope: -ratio * advantage };
  if (shape.name === "cispo") {
    const held = Math.min(ratio, 1 + shape.clipHigh);
    return { term: -held * advantage * logprob, slope: -held * advantage };
  }
  return clippedTerm(shape, ratio, advantage);
}

/** −min(r·A, clip(r)·A); where the clip is what counts, nothing is learnt. */
function clippedTerm(
  { clipLow, clipHigh }: LossShape,
  ratio: number,
  advantage: number,
): { term: number; slope: number } {
  const clipped = Math.min(Math.max(ratio, 1 - clipLow), 1 + clipHigh);
  const isFree = ratio * advantage <= clipped * advantage;
  return isFree ? { term: -ratio * advantage, slope: -ratio * advantage } : { term: -clipped * advantage, slope: 0 };
}

/** gspo: the ratio is exp(mean(logprob − old)), so that every token's log-prob moves every token's term. */
function addSequenceTerms(
  datum: Datum,
  logprobs: Float32Array,
  { loss, shape, weights, slopes }: { loss: Loss; shape: LossShape; weights: Float64Array; slopes: Float64Array },
  add: (t: number, term: number, slope: number) => void,
): void {
  const old = requireLogprobs(datum, "oldLogprobs", loss);
  const advantages = requireAdvantages(datum, loss);
  const { length } = logprobs;
  const mean = logprobs.reduce((sum, logprob, t) => sum + logprob - (old[t] as number), 0) / length;
  const ratio = Math.exp(mean);
  let weightedSlope = 0;
  logprobs.forEach((_, t) => {
    const { term, slope } = clippedTerm(shape, ratio, advantages[t] as number);
    add(t, term, 0);
    weightedSlope += (weights[t] as number) * slope;
  });
  slopes.forEach((slope, t) => (slopes[t] = slope + weightedSlope / length));
}

/** @param difference reference − policy */
function klTerm({ klEstimator }: LossShape, difference: number): { term: number; slope: number } {
  if (klEstimator === "k1") return { term: -difference, slope: 1 };
  if (klEstimator === "k2") return { term: difference ** 2 / 2, slope: -difference };
  return { term: Math.exp(difference) - difference - 1, slope: 1 - Math.exp(difference) };
}
