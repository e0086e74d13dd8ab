/** Checks the local engine against a folder with a small model and PyTorch's float64 values for it. */
import type { Datum, Loss } from "../../engines/engine.ts";
import { LocalEngine, type ProjectionName, projectionNames } from "../../engines/local/index.ts";
import { loadModel } from "../../models/load.ts";
import { computeAdvantages } from "../../rl/advantage.ts";
import { type Check, largestDifference, relativeDifference, relativeL2, scaledDifference, worstOf } from "./check.ts";
import { verifyOptimizer } from "./optimizer-step.ts";
import { readTinyReference, type TinyReference } from "./tiny-reference.ts";

/** Settings of the eight losses, as the reference values were computed with. */
const losses: readonly Loss[] = [
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
 * few hundred such terms. That of losses is relative where a loss is above 1.
 */
const tolerance = { advantage: 1e-6, logprob: 1e-4, loss: 1e-5, gradientNorm: 1e-3, gradient: 1e-3 };

/** All quantities of one model folder (config.json, model.safetensors, reference.json, reference.safetensors). */
export async function verifyTinyModel(folder: string): Promise<{ checks: Check[]; skipped: string[] }> {
  const reference = await readTinyReference(folder);
  const skipped: string[] = [];
  const checks: Check[] = [
    {
      quantity: "advantages",
      error: largestDifference(computeAdvantages(reference.rewards), reference.advantages),
      tolerance: tolerance.advantage,
    },
    ...(await verifyLosses(folder, reference, skipped)),
    ...(await verifyOptimizer(folder, reference, skipped)),
    ...(await verifyLora(folder, reference, skipped)),
  ];
  return { checks, skipped };
}

async function verifyLosses(folder: string, reference: TinyReference, skipped: string[]): Promise<Check[]> {
  await using engine = new LocalEngine(await loadModel(folder), { full: true, threads: 1 });
  const checks: Check[] = [
    {
      quantity: "log-probs",
      error: largestDifference(await engine.logprobs(reference.data), reference.logprobs),
      tolerance: tolerance.logprob,
    },
    await verifySampling(engine, reference.data),
  ];
  for (const loss of losses) {
    const expected = reference.losses[loss.name];
    const expectedNorm = reference.losses[`${loss.name}.grad_norm`];
    if (expected === undefined) {
      skipped.push(`${loss.name}: no reference value`);
      continue;
    }
    const data = loss.name === "dr_grpo" ? reference.centredData : reference.data;
    const result = await engine.forwardBackward(data, loss);
    const gradients = engine.pendingGradients;
    checks.push({
      quantity: `${loss.name}: loss`,
      error: scaledDifference(result.loss, expected),
      tolerance: tolerance.loss,
    });
    if (expectedNorm !== undefined) {
      checks.push({
        quantity: `${loss.name}: gradient norm, relative`,
        error: relativeDifference(Math.hypot(...[...gradients.values()].map(normOf)), expectedNorm),
        tolerance: tolerance.gradientNorm,
      });
    }
    const expectedGradients = reference.select(loss.name);
    if (expectedGradients.size > 0) {
      const quantity = `${loss.name}: gradients, relative L2`;
      checks.push({ quantity, ...worstOf(expectedGradients, gradients, relativeL2), tolerance: tolerance.gradient });
    }
    await engine.zeroGrad();
  }
  return checks;
}

/** Completions sampled after the reference's prompts, their log-probs against those that scoring gives. */
async function verifySampling(engine: LocalEngine, data: readonly Datum[]): Promise<Check> {
  const prompts = [...new Map(data.map(({ prompt }) => [prompt.join(), prompt])).values()];
  const longest = Math.max(...prompts.map((prompt) => prompt.length));
  const maxTokens = Math.min(24, engine.contextLength - longest);
  let error = 0;
  for (const temperature of maxTokens > 0 ? [0.7, 1, 1.3] : []) {
    const samples = await engine.sample(prompts, { n: 4, maxTokens, temperature, topP: 0.95, seed: 1 });
    const sampled = samples.flatMap((group, p) =>
      group.map(({ ids, logprobs }) => ({ prompt: prompts[p] as readonly number[], completion: ids, logprobs })),
    );
    const scored = await engine.logprobs(sampled, { temperature });
    const found = largestDifference(
      sampled.map(({ logprobs }) => logprobs),
      scored,
    );
    if (!(found <= error)) error = found;
  }
  return { quantity: "sampled log-probs against scored ones", error, tolerance: tolerance.logprob };
}

async function verifyLora(folder: string, reference: TinyReference, skipped: string[]): Promise<Check[]> {
  const adapter = reference.select("lora");
  if (!reference.lora || !reference.loraLogprobs || adapter.size === 0) {
    skipped.push("LoRA: no reference values");
    return [];
  }
  const { rank, alpha } = reference.lora;
  const loraTargets = projectionNames.filter((name) => [...adapter.keys()].some((key) => isOf(key, name)));
  await using engine = new LocalEngine(await loadModel(folder), {
    loraRank: rank,
    loraAlpha: alpha,
    loraTargets,
    threads: 1,
  });
  const untrained = await engine.logprobs(reference.data);
  engine.replaceTrained(adapter);
  const logprobs = await engine.logprobs(reference.data);
  const result = await engine.forwardBackward(reference.data, { name: "grpo", klCoef: 0.04 });
  const checks: Check[] = [
    {
      quantity: "LoRA: log-probs",
      error: largestDifference(logprobs, reference.loraLogprobs),
      tolerance: tolerance.logprob,
    },
    {
      quantity: "LoRA: log-probs of the reference policy",
      error: Math.max(
        largestDifference(await engine.logprobs(reference.data, { weights: "reference" }), untrained),
        largestDifference(untrained, reference.logprobs),
      ),
      tolerance: tolerance.logprob,
    },
  ];
  const expected = reference.losses["lora_grpo"];
  if (expected !== undefined) {
    checks.push({
      quantity: "LoRA: grpo loss",
      error: scaledDifference(result.loss, expected),
      tolerance: tolerance.loss,
    });
  }
  checks.push({
    quantity: "LoRA: gradients, relative L2",
    ...worstOf(reference.select("lora_grad"), engine.pendingGradients, relativeL2),
    tolerance: tolerance.gradient,
  });
  return checks;
}

const isOf = (tensorName: string, projection: ProjectionName): boolean => tensorName.includes(`.${projection}.`);

function normOf(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}
