import { rmSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AbortError } from "../../src/core/errors.ts";
import type { TrainEvent } from "../../src/rl/events.ts";
import { train } from "../../src/rl/train.ts";
import { readBest, readManifest, readMetrics, readRollouts } from "../../src/runs/run-folder.ts";
import type { StepRecord } from "../../src/runs/records.ts";
import { examples, makeParts, makeTask, quick } from "../support/word-task.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "rec-r1-train-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

/**
 * Everything in a run folder that must be equal for equal runs. Of checkpoints only the last: a stop between two of
 * them leaves one more.
 */
async function contentOf(runDir: string): Promise<Record<string, string>> {
  const content: Record<string, string> = {};
  for (const entry of await readdir(runDir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || ["timings.jsonl", "config.json"].includes(entry.name)) continue;
    const path = join(entry.parentPath, entry.name);
    if (path.includes("checkpoints") && !path.includes("step-000014")) continue;
    content[path.slice(runDir.length)] = await readFile(path, "utf8");
  }
  return content;
}

const steps = async (runDir: string): Promise<StepRecord[]> =>
  (await readMetrics(runDir)).filter((record) => record.kind === "step");

describe("train", () => {
  it.each(["grpo", "ppo", "importance_sampling"] as const)("learns from reward alone with %s", async (loss) => {
    const parts = makeParts();
    const result = await train({ task: makeTask(), ...parts, runDir: join(root, "run"), ...quick, loss });
    expect(result).toMatchObject({ step: 30, reason: "steps" });
    const evaluations = (await readMetrics(join(root, "run"))).filter((record) => record.kind === "evaluation");
    expect(evaluations.map(({ step }) => step)).toEqual([0, 10, 20, 30]);
    expect(evaluations[0]?.values["ndcg@10"]).toBeLessThan(0.3);
    expect(result.best?.value).toBeGreaterThan(0.95);
    expect(await readBest(join(root, "run"))).toEqual(result.best);
  });

  it("records config, metrics and every rollout", async () => {
    const runDir = join(root, "run");
    await train({ task: makeTask(), ...makeParts(), runDir, ...quick, steps: 2, launch: { taskFile: "task.ts" } });
    const manifest = await readManifest(runDir);
    expect(manifest).toMatchObject({
      task: "words",
      config: { steps: 2, groupSize: 8, klCoef: 0 },
      recommender: { name: "word-search" },
      data: { train: { examples: 8 } },
      launch: { taskFile: "task.ts" },
    });
    const rollouts = await readRollouts(runDir, 1);
    expect(rollouts).toHaveLength(64);
    for (const example of examples) {
      const group = rollouts.filter((rollout) => rollout.example === example.id);
      expect(group.map(({ sample }) => sample)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      expect(group.reduce((sum, { advantage }) => sum + (advantage as number), 0)).toBeCloseTo(0, 6);
    }
    expect(new Set(rollouts.map(({ completion }) => completion)).size).toBeGreaterThan(5);
    expect((await steps(runDir))[0]?.values).toMatchObject({ rollouts: 64, failed: 0, samplerDifference: 0 });
  });

  it("gives the same run for the same seed and another for another", async () => {
    const runs = ["a", "b", "c"].map((name) => join(root, name));
    const weights: string[] = [];
    for (const [i, runDir] of runs.entries()) {
      const parts = makeParts();
      await train({ task: makeTask(), ...parts, runDir, ...quick, steps: 6, seed: i < 2 ? 1 : 2 });
      weights.push(parts.engine.state);
    }
    expect(await contentOf(runs[0] as string)).toEqual(await contentOf(runs[1] as string));
    expect(weights[0]).toBe(weights[1]);
    expect(weights[0]).not.toBe(weights[2]);
  });

  it.each([
    ["sampling", "sample", {}],
    ["learning", "forwardBackward", {}],
    ["the second of three minibatches", "forwardBackward", { minibatches: 3, epochsPerBatch: 2, resampleRounds: 2 }],
    ["a warm-up", "forwardBackward", { warmupSteps: 9, warmupBatch: 4 }],
  ] as const)("resumes to the same run after a stop in %s", async (_, call, extra) => {
    const warmup = {
      examples: () =>
        examples.map(({ query, relevant }) => ({
          messages: [{ role: "user" as const, content: `Find ${query}` }],
          completion: (relevant as string[])[0] as string,
        })),
    };
    const task = makeTask({ warmup });
    const options = { task, ...quick, ...extra, steps: 14, klCoef: 0.01, distillCoef: 0.1 };
    const whole = makeParts();
    await train({ ...options, ...whole, runDir: join(root, "whole") });

    for (const stopAt of [2, 11, 17, 23]) {
      const runDir = join(root, `stopped-${stopAt}`);
      const controller = new AbortController();
      const stopped = makeParts();
      let calls = 0;
      stopped.engine.onCall = (made) => {
        if (made === call && ++calls === stopAt) controller.abort();
      };
      const attempt = train({ ...options, ...stopped, runDir, signal: controller.signal });
      await attempt.then(
        () => expect(calls).toBeLessThan(stopAt),
        (error: unknown) => expect(error).toBeInstanceOf(AbortError),
      );
      if (!controller.signal.aborted) continue;
      const resumed = makeParts();
      await train({ ...options, ...resumed, runDir, resume: true });
      expect(resumed.engine.state).toBe(whole.engine.state);
      expect(await contentOf(runDir)).toEqual(await contentOf(join(root, "whole")));
    }
  });

  it("uses the checkpoint before a damaged one, and says so", async () => {
    const runDir = join(root, "run");
    await train({ task: makeTask(), ...makeParts(), runDir, ...quick, steps: 10 });
    const whole = await contentOf(runDir);
    const newest = join(runDir, "checkpoints/step-000010/engine/tabular.json");
    await writeFile(newest, (await readFile(newest, "utf8")).replace("0.", "1."));
    const events: TrainEvent[] = [];
    await train({
      task: makeTask(),
      ...makeParts(),
      runDir,
      ...quick,
      steps: 10,
      resume: true,
      onEvent: (e) => events.push(e),
    });
    expect(events.find((event) => event.kind === "warning")?.message).toMatch(/step-000010 is damaged.*checksum/);
    expect(events.find((event) => event.kind === "start")).toMatchObject({ resumedAt: 5 });
    expect(await contentOf(runDir)).toEqual(whole);
    expect(await readdir(join(runDir, "checkpoints"))).toEqual(["step-000005", "step-000010"]);
  });

  it("refuses an existing folder, naming the way out, and a resumed run that would differ", async () => {
    const runDir = join(root, "run");
    await train({ task: makeTask(), ...makeParts(), runDir, ...quick, steps: 1 });
    await expect(train({ task: makeTask(), ...makeParts(), runDir, ...quick })).rejects.toThrow(/--resume/);
    const other = train({ task: makeTask(), ...makeParts(), runDir, ...quick, groupSize: 4, resume: true });
    await expect(other).rejects.toThrow(/groupSize was 8, now 4/);
    const fewer = makeTask({ data: { train: examples.slice(1), valid: examples } });
    await expect(
      train({ task: fewer, ...makeParts(), runDir, ...quick, promptsPerStep: 7, resume: true }),
    ).rejects.toThrow(/data.train was/);
  });

  it("says how many relevant ids the catalogue lacks, and refuses more than it may", async () => {
    const gone = { id: "gone", query: "thing 9", relevant: ["anchor", "nowhere"] };
    const task = makeTask({ data: { train: [...examples, gone], valid: examples } });
    const warnings: string[] = [];
    const onEvent = (event: TrainEvent): void => void (event.kind === "warning" && warnings.push(event.message));
    const options = { ...makeParts(), ...quick, steps: 0, onEvent };
    await train({ ...options, task, runDir: join(root, "run"), maxMissingShare: 0.1 });
    expect(warnings).toEqual([expect.stringMatching(/train: 1 of 10 relevant ids aren't in the catalogue/)]);
    await expect(train({ ...options, task, runDir: join(root, "refused"), maxMissingShare: 0.09 })).rejects.toThrow(
      /1 of 10 relevant ids aren't in the catalogue:\n {2}"nowhere"/,
    );
  });

  it("drops failed rollouts and stops, resumable, when too many fail", async () => {
    const runDir = join(root, "run");
    const parts = makeParts();
    parts.recommender.broken.add("anchor");
    await train({ task: makeTask(), ...parts, runDir, ...quick, steps: 2, evalEvery: 0 });
    const dropped = (await readRollouts(runDir, 1)).filter(({ failure }) => failure !== undefined);
    expect(dropped.length).toBeGreaterThan(0);
    for (const rollout of dropped) expect(rollout).toMatchObject({ query: "anchor", reward: null, advantage: null });
    expect((await steps(runDir))[0]?.values.failed).toBe(dropped.length);

    parts.recommender.broken.add("*");
    const options = { task: makeTask(), runDir, ...quick, steps: 4, evalEvery: 0, resume: true };
    await expect(train({ ...options, ...parts })).rejects.toMatchObject({ code: "TOO_MANY_FAILURES" });
    const repaired = makeParts();
    await expect(train({ ...options, ...repaired })).resolves.toMatchObject({ step: 4 });
  });

  it("leaves groups without variance out of the backward pass but counts them in the loss", async () => {
    const { engine, recommender } = makeParts();
    const task = makeTask({
      reward: ({ hits, example }) => (example.id === "q0" ? (hits?.length ?? 0) : 1),
    });
    await train({ task, engine, recommender, runDir: join(root, "run"), ...quick, steps: 1, evalEvery: 0 });
    const [call] = engine.seen;
    expect(call?.data).toHaveLength(8);
    expect(call?.loss.batch?.completions).toBe(64);
    const { engine: withKl } = makeParts();
    await train({
      task,
      engine: withKl,
      recommender,
      runDir: join(root, "kl"),
      ...quick,
      steps: 1,
      evalEvery: 0,
      klCoef: 0.1,
    });
    expect(withKl.seen[0]?.data).toHaveLength(64);
    expect(withKl.seen[0]?.data[0]?.refLogprobs).toHaveLength(withKl.seen[0]?.data[0]?.completion.length as number);
  });

  it("takes as many optimizer steps as it has minibatches, or prompts where these are fewer", async () => {
    for (const [minibatches, sizes] of [
      [3, [2, 3, 3]],
      [7, [1, 1, 1, 1, 1, 1, 2]],
      [20, [1, 1, 1, 1, 1, 1, 1, 1]],
    ] as const) {
      const { engine, recommender } = makeParts();
      const runDir = join(root, String(minibatches));
      const options = { ...quick, steps: 1, evalEvery: 0, minibatches, klCoef: 0.1 };
      await train({ task: makeTask(), engine, recommender, runDir, ...options });
      expect(engine.seen.map(({ data }) => data.length / quick.groupSize)).toEqual(sizes);
      expect((await steps(runDir))[0]?.values["optimizerSteps"]).toBe(sizes.length);
    }
  });

  it("warns when more steps stretch a learning rate that falls", async () => {
    const resume = async (schedule: "constant" | "linear"): Promise<string[]> => {
      const warnings: string[] = [];
      const own = { task: makeTask(), runDir: join(root, schedule), ...quick, evalEvery: 0, schedule };
      await train({ ...own, ...makeParts(), steps: 2 });
      const onEvent = (event: TrainEvent): void => void (event.kind === "warning" && warnings.push(event.message));
      await train({ ...own, ...makeParts(), steps: 4, resume: true, onEvent });
      return warnings;
    };
    expect(await resume("constant")).toEqual([]);
    expect(await resume("linear")).toEqual([expect.stringMatching(/steps = 2 and goes on with 4.*linear/)]);
  });

  it("skips steps that aren't finite and stops after too many", async () => {
    const { engine, recommender } = makeParts();
    engine.lossFactor = Number.NaN;
    const runDir = join(root, "run");
    const attempt = train({
      task: makeTask(),
      engine,
      recommender,
      runDir,
      ...quick,
      maxSkippedSteps: 2,
      evalEvery: 0,
    });
    await expect(attempt).rejects.toMatchObject({ code: "NOT_FINITE" });
    expect(await steps(runDir)).toHaveLength(3);
    expect(JSON.parse(await readFile(join(runDir, "skipped-batch.json"), "utf8"))).toMatchObject({ step: 3 });
    expect(engine.state).toBe(makeParts().engine.state);
  });

  it("ends when its folder is removed, and leaves no half of one", async () => {
    const runDir = join(root, "run");
    const { engine, recommender } = makeParts();
    let calls = 0;
    engine.onCall = (call) => {
      if (call === "forwardBackward" && ++calls === 3) rmSync(runDir, { recursive: true });
    };
    const attempt = train({ task: makeTask(), engine, recommender, runDir, ...quick });
    await expect(attempt).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(await readdir(root)).toEqual([]);
  });

  it("ends when time is up, with an evaluation and a checkpoint", async () => {
    const { engine, recommender } = makeParts();
    const runDir = join(root, "run");
    const options = { ...quick, steps: 100_000, evalEvery: 100_000, checkpointEvery: 100_000, maxMinutes: 0.02 };
    const result = await train({ task: makeTask(), engine, recommender, runDir, ...options });
    expect(result.reason).toBe("time");
    expect((await readMetrics(runDir)).at(-1)).toMatchObject({ kind: "evaluation", step: result.step });
    expect(await readdir(join(runDir, "checkpoints"))).toHaveLength(1);
  });

  it("ends early without a new best, and keeps the best checkpoint", async () => {
    const runDir = join(root, "run");
    const result = await train({
      task: makeTask(),
      ...makeParts(),
      runDir,
      ...quick,
      steps: 200,
      earlyStop: 3,
      evalEvery: 5,
    });
    expect(result.reason).toBe("early_stop");
    const kept = await readdir(join(runDir, "checkpoints"));
    expect(kept).toContain(result.best?.checkpoint);
    expect(kept).toHaveLength(3);
  });
});
