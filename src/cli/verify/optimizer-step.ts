/**
 * One clipped AdamW step against the reference's weights: once from the reference's own gradients, which shows the
 * optimizer alone, and once from ours.
 *
 * Adam's first step is g / (|g| + ε), so where |g| is near ε = 1e-8 it turns float32's rounding of g, some 1e-9 in a
 * clipped gradient, into a sizeable part of the learning rate, even into the opposite sign. No float32 gradient can do
 * better there. From |g| = 1e-6 on the same rounding moves a weight by less than 1e-7.
 */
import type { AdamParams } from "../../engines/engine.ts";
import { LocalEngine } from "../../engines/local/index.ts";
import { loadModel } from "../../models/load.ts";
import { type Check, relativeDifference, worstOf } from "./check.ts";
import type { TinyReference } from "./tiny-reference.ts";

const tolerance = { step: 1e-5, norm: 1e-6 };
/** Where the clipped gradient is below this, a step by our gradients may be any that Adam can take. */
const leastGradient = 1e-6;

/** Checks of the step that `grpo/` gradients and `adamw/` weights describe. */
export async function verifyOptimizer(folder: string, reference: TinyReference, skipped: string[]): Promise<Check[]> {
  const gradients = reference.select("grpo");
  const expected = reference.select("adamw");
  const { adamw, clipGradNorm = Infinity } = reference;
  if (!adamw || gradients.size === 0 || expected.size === 0) {
    skipped.push("AdamW: no reference values");
    return [];
  }
  const params: AdamParams = {
    learningRate: adamw.lr,
    beta1: adamw.betas[0],
    beta2: adamw.betas[1],
    epsilon: adamw.eps,
    weightDecay: adamw.weightDecay,
    maxGradNorm: clipGradNorm,
  };
  const norm = normOf(gradients);
  const fromReference = await step(folder, reference, params, gradients);
  const fromOurs = await step(folder, reference, params);
  const clip = Math.min(1, clipGradNorm / norm);
  const isJudged = (name: string, i: number): boolean =>
    clip * Math.abs(gradients.get(name)?.[i] ?? 0) >= leastGradient;
  const compare = (weights: ReadonlyMap<string, Float32Array>, judged: (name: string, i: number) => boolean) =>
    worstOf(expected, weights, (own, other, name) => largestOf(own, other, (i) => judged(name, i)));
  const all = (): boolean => true;
  let [judged, total] = [0, 0];
  for (const [name, { length }] of expected) {
    total += length;
    for (let i = 0; i < length; i++) if (isJudged(name, i)) judged++;
  }
  return [
    {
      quantity: "AdamW: norm of the reference's gradients, relative",
      error: relativeDifference(fromReference.gradNorm, norm),
      tolerance: tolerance.norm,
    },
    {
      quantity: "AdamW: weights after a clipped step by the reference's gradients",
      ...compare(fromReference.weights, all),
      tolerance: tolerance.step,
    },
    {
      quantity: "AdamW: weights after a clipped step by our gradients",
      ...compare(fromOurs.weights, isJudged),
      tolerance: tolerance.step,
      note:
        `${judged} of ${total} weights, those whose clipped gradient is at least ${leastGradient.toExponential()}: ` +
        "below, Adam's first step, g / (|g| + 1e-8), magnifies float32's rounding",
    },
    {
      quantity: "AdamW: the same, all weights",
      ...compare(fromOurs.weights, all),
      // The most that two first steps can differ by, those into opposite directions.
      tolerance: 2 * adamw.lr + tolerance.step,
    },
  ];
}

/** Weights after a step of a fresh engine, by the gradients given or else by its own. */
async function step(
  folder: string,
  reference: TinyReference,
  params: AdamParams,
  gradients?: ReadonlyMap<string, Float32Array>,
): Promise<{ weights: ReadonlyMap<string, Float32Array>; gradNorm: number }> {
  await using engine = new LocalEngine(await loadModel(folder), { full: true, threads: 1 });
  await engine.forwardBackward(reference.data, { name: "grpo", klCoef: 0.04 });
  if (gradients) {
    for (const [name, own] of engine.pendingGradients) own.set(gradients.get(name) ?? new Float32Array(own.length));
  }
  const { gradNorm } = await engine.optimStep(params);
  return { weights: engine.trained, gradNorm };
}

function largestOf(own: Float32Array, other: Float32Array, judged: (i: number) => boolean): number {
  if (own.length !== other.length) return Infinity;
  let largest = 0;
  for (let i = 0; i < own.length; i++) {
    const error = Math.abs((own[i] as number) - (other[i] as number));
    if (!(error <= largest) && judged(i)) largest = error;
  }
  return largest;
}

function normOf(gradients: ReadonlyMap<string, Float32Array>): number {
  let sum = 0;
  for (const values of gradients.values()) for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}
