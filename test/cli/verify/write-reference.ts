/**
 * Writes a folder of reference values for a small random model as another program would: from plain float64 loops, with
 * gradients by central differences (h = 1e-5, so their error is near 1e-10).
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nextGaussian, randomStream } from "../../../src/core/random.ts";
import type { Datum, Loss } from "../../../src/engines/engine.ts";
import { loadModel } from "../../../src/models/load.ts";
import type { ModelConfig } from "../../../src/models/model.ts";
import { type NamedTensor, writeSafetensors } from "../../../src/models/safetensors-writer.ts";
import { plainLogprobs, plainLoss, type PlainWeights } from "../../engines/local/plain-model.ts";
import { tinyConfig, writeTinyModel } from "../../engines/local/tiny-models.ts";

type Arrays = Map<string, Float64Array>;

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

const adamw = { lr: 1e-3, betas: [0.9, 0.95] as [number, number], eps: 1e-8, weightDecay: 0.01 };
const lora = { rank: 2, alpha: 6 };

/** Gradient of `evaluate` by every number of `arrays`, which it reads. */
function differentiate(arrays: Arrays, evaluate: () => number): Arrays {
  const h = 1e-5;
  return new Map(
    [...arrays].map(([name, data]) => [
      name,
      data.map((original, i) => {
        data[i] = original + h;
        const high = evaluate();
        data[i] = original - h;
        const low = evaluate();
        data[i] = original;
        return (high - low) / (2 * h);
      }),
    ]),
  );
}

const normOf = (arrays: Arrays): number => Math.hypot(...[...arrays.values()].map((data) => Math.hypot(...data)));

function withAdapter(base: PlainWeights, adapter: Arrays): PlainWeights {
  const weights = new Map(base);
  for (const [name, a] of adapter) {
    if (!name.endsWith("lora_A.weight")) continue;
    const b = adapter.get(name.replace("lora_A", "lora_B"))!;
    const key = name.replace("lora_A.weight", "weight");
    const width = a.length / lora.rank;
    const merged = base.get(key)!.map((w, i) => {
      const [row, column] = [Math.floor(i / width), i % width];
      let sum = 0;
      for (let r = 0; r < lora.rank; r++) sum += b[row * lora.rank + r]! * a[r * width + column]!;
      return w + (lora.alpha / lora.rank) * sum;
    });
    weights.set(key, merged);
  }
  return weights;
}

/** Groups of unequal sizes, completions of unequal lengths. */
const sizes = [
  [3, 2, 1, 4],
  [1, 5, 2],
];

/** Writes the model and its reference values to `folder`. */
export async function writeReference(folder: string, changes: Partial<ModelConfig> = {}): Promise<void> {
  const config = tinyConfig({ vocabSize: 12, hiddenSize: 8, intermediateSize: 8, layers: 1, headDim: 2, ...changes });
  await writeTinyModel(folder, config, 3);
  const model = await loadModel(folder);
  const weights: Arrays = new Map([...model.weights].map(([name, { data }]) => [name, Float64Array.from(data)]));
  const shapes = new Map([...model.weights].map(([name, { shape }]) => [name, shape]));

  const random = randomStream(8, "reference");
  const drawIds = (length: number): number[] => Array.from({ length }, () => random.nextInt(config.vocabSize));
  const prompts = sizes.map(([length]) => drawIds(length!));
  const completions = sizes.map(([, ...lengths]) => lengths.map(drawIds));
  const rewards = completions.map((group) => group.map(() => Math.round(200 * random.next() - 100) / 100));
  const statistics = rewards.map((group) => {
    const mean = group.reduce((a, b) => a + b, 0) / group.length;
    const variance = group.reduce((sum, r) => sum + (r - mean) ** 2, 0) / (group.length - 1);
    return { mean, deviation: Math.sqrt(variance) };
  });
  const advantages = rewards.map((group, p) =>
    group.map((r) => (r - statistics[p]!.mean) / (statistics[p]!.deviation + 1e-4)),
  );
  const pairs = prompts.flatMap((prompt, p) => completions[p]!.map((completion, i) => ({ prompt, completion, p, i })));
  const logprobsWith = (own: PlainWeights): number[][] => pairs.map((pair) => plainLogprobs(config, own, pair));
  const logprobs = logprobsWith(weights);
  const near = (): number[][] => logprobs.map((row) => row.map((x) => Math.fround(x + 0.4 * (random.next() - 0.5))));
  const [oldLogprobs, refLogprobs] = [near(), near()];
  const dataWith = (advantageOf: (p: number, i: number) => number): Datum[] =>
    pairs.map(({ prompt, completion, p, i }, d) => ({
      prompt,
      completion,
      oldLogprobs: Float32Array.from(oldLogprobs[d]!),
      refLogprobs: Float32Array.from(refLogprobs[d]!),
      advantage: advantageOf(p, i),
    }));
  const data = dataWith((p, i) => advantages[p]![i]!);
  const centred = dataWith((p, i) => rewards[p]![i]! - statistics[p]!.mean);

  const values: Record<string, number> = {};
  const tensors: NamedTensor[] = [];
  const store = (prefix: string, arrays: Arrays, shapeOf: (name: string) => readonly number[]): void => {
    for (const [name, array] of arrays) {
      tensors.push({ name: `${prefix}/${name}`, shape: shapeOf(name), data: Float32Array.from(array) });
    }
  };
  let grpoGradients: Arrays | undefined;
  for (const loss of losses) {
    const own = loss.name === "dr_grpo" ? centred : data;
    const evaluate = (): number => plainLoss(own, logprobsWith(weights), loss);
    values[loss.name] = evaluate();
    if (loss.name !== "cross_entropy" && loss.name !== "grpo") continue;
    const gradients = differentiate(weights, evaluate);
    values[`${loss.name}.grad_norm`] = normOf(gradients);
    store(loss.name, gradients, (name) => shapes.get(name)!);
    if (loss.name === "grpo") grpoGradients = gradients;
  }

  const clip = Math.min(1, 1 / (values["grpo.grad_norm"]! + 1e-6));
  const stepped: Arrays = new Map(
    [...weights].map(([name, w]) => [
      name,
      w.map((x, i) => {
        const g = grpoGradients!.get(name)![i]! * clip;
        return x * (1 - adamw.lr * adamw.weightDecay) - (adamw.lr * g) / (Math.abs(g) + adamw.eps);
      }),
    ]),
  );
  store("adamw", stepped, (name) => shapes.get(name)!);

  const adapter: Arrays = new Map();
  const adapterShapes = new Map<string, readonly number[]>();
  for (const [name, shape] of shapes) {
    // Two of the projections have no adapter, so that which ones do must be read from the file.
    if (!name.endsWith("_proj.weight") || /o_proj|gate_proj/.test(name)) continue;
    const [out, input] = shape as [number, number];
    for (const [letter, ownShape] of [
      ["A", [lora.rank, input]],
      ["B", [out, lora.rank]],
    ] as const) {
      const key = name.replace("weight", `lora_${letter}.weight`);
      const length = ownShape[0] * ownShape[1];
      adapter.set(
        key,
        Float64Array.from({ length }, () => Math.fround(0.3 * nextGaussian(random))),
      );
      adapterShapes.set(key, ownShape);
    }
  }
  const evaluate = (): number => plainLoss(data, logprobsWith(withAdapter(weights, adapter)), losses[3]!);
  values["lora_grpo"] = evaluate();
  store("lora", adapter, (name) => adapterShapes.get(name)!);
  store("lora_grad", differentiate(adapter, evaluate), (name) => adapterShapes.get(name)!);

  const reference = {
    prompts,
    completions,
    rewards,
    advantages,
    logprobs,
    oldLogprobs,
    refLogprobs,
    loraLogprobs: logprobsWith(withAdapter(weights, adapter)),
    losses: values,
    clipGradNorm: 1,
    adamw,
    lora,
  };
  await writeFile(join(folder, "reference.json"), JSON.stringify(reference));
  await writeSafetensors(join(folder, "reference.safetensors"), tensors);
}
