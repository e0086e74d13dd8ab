/** The engine against plain float64 loops, for models of many shapes, and every loss. */
import { describe, expect, it, vi } from "vitest";
import { randomStream } from "../../../src/core/random.ts";
import { type Datum, type Loss, lossNames } from "../../../src/engines/engine.ts";
import { LocalEngine, type LocalEngineOptions } from "../../../src/engines/local/index.ts";
import type { LoadedModel, ModelConfig } from "../../../src/models/model.ts";
import { logSoftmax, plainLogits, plainLogprobs, plainLoss, type PlainWeights } from "./plain-model.ts";
import { makeTinyModel } from "./tiny-models.ts";

// Plain loops are slow, the more so on a busy machine.
vi.setConfig({ testTimeout: 300_000 });

const inFloat64 = ({ weights }: LoadedModel): Map<string, Float64Array> =>
  new Map([...weights].map(([name, { data }]) => [name, Float64Array.from(data)]));

/**
 * Prompts of several lengths (1 among them) with completions of several lengths (1 among them). Whole completions have
 * become likelier or less likely, with advantages of either sign, so that every side of every clip is met.
 */
function makeData(config: ModelConfig, weights: PlainWeights, sizes: readonly (readonly number[])[]): Datum[] {
  const random = randomStream(3, "data");
  const ids = (length: number): number[] => Array.from({ length }, () => random.nextInt(config.vocabSize));
  const near = (logprobs: readonly number[], spread: number): Float32Array =>
    Float32Array.from(logprobs, (x) => x + spread * (2 * random.next() - 1));
  let count = 0;
  return sizes.flatMap(([promptLength, ...lengths]) => {
    const prompt = ids(promptLength!);
    return lengths.map((length): Datum => {
      const completion = ids(length);
      const logprobs = plainLogprobs(config, weights, { prompt, completion });
      const shift = count % 2 === 0 ? 0.4 : -0.4;
      const sign = Math.floor(count++ / 2) % 2 === 0 ? 1 : -1;
      return {
        prompt,
        completion,
        oldLogprobs: near(logprobs, 0.3).map((x) => x + shift),
        refLogprobs: near(logprobs, 0.5),
        advantage: sign * (0.2 + random.next()),
      };
    });
  });
}

const sizes = [
  [5, 4, 1, 7],
  [1, 3],
  [9, 2, 2],
];

const open = (model: LoadedModel, options: LocalEngineOptions = {}): LocalEngine =>
  new LocalEngine(model, { threads: 1, ...options });

const shapes: [string, Partial<ModelConfig>][] = [
  ["llama", {}],
  ["llama, untied embeddings", { tieWordEmbeddings: false }],
  ["llama, as many key heads as heads", { kvHeads: 4 }],
  ["llama, one key head, three layers", { kvHeads: 1, layers: 3 }],
  ["llama, one layer, heads wider than the hidden size", { layers: 1, headDim: 8 }],
  [
    "llama, rotation stretched as in Llama 3",
    {
      headDim: 16,
      ropeScaling: { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContextLength: 32 },
    },
  ],
  ["llama, rotation stretched linearly", { ropeScaling: { type: "linear", factor: 4 } }],
  ["qwen2", { architecture: "qwen2" }],
  ["qwen2, untied embeddings, another theta", { architecture: "qwen2", tieWordEmbeddings: false, ropeTheta: 1e6 }],
  ["qwen3", { architecture: "qwen3", headDim: 8 }],
  ["qwen3, untied embeddings", { architecture: "qwen3", tieWordEmbeddings: false }],
  ["gemma3", { architecture: "gemma3_text", headDim: 8 }],
];

describe("log-probs", () => {
  it.each(shapes)("%s: equal plain loops'", async (_name, changes) => {
    const model = await makeTinyModel(changes);
    const weights = inFloat64(model);
    const data = makeData(model.config, weights, sizes);
    await using engine = open(model);
    for (const temperature of [1, 0.7]) {
      const found = await engine.logprobs(data, { temperature });
      data.forEach((datum, d) => {
        const expected = plainLogprobs(model.config, weights, datum, temperature);
        expected.forEach((logprob, t) => expect(found[d]![t]).toBeCloseTo(logprob, 4));
      });
    }
  });
});

/**
 * Gradients by central differences of the plain loss in float64 (h = 1e-5: error 1e-10), at a few places of every weight.
 * The engine's float32 leaves 1e-5 or so.
 */
function expectGradients(
  gradients: ReadonlyMap<string, Float32Array>,
  values: ReadonlyMap<string, Float64Array>,
  lossAt: () => number,
): void {
  const random = randomStream(5, "places");
  const h = 1e-5;
  let largest = 0;
  for (const [name, data] of values) {
    const found = gradients.get(name);
    expect(found, name).toHaveLength(data.length);
    for (let i = 0; i < 3; i++) {
      const place = random.nextInt(data.length);
      const original = data[place]!;
      data[place] = original + h;
      const high = lossAt();
      data[place] = original - h;
      const low = lossAt();
      data[place] = original;
      const slope = (high - low) / (2 * h);
      largest = Math.max(largest, Math.abs(slope));
      expect(Math.abs(found![place]! - slope), `${name}[${place}]: ${found![place]} and ${slope}`).toBeLessThan(
        1e-4 * Math.max(1, Math.abs(slope)),
      );
    }
  }
  expect(largest).toBeGreaterThan(1e-2);
}

describe("gradients of every weight", () => {
  it.each(shapes)("%s: equal finite differences of plain loops", async (_name, changes) => {
    const model = await makeTinyModel(changes);
    const weights = inFloat64(model);
    const data = makeData(model.config, weights, [
      [3, 2, 4],
      [2, 1],
    ]);
    const loss: Loss = { name: "grpo", klCoef: 0.1 };
    await using engine = open(model, { full: true });
    const result = await engine.forwardBackward(data, loss);
    const lossAt = (): number =>
      plainLoss(
        data,
        data.map((datum) => plainLogprobs(model.config, weights, datum)),
        loss,
      );
    expect(result.loss).toBeCloseTo(lossAt(), 5);
    expectGradients(engine.pendingGradients, weights, lossAt);
  });

  it.each([
    ["all layers", undefined],
    ["q and down only", ["q_proj", "down_proj"] as const],
    ["v only", ["v_proj"] as const],
  ])("LoRA on %s: equal finite differences of plain loops", async (_name, loraTargets) => {
    const model = await makeTinyModel({ architecture: "qwen2" });
    const base = inFloat64(model);
    const random = randomStream(9, "adapter");
    await using engine = open(model, { loraRank: 3, loraAlpha: 5, ...(loraTargets ? { loraTargets } : {}) });
    const adapter = new Map(
      [...engine.trained].map(([name, { length }]) => [
        name,
        Float64Array.from({ length }, () => Math.fround(0.4 * (2 * random.next() - 1))),
      ]),
    );
    engine.replaceTrained(new Map([...adapter].map(([name, data]) => [name, Float32Array.from(data)])));
    const merged = (): PlainWeights => {
      const weights = new Map(base);
      for (const [name, a] of adapter) {
        if (!name.includes("lora_A")) continue;
        const b = adapter.get(name.replace("lora_A", "lora_B"))!;
        const weightName = name.replace("lora_A.weight", "weight");
        const own = weights.get(weightName)!.slice();
        const [rank, inputs] = [3, a.length / 3];
        for (let i = 0; i < own.length; i++) {
          const [row, column] = [Math.floor(i / inputs), i % inputs];
          for (let r = 0; r < rank; r++) own[i]! += (5 / 3) * b[row * rank + r]! * a[r * inputs + column]!;
        }
        weights.set(weightName, own);
      }
      return weights;
    };
    const data = makeData(model.config, merged(), [
      [3, 2, 4],
      [2, 1],
    ]);
    const loss: Loss = { name: "ppo", temperature: 1.3 };
    const lossAt = (): number => {
      const weights = merged();
      return plainLoss(
        data,
        data.map((datum) => plainLogprobs(model.config, weights, datum, 1.3)),
        loss,
      );
    };
    const result = await engine.forwardBackward(data, loss);
    expect(result.loss).toBeCloseTo(lossAt(), 5);
    expectGradients(engine.pendingGradients, adapter, lossAt);
  });
});

describe("losses", () => {
  const losses: Loss[] = [
    ...lossNames.map((name): Loss => ({ name, maxTokens: 8 })),
    ...(["k1", "k2", "k3"] as const).map((klEstimator): Loss => ({ name: "grpo", klCoef: 0.5, klEstimator })),
    { name: "cross_entropy", klCoef: 0.2 },
    ...(["token", "sequence", "constant"] as const).map((aggregation): Loss => ({
      name: "ppo",
      aggregation,
      maxTokens: 8,
    })),
    { name: "gspo", aggregation: "token", clipLow: 0.1, clipHigh: 0.2 },
    { name: "ppo", clipLow: 0.05, clipHigh: 0.4 },
    { name: "dapo", temperature: 0.7 },
    { name: "cispo", batch: { tokens: 100, completions: 9 } },
    { name: "grpo", batch: { tokens: 100, completions: 9 } },
  ];

  it("cover every name", () => {
    expect(new Set(losses.map(({ name }) => name))).toEqual(new Set(lossNames));
  });

  it("have the value, log-probs and gradient norm of their definitions", async () => {
    const model = await makeTinyModel();
    const weights = inFloat64(model);
    const data = makeData(model.config, weights, sizes).map((datum, i) => ({ ...datum, weight: 1 + (i % 2) }));
    await using engine = open(model, { full: true });
    for (const loss of losses) {
      const temperature = loss.temperature ?? 1;
      const evaluate = (): number[][] => data.map((datum) => plainLogprobs(model.config, weights, datum, temperature));
      const logprobs = evaluate();
      const result = await engine.forwardBackward(data, loss);
      const label = JSON.stringify(loss);
      expect(result.loss, label).toBeCloseTo(plainLoss(data, logprobs, loss), 5);
      logprobs.forEach((row, d) => row.forEach((x, t) => expect(result.logprobs[d]![t], label).toBeCloseTo(x, 4)));

      // Along the engine's own gradient the loss changes by the square of its norm.
      const norm = Math.hypot(...[...engine.pendingGradients.values()].map((g) => Math.hypot(...g)));
      const h = 1e-6 / norm;
      const move = (by: number): void => {
        for (const [name, g] of engine.pendingGradients) weights.get(name)!.forEach((_, i, w) => (w[i]! += by * g[i]!));
      };
      const frozen = loss.name === "cispo" ? logprobs : undefined;
      const lossAt = (by: number): number => {
        move(by);
        const value = frozen ? cispoWithFrozenRatio(data, frozen, evaluate(), loss) : plainLoss(data, evaluate(), loss);
        move(-by);
        return value;
      };
      const slope = (lossAt(h) - lossAt(-h)) / (2 * h);
      expect(slope / norm ** 2, label).toBeCloseTo(1, 3);
      await engine.zeroGrad();
    }
  });

  /** CISPO's ratio counts as a constant, so differences are taken with the ratio where it was. */
  function cispoWithFrozenRatio(
    data: readonly Datum[],
    before: readonly number[][],
    after: readonly number[][],
    loss: Loss,
  ): number {
    const tokens = loss.batch?.tokens ?? before.flat().length;
    return before
      .flatMap((row, d) =>
        row.map((logprob, t) => {
          const ratio = Math.min(Math.exp(logprob - data[d]!.oldLogprobs![t]!), 1 + (loss.clipHigh ?? 0.2));
          return (-ratio * data[d]!.advantage! * (data[d]!.weight ?? 1) * after[d]![t]!) / tokens;
        }),
      )
      .reduce((a, b) => a + b, 0);
  }

  it("report entropy, clipped share and divergences as they are", async () => {
    const model = await makeTinyModel();
    const weights = inFloat64(model);
    const data = makeData(model.config, weights, sizes);
    await using engine = open(model);
    const { metrics } = await engine.forwardBackward(data, { name: "ppo", clipLow: 0.1, clipHigh: 0.3 });
    const tokens = data.flatMap((datum) => {
      const logits = plainLogits(model.config, weights, [...datum.prompt, ...datum.completion]);
      return datum.completion.map((id, t) => {
        const all = logSoftmax(logits[datum.prompt.length - 1 + t]!);
        return {
          entropy: -all.reduce((sum, x) => sum + Math.exp(x) * x, 0),
          fromOld: all[id]! - datum.oldLogprobs![t]!,
          toReference: datum.refLogprobs![t]! - all[id]!,
        };
      });
    });
    const mean = (of: (token: (typeof tokens)[number]) => number): number =>
      tokens.reduce((sum, token) => sum + of(token), 0) / tokens.length;
    expect(metrics["entropy"]).toBeCloseTo(
      mean(({ entropy }) => entropy),
      4,
    );
    expect(metrics["clipFraction"]).toBeCloseTo(
      mean(({ fromOld }) => Number(Math.exp(fromOld) < 0.9 || Math.exp(fromOld) > 1.3)),
      6,
    );
    expect(metrics["approxKl"]).toBeCloseTo(
      mean(({ fromOld }) => Math.exp(fromOld) - 1 - fromOld),
      4,
    );
    expect(metrics["klToReference"]).toBeCloseTo(
      mean(({ toReference }) => Math.exp(toReference) - toReference - 1),
      4,
    );
  });
});
