/** The recipes: what their sources say, and that each trains as it says. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { LocalEngine } from "../../src/engines/local/local-engine.ts";
import { recipes } from "../../src/rl/recipes.ts";
import { defineTask } from "../../src/rl/task.ts";
import { resolveTrainConfig } from "../../src/rl/train-config.ts";
import { train } from "../../src/rl/train.ts";
import type { StepRecord } from "../../src/runs/records.ts";
import { readMetrics, readRollouts } from "../../src/runs/run-folder.ts";
import { writeTinyModelFolder } from "../support/tiny-model-folder.ts";
import { examples, makeParts, makeTask, quick } from "../support/word-task.ts";
import { WordSearch } from "../support/word-search.ts";

let root: string;
let model: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "rec-r1-recipes-"));
  model = join(root, "model");
  await writeTinyModelFolder(model);
});
afterAll(() => rm(root, { recursive: true, force: true }));

const stepOf = async (runDir: string): Promise<StepRecord> =>
  (await readMetrics(runDir)).find((record) => record.kind === "step") as StepRecord;

describe("recipes", () => {
  it("all resolve, and each has a source", () => {
    for (const [recipe, { source, description }] of Object.entries(recipes)) {
      expect(resolveTrainConfig([{ source: "test", values: { recipe } }]).recipe).toBe(recipe);
      expect(source.length + description.length).toBeGreaterThan(20);
    }
    expect(Object.keys(recipes)).toEqual(["small", "rec-r1", "dr-grpo", "dapo", "gspo", "rloo", "reinforce++"]);
    expect(recipes.small!.values).toEqual({});
  });

  it.each([
    // Rec-R1's training scripts: one optimizer step on all 32 × 12 completions.
    ["rec-r1", { groupSize: 12, promptsPerStep: 32, temperature: 0.6, topP: 0.95, learningRate: 1e-6, klCoef: 0.001, klEstimator: "k3", maxPromptTokens: 256, maxTokens: 512, loss: "grpo", minibatches: 1, epochsPerBatch: 1 }],
    // arXiv 2503.20783, section 3.2: without 1/std and 1/length.
    ["dr-grpo", { loss: "dr_grpo", advantageNorm: "none", aggregation: "constant", klCoef: 0 }],
    // arXiv 2503.14476, equation 8 and section 4.1.
    ["dapo", { loss: "dapo", clipLow: 0.2, clipHigh: 0.28, aggregation: "token", resampleRounds: 10, overlongShare: 0.2, klCoef: 0 }],
    // arXiv 2507.18071, section 5.1.
    ["gspo", { loss: "gspo", clipLow: 3e-4, clipHigh: 4e-4, aggregation: "sequence", minibatches: 4, klCoef: 0 }],
    // arXiv 2402.14740, equation 8: the others' mean as baseline, nothing clipped.
    ["rloo", { loss: "importance_sampling", advantageBaseline: "leave_one_out", advantageNorm: "none", groupSize: 4, klCoef: 0.03 }],
    // arXiv 2501.03262: normalised over the batch, KL by k2.
    ["reinforce++", { loss: "ppo", advantageBaseline: "mean", advantageNorm: "batch", klEstimator: "k2", clipLow: 0.2, clipHigh: 0.2 }],
  ])("%s has its source's settings", (recipe, settings) => {
    expect(resolveTrainConfig([{ source: "test", values: { recipe } }])).toMatchObject(settings);
  }); // prettier-ignore

  it.each(Object.keys(recipes))("%s takes a step with the local engine", async (recipe) => {
    // The reference of the KL term is a copy of its own where all weights are trained.
    const engine = await LocalEngine.load(model, { threads: 1, keepReference: true, ...recipes[recipe]!.engine });
    const forwardBackward = vi.spyOn(engine, "forwardBackward");
    const task = defineTask({
      name: "letters",
      data: { train: ["bb", "cc", "dd", "ff"].map((query) => ({ id: query, query, relevant: ["b"] })) },
      prompt: ({ query }) => query,
      parse: (completion) => completion,
      reward: ({ completion }) => completion.length + (completion.codePointAt(0) ?? 0) / 1000,
    });
    const runDir = join(root, recipe);
    try {
      const options = { recipe, steps: 1, promptsPerStep: 4, groupSize: 4, maxTokens: 6, learningRate: 0.01 };
      await train({ task, recommender: new WordSearch({ b: "b" }), engine, runDir, ...options, evalEvery: 0 });
      const { values } = await stepOf(runDir);
      const { loss, klCoef, minibatches } = resolveTrainConfig([{ source: "test", values: { recipe } }]);
      expect(new Set(forwardBackward.mock.calls.map(([, { name }]) => name))).toEqual(new Set([loss]));
      expect(values).toMatchObject({ learningGroups: 1, rollouts: 16, optimizerSteps: minibatches, skipped: 0 });
      expect(values.gradNorm).toBeGreaterThan(0);
      expect("klToReference" in values).toBe(klCoef > 0);
    } finally {
      await engine.close();
    }
  });

  it("and options on top are within what the optimizer takes", () => {
    for (const values of [{ beta1: 1 }, { beta2: 1 }]) {
      expect(() => resolveTrainConfig([{ source: "test", values }])).toThrow(/beta/);
    }
  });

  it("of DAPO replaces groups whose rewards are all equal, and keeps what was replaced", async () => {
    // Half of the examples teach nothing: whatever is answered is worth the same.
    const dull = new Set(examples.slice(0, 4).map(({ id }) => id));
    const task = makeTask({ reward: ({ query, example }) => (dull.has(example.id) ? 1 : (query ?? "").length) });
    const runDir = join(root, "sampling");
    const { engine, recommender } = makeParts();
    const options = { ...quick, steps: 1, promptsPerStep: 4, evalEvery: 0, loss: "ppo" as const };
    await train({
      task,
      engine,
      recommender,
      runDir,
      ...options,
      resampleRounds: recipes.dapo!.values.resampleRounds as number,
    });
    const [call] = engine.seen;
    expect(call!.loss.batch!.completions).toBe(4 * 8);
    const learnt = (await readRollouts(runDir, 1)).filter(({ advantage }) => advantage !== 0);
    expect(learnt.every(({ example }) => !dull.has(example))).toBe(true);
    // Every prompt was drawn at most once, the dull ones on record with those that were learnt from.
    const asked = new Set((await readRollouts(runDir, 1)).map(({ example }) => example));
    expect(asked.size * 8).toBe((await readRollouts(runDir, 1)).length);
    expect(new Set(learnt.map(({ example }) => example)).size).toBe(4);
  });
});
