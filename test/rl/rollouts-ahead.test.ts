/** Asynchronous training: what is collected ahead, how old it may be, and that it learns all the same. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AbortError } from "../../src/core/errors.ts";
import { RolloutsAhead } from "../../src/rl/rollouts-ahead.ts";
import { train } from "../../src/rl/train.ts";
import type { StepRecord } from "../../src/runs/records.ts";
import { readMetrics } from "../../src/runs/run-folder.ts";
import { SimulatedEngine } from "../support/simulated-engine.ts";
import { examples, makeParts, makeTask, quick } from "../support/word-task.ts";

let root = "";
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "rec-r1-ahead-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const words = examples.flatMap(({ relevant }) => relevant as string[]);

/** A collection that lasts until it is told to end. */
function makeAhead(
  steps: number,
  foreseen = true,
): {
  ahead: RolloutsAhead<{ step: number; cursor: number }>;
  begun: { step: number; cursor: number; end: () => void; fail: (error: Error) => void; signal: AbortSignal }[];
} {
  const begun: ReturnType<typeof makeAhead>["begun"] = [];
  const ahead = new RolloutsAhead<{ step: number; cursor: number }>({
    collect: ({ step, cursor, signal }) =>
      new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => reject(new AbortError()));
        begun.push({ step, cursor, signal, end: () => resolve({ step, cursor: cursor + 10 }), fail: reject });
      }),
    steps,
    lastStep: 5,
    foresee: (cursor) => (foreseen ? cursor + 10 : undefined),
  });
  return { ahead, begun };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("rollouts collected ahead", () => {
  it("begins nothing before it is asked, and not past the last step", async () => {
    const { ahead, begun } = makeAhead(2);
    await settle();
    expect(begun).toEqual([]);
    const first = ahead.take(1, 100);
    await settle();
    expect(begun.map(({ step, cursor }) => [step, cursor])).toEqual([
      [1, 100],
      [2, 110],
      [3, 120],
    ]);
    begun[0]!.end();
    expect(await first).toMatchObject({ rollouts: { step: 1, cursor: 110 }, staleness: 0 });
    begun.forEach(({ end }) => end());
    expect(await ahead.take(2, 110)).toMatchObject({ staleness: 1 });
    expect(await ahead.take(3, 120)).toMatchObject({ staleness: 2 });
    expect(begun.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5]);
  });

  it("waits for a collection whose end nobody can foresee", async () => {
    const { ahead, begun } = makeAhead(1, false);
    const first = ahead.take(1, 0);
    await settle();
    expect(begun.map(({ step }) => step)).toEqual([1]);
    begun[0]!.end();
    await first;
    await settle();
    expect(begun.map(({ step, cursor }) => [step, cursor])).toEqual([
      [1, 0],
      [2, 10],
    ]);
  });

  it("gives a failure to the step that it belongs to, and stops the rest", async () => {
    const { ahead, begun } = makeAhead(2);
    const first = ahead.take(1, 0);
    await settle();
    begun[1]!.fail(new Error("no server"));
    begun[0]!.end();
    await first;
    await expect(ahead.take(2, 10)).rejects.toThrow("no server");
    await ahead.close();
    expect(begun.slice(2).every(({ signal }) => signal.aborted)).toBe(true);
  });
});

describe("training with rollouts of coming steps", () => {
  const stepsOf = async (runDir: string): Promise<StepRecord[]> =>
    (await readMetrics(runDir)).filter((record) => record.kind === "step");

  it("overlaps sampling with training, reports how old rollouts are, and learns", async () => {
    const runDir = join(root, "run");
    const engine = new SimulatedEngine(words, { sampleMs: 60, trainMs: 3 });
    const { recommender } = makeParts();
    const result = await train({ task: makeTask(), engine, recommender, runDir, ...quick, steps: 40, overlapSteps: 1 });
    expect(result.best?.value).toBeGreaterThan(0.9);
    expect(engine.overlaps).toBeGreaterThan(0);
    const staleness = (await stepsOf(runDir)).map(({ values }) => values.staleness);
    expect(staleness).toEqual([0, ...Array.from({ length: 39 }, () => 1)]);
  });

  it("draws the same prompts in the same order, however far ahead", async () => {
    const drawn = await Promise.all(
      [0, 2].map(async (overlapSteps) => {
        const runDir = join(root, `run-${overlapSteps}`);
        const engine = new SimulatedEngine(words, { sampleMs: 1, trainMs: 1 });
        const options = { ...quick, steps: 6, promptsPerStep: 3, evalEvery: 0, overlapSteps };
        await train({ task: makeTask(), ...makeParts(), engine, runDir, ...options });
        return engine.seen.map(({ loss }) => loss.batch?.completions);
      }),
    );
    expect(drawn[1]).toEqual(drawn[0]);
  });

  it("leaves nobody at work when it is stopped, and goes on from there", async () => {
    const runDir = join(root, "run");
    const engine = new SimulatedEngine(words, { sampleMs: 5, trainMs: 5 });
    const { recommender } = makeParts();
    const controller = new AbortController();
    const options = { task: makeTask(), engine, recommender, runDir, ...quick, steps: 12, overlapSteps: 2 };
    const attempt = train({
      ...options,
      signal: controller.signal,
      onEvent: (event) => event.kind === "step" && event.record.step === 4 && controller.abort(),
    });
    await expect(attempt).rejects.toBeInstanceOf(AbortError);
    const calls = engine.seen.length;
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(engine.seen).toHaveLength(calls);
    const again = new SimulatedEngine(words, { sampleMs: 1, trainMs: 1 });
    expect(await train({ ...options, engine: again, resume: true })).toMatchObject({ step: 12 });
    expect((await stepsOf(runDir)).map(({ step }) => step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
  });

  it("refuses an engine that can't", async () => {
    const attempt = train({ task: makeTask(), ...makeParts(), runDir: join(root, "run"), ...quick, overlapSteps: 1 });
    await expect(attempt).rejects.toMatchObject({ code: "CANNOT_OVERLAP" });
  });
});
