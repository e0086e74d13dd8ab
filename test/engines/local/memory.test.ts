/** Memory: batches are cut to the budget or refused with figures, and the longest step is tried without a trace. */
import { describe, expect, it } from "vitest";
import type { Datum, Loss, LongestStep, Sample, SamplingParams } from "../../../src/engines/engine.ts";
import { countScoreChunks, estimateBatchBytes, planMemory } from "../../../src/engines/local/memory.ts";
import { type Group, packGroups } from "../../../src/engines/local/packing.ts";
import { measureBatch, planBatches } from "../../../src/engines/local/plan-batches.ts";
import { planWaves } from "../../../src/engines/local/plan-waves.ts";
import type { Training } from "../../../src/engines/local/weight-inputs.ts";
import { makeTinyEngine, tinyConfig } from "./tiny-models.ts";

const config = tinyConfig();
const lora: Training = { kind: "lora", lora: { rank: 3, alpha: 6, targets: ["q_proj"] } };
const sampling: SamplingParams = { n: 3, maxTokens: 6, temperature: 1, seed: 1 };
const loss: Loss = { name: "grpo", klCoef: 0.1 };
const step: LongestStep = { prompts: 4, promptTokens: 9, sampling, loss };

const groupsOf = (count: number, promptTokens: number, completions: number, tokens: number): Group[] =>
  Array.from({ length: count }, (_, p) => ({
    prompt: [p, ...new Array<number>(promptTokens - 1).fill(1)],
    completions: Array.from({ length: completions }, (_, i) => [i, ...new Array<number>(tokens - 1).fill(1)]),
  }));

describe("the memory of a batch", () => {
  it("is estimated from the sizes that packing arrives at", () => {
    for (const groups of [groupsOf(3, 5, 2, 4), groupsOf(1, 1, 1, 1), groupsOf(2, 7, 4, 2)]) {
      const sizes = measureBatch(groups);
      const { feeds } = packGroups(groups, { heads: 4, kvHeads: 2 }, 1);
      expect(sizes.rows).toBe(feeds["ids"]!.shape[0]);
      expect([sizes.groups, 2, sizes.promptSlots]).toEqual(feeds["promptKeyRows"]!.shape);
      expect([sizes.groups, 2, sizes.perGroup, sizes.completionSlots]).toEqual(feeds["completionKeyRows"]!.shape);
      expect(sizes.scored).toBe(feeds["targets"]!.shape[0]);
    }
  });

  it("grows with what is computed, and is less without gradients", () => {
    const bytes = (groups: Group[]): number => estimateBatchBytes(config, measureBatch(groups), 4, lora);
    const small = bytes(groupsOf(1, 8, 2, 4));
    expect(bytes(groupsOf(2, 8, 2, 4))).toBeGreaterThan(small);
    expect(bytes(groupsOf(1, 16, 2, 4))).toBeGreaterThan(small);
    expect(bytes(groupsOf(1, 8, 4, 4))).toBeGreaterThan(small);
    expect(bytes(groupsOf(1, 8, 2, 8))).toBeGreaterThan(small);
    expect(estimateBatchBytes(config, measureBatch(groupsOf(1, 8, 2, 4)), 4, undefined)).toBeLessThan(small);
  });

  it("cuts batches, then groups, and refuses what can't be cut, with figures", () => {
    const estimate = (sizes: ReturnType<typeof measureBatch>): number => estimateBatchBytes(config, sizes, 4, lora);
    const groups = groupsOf(4, 8, 4, 5);
    const one = estimate(measureBatch(groupsOf(1, 8, 1, 5)));
    const whole = planBatches(groups, { maxRows: 1000 });
    expect(whole).toHaveLength(1);
    for (const maxBytes of [estimate(measureBatch(groups)) - 1, 2.5 * one, 1.2 * one]) {
      const plan = planBatches(groups, { maxRows: 1000, memory: { estimate, maxBytes } });
      expect(plan.length).toBeGreaterThan(1);
      for (const batch of plan) expect(estimate(measureBatch(batch))).toBeLessThanOrEqual(maxBytes);
      expect(plan.flat().reduce((sum, { members }) => sum + members.length, 0)).toBe(16);
    }
    const tooLittle = (): unknown => planBatches(groups, { maxRows: 1000, memory: { estimate, maxBytes: 0.9 * one } });
    expect(tooLittle).toThrow(/prompt of 8 tokens with a completion of 5 needs about .* GB .* are left/);
  });

  it("holds the logits of a part of the scored tokens, the smaller the larger the vocabulary and the scarcer the memory", () => {
    const chunks = (vocabSize: number, maxRows: number, runBytes = 8e9): number =>
      countScoreChunks(tinyConfig({ vocabSize }), maxRows, runBytes);
    expect([chunks(26, 512), chunks(49152, 512), chunks(49152, 1024), chunks(151936, 512)]).toEqual([1, 1, 2, 3]);
    // 101 MB of logits in three arrays may take a quarter of 400 MB.
    expect(chunks(49152, 512, 4e8)).toBe(4);
  });

  it("must hold the model itself", () => {
    expect(() => planMemory(config, lora, { memoryGb: 0.001 })).toThrow(/weights take .* GB, training them/);
    expect(() => planMemory(config, lora, { memoryGb: -1 })).toThrow(/memoryGb must be above 0/);
    const full = { kind: "full" } as const;
    const left = (training: Training, keepReference = false): number =>
      planMemory(config, training, { memoryGb: 1, keepReference }).runBytes;
    expect(left(full)).toBeLessThan(left(lora));
    expect(left(full, true)).toBeLessThan(left(full));
    expect(planMemory(config, lora).runBytes).toBeGreaterThan(1e8);
    // A second call before the optimizer's step has its own gradients beside the first's; moments and a batch's are three more.
    const [model, runtime] = [left(full) - left(full, true), 3e8];
    expect(1e9 - runtime - left(full)).toBe(6 * model);
  });
});

describe("waves of completions", () => {
  const prompts = groupsOf(7, 10, 1, 1).map(({ prompt }, p) => prompt.slice(0, 10 - p));

  it("hold every sample once, and no more than the memory allows", () => {
    const perToken = 2 * 2 * 4 * 2 * 4;
    const params = { n: 5, maxTokens: 20 };
    const rowBytes = 20 * perToken + 12 * 26;
    for (const [maxBytes, most] of [
      [Infinity, 35],
      [2 * (10 * perToken + 5 * rowBytes), 5],
      [0, 1],
    ] as const) {
      const waves = planWaves(config, prompts, params, maxBytes);
      const seen = waves.flat().map(([p, s]) => `${p}/${s}`);
      expect(new Set(seen).size).toBe(35);
      expect(seen).toHaveLength(35);
      expect(Math.max(...waves.map((wave) => wave.length))).toBe(most);
    }
  });

  it("are even, and count the prompts' keys and values, too", () => {
    const many = Array.from({ length: 300 }, (_, p) => [p % 26, Math.floor(p / 26)]);
    expect(planWaves(config, many, { n: 1, maxTokens: 2 }, Infinity).map((wave) => wave.length)).toEqual([150, 150]);
    const large = tinyConfig({ layers: 40, kvHeads: 4, headDim: 64 });
    const long = many.slice(0, 40).map(([a, b]) => [a!, b!, ...new Array<number>(998).fill(1)]);
    const waves = planWaves(large, long, { n: 1, maxTokens: 2 }, Infinity);
    const bytesPerPrompt = 1000 * 40 * 4 * 64 * 8;
    for (const wave of waves) expect(wave.length * bytesPerPrompt).toBeLessThan(2 ** 29);
  });
});

describe("an engine with little memory", () => {
  it("gives the same numbers from smaller batches", async () => {
    const data: Datum[] = groupsOf(4, 8, 4, 5).flatMap(({ prompt, completions }) =>
      completions.map((completion, i) => ({
        prompt,
        completion,
        oldLogprobs: new Float32Array(5).fill(-3),
        refLogprobs: new Float32Array(5).fill(-3),
        advantage: i - 1.5,
      })),
    );
    const [free, tight] = [await makeTinyEngine(), await makeTinyEngine({ memoryGb: 0.3003 })];
    const [a, b] = [await free.forwardBackward(data, loss), await tight.forwardBackward(data, loss)];
    expect(b.loss).toBeCloseTo(a.loss, 5);
    const [x, y] = [await free.optimStep({ learningRate: 0.01 }), await tight.optimStep({ learningRate: 0.01 })];
    expect(y.gradNorm / x.gradNorm).toBeCloseTo(1, 5);
  });

  it("reads prompts in smaller parts, and refuses one that is too long for it before it is tried", async () => {
    const [free, tight] = [await makeTinyEngine(), await makeTinyEngine({ memoryGb: 0.3003 })];
    const params = { n: 2, maxTokens: 4, temperature: 1, seed: 3 };
    const prompts = groupsOf(12, 14, 1, 1).map(({ prompt }) => prompt);
    const idsOf = (samples: readonly Sample[][]): unknown => samples.map((group) => group.map(({ ids }) => ids));
    expect(idsOf(await tight.sample(prompts, params))).toEqual(idsOf(await free.sample(prompts, params)));
    const long = [Array.from({ length: 60 }, (_, i) => 1 + (i % 20))];
    await expect(tight.sample(long, params)).rejects.toMatchObject({ code: "ENGINE_MEMORY" });
    expect(await free.sample(long, params)).toHaveLength(1);
  });

  it("refuses settings that can't be meant", async () => {
    await expect(makeTinyEngine({ maxRows: 0 })).rejects.toThrow(/maxRows must be a whole number from 1, got 0/);
    await expect(makeTinyEngine({ loraTargets: [] })).rejects.toThrow(/q_proj, .*down_proj; got none/);
    await expect(makeTinyEngine({ loraTargets: ["q_proj", "lm_head" as "q_proj"] })).rejects.toThrow(/got lm_head/);
  });

  it("says so before the first step", async () => {
    const engine = await makeTinyEngine({ memoryGb: 0.3003 });
    await expect(engine.tryStep({ ...step, promptTokens: 50 })).rejects.toMatchObject({ code: "ENGINE_MEMORY" });
    await expect(makeTinyEngine({ memoryGb: 0.2 })).rejects.toMatchObject({ code: "ENGINE_MEMORY" });
  });
});

describe("tryStep", () => {
  it("leaves weights, gradients and random numbers as they were", async () => {
    const [tried, fresh] = [await makeTinyEngine(), await makeTinyEngine()];
    const data: Datum[] = [
      {
        prompt: [1, 2],
        completion: [3, 4],
        advantage: 1,
        oldLogprobs: new Float32Array(2),
        refLogprobs: new Float32Array(2),
      },
    ];
    for (const engine of [tried, fresh]) await engine.forwardBackward(data, loss);
    await tried.tryStep(step);
    expect(tried.pendingGradients).toEqual(fresh.pendingGradients);
    for (const engine of [tried, fresh]) await engine.optimStep({ learningRate: 0.01 });
    expect(tried.trained).toEqual(fresh.trained);
    expect(await tried.sample([[1, 2, 3]], sampling)).toEqual(await fresh.sample([[1, 2, 3]], sampling));
  });

  it("refuses a step beyond the model's context", async () => {
    const engine = await makeTinyEngine();
    await expect(engine.tryStep({ ...step, promptTokens: 60 })).rejects.toMatchObject({ code: "ENGINE_CONTEXT" });
  });
});
