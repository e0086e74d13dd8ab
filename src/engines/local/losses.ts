/**
 * The losses by name, as graphs over scored tokens. A token's weight carries everything about aggregation, so that the
 * parts of a batch add up to the whole. All are minimised; r = exp(logprob − oldLogprob), A = advantage.
 *
 * - cross_entropy: −logprob
 * - importance_sampling: −r·A
 * - ppo, grpo, dapo, dr_grpo: −min(r·A, clip(r, 1 − clipLow, 1 + clipHigh)·A) (Schulman et al. 2017; Shao et al. 2024;
 *   Yu et al. 2025; Liu et al. 2025), which differ in clip range, aggregation and advantages
 * - gspo: the same with one ratio a sequence, exp(mean(logprob − oldLogprob)) (Zheng et al. 2025)
 * - cispo: −stopgrad(min(r, 1 + clipHigh))·A·logprob (MiniMax 2025)
 * - with klCoef: plus klCoef·k, k an estimator of KL(policy ‖ reference) (Schulman 2020)
 */
import type { Value } from "../../graph/graph.ts";
import { Add, Exp, MatMul, Max, Min, Mul, Neg, ReduceSum, Sub } from "../../graph/operators.ts";
import type { LossShape } from "../loss-settings.ts";

/** Per-token inputs of the loss, `[M, 1]` float32 each. */
export interface LossInputs {
  oldLogprobs: Value;
  refLogprobs: Value;
  advantages: Value;
  weights: Value;
  /** For gspo: `[S, M]` with 1 / length at the tokens of each of S sequences, and `[M, S]` with 1 there. */
  sequenceMean: Value;
  sequenceTokens: Value;
}

/** Whether the loss reads this per-token input. */
export function lossReads(shape: LossShape, input: keyof LossInputs): boolean {
  switch (input) {
    case "weights":
      return true;
    case "refLogprobs":
      return shape.klCoef !== 0;
    case "sequenceMean":
    case "sequenceTokens":
      return shape.name === "gspo";
    case "oldLogprobs":
    case "advantages":
      return shape.name !== "cross_entropy";
  }
}

/** Weighted sum of the token terms, `[1, 1]`. */
export function buildLoss(logprobs: Value, shape: LossShape, inputs: LossInputs): Value {
  const term = policyTerm(logprobs, shape, inputs);
  const full =
    shape.klCoef === 0
      ? term
      : Add(term, Mul(klTerm(logprobs, shape, inputs.refLogprobs), logprobs.graph.constant(shape.klCoef)));
  return ReduceSum(Mul(full, inputs.weights), [0]);
}

function policyTerm(logprobs: Value, shape: LossShape, inputs: LossInputs): Value {
  const { graph } = logprobs;
  if (shape.name === "cross_entropy") return Neg(logprobs);
  const { advantages } = inputs;
  const logRatio = Sub(logprobs, inputs.oldLogprobs);
  const perToken =
    shape.name === "gspo" ? MatMul(inputs.sequenceTokens, MatMul(inputs.sequenceMean, logRatio)) : logRatio;
  const ratio = Exp(perToken);
  if (shape.name === "importance_sampling") return Neg(Mul(ratio, advantages));
  const high = graph.constant(1 + shape.clipHigh);
  if (shape.name === "cispo") return Neg(Mul(Mul(stopGradient(Min(ratio, high)), advantages), logprobs));
  const clipped = Min(Max(ratio, graph.constant(1 - shape.clipLow)), high);
  return Neg(Min(Mul(ratio, advantages), Mul(clipped, advantages)));
}

function klTerm(logprobs: Value, { klEstimator }: LossShape, reference: Value): Value {
  const { graph } = logprobs;
  const logRatio = Sub(reference, logprobs);
  if (klEstimator === "k1") return Neg(logRatio);
  if (klEstimator === "k2") return Mul(Mul(logRatio, logRatio), graph.constant(0.5));
  return Sub(Sub(Exp(logRatio), logRatio), graph.constant(1));
}

/** The same numbers; no gradient passes. */
function stopGradient(x: Value): Value {
  return x.graph.composite(
    "stopGradient",
    [],
    () => [Add(x, x.graph.constant(0))],
    () => [],
  )[0] as Value;
}
