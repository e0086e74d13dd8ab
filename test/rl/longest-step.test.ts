/** What a run tries before its first step, and what it makes of samples that a cut distribution gave. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { EngineError, throwIfAborted } from "../../src/core/errors.ts";
import type { LongestStep, Sample } from "../../src/engines/engine.ts";
import { train } from "../../src/rl/train.ts";
import { readMetrics } from "../../src/runs/run-folder.ts";
import { examples, makeParts, makeTask, quick } from "../support/word-task.ts";

async function makeRunDir(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "rec-r1-longest-"));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  return join(root, "run");
}

describe("before the first step", () => {
  it("the longest step is tried: all prompts of a step, as long as the longest, and the run's own settings", async () => {
    const parts = makeParts();
    const tried: LongestStep[] = [];
    let callsBefore = 0;
    let calls = 0;
    parts.engine.onCall = () => calls++;
    Object.assign(parts.engine, {
      tryStep: async (step: LongestStep) => {
        tried.push(step);
        callsBefore = calls;
      },
    });
    const task = makeTask();
    const own = { evalEvery: 0, steps: 1, topK: 5, correctTruncation: false, klCoef: 0.1 };
    await train({ task, ...parts, runDir: await makeRunDir(), ...quick, ...own });
    const lengths = examples.map((example) => parts.engine.tokenizer.encodeChat(task.prompt(example)).length);
    expect(tried).toHaveLength(1);
    expect(tried[0]).toMatchObject({
      prompts: Math.min(quick.promptsPerStep, examples.length),
      promptTokens: Math.max(...lengths),
      sampling: { n: quick.groupSize, maxTokens: quick.maxTokens, topK: 5 },
      loss: { klCoef: 0.1 },
    });
    expect(callsBefore).toBe(0);
  });

  it("is stopped on request while it is tried", async () => {
    const parts = makeParts();
    const controller = new AbortController();
    let isHeard = false;
    const tryStep = async ({ sampling }: LongestStep): Promise<void> => {
      controller.abort();
      isHeard = sampling.signal?.aborted === true;
      throwIfAborted(sampling.signal);
    };
    const running = train({
      task: makeTask(),
      ...parts,
      engine: Object.assign(parts.engine, { tryStep }),
      runDir: await makeRunDir(),
      signal: controller.signal,
      ...quick,
      evalEvery: 0,
    });
    await expect(running).rejects.toMatchObject({ name: "AbortError" });
    expect(isHeard).toBe(true);
    expect(parts.engine.seen).toEqual([]);
  });

  it("too little memory ends the run, which has done nothing yet", async () => {
    const parts = makeParts();
    const tryStep = (): Promise<void> => Promise.reject(new EngineError("ENGINE_MEMORY", "too little"));
    const runDir = await makeRunDir();
    const running = train({
      task: makeTask(),
      ...parts,
      engine: Object.assign(parts.engine, { tryStep }),
      runDir,
      ...quick,
    });
    await expect(running).rejects.toMatchObject({ code: "ENGINE_MEMORY" });
    expect(await readMetrics(runDir)).toEqual([]);
  });
});

describe("samples of a cut distribution", () => {
  /** Samples as if half of the probability had been cut off at every token. */
  const makeCutParts = () => {
    const parts = makeParts();
    const sample = parts.engine.sample.bind(parts.engine);
    parts.engine.sample = async (...args) => {
      const samples = await sample(...args);
      const cut = (one: Sample): Sample => ({ ...one, keptMass: new Float32Array(one.ids.length).fill(0.5) });
      return args[1].temperature === 0 ? samples : samples.map((group) => group.map(cut));
    };
    return parts;
  };

  it.each([true, false])("are weighted by what was left, if asked (%s), and reported", async (correctTruncation) => {
    const parts = makeCutParts();
    const runDir = await makeRunDir();
    await train({ task: makeTask(), ...parts, runDir, ...quick, steps: 2, correctTruncation });
    const data = parts.engine.seen.flatMap((call) => call.data);
    expect(data.length).toBeGreaterThan(0);
    for (const { weights, completion } of data) {
      expect(weights).toEqual(correctTruncation ? new Float32Array(completion.length).fill(0.5) : undefined);
    }
    const steps = (await readMetrics(runDir)).filter((record) => record.kind === "step");
    for (const { values } of steps) {
      expect(values["keptMass"]).toBeCloseTo(0.5, 6);
      expect(values["samplerKl"]).toBeCloseTo(Math.log(2), 6);
    }
  });

  it.each([{ topP: 0.9 }, { topK: 5 }, { minP: 0.1 }])(
    "are refused where nobody says what was left: %j",
    async (cut) => {
      const options = { task: makeTask(), ...makeParts(), runDir: await makeRunDir(), ...quick, ...cut, steps: 1 };
      await expect(train(options)).rejects.toMatchObject({ code: "CANNOT_CORRECT_TRUNCATION" });
      expect(await train({ ...options, correctTruncation: false })).toMatchObject({ step: 1 });
    },
  );

  it("are not reported where nothing was cut", async () => {
    const runDir = await makeRunDir();
    await train({ task: makeTask(), ...makeParts(), runDir, ...quick, steps: 1 });
    const [step] = (await readMetrics(runDir)).filter((record) => record.kind === "step");
    expect(step!.values).not.toHaveProperty("keptMass");
    expect(step!.values["samplerDifference"]).toBeLessThan(1e-6);
  });

  it("have no place in the loss without an advantage", async () => {
    const parts = makeParts();
    await train({ task: makeTask(), ...parts, runDir: await makeRunDir(), ...quick, steps: 3, negativeScale: 0 });
    const data = parts.engine.seen.flatMap((call) => call.data);
    expect(data.length).toBeGreaterThan(0);
    for (const { advantage } of data) expect(advantage).toBeGreaterThan(0);
  });
});
