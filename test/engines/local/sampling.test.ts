/** Sampling: what is drawn, with which probabilities, and where a completion ends. */
import { describe, expect, it } from "vitest";
import { randomStream, shuffle } from "../../../src/core/random.ts";
import type { Sample, SamplingParams } from "../../../src/engines/engine.ts";
import type { LocalEngine } from "../../../src/engines/local/index.ts";
import { letters, makeTinyEngine } from "./tiny-models.ts";

const prompts = ["hello", "a", "reinforcement", "bm", "query", "hello"].map((text) => letters.encode(text));
const drawn: SamplingParams = { n: 3, maxTokens: 12, temperature: 1, seed: 7 };

/** Log-probs `[vocab]` of the first token after `prompt`. */
async function firstLogprobs(engine: LocalEngine, prompt: number[], temperature = 1): Promise<number[]> {
  const vocab = Array.from({ length: 26 }, (_, id) => id);
  const found = await engine.logprobs(
    vocab.map((id) => ({ prompt, completion: [id] })),
    { temperature },
  );
  return found.map((logprobs) => logprobs[0]!);
}

const idsOf = (samples: readonly Sample[][]): number[][][] => samples.map((group) => group.map(({ ids }) => ids));

describe("greedy sampling", () => {
  it("takes the likeliest token at every place", async () => {
    const engine = await makeTinyEngine();
    const [[sample]] = (await engine.sample([prompts[0]!], { n: 1, maxTokens: 8, temperature: 0, seed: 1 })) as [
      [Sample],
    ];
    for (let t = 0; t < sample.ids.length; t++) {
      const logprobs = await firstLogprobs(engine, [...prompts[0]!, ...sample.ids.slice(0, t)]);
      expect(sample.ids[t]).toBe(logprobs.indexOf(Math.max(...logprobs)));
      expect(sample.logprobs[t]).toBeCloseTo(logprobs[sample.ids[t]!]!, 4);
    }
  });

  it("gives the same for every sample and seed", async () => {
    const engine = await makeTinyEngine();
    const [a] = await engine.sample([prompts[0]!], { n: 3, maxTokens: 8, temperature: 0, seed: 1 });
    const [b] = await engine.sample([prompts[0]!], { n: 1, maxTokens: 8, temperature: 0, seed: 2 });
    for (const { ids } of a!) expect(ids).toEqual(b![0]!.ids);
  });
});

describe("drawing", () => {
  it("gives the same completions whatever else is drawn with them", async () => {
    const engine = await makeTinyEngine();
    const all = idsOf(await engine.sample(prompts, drawn));
    for (let p = 0; p < prompts.length; p++) {
      const [alone] = idsOf(await engine.sample([prompts[p]!], drawn));
      expect(alone).toEqual(all[p]);
    }
    const order = shuffle([...prompts.keys()], randomStream(1));
    const shuffled = idsOf(
      await engine.sample(
        order.map((p) => prompts[p]!),
        drawn,
      ),
    );
    expect(shuffled).toEqual(order.map((p) => all[p]));
    const more = idsOf(await engine.sample(prompts, { ...drawn, n: 5 }));
    expect(more.map((group) => group.slice(0, 3))).toEqual(all);
  });

  it("gives the same completions in more waves than one", async () => {
    const engine = await makeTinyEngine();
    const many = idsOf(await engine.sample(prompts.slice(0, 2), { ...drawn, n: 300, maxTokens: 4 }));
    const few = idsOf(await engine.sample(prompts.slice(0, 2), { ...drawn, n: 20, maxTokens: 4 }));
    expect(many.map((group) => group.length)).toEqual([300, 300]);
    expect(many.map((group) => group.slice(0, 20))).toEqual(few);
  });

  it("gives other completions for another seed, sample or prompt", async () => {
    const engine = await makeTinyEngine();
    const params = { ...drawn, ignoreEnd: true };
    const a = idsOf(await engine.sample(prompts.slice(0, 2), params)).flat();
    const b = idsOf(await engine.sample(prompts.slice(0, 2), { ...params, seed: 8 })).flat();
    expect(new Set([...a, ...b].map((ids) => ids.join())).size).toBe(12);
  });

  it("answers two calls at once as it does one after the other, also right after a step", async () => {
    const engine = await makeTinyEngine();
    await engine.forwardBackward([{ prompt: [1, 2], completion: [3, 4] }], { name: "cross_entropy" });
    await engine.optimStep({ learningRate: 0.1 });
    const together = await Promise.all([
      engine.sample(prompts, drawn),
      engine.sample(prompts.slice(2, 4), drawn),
      engine.sample(prompts.slice(2, 4), { ...drawn, weights: "reference" }),
    ]);
    expect(idsOf(together[1])).toEqual(idsOf(together[0]).slice(2, 4));
    expect(idsOf(together[0])).toEqual(idsOf(await engine.sample(prompts, drawn)));
    expect(idsOf(together[2])).toEqual(
      idsOf(await engine.sample(prompts.slice(2, 4), { ...drawn, weights: "reference" })),
    );
    expect(idsOf(together[2])).not.toEqual(idsOf(together[1]));
  });

  it.each([0.7, 1, 1.3])("gives the log-probs that scoring gives, at temperature %d", async (temperature) => {
    const engine = await makeTinyEngine({ config: { architecture: "qwen3" } });
    for (const cut of [{}, { topP: 0.8, topK: 10, minP: 0.02 }]) {
      const samples = await engine.sample(prompts, { ...drawn, maxTokens: 30, temperature, ...cut });
      const data = samples.flatMap((group, p) => group.map(({ ids }) => ({ prompt: prompts[p]!, completion: ids })));
      const scored = await engine.logprobs(data, { temperature });
      samples.flat().forEach(({ logprobs }, i) => {
        expect(logprobs).toHaveLength(data[i]!.completion.length);
        logprobs.forEach((x, t) => expect(Math.abs(x - scored[i]![t]!)).toBeLessThan(1e-4));
      });
    }
  });
});

describe("the distribution of first tokens", () => {
  /**
   * Pearson's chi-squared statistic, tokens expected fewer than 5 times thrown together; a token that can't come fails.
   * `limit` is the 99.9 % quantile by Wilson and Hilferty's approximation. Seeds are fixed, so the test can't flicker.
   */
  function chiSquared(
    counts: readonly number[],
    probabilities: readonly number[],
  ): { statistic: number; limit: number } {
    const total = counts.reduce((a, b) => a + b, 0);
    const cells: [observed: number, expected: number][] = [];
    const rare: [number, number] = [0, 0];
    counts.forEach((observed, id) => {
      const expected = total * probabilities[id]!;
      if (expected === 0) expect(observed, `token ${id} was cut off`).toBe(0);
      if (expected >= 5) cells.push([observed, expected]);
      else {
        rare[0] += observed;
        rare[1] += expected;
      }
    });
    if (rare[1] >= 1) cells.push(rare);
    const freedom = cells.length - 1;
    const statistic = cells.reduce((sum, [observed, expected]) => sum + (observed - expected) ** 2 / expected, 0);
    const limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * Math.sqrt(2 / (9 * freedom))) ** 3;
    return { statistic, limit };
  }

  /** What should be left of the distribution: top-k, then min-p, then the nucleus; each from its definition. */
  function cutDistribution(
    all: readonly number[],
    { topK = 0, minP = 0, topP = 1 }: Partial<SamplingParams>,
  ): number[] {
    const order = all.map((_, id) => id).sort((a, b) => all[b]! - all[a]!);
    let kept = topK > 0 ? order.slice(0, topK) : order;
    kept = kept.filter((id) => all[id]! >= minP * all[order[0]!]!);
    let sum = 0;
    kept = kept.filter((id) => {
      const before = sum;
      sum += all[id]!;
      return before < topP;
    });
    const total = kept.reduce((mass, id) => mass + all[id]!, 0);
    return all.map((p, id) => (kept.includes(id) ? p / total : 0));
  }

  it.each([
    ["the whole distribution", { temperature: 1 }],
    ["temperature 0.7", { temperature: 0.7 }],
    ["temperature 1.3", { temperature: 1.3 }],
    ["top-p", { temperature: 1, topP: 0.7 }],
    ["top-k", { temperature: 1, topK: 5 }],
    ["min-p", { temperature: 1, minP: 0.2 }],
    ["all three", { temperature: 1.3, topP: 0.9, topK: 12, minP: 0.05 }],
  ])("%s", async (_name, cut) => {
    const engine = await makeTinyEngine();
    const prompt = prompts[2]!;
    const n = 6000;
    const [samples] = await engine.sample([prompt], { n, maxTokens: 1, seed: 11, ...cut });
    const counts = new Array<number>(26).fill(0);
    for (const { ids } of samples!) counts[ids[0]!]! += 1;
    const all = (await firstLogprobs(engine, prompt, cut.temperature)).map(Math.exp);
    const expected = cutDistribution(all, cut);
    const { statistic, limit } = chiSquared(counts, expected);
    expect(statistic).toBeLessThan(limit);
    // The same counts must not pass for a slightly different distribution, or the test would show nothing.
    const other = (await firstLogprobs(engine, prompt, 1.15 * cut.temperature)).map(Math.exp);
    const wrong = chiSquared(
      counts,
      cutDistribution(other, { ...cut, topP: 1, minP: 0 }).map((p) => p + 1e-9),
    );
    expect(wrong.statistic).toBeGreaterThan(wrong.limit);
  });

  it("of second tokens follows from the first", async () => {
    const engine = await makeTinyEngine();
    const prompt = prompts[3]!;
    const [samples] = await engine.sample([prompt], {
      n: 6000,
      maxTokens: 2,
      temperature: 1,
      seed: 3,
      ignoreEnd: true,
    });
    const firsts = new Map<number, number[]>();
    for (const { ids } of samples!) firsts.set(ids[0]!, [...(firsts.get(ids[0]!) ?? []), ids[1]!]);
    const [first, seconds] = [...firsts].sort((a, b) => b[1].length - a[1].length)[0]!;
    const counts = new Array<number>(26).fill(0);
    for (const id of seconds) counts[id]! += 1;
    const expected = (await firstLogprobs(engine, [...prompt, first])).map(Math.exp);
    const { statistic, limit } = chiSquared(counts, expected);
    expect(statistic).toBeLessThan(limit);
  });
});

describe("the probability that a cut leaves", () => {
  it("is that of the tokens that could be drawn, for every token", async () => {
    const engine = await makeTinyEngine();
    for (const cut of [{ topP: 0.6 }, { topK: 3 }, { minP: 0.4 }, { topP: 0.9, topK: 5, minP: 0.05 }]) {
      const [[sample]] = (await engine.sample([prompts[0]!], { ...drawn, n: 1, ...cut, ignoreEnd: true })) as [
        [Sample],
      ];
      expect(sample.keptMass).toHaveLength(sample.ids.length);
      for (let t = 0; t < sample.ids.length; t += 4) {
        const before = [...prompts[0]!, ...sample.ids.slice(0, t)];
        const sorted = (await firstLogprobs(engine, before)).map(Math.exp).sort((a, b) => b - a);
        const { topP = 1, topK = 26, minP = 0 } = cut as { topP?: number; topK?: number; minP?: number };
        let mass = 0;
        sorted.forEach((p, rank) => {
          if (rank < topK && p >= minP * sorted[0]! && mass < topP) mass += p;
        });
        expect(sample.keptMass![t]).toBeCloseTo(mass, 4);
        expect(Math.exp(sample.logprobs[t]!)).toBeLessThanOrEqual(sample.keptMass![t]! + 1e-6);
      }
    }
  });

  it("is left out where nothing is cut", async () => {
    const engine = await makeTinyEngine();
    for (const params of [drawn, { ...drawn, temperature: 0, topP: 0.5 }]) {
      const [[sample]] = (await engine.sample([prompts[0]!], params)) as [[Sample]];
      expect(sample).not.toHaveProperty("keptMass");
    }
  });

  it("makes up for the cut: the weighted terms average to the policy's own among what could be drawn", async () => {
    const engine = await makeTinyEngine();
    const prompt = prompts[1]!;
    const logprobs = await firstLogprobs(engine, prompt);
    const samples = (await engine.sample([prompt], { ...drawn, n: 3000, maxTokens: 1, topK: 4 }))[0]!;
    const likeliest = logprobs
      .map((logprob, id) => ({ id, p: Math.exp(logprob) }))
      .sort((a, b) => b.p - a.p)
      .slice(0, 4);
    for (const { id, p } of likeliest) {
      const weights = samples.map(({ ids, keptMass }) => (ids[0] === id ? keptMass![0]! : 0));
      const mean = weights.reduce((a, b) => a + b, 0) / weights.length;
      // Five standard errors of a share of 3,000.
      expect(Math.abs(mean - p)).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / 3000));
    }
  });
});

describe("the end of a completion", () => {
  const long: SamplingParams = { n: 8, maxTokens: 40, temperature: 1.5, seed: 2 };

  it("is an end token of the tokenizer, kept in the ids and left out of the text", async () => {
    const engine = await makeTinyEngine();
    const samples = (await engine.sample(prompts, long)).flat();
    const ended = samples.filter(({ stopReason }) => stopReason === "stop");
    expect(ended.length).toBeGreaterThan(0);
    for (const { ids, text } of ended) {
      expect(ids.indexOf(25)).toBe(ids.length - 1);
      expect(text).toBe(letters.decode(ids.slice(0, -1)));
    }
    for (const { ids, text } of samples.filter(({ stopReason }) => stopReason === "length")) {
      expect(ids).toHaveLength(40);
      expect(ids).not.toContain(25);
      expect(text).toBe(letters.decode(ids));
    }
  });

  it("is left out where end tokens are ignored", async () => {
    const engine = await makeTinyEngine();
    const samples = (await engine.sample(prompts, { ...long, ignoreEnd: true })).flat();
    expect(samples.some(({ ids }) => ids.includes(25))).toBe(true);
    for (const { ids, logprobs, stopReason } of samples) {
      expect([ids.length, logprobs.length, stopReason]).toEqual([40, 40, "length"]);
    }
  });

  it("is a stop id, besides the end tokens or in spite of their being ignored", async () => {
    const engine = await makeTinyEngine();
    const free = (await engine.sample(prompts, { ...long, ignoreEnd: true })).flat();
    for (const ignoreEnd of [false, true]) {
      const ends = ignoreEnd ? [3, 4] : [3, 4, 25];
      const stopped = (await engine.sample(prompts, { ...long, ignoreEnd, stopIds: [3, 4] })).flat();
      stopped.forEach(({ ids, text, stopReason }, i) => {
        const whole = free[i]!.ids;
        const end = whole.findIndex((id) => ends.includes(id));
        expect(ids).toEqual(end < 0 ? whole : whole.slice(0, end + 1));
        expect(stopReason).toBe(end < 0 ? "length" : "stop");
        expect(text).toBe(letters.decode(end < 0 ? ids : ids.slice(0, -1)));
      });
    }
  });

  it("comes before the first stop string, which may span tokens", async () => {
    const engine = await makeTinyEngine();
    const free = (await engine.sample(prompts, { ...long, ignoreEnd: true })).flat();
    const pair = free[0]!.text.slice(4, 6);
    const stop = [pair, "a", "never in it"];
    const stopped = (await engine.sample(prompts, { ...long, ignoreEnd: true, stop })).flat();
    expect(stopped.filter(({ stopReason }) => stopReason === "stop").length).toBeGreaterThan(1);
    stopped.forEach(({ ids, text, logprobs, stopReason }, i) => {
      expect(ids).toEqual(free[i]!.ids.slice(0, ids.length));
      expect(logprobs).toHaveLength(ids.length);
      const whole = free[i]!.text;
      const starts = stop.map((s) => whole.indexOf(s)).filter((at) => at >= 0);
      const ends = stop.flatMap((s) => (whole.includes(s) ? [whole.indexOf(s) + s.length] : []));
      if (starts.length === 0) {
        expect(stopReason).toBe("length");
        return;
      }
      expect(stopReason).toBe("stop");
      const seen = whole.slice(0, Math.min(...ends));
      expect(text).toBe(seen.slice(0, Math.min(...stop.map((s) => seen.indexOf(s)).filter((at) => at >= 0))));
    });
  });

  it("is the first token where only one is wanted", async () => {
    const engine = await makeTinyEngine();
    const samples = await engine.sample(prompts, { ...long, maxTokens: 1 });
    for (const { ids, logprobs } of samples.flat()) expect([ids.length, logprobs.length]).toEqual([1, 1]);
  });

  it("tells of each completion as it ends", async () => {
    const engine = await makeTinyEngine();
    const told: number[] = [];
    await engine.sample(prompts, { ...long, onProgress: (done) => told.push(done) });
    expect(told).toEqual(Array.from({ length: prompts.length * long.n }, (_, i) => i + 1));
  });
});

describe("a completion that grows", () => {
  it.each([
    ["greedy", { temperature: 0 }],
    ["drawn", { temperature: 1 }],
    ["cut and stopped", { temperature: 1, topK: 8, stop: ["e"] }],
  ])("is told token by token, all but the last: %s", async (_name, settings) => {
    const engine = await makeTinyEngine();
    const told = new Map<string, number[][]>();
    const params: SamplingParams = {
      ...drawn,
      ...settings,
      onGrowth: (prompt, index, { ids, logprobs }) => {
        expect(logprobs).toHaveLength(ids.length);
        const key = `${prompt} ${index}`;
        told.set(key, [...(told.get(key) ?? []), [...ids]]);
      },
    };
    const samples = await engine.sample(prompts, params);
    samples.forEach((group, prompt) =>
      group.forEach(({ ids }, index) => {
        const expected = Array.from({ length: ids.length - 1 }, (_, t) => ids.slice(0, t + 1));
        expect(told.get(`${prompt} ${index}`) ?? []).toEqual(expected);
      }),
    );
  });
});

describe("what sampling refuses", () => {
  const params: SamplingParams = { n: 1, maxTokens: 4, temperature: 1, seed: 1 };

  it("takes prompts up to the model's context and no longer", async () => {
    const engine = await makeTinyEngine({ config: { contextLength: 16 } });
    const prompt = Array.from({ length: 12 }, (_, i) => i);
    const [[whole]] = (await engine.sample([prompt], { ...params, ignoreEnd: true })) as [[Sample]];
    expect(whole.ids).toHaveLength(4);
    await expect(engine.sample([[...prompt, 1]], params)).rejects.toMatchObject({
      code: "ENGINE_CONTEXT",
      message: expect.stringMatching(/13 tokens.*16/),
    });
  });

  it("gives nothing for no prompts, and refuses an empty one", async () => {
    const engine = await makeTinyEngine();
    expect(await engine.sample([], params)).toEqual([]);
    await expect(engine.sample([[1], []], params)).rejects.toMatchObject({ code: "ENGINE_EMPTY_PROMPT" });
  });

  it.each([
    [{ n: 0 }],
    [{ n: 1.5 }],
    [{ maxTokens: 0 }],
    [{ maxTokens: 2.5 }],
    [{ maxTokens: NaN }],
    [{ temperature: -1 }],
    [{ temperature: NaN }],
    [{ temperature: Infinity }],
    [{ topP: 0 }],
    [{ topP: 1.1 }],
    [{ topK: -1 }],
    [{ topK: 1.5 }],
    [{ minP: -0.1 }],
    [{ minP: 1.5 }],
    [{ stop: [""] }],
  ])("refuses %j and says so", async (wrong) => {
    const engine = await makeTinyEngine();
    const [[field, value]] = Object.entries(wrong) as [[string, unknown]];
    await expect(engine.sample([[1]], { ...params, ...wrong })).rejects.toMatchObject({
      code: "ENGINE_SAMPLING",
      message: expect.stringContaining(field),
    });
    expect(String(value)).toBeDefined();
  });

  it.each([[-1], [26], [1.5], [NaN]])("refuses the token id %d", async (id) => {
    const engine = await makeTinyEngine();
    await expect(engine.sample([[1, id]], params)).rejects.toMatchObject({
      code: "ENGINE_TOKEN",
      message: expect.stringContaining(String(id)),
    });
  });

  it("stops when asked to, before and in the middle, and goes on afterwards", async () => {
    const engine = await makeTinyEngine();
    const before = AbortSignal.abort();
    await expect(engine.sample(prompts, { ...params, signal: before })).rejects.toMatchObject({ code: "ABORTED" });
    const controller = new AbortController();
    const stopped = engine.sample(prompts, {
      ...params,
      n: 4,
      maxTokens: 50,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    expect(await engine.sample(prompts, params)).toHaveLength(prompts.length);
  });
});
