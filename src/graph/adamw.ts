/**
 * AdamW as two pure functions over named arrays (Kingma and Ba 2015; Loshchilov and Hutter 2019), and the global norm
 * that gradients are clipped by. Arithmetic is in float64; what is kept is float32.
 */
import { EngineError } from "../core/errors.ts";

/** The engine interface's `AdamParams`: see there. */
export interface AdamSettings {
  learningRate: number;
  /** Default 0.9. */
  beta1?: number;
  /** Default 0.999. */
  beta2?: number;
  /** Default 1e-8. */
  epsilon?: number;
  /** Decoupled weight decay. Default 0. */
  weightDecay?: number;
  /** Gradients are scaled down to this global L2 norm by the caller. Default 1; Infinity: off. */
  maxGradNorm?: number;
}

export interface AdamState {
  /** Steps done. */
  step: number;
  /** First and second moments by weight name. */
  first: Map<string, Float32Array>;
  second: Map<string, Float32Array>;
}

/** Zero moments for weights of the given sizes. */
export function initAdam(weights: ReadonlyMap<string, Float32Array>): AdamState {
  const zeros = (): Map<string, Float32Array> =>
    new Map([...weights].map(([name, data]) => [name, new Float32Array(data.length)]));
  return { step: 0, first: zeros(), second: zeros() };
}

/** @throws EngineError on a number that would spoil the weights */
export function checkAdamParams(params: AdamSettings): void {
  const { learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0, maxGradNorm = 1 } = params;
  const check = (field: keyof AdamSettings, isRight: boolean, expected: string): void => {
    if (isRight) return;
    throw new EngineError("ENGINE_OPTIMIZER", `AdamW: ${field} must be ${expected}, got ${params[field]}.`);
  };
  check("learningRate", Number.isFinite(learningRate) && learningRate >= 0, "0 or more");
  check("beta1", beta1 >= 0 && beta1 < 1, "from 0 to below 1");
  check("beta2", beta2 >= 0 && beta2 < 1, "from 0 to below 1");
  check("epsilon", Number.isFinite(epsilon) && epsilon > 0, "above 0");
  check("weightDecay", Number.isFinite(weightDecay) && weightDecay >= 0, "0 or more");
  check("maxGradNorm", maxGradNorm > 0, "above 0 (Infinity: no clipping)");
}

/** Global L2 norm of all gradients. */
export function gradientNorm(gradients: ReadonlyMap<string, Float32Array>): number {
  let sum = 0;
  for (const data of gradients.values()) {
    for (let i = 0; i < data.length; i++) sum += (data[i] as number) ** 2;
  }
  return Math.sqrt(sum);
}

/** One AdamW step on `weights` in place, with gradients multiplied by `gradientScale` first (clipping). */
export function adamStep(
  weights: ReadonlyMap<string, Float32Array>,
  gradients: ReadonlyMap<string, Float32Array>,
  state: AdamState,
  params: AdamSettings,
  gradientScale: number,
): void {
  const { learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 } = params;
  state.step += 1;
  const correction1 = 1 - beta1 ** state.step;
  const correction2 = Math.sqrt(1 - beta2 ** state.step);
  const stepSize = learningRate / correction1;
  const keep = 1 - learningRate * weightDecay;
  for (const [name, gradient] of gradients) {
    const weight = weights.get(name) as Float32Array;
    const first = state.first.get(name) as Float32Array;
    const second = state.second.get(name) as Float32Array;
    for (let i = 0; i < gradient.length; i++) {
      const g = (gradient[i] as number) * gradientScale;
      const m = beta1 * (first[i] as number) + (1 - beta1) * g;
      const v = beta2 * (second[i] as number) + (1 - beta2) * g * g;
      first[i] = m;
      second[i] = v;
      weight[i] = (weight[i] as number) * keep - (stepSize * m) / (Math.sqrt(v) / correction2 + epsilon);
    }
  }
}
