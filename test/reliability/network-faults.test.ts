/** Trainings whose recommender or engine is behind a network that loses, breaks and refuses a third of what it carries. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { contentDigest } from "../../src/core/content-digest.ts";
import type { Engine } from "../../src/engines/engine.ts";
import { HttpRecommender } from "../../src/recommenders/http/index.ts";
import { defineTask } from "../../src/rl/task.ts";
import { train } from "../../src/rl/train.ts";
import { readMetrics, readRollouts } from "../../src/runs/run-folder.ts";
import { serveTiny } from "../server/tinker/serve-tiny.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import type { FaultKind, FaultProxy } from "../support/fault-proxy.ts";
import { startServer } from "../support/local-server.ts";
import { WordSearch } from "../support/word-search.ts";
import { makeParts, makeTask, quick } from "../support/word-task.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "rec-r1-network-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

/** Metrics and rollouts of a run. */
async function outcomeOf(runDir: string, steps: number): Promise<unknown> {
  const rollouts = [];
  for (let step = 1; step <= steps; step++) rollouts.push(await readRollouts(runDir, step));
  return { metrics: await readMetrics(runDir), rollouts };
}

describe("a recommender behind a bad network", () => {
  const steps = 12;
  const options = { ...quick, steps, evalEvery: 4, checkpointEvery: 3 };

  /** The words' search as an API, and a proxy before it. */
  async function serve(
    rate: number,
    kinds?: readonly FaultKind[],
  ): Promise<{ proxy: FaultProxy; open: () => Promise<HttpRecommender> }> {
    const { recommender } = makeParts();
    const api = await startServer(async ({ body }) => {
      const { q } = JSON.parse(body) as { q: string };
      const [hits] = await recommender.search([{ text: q }], { topK: 10 });
      const text = JSON.stringify({ results: hits });
      return { text, headers: { "content-type": "application/json", "content-digest": contentDigest(text) } };
    });
    const proxy = await startFaultProxy(api.url, { rate, seed: 1, ...(kinds ? { kinds } : {}) });
    onTestFinished(async () => {
      await proxy.close();
      await api.close();
    });
    return {
      proxy,
      open: () =>
        HttpRecommender.open({
          url: `${proxy.url}/search`,
          body: { q: "{{query}}" },
          hits: "$.results[*]",
          score: "$.score",
          baseDelayMs: 1,
          timeoutMs: 2000,
        }),
    };
  }

  /** A request is not protected by a digest here: it is the API's to notice. */
  const kinds: readonly FaultKind[] = [
    ...["delay", "drop request", "drop reply", "truncate reply", "half reply", "corrupt reply"],
    ...["429", "500", "502", "503"],
  ] as FaultKind[];

  it.each([0.1, 0.3])("trains to the same result when a share of %d of the calls go wrong", async (rate) => {
    const calm = await serve(0);
    const { engine } = makeParts();
    await train({ task: makeTask(), engine, recommender: await calm.open(), runDir: join(root, "calm"), ...options });
    const rough = await serve(rate, kinds);
    const harmed = makeParts();
    await train({
      task: makeTask(),
      engine: harmed.engine,
      recommender: await rough.open(),
      runDir: join(root, "rough"),
      ...options,
    });
    expect(await outcomeOf(join(root, "rough"), steps)).toEqual(await outcomeOf(join(root, "calm"), steps));
    expect(harmed.engine.state).toBe(engine.state);
    const faults = Object.values(rough.proxy.faults).reduce((sum, count) => sum + count, 0);
    expect(faults / rough.proxy.requests).toBeGreaterThan(0.6 * rate);
  });

  it("stops when more fail than may, and resumes to the same result", async () => {
    const calm = await serve(0);
    const { engine } = makeParts();
    await train({ task: makeTask(), engine, recommender: await calm.open(), runDir: join(root, "calm"), ...options });
    // No kind that lets an answer through late: how many get one would depend on the order of requests.
    const outage = await serve(
      0,
      kinds.filter((kind) => kind !== "delay"),
    );
    const harmed = makeParts();
    const runDir = join(root, "outage");
    const attempt = train({
      ...options,
      task: makeTask(),
      engine: harmed.engine,
      recommender: await outage.open(),
      runDir,
      onEvent: (event) => {
        if (event.kind === "step" && event.record.step === 1) outage.proxy.rate = 1;
      },
    });
    await expect(attempt).rejects.toMatchObject({ code: "TOO_MANY_FAILURES" });
    outage.proxy.rate = 0;
    const resumed = makeParts();
    await train({
      ...options,
      task: makeTask(),
      engine: resumed.engine,
      recommender: await outage.open(),
      runDir,
      resume: true,
    });
    expect(await outcomeOf(runDir, steps)).toEqual(await outcomeOf(join(root, "calm"), steps));
    expect(resumed.engine.state).toBe(engine.state);
  });
});

describe("an engine behind a bad network", () => {
  const letters = ["b", "c", "d", "f"];
  const task = defineTask({
    name: "letters",
    data: {
      train: letters.map((letter, i) => ({ id: `q${i}`, query: letter.repeat(2), relevant: [letter] })),
      valid: letters.map((letter, i) => ({ id: `v${i}`, query: letter.repeat(2), relevant: [letter] })),
    },
    prompt: ({ query }) => query,
    parse: (completion) => (completion === "" ? null : [...completion].join(" ")),
    reward: ({ hits, query, example }) =>
      (hits?.some(({ id }) => example.relevant.includes(id as never)) ? 1 : 0) + (query?.length ?? 0) / 100,
    topK: 10,
  });
  const options = {
    task,
    steps: 3,
    promptsPerStep: 4,
    groupSize: 4,
    maxTokens: 4,
    learningRate: 0.02,
    evalEvery: 2,
    checkpointEvery: 2,
  };

  async function trainWith(engine: Engine, name: string): Promise<unknown> {
    const recommender = new WordSearch(
      Object.fromEntries([..."abcdefghijklmnopqrstuvwxy"].map((item) => [item, item])),
    );
    await train({ ...options, engine, recommender, runDir: join(root, name) });
    return outcomeOf(join(root, name), options.steps);
  }

  /**
   * Numbers may differ by the rounding of single precision: requests that come again meet others in a batch of another
   * shape, whose sums are taken in another order. Texts, hits and counts are the same.
   */
  function expectClose(got: unknown, expected: unknown): void {
    if (typeof expected === "number") expect(got).toBeCloseTo(expected, 4);
    else if (typeof expected === "object" && expected !== null) {
      expect(Object.keys(got as object)).toEqual(Object.keys(expected));
      for (const [key, value] of Object.entries(expected)) expectClose((got as Record<string, unknown>)[key], value);
    } else expect(got).toBe(expected);
  }

  it("trains to the same result when three of ten calls go wrong, in either direction", async () => {
    const calm = await serveTiny();
    const expected = await trainWith(await calm.connect(), "calm");
    const rough = await serveTiny();
    const proxy = await startFaultProxy(rough.server.url, { rate: 0.3, seed: 2 });
    onTestFinished(() => proxy.close());
    const engine = await rough.connect({ url: proxy.url, attempts: 12, maxDelayMs: 5 });
    expectClose(await trainWith(engine, "rough"), expected);
    expect(Object.keys(proxy.faults).length).toBeGreaterThan(7);
  });

  it("ends with the server's error when nothing gets through, and keeps what was learnt", async () => {
    const served = await serveTiny();
    const proxy = await startFaultProxy(served.server.url, { rate: 0, seed: 3, kinds: ["503"] });
    onTestFinished(() => proxy.close());
    const engine = await served.connect({ url: proxy.url, attempts: 3, maxDelayMs: 5 });
    const recommender = new WordSearch(Object.fromEntries(letters.map((item) => [item, item])));
    const runDir = join(root, "cut");
    const attempt = train({
      ...options,
      steps: 6,
      engine,
      recommender,
      runDir,
      onEvent: (event) => {
        if (event.kind === "checkpoint" && event.step === 2) proxy.rate = 1;
      },
    });
    await expect(attempt).rejects.toMatchObject({ code: "ENGINE_SERVER_ERROR", status: 503 });
    proxy.rate = 0;
    const again = await served.connect({ url: proxy.url });
    const result = await train({ ...options, steps: 6, engine: again, recommender, runDir, resume: true });
    expect(result.step).toBe(6);
  });
});
