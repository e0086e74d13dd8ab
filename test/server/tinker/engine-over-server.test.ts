/** The Tinker engine over the project's own server is the local engine, at a distance: same numbers, same states. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { type Datum, type Engine, type Loss, lossNames, type Sample } from "../../../src/engines/engine.ts";
import { letters, temporaryFolder } from "../../engines/local/tiny-models.ts";
import { serveTiny } from "./serve-tiny.ts";

vi.setConfig({ testTimeout: 300_000 });

const sampling = { n: 4, maxTokens: 6, temperature: 1, seed: 7 };
const prompts = ["find", "look", "a"].map((text) => letters.encode(text));
const adam = { learningRate: 1e-2, maxGradNorm: 0.5 };

/** Rollouts as a step's data, with old log-probs a little off, so that every side of a clip is met. */
async function makeData(engine: Engine): Promise<Datum[]> {
  const samples_P_G = await engine.sample(prompts, sampling);
  return samples_P_G.flatMap((samples, p) =>
    samples.map(({ ids, logprobs }, g) => ({
      prompt: prompts[p]!,
      completion: ids,
      oldLogprobs: logprobs.map((logprob, t) => logprob + 0.5 * Math.sin(3 * g + 5 * t + p)),
      refLogprobs: logprobs.map((logprob, t) => logprob - 0.3 * Math.cos(g + t)),
      advantage: Math.cos(2 * g + p),
    })),
  );
}

const flat = (rows: readonly Float32Array[]): number[] => rows.flatMap((row) => Array.from(row));

/** Equal completions; their log-probs may differ in the last digits, since batches differ. */
function expectSameSamples(actual: Sample[][], expected: Sample[][]): void {
  const plain = (rows: Sample[][]): unknown =>
    rows.map((row) => row.map(({ ids, text, stopReason }) => ({ ids, text, stopReason })));
  expect(plain(actual)).toEqual(plain(expected));
  const logprobs = (rows: Sample[][]): number[] => flat(rows.flat().map((sample) => sample.logprobs));
  expectClose(logprobs(actual), logprobs(expected), 1e-4);
}

function expectClose(actual: readonly number[], expected: readonly number[], within: number): void {
  expect(actual).toHaveLength(expected.length);
  const largest = actual.reduce((max, value, i) => Math.max(max, Math.abs(value - expected[i]!)), 0);
  expect(largest).toBeLessThan(within);
}

describe("pages of other sites", () => {
  it("are refused, whatever type of body they send", async () => {
    const { server } = await serveTiny();
    const ask = (headers: Record<string, string>) =>
      fetch(`${server.url}/api/v1/create_session`, { method: "POST", headers, body: "{}" });
    expect((await ask({ origin: "https://shop.example", "content-type": "text/plain" })).status).toBe(403);
    expect((await ask({ "sec-fetch-site": "cross-site" })).status).toBe(403);
    expect((await ask({})).status).toBe(200);
  });
});

describe("the Tinker engine over rec-r1's own server", () => {
  it("samples exactly what the local engine samples", async () => {
    const { connect, local } = await serveTiny();
    const remote = await connect();
    const expected = await local().sample(prompts, sampling);
    const progress: number[] = [];
    const found = await remote.sample(prompts, { ...sampling, onProgress: (done) => progress.push(done) });
    expectSameSamples(found, expected);
    expect(progress).toEqual([4, 8, 12]);
    const stop = { ...sampling, stop: ["e"], seed: 11 };
    const cut = await remote.sample(prompts, stop);
    expect(cut.map((samples) => samples.map(({ text }) => text))).toEqual(
      (await local().sample(prompts, stop)).map((samples) => samples.map(({ text }) => text)),
    );
    const greedy = { ...sampling, n: 1, temperature: 0, weights: "reference" as const };
    expectSameSamples(await remote.sample(prompts, greedy), await local().sample(prompts, greedy));
  });

  const variants: [string, Loss][] = [
    ...lossNames.map((name): [string, Loss] => [name, { name, maxTokens: 6 }]),
    ["grpo with a KL term", { name: "grpo", klCoef: 0.1 }],
    ["ppo with its own clips and k2", { name: "ppo", clipLow: 0.1, clipHigh: 0.4, klCoef: 0.2, klEstimator: "k2" }],
    [
      "dapo averaged over sequences, with k1",
      { name: "dapo", aggregation: "sequence", klCoef: 0.05, klEstimator: "k1" },
    ],
    ["cross-entropy of a part of a batch", { name: "cross_entropy", batch: { tokens: 100, completions: 20 } }],
  ];
  it.each(variants)("trains with %s as the local engine does", async (_, loss) => {
    const { connect, local } = await serveTiny();
    const remote = await connect();
    const here = local();
    const data = await makeData(here);
    for (let step = 0; step < 2; step++) {
      const expected = await here.forwardBackward(data, loss);
      const found = await remote.forwardBackward(data, loss);
      expect(found.loss).toBeCloseTo(expected.loss, 4);
      expectClose(flat(found.logprobs), flat(expected.logprobs), 2e-4);
      for (const [name, value] of Object.entries(found.metrics))
        expect(value, name).toBeCloseTo(expected.metrics[name]!, 3);
      const norms = [await here.optimStep(adam), await remote.optimStep(adam)].map(({ gradNorm }) => gradNorm);
      expect(norms[1]! / norms[0]!).toBeCloseTo(1, 3);
    }
    expectClose(flat(await remote.logprobs(data)), flat(await here.logprobs(data)), 1e-3);
    const reference = { weights: "reference" as const };
    expectClose(flat(await remote.logprobs(data, reference)), flat(await here.logprobs(data, reference)), 1e-4);
  });

  it("gives a reference's log-probs of texts that fill the context", async () => {
    const { connect, local } = await serveTiny();
    const remote = await connect();
    const prompt = prompts[0]!;
    const completion = Array.from({ length: remote.contextLength - prompt.length }, (_, i) => i % 25);
    const reference = { weights: "reference" } as const;
    const found = await remote.logprobs([{ prompt, completion }], reference);
    expectClose(flat(found), flat(await local().logprobs([{ prompt, completion }], reference)), 1e-4);
  });

  it("speaks JSON as well, and in chunks", async () => {
    const { connect, local } = await serveTiny();
    const data = await makeData(local());
    const loss: Loss = { name: "ppo" };
    const expected = await local().forwardBackward(data, loss);
    const remote = await connect({ wire: "json" });
    expectClose(flat((await remote.forwardBackward(data, loss)).logprobs), flat(expected.logprobs), 1e-4);
    expect((await remote.optimStep(adam)).applied).toBe(true);
  });

  it("takes states up again, on a server that was started anew", async () => {
    const folder = await temporaryFolder();
    const loss: Loss = { name: "grpo" };
    const first = await serveTiny({ dir: join(folder, "server") });
    const before = await first.connect();
    const data = await makeData(before);
    await before.forwardBackward(data, loss);
    await before.optimStep(adam);
    await before.saveState(join(folder, "state"));
    await before.forwardBackward(data, loss);
    await before.optimStep(adam);
    const expected = await before.logprobs(data);
    await first.server.close();
    await expect(before.logprobs(data)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });

    const second = await serveTiny({ dir: join(folder, "server") });
    const after = await second.connect();
    await after.loadState(join(folder, "state"));
    await after.forwardBackward(data, loss);
    await after.optimStep(adam);
    expectClose(flat(await after.logprobs(data)), flat(expected), 1e-6);
  });

  it("frees states that are no longer wanted, and leaves other servers' alone", async () => {
    const folder = await temporaryFolder();
    const { connect, dir } = await serveTiny();
    const remote = await connect();
    const kept = async (): Promise<number> =>
      (await readdir(join(dir, "weights"), { recursive: true, withFileTypes: true })).filter(
        (entry) => entry.name.startsWith("rec-r1-") && entry.isDirectory(),
      ).length;
    await remote.saveState(join(folder, "a"));
    await remote.saveState(join(folder, "b"));
    expect(await kept()).toBe(2);
    const { connect: connectOther } = await serveTiny();
    await (await connectOther()).dropState(join(folder, "a"));
    await remote.dropState(join(folder, "absent"));
    expect(await kept()).toBe(2);
    await remote.dropState(join(folder, "a"));
    expect(await kept()).toBe(1);
    await expect(remote.loadState(join(folder, "a"))).rejects.toMatchObject({ code: "CHECKPOINT_NOT_ON_SERVER" });
    await remote.loadState(join(folder, "b"));
  });

  it("samples from the weights as they were when it was asked, while they change", async () => {
    const { connect, local } = await serveTiny();
    const remote = await connect();
    const here = local();
    const data = await makeData(here);
    const drawing = remote.sample(prompts, sampling);
    const expected = await here.sample(prompts, sampling);
    await remote.forwardBackward(data, { name: "ppo" });
    await remote.optimStep({ ...adam, learningRate: 0.1 });
    expectSameSamples(await drawing, expected);
    const [then, now] = [expected, await remote.sample(prompts, sampling)].map((rows) =>
      rows.flat().map(({ ids }) => ids),
    );
    expect(now).not.toEqual(then);
  });

  it("drops gradients on request", async () => {
    const { connect, local } = await serveTiny();
    const remote = await connect();
    const data = await makeData(local());
    await remote.forwardBackward(data, { name: "ppo" });
    await remote.optimStep(adam);
    const before = await remote.logprobs(data);
    await remote.forwardBackward(data, { name: "cross_entropy" });
    await remote.zeroGrad();
    expect(await remote.optimStep(adam)).toEqual({ gradNorm: 0, applied: false });
    expectClose(flat(await remote.logprobs(data)), flat(before), 1e-6);
  });

  it("weighs several passes before one optimizer step as one pass over all of it", async () => {
    const { connect } = await serveTiny();
    const data = await makeData(await connect());
    const loss: Loss = { name: "ppo", batch: { tokens: 50, completions: 12 } };
    const [whole, parts] = [await connect({ seed: 5 }), await connect({ seed: 5 })];
    await whole.forwardBackward(data, loss);
    await parts.forwardBackward(data.slice(0, 5), loss);
    await parts.forwardBackward(data.slice(5), loss);
    const norms = [await whole.optimStep(adam), await parts.optimStep(adam)].map(({ gradNorm }) => gradNorm);
    expect(norms[1]! / norms[0]!).toBeCloseTo(1, 4);
    expectClose(flat(await parts.logprobs(data)), flat(await whole.logprobs(data)), 1e-4);
  });
});
