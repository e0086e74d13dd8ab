import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RecommenderError } from "../../src/core/errors.ts";
import { cached } from "../../src/recommenders/cached.ts";
import { train } from "../../src/rl/train.ts";
import { readMetrics, readTimings } from "../../src/runs/run-folder.ts";
import type { StepRecord } from "../../src/runs/records.ts";
import { makeParts, makeTask, quick } from "../support/word-task.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "rec-r1-watch-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const stepsOf = async (runDir: string): Promise<StepRecord[]> =>
  (await readMetrics(runDir)).filter((record) => record.kind === "step");

describe("the recommender of a run", () => {
  it("is asked each query once, and the timings say how often that was", async () => {
    const runDir = join(root, "run");
    const { engine, recommender } = makeParts();
    await train({ task: makeTask(), engine, recommender, runDir, ...quick, steps: 6 });
    const asked = recommender.calls.flat();
    expect(new Set(asked).size).toBe(asked.length);
    const records = (await readTimings(runDir)).map(({ cache }) => cache);
    expect(records).toHaveLength(6);
    const values = (await stepsOf(runDir)).map((record) => record.values);
    for (const [i, record] of records.entries()) {
      const queries = Math.round(64 * (1 - (values[i]?.unparsed as number)));
      expect(record?.queries).toBe(queries);
      expect(record?.hitRate).toBeCloseTo(1 - (record?.asked ?? NaN) / queries, 12);
    }
    // Eight words can be asked for, one or two at a time; most were by the first evaluation and step.
    expect(records.at(-1)?.hitRate).toBeGreaterThan(0.8);
    expect(values[0]?.shortAnswers).toBe(1);
  });

  it("uses the caller's own memory", async () => {
    const { engine, recommender } = makeParts();
    const memory = cached(recommender);
    await train({ task: makeTask(), engine, recommender: memory, runDir: join(root, "a"), ...quick, steps: 2 });
    const before = recommender.calls.length;
    const again = makeParts().engine;
    await train({ task: makeTask(), engine: again, recommender: memory, runDir: join(root, "b"), ...quick, steps: 2 });
    expect(recommender.calls).toHaveLength(before);
  });

  it.each([
    [1, 3, 2],
    [5, 5, 4],
  ])(
    "that changes ends the run: checked every %i steps, changed in step 3, found in step %i",
    async (every, at, done) => {
      const runDir = join(root, "run");
      const { engine, recommender } = makeParts();
      let step = 0;
      const options = { task: makeTask(), recommender, runDir, ...quick, steps: 20, evalEvery: 0 } as const;
      const call = train({
        ...options,
        engine,
        recommenderCheckEvery: every,
        onEvent: (event) => {
          if (event.kind === "step") step = event.record.step;
          if (step === 2) recommender.fingerprint = () => Promise.resolve("another");
        },
      });
      await expect(call).rejects.toMatchObject({
        code: "RECOMMENDER_CHANGED",
        message: expect.stringContaining("now it is another") as string,
      });
      expect((await stepsOf(runDir)).at(-1)?.step).toBe(done);
      expect(at).toBe(done + 1);
      // What was learnt before is kept, and the run can't go on with another recommender.
      await expect(train({ ...options, engine: makeParts().engine, resume: true })).rejects.toMatchObject({
        code: "RESUME_DIFFERS",
      });
      const restored = makeParts();
      const result = await train({ ...options, ...restored, steps: 7, resume: true });
      expect(result.step).toBe(7);
    },
  );

  it("is not checked where that is off", async () => {
    const { engine, recommender } = makeParts();
    let fingerprints = 0;
    const fingerprint = recommender.fingerprint.bind(recommender);
    recommender.fingerprint = () => Promise.resolve(fingerprints++ < 2 ? fingerprint() : "another");
    const options = { task: makeTask(), engine, recommender, runDir: join(root, "run"), ...quick, steps: 3 };
    expect(await train({ ...options, recommenderCheckEvery: 0 })).toMatchObject({ step: 3 });
  });

  it("that can't be asked for its fingerprint ends the run, resumable", async () => {
    const runDir = join(root, "run");
    const { engine, recommender } = makeParts();
    const options = { task: makeTask(), recommender, runDir, ...quick, steps: 6, evalEvery: 0 } as const;
    const fingerprint = recommender.fingerprint.bind(recommender);
    let isDown = false;
    recommender.fingerprint = async () => {
      if (isDown) throw new RecommenderError("DOWN", "no answer", { retryable: true });
      return fingerprint();
    };
    const stopped = train({ ...options, engine, onEvent: (event) => (isDown = event.kind === "step") });
    await expect(stopped).rejects.toMatchObject({ code: "DOWN" });
    isDown = false;
    const resumed = makeParts();
    await train({ ...options, ...resumed, resume: true });
    const whole = makeParts();
    await train({ ...options, ...whole, runDir: join(root, "whole") });
    expect(resumed.engine.state).toBe(whole.engine.state);
  });
});
