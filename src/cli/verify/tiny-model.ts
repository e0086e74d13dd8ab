/** Checks the local engine against a folder with a small model and PyTorch's float64 values for it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Datum, Loss } from "../../engines/engine.ts";
import { LocalEngine } from "../../engines/local/index.ts";
import { loadModel } from "../../models/load.ts";
import type { WeightTensor } from "../../models/model.ts";
import { readSafetensorsFile } from "../../models/read-tensors.ts";
import { type Check, largestDifference, relativeL2 } from "./check.ts";

interface Reference {
  prompts: number[][];
  completions: number[][][];
  rewards: number[][];
  advantages: number[][];
  logprobs: number[][];
  oldLogprobs: number[][];
  refLogprobs: number[][];
  loraLogprobs: number[][];
  losses: Record<string, number>;
  clipGradNorm: number;
  adamw: { lr: number; betas: [number, number]; eps: number; weightDecay: number };
  lora: { rank: number; alpha: number };
}

/** Settings of the eight losses, as the reference values were computed with. */
const losses: Loss[] = [
  { name: "cross_entropy" },
  { name: "importance_sampling" },
  { name: "ppo" },
  { name: "grpo", klCoef: 0.04 },
  { name: "dapo" },
  { name: "dr_grpo", maxTokens: 16 },
  { name: "gspo" },
  { name: "cispo" },
];

/**
 * Tolerances: float32 against float64 leaves 1e-6 to 1e-5 in log-probs of a small model, and gradients are sums of a
 * few hundred such terms.
 */
const tolerance = { logprob: 1e-4, loss: 1e-5, gradientNorm: 1e-3, gradient: 1e-3, step: 1e-5 };

/** All quantities of one model folder (config.json, model.safetensors, reference.json, reference.safetensors). */
export async function verifyTinyModel(folder: string): Promise<Check[]> {
  const reference = JSON.parse(await readFile(join(folder, "reference.json"), "utf8")) as Reference;
  const tensors = await readSafetensorsFile(join(folder, "reference.safetensors"));
  return [...(await verifyFull(folder, reference, tensors)), ...(await verifyLora(folder, reference, tensors))];
}

function dataOf(reference: Reference, centred: boolean): Datum[] {
  return reference.prompts.flatMap((prompt, p) => {
    const rewards = reference.rewards[p] as number[];
    const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
    return (reference.completions[p] as number[][]).map((completion, i) => {
      const index = p * rewards.length + i;
      return {
        prompt,
        completion,
        oldLogprobs: Float32Array.from(reference.oldLogprobs[index] as number[]),
        refLogprobs: Float32Array.from(reference.refLogprobs[index] as number[]),
        advantage: centred ? (rewards[i] as number) - mean : (reference.advantages[p]?.[i] as number),
      };
    });
  });
}

function select(tensors: ReadonlyMap<string, WeightTensor>, prefix: string): Map<string, Float32Array> {
  return new Map(
    [...tensors].flatMap(([name, { data }]): [string, Float32Array][] =>
      name.startsWith(`${prefix}/`) ? [[name.slice(prefix.length + 1), data]] : [],
    ),
  );
}

function worst(
  expected: ReadonlyMap<string, Float32Array>,
  actual: ReadonlyMap<string, Float32Array>,
  measure: (actual: Float32Array, expected: Float32Array) => number,
): { error: number; where: string } {
  let found = { error: expected.size === 0 ? Infinity : 0, where: "nothing to compare" };
  for (const [name, values] of expected) {
    const own = actual.get(name);
    const error = own ? measure(own, values) : Infinity;
    if (!(error <= found.error)) found = { error, where: name };
  }
  return found;
}

async function verifyFull(
  folder: string,
  reference: Reference,
  tensors: ReadonlyMap<string, WeightTensor>,
): Promise<Check[]> {
  const checks: Check[] = [];
  await using engine = new LocalEngine(await loadModel(folder), { full: true });
  const data = dataOf(reference, false);
  const logprobs = await engine.logprobs(data);
  checks.push({
    quantity: "log-probs",
    error: largestDifference(logprobs, reference.logprobs),
    tolerance: tolerance.logprob,
  });
  for (const loss of losses) {
    const own = loss.name === "dr_grpo" ? dataOf(reference, true) : data;
    const result = await engine.forwardBackward(own, loss);
    const expected = reference.losses[loss.name] as number;
    const norm = Math.hypot(...[...engine.pendingGradients.values()].map((values) => l2(values)));
    const expectedNorm = reference.losses[`${loss.name}.grad_norm`] as number;
    checks.push(
      { quantity: `${loss.name}: loss`, error: Math.abs(result.loss - expected), tolerance: tolerance.loss },
      {
        quantity: `${loss.name}: gradient norm, relative`,
        error: Math.abs(norm - expectedNorm) / expectedNorm,
        tolerance: tolerance.gradientNorm,
      },
    );
    const gradients = select(tensors, loss.name);
    if (gradients.size > 0) {
      const { error, where } = worst(gradients, engine.pendingGradients, relativeL2);
      checks.push({ quantity: `${loss.name}: gradients, relative L2`, error, tolerance: tolerance.gradient, where });
    }
    await engine.zeroGrad();
  }
  await engine.forwardBackward(data, { name: "grpo", klCoef: 0.04 });
  const { lr, betas, eps, weightDecay } = reference.adamw;
  const params = { learningRate: lr, beta1: betas[0], beta2: betas[1], epsilon: eps, weightDecay };
  await engine.optimStep({ ...params, maxGradNorm: reference.clipGradNorm });
  const { error, where } = worst(select(tensors, "adamw"), engine.trained, (a, b) => largestDifference([a], [b]));
  checks.push({ quantity: "weights after a clipped AdamW step", error, tolerance: tolerance.step, where });
  return checks;
}

async function verifyLora(
  folder: string,
  reference: Reference,
  tensors: ReadonlyMap<string, WeightTensor>,
): Promise<Check[]> {
  const { rank, alpha } = reference.lora;
  await using engine = new LocalEngine(await loadModel(folder), { loraRank: rank, loraAlpha: alpha });
  engine.replaceTrained(select(tensors, "lora"));
  const data = dataOf(reference, false);
  const logprobs = await engine.logprobs(data);
  const result = await engine.forwardBackward(data, { name: "grpo", klCoef: 0.04 });
  const { error, where } = worst(select(tensors, "lora_grad"), engine.pendingGradients, relativeL2);
  return [
    {
      quantity: "LoRA: log-probs",
      error: largestDifference(logprobs, reference.loraLogprobs),
      tolerance: tolerance.logprob,
    },
    {
      quantity: "LoRA: grpo loss",
      error: Math.abs(result.loss - (reference.losses["lora_grpo"] as number)),
      tolerance: tolerance.loss,
    },
    { quantity: "LoRA: gradients, relative L2", error, tolerance: tolerance.gradient, where },
  ];
}

function l2(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}
