/** Gradients and steps: accumulation, merging, clipping, AdamW, what a step changes and what it leaves alone. */
import { describe, expect, it } from "vitest";
import { randomStream } from "../../../src/core/random.ts";
import type { AdamParams, Datum, Loss } from "../../../src/engines/engine.ts";
import type { LocalEngine, LocalEngineOptions } from "../../../src/engines/local/index.ts";
import { makeTinyEngine } from "./tiny-models.ts";

const loss: Loss = { name: "grpo", klCoef: 0.05 };
const adam: AdamParams = { learningRate: 0.01, maxGradNorm: 1 };

/** Groups of 4 completions for each prompt length, with rewards' advantages and old log-probs near the model's. */
async function makeBatch(engine: LocalEngine, promptLengths = [6, 1, 9, 3, 4]): Promise<Datum[]> {
  const random = randomStream(21, "batch");
  const ids = (length: number): number[] => Array.from({ length }, () => random.nextInt(25));
  const data = promptLengths.flatMap((length) => {
    const prompt = ids(length);
    return Array.from({ length: 4 }, () => ({ prompt, completion: ids(1 + random.nextInt(7)) }));
  });
  const logprobs = await engine.logprobs(data);
  return data.map((datum, i) => ({
    ...datum,
    oldLogprobs: logprobs[i]!.map((x) => x + 0.3 * (random.next() - 0.5)),
    refLogprobs: logprobs[i]!.map((x) => x + 0.3 * (random.next() - 0.5)),
    advantage: 2 * random.next() - 1,
  }));
}

const copyOf = (arrays: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> =>
  new Map([...arrays].map(([name, data]) => [name, data.slice()]));

/** ‖a − b‖ / ‖b‖ over all arrays together. */
function relativeDifference(a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>): number {
  expect([...a.keys()]).toEqual([...b.keys()]);
  let difference = 0;
  let norm = 0;
  for (const [name, data] of b) {
    const own = a.get(name)!;
    data.forEach((x, i) => {
      difference += (own[i]! - x) ** 2;
      norm += x ** 2;
    });
  }
  return Math.sqrt(difference / norm);
}

/** Gradients of a whole batch, gathered in the given parts. */
async function gather(engine: LocalEngine, parts: readonly (readonly Datum[])[], own: Loss = loss) {
  let total = 0;
  for (const part of parts) total += (await engine.forwardBackward(part, own)).loss;
  const gradients = copyOf(engine.pendingGradients);
  await engine.zeroGrad();
  return { total, gradients };
}

const batchOf = (data: readonly Datum[]) => ({
  tokens: data.reduce((sum, { completion }) => sum + completion.length, 0),
  completions: data.length,
});

/** Sums of a few dozen float32 terms in another order differ by some 1e-7 of their size. */
const rounding = 2e-6;

const kinds: [string, LocalEngineOptions][] = [
  ["LoRA", {}],
  ["full fine-tuning", { full: true }],
];

/** An engine whose adapter is no longer at its start, where half of the gradients vanish. */
async function makeEngine(options: LocalEngineOptions = {}): Promise<LocalEngine> {
  const engine = await makeTinyEngine(options);
  if (options.full) return engine;
  const random = randomStream(4, "adapter");
  const values = [...engine.trained].map(
    ([name, data]) => [name, data.map(() => 0.6 * (random.next() - 0.5))] as const,
  );
  engine.replaceTrained(new Map(values));
  return engine;
}

describe.each(kinds)("accumulation, %s", (_name, options) => {
  it.each([
    { name: "grpo", klCoef: 0.05 },
    { name: "dapo" },
    { name: "gspo" },
    { name: "dr_grpo", maxTokens: 8 },
  ] as Loss[])("in one call, ten calls and small micro-batches gives the same gradients, $name", async (base) => {
    const engine = await makeEngine(options);
    const data = await makeBatch(engine);
    const own = { ...base, batch: batchOf(data) };
    const whole = await gather(engine, [data], own);
    const tens = Array.from({ length: 10 }, (_, i) => data.slice(2 * i, 2 * i + 2));
    const parts = await gather(engine, tens, own);
    expect(parts.total).toBeCloseTo(whole.total, 5);
    expect(relativeDifference(parts.gradients, whole.gradients)).toBeLessThan(rounding);
    // So many rows would not fit one chunk of logits: the same batch in four.
    for (const maxRows of [1, 12, 40, 4e6]) {
      const other = await makeEngine({ ...options, maxRows });
      const cut = await gather(other, [data], base);
      expect(cut.total).toBeCloseTo(whole.total, 5);
      expect(relativeDifference(cut.gradients, whole.gradients)).toBeLessThan(rounding);
    }
  });

  it("leads to the same step", async () => {
    const [one, many] = [await makeEngine(options), await makeEngine(options)];
    const data = await makeBatch(one);
    const own = { ...loss, batch: batchOf(data) };
    for (let step = 0; step < 3; step++) {
      await one.forwardBackward(data, loss);
      for (let i = 0; i < data.length; i += 2) await many.forwardBackward(data.slice(i, i + 2), own);
      const [a, b] = [await one.optimStep(adam), await many.optimStep(adam)];
      expect(b.gradNorm / a.gradNorm).toBeCloseTo(1, 5);
    }
    expect(relativeDifference(many.trained, one.trained)).toBeLessThan(1e-4);
  });

  it("counts duplicates as often as they come, though they are computed once", async () => {
    const engine = await makeEngine(options);
    const data = await makeBatch(engine, [5, 2]);
    const doubled = [...data, data[1]!, { ...data[1]!, completion: [...data[1]!.completion] }, data[6]!];
    const own = { ...loss, batch: batchOf(doubled) };
    const merged = await gather(engine, [doubled], own);
    const apart = await gather(
      engine,
      doubled.map((datum) => [datum]),
      own,
    );
    expect(merged.total).toBeCloseTo(apart.total, 5);
    expect(relativeDifference(merged.gradients, apart.gradients)).toBeLessThan(rounding);
    const result = await engine.forwardBackward(doubled, loss);
    expect(result.logprobs).toHaveLength(doubled.length);
    expect(result.logprobs.map((x) => x.length)).toEqual(doubled.map(({ completion }) => completion.length));
    expect([...result.logprobs[8]!]).toEqual([...result.logprobs[1]!]);
  });

  it("keeps apart equal completions with other advantages, old or reference log-probs", async () => {
    const engine = await makeEngine(options);
    const [datum] = await makeBatch(engine, [5]);
    const shifted = datum!.oldLogprobs!.map((x) => x + 0.1);
    const data: Datum[] = [
      datum!,
      { ...datum!, advantage: -datum!.advantage! },
      { ...datum!, oldLogprobs: shifted },
      { ...datum!, refLogprobs: shifted },
    ];
    const own = { ...loss, batch: batchOf(data) };
    const together = await gather(engine, [data], own);
    const apart = await gather(
      engine,
      data.map((one) => [one]),
      own,
    );
    expect(together.total).toBeCloseTo(apart.total, 5);
    expect(relativeDifference(together.gradients, apart.gradients)).toBeLessThan(rounding);
  });

  it("may leave out data without advantage where the batch says how much there was", async () => {
    const engine = await makeEngine(options);
    const data = (await makeBatch(engine)).map((datum, i) => (i % 3 === 0 ? { ...datum, advantage: 0 } : datum));
    for (const name of ["grpo", "ppo", "dr_grpo"] as const) {
      const own: Loss = { name, maxTokens: 8, batch: batchOf(data) };
      const whole = await gather(engine, [data], own);
      const rest = await gather(engine, [data.filter(({ advantage }) => advantage !== 0)], own);
      expect(rest.total).toBeCloseTo(whole.total, 5);
      expect(relativeDifference(rest.gradients, whole.gradients)).toBeLessThan(rounding);
    }
  });

  it("is undone by zeroGrad", async () => {
    const engine = await makeEngine(options);
    const data = await makeBatch(engine, [4]);
    const before = copyOf(engine.trained);
    await engine.forwardBackward(data, loss);
    await engine.zeroGrad();
    expect(engine.pendingGradients.size).toBe(0);
    expect(await engine.optimStep(adam)).toEqual({ gradNorm: 0, applied: false });
    expect(engine.trained).toEqual(before);
  });
});

describe.each(kinds)("a step, %s", (_name, options) => {
  it("is AdamW's on the clipped gradients", async () => {
    const engine = await makeEngine(options);
    const data = await makeBatch(engine);
    const params = { learningRate: 0.02, beta1: 0.8, beta2: 0.95, epsilon: 1e-6, weightDecay: 0.1, maxGradNorm: 0.05 };
    // Decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2), in float64.
    const expected = new Map([...engine.trained].map(([name, w]) => [name, Float64Array.from(w)]));
    const first = new Map([...expected].map(([name, w]) => [name, new Float64Array(w.length)]));
    const second = new Map([...expected].map(([name, w]) => [name, new Float64Array(w.length)]));
    for (let step = 1; step <= 3; step++) {
      await engine.forwardBackward(data, loss);
      const gradients = copyOf(engine.pendingGradients);
      const norm = Math.hypot(...[...gradients.values()].map((g) => Math.hypot(...g)));
      expect(norm).toBeGreaterThan(params.maxGradNorm);
      const result = await engine.optimStep(params);
      expect(result.applied).toBe(true);
      expect(result.gradNorm / norm).toBeCloseTo(1, 6);
      for (const [name, g] of gradients) {
        const [w, m, v] = [expected.get(name)!, first.get(name)!, second.get(name)!];
        g.forEach((raw, i) => {
          const clipped = (raw * params.maxGradNorm) / norm;
          m[i] = 0.8 * m[i]! + 0.2 * clipped;
          v[i] = 0.95 * v[i]! + 0.05 * clipped ** 2;
          w[i]! *= 1 - params.learningRate * params.weightDecay;
          const mean = m[i]! / (1 - 0.8 ** step);
          w[i]! -= (params.learningRate * mean) / (Math.sqrt(v[i]! / (1 - 0.95 ** step)) + params.epsilon);
        });
      }
      for (const [name, w] of expected) {
        const own = engine.trained.get(name)!;
        for (let i = 0; i < w.length; i++) expect(Math.abs(own[i]! - w[i]!)).toBeLessThan(1e-5);
      }
    }
  });

  it("does not scale gradients below the clipping norm, nor with clipping off", async () => {
    const data = await makeBatch(await makeEngine(options));
    const stepWith = async (maxGradNorm: number) => {
      const engine = await makeEngine(options);
      await engine.forwardBackward(data, loss);
      await engine.optimStep({ learningRate: 0.01, epsilon: 1, maxGradNorm });
      return copyOf(engine.trained);
    };
    const unclipped = await stepWith(Infinity);
    expect(await stepWith(1e6)).toEqual(unclipped);
    expect(await stepWith(1e-3)).not.toEqual(unclipped);
  });

  it.each([
    ["infinite", Infinity],
    ["not a number", NaN],
  ])("on gradients that are %s changes nothing and clears them", async (_kind, value) => {
    const engine = await makeEngine(options);
    const data = await makeBatch(engine, [4]);
    await engine.forwardBackward(data, loss);
    await engine.optimStep(adam);
    const before = copyOf(engine.trained);
    const wrong = data.map((datum, i) => (i === 1 ? { ...datum, weight: value } : datum));
    const { loss: got } = await engine.forwardBackward(wrong, loss);
    expect(Number.isFinite(got)).toBe(false);
    const { gradNorm, applied } = await engine.optimStep(adam);
    expect(Number.isFinite(gradNorm)).toBe(false);
    expect(applied).toBe(false);
    expect(engine.trained).toEqual(before);
    // The next step is the one that would have followed.
    const other = await makeEngine(options);
    for (const one of [engine, other]) {
      if (one === other) {
        await one.forwardBackward(data, loss);
        await one.optimStep(adam);
      }
      await one.forwardBackward(data, loss);
      expect((await one.optimStep(adam)).applied).toBe(true);
    }
    expect(engine.trained).toEqual(other.trained);
  });

  it("learns: cross entropy of the data falls, and they become likely", async () => {
    const engine = await makeTinyEngine({ ...options, loraRank: 8 });
    const data = [
      { prompt: [1, 2, 3], completion: [4, 5, 6, 25] },
      { prompt: [7, 8], completion: [9, 10, 25] },
    ];
    const losses: number[] = [];
    for (let step = 0; step < 60; step++) {
      losses.push((await engine.forwardBackward(data, { name: "cross_entropy" })).loss);
      await engine.optimStep({ learningRate: 0.03 });
    }
    // An adapter can't make the tied embeddings longer, so logits stay bounded and the loss above 0.4.
    expect(losses[0]).toBeGreaterThan(2);
    expect(losses.at(-1)).toBeLessThan(options.full ? 0.05 : 0.5);
    const samples = await engine.sample(
      data.map(({ prompt }) => prompt),
      { n: 1, maxTokens: 8, temperature: 0, seed: 1 },
    );
    expect(samples.map(([sample]) => sample!.ids)).toEqual(data.map(({ completion }) => completion));
  });
});

describe("LoRA", () => {
  it("starts as the model itself and leaves the reference policy as it was", async () => {
    const engine = await makeTinyEngine();
    const data = await makeBatch(engine);
    const start = await engine.logprobs(data);
    expect(await engine.logprobs(data, { weights: "reference" })).toEqual(start);
    for (let step = 0; step < 3; step++) {
      await engine.forwardBackward(data, loss);
      await engine.optimStep({ ...adam, learningRate: 0.1 });
    }
    expect(await engine.logprobs(data, { weights: "reference" })).toEqual(start);
    const moved = await engine.logprobs(data);
    expect(Math.max(...moved.flatMap((row, d) => [...row].map((x, t) => Math.abs(x - start[d]![t]!))))).toBeGreaterThan(
      0.05,
    );
  });

  it("starts from a seed of its own", async () => {
    const [a, b, c] = [
      await makeTinyEngine({ seed: 1 }),
      await makeTinyEngine({ seed: 1 }),
      await makeTinyEngine({ seed: 2 }),
    ];
    expect(a.trained).toEqual(b.trained);
    expect(a.trained).not.toEqual(c.trained);
  });

  it("trains the layers asked for and no others", async () => {
    const engine = await makeTinyEngine({ loraTargets: ["q_proj", "up_proj"] });
    const modules = new Set([...engine.trained.keys()].map((name) => name.replace(/^.*\.(\w+_proj)\..*$/, "$1")));
    expect(modules).toEqual(new Set(["q_proj", "up_proj"]));
    expect(engine.description["trainedParameters"]).toBe(
      [...engine.trained.values()].reduce((sum, { length }) => sum + length, 0),
    );
  });

  it.each([0, -1, 1.5, NaN])("refuses the rank %d", async (loraRank) => {
    await expect(makeTinyEngine({ loraRank })).rejects.toMatchObject({ code: "ENGINE_LORA" });
  });
});

describe("what training refuses", () => {
  const datum: Datum = {
    prompt: [1, 2],
    completion: [3, 4],
    advantage: 1,
    oldLogprobs: Float32Array.of(-1, -1),
    refLogprobs: Float32Array.of(-1, -1),
  };

  it.each<[string, Datum, Loss, string]>([
    ["an empty prompt", { ...datum, prompt: [] }, loss, "ENGINE_EMPTY_DATUM"],
    ["an empty completion", { ...datum, completion: [] }, loss, "ENGINE_EMPTY_DATUM"],
    ["an unknown token", { ...datum, prompt: [1, 26] }, loss, "ENGINE_TOKEN"],
    ["an unknown token to be scored", { ...datum, completion: [3, -1] }, loss, "ENGINE_TOKEN"],
    ["more than the context", { ...datum, prompt: Array<number>(63).fill(1) }, loss, "ENGINE_CONTEXT"],
    [
      "no advantage",
      { prompt: [1], completion: [2], oldLogprobs: Float32Array.of(-1) },
      { name: "ppo" },
      "ENGINE_DATUM",
    ],
    ["an advantage that is no number", { ...datum, advantage: NaN }, loss, "ENGINE_DATUM"],
    ["no old log-probs", { prompt: [1], completion: [2], advantage: 1 }, { name: "ppo" }, "ENGINE_DATUM"],
    ["too few old log-probs", { ...datum, oldLogprobs: Float32Array.of(-1) }, loss, "ENGINE_DATUM"],
    ["too many reference log-probs", { ...datum, refLogprobs: new Float32Array(3) }, loss, "ENGINE_DATUM"],
    ["constant aggregation without a length", datum, { name: "dr_grpo" }, "ENGINE_LOSS"],
    ["an unknown loss", datum, { name: "trpo" as Loss["name"] }, "ENGINE_LOSS"],
    ["a clip range below 0", datum, { name: "ppo", clipLow: -0.1 }, "ENGINE_LOSS"],
    ["a KL weight that is no number", datum, { name: "grpo", klCoef: NaN }, "ENGINE_LOSS"],
    ["temperature 0", datum, { ...loss, temperature: 0 }, "ENGINE_TEMPERATURE"],
  ])("%s, and keeps the gradients gathered so far", async (_name, wrong, own, code) => {
    const engine = await makeTinyEngine();
    await engine.forwardBackward([datum], loss);
    const before = copyOf(engine.pendingGradients);
    await expect(engine.forwardBackward([datum, wrong], own)).rejects.toMatchObject({ name: "EngineError", code });
    expect(engine.pendingGradients).toEqual(before);
  });

  it.each<[Partial<AdamParams>]>([
    [{ learningRate: NaN }],
    [{ learningRate: -1 }],
    [{ beta1: 1 }],
    [{ beta2: -0.1 }],
    [{ epsilon: 0 }],
    [{ weightDecay: Infinity }],
    [{ maxGradNorm: 0 }],
    [{ maxGradNorm: NaN }],
  ])("optimizer settings %j, and keeps the gradients", async (wrong) => {
    const engine = await makeTinyEngine();
    await engine.forwardBackward([datum], loss);
    await expect(engine.optimStep({ ...adam, ...wrong })).rejects.toMatchObject({
      code: "ENGINE_OPTIMIZER",
      message: expect.stringContaining(Object.keys(wrong)[0]!),
    });
    expect(engine.pendingGradients.size).toBeGreaterThan(0);
  });

  it("a reference policy under full fine-tuning", async () => {
    const engine = await makeTinyEngine({ full: true });
    const refused = { code: "ENGINE_NO_REFERENCE" };
    await expect(engine.logprobs([datum], { weights: "reference" })).rejects.toMatchObject(refused);
    const params = { n: 1, maxTokens: 1, temperature: 1, seed: 1, weights: "reference" } as const;
    await expect(engine.sample([[1]], params)).rejects.toMatchObject(refused);
  });

  it("weights of another name or size, before any is replaced", async () => {
    const engine = await makeTinyEngine();
    const before = copyOf(engine.trained);
    const [[name, data]] = [...engine.trained] as [[string, Float32Array]];
    for (const [other, length] of [
      [name, data.length + 1],
      ["no.such.weight", 1],
    ] as const) {
      const values = new Map([
        [name, new Float32Array(data.length)],
        [other, new Float32Array(length)],
      ]);
      expect(() => engine.replaceTrained(values)).toThrow(expect.objectContaining({ code: "ENGINE_WEIGHT" }));
      expect(engine.trained).toEqual(before);
    }
  });

  it("to go on when asked to stop, and keeps what was gathered", async () => {
    const engine = await makeTinyEngine({ maxRows: 4 });
    await engine.forwardBackward([datum], loss);
    const before = copyOf(engine.pendingGradients);
    const signal = AbortSignal.abort();
    await expect(engine.forwardBackward([datum], loss, { signal })).rejects.toMatchObject({ code: "ABORTED" });
    await expect(engine.logprobs([datum], { signal })).rejects.toMatchObject({ code: "ABORTED" });
    expect(engine.pendingGradients).toEqual(before);
  });

  it("nothing where there are no data", async () => {
    const engine = await makeTinyEngine();
    expect(await engine.logprobs([])).toEqual([]);
    const result = await engine.forwardBackward([], loss);
    expect([result.loss, result.logprobs]).toEqual([0, []]);
    expect(Object.values(result.metrics).every(Number.isFinite)).toBe(true);
  });
});
