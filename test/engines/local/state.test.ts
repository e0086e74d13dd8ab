/** Saved states, and the end of an engine's life. */
import { copyFile, mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { AdamParams, Datum, Sample } from "../../../src/engines/engine.ts";
import { LocalEngine, type LocalEngineOptions } from "../../../src/engines/local/index.ts";
import { loadModel } from "../../../src/models/load.ts";
import { makeTinyEngine, makeTinyModel, temporaryFolder, tinyConfig, writeTinyModel } from "./tiny-models.ts";

const adam: AdamParams = { learningRate: 0.05, weightDecay: 0.01 };
const data: Datum[] = [
  { prompt: [1, 2, 3], completion: [4, 5] },
  { prompt: [6], completion: [7, 8, 9] },
];

async function trainSteps(engine: LocalEngine, steps: number): Promise<void> {
  for (let step = 0; step < steps; step++) {
    await engine.forwardBackward(data, { name: "cross_entropy" });
    await engine.optimStep(adam);
  }
}

const copyOf = (engine: LocalEngine): Map<string, Float32Array> =>
  new Map([...engine.trained].map(([name, values]) => [name, values.slice()]));

/** Everything that can be seen of an engine's state. */
async function observe(engine: LocalEngine): Promise<unknown> {
  return { trained: copyOf(engine), logprobs: await engine.logprobs(data) };
}

const kinds: [string, LocalEngineOptions][] = [
  ["LoRA", {}],
  ["full fine-tuning", { full: true }],
];

describe.each(kinds)("a saved state, %s", (_name, options) => {
  it("goes on in another engine as if there had been no break, to the bit", async () => {
    const dir = join(await temporaryFolder(), "state");
    const engine = await makeTinyEngine(options);
    await trainSteps(engine, 3);
    await engine.saveState(dir);
    const saved = await observe(engine);
    await trainSteps(engine, 2);
    const later = await observe(engine);

    const other = await makeTinyEngine({ ...options, seed: 5 });
    await trainSteps(other, 1);
    await other.forwardBackward(data, { name: "cross_entropy" });
    await other.loadState(dir);
    expect(other.pendingGradients.size).toBe(0);
    expect(await observe(other)).toEqual(saved);
    await trainSteps(other, 2);
    expect(await observe(other)).toEqual(later);

    // Going back in the same engine takes the optimizer along.
    await engine.loadState(dir);
    expect(await observe(engine)).toEqual(saved);
    await trainSteps(engine, 2);
    expect(await observe(engine)).toEqual(later);
  });

  it("of an engine that has not stepped yet resets the optimizer", async () => {
    const dir = join(await temporaryFolder(), "state");
    const engine = await makeTinyEngine(options);
    await engine.saveState(dir);
    await trainSteps(engine, 2);
    const fresh = await observe(engine);
    await engine.loadState(dir);
    await trainSteps(engine, 2);
    expect(await observe(engine)).toEqual(fresh);
  });
});

describe("a state that can't be loaded", () => {
  async function savedState(steps = 2): Promise<{ engine: LocalEngine; dir: string }> {
    const dir = join(await temporaryFolder(), "state");
    const engine = await makeTinyEngine();
    await trainSteps(engine, steps);
    await engine.saveState(dir);
    return { engine, dir };
  }

  /** Loading must fail with this code and leave an engine in the middle of its training as it is. */
  async function expectRefused(engine: LocalEngine, dir: string, code: string): Promise<void> {
    await trainSteps(engine, 1);
    await engine.forwardBackward(data, { name: "cross_entropy" });
    const before = await observe(engine);
    await expect(engine.loadState(dir)).rejects.toMatchObject({
      name: "CheckpointError",
      code,
      message: expect.stringContaining(dir),
    });
    expect(await observe(engine)).toEqual(before);
    expect(engine.pendingGradients.size).toBeGreaterThan(0);
  }

  it("is absent", async () => {
    await expectRefused(await makeTinyEngine(), join(await temporaryFolder(), "none"), "CHECKPOINT_DAMAGED");
  });

  it.each(["engine.json", "trained.safetensors", "optimizer.safetensors"])("has a cut %s", async (file) => {
    const { engine, dir } = await savedState();
    const { length } = await readFile(join(dir, file));
    await truncate(join(dir, file), length - 5);
    await expectRefused(engine, dir, "CHECKPOINT_DAMAGED");
  });

  it.each(["null", "{}", "[]", '{"format":2,"optimizerStep":1,"description":{}}', "\u0000"])(
    "says %s about itself",
    async (text) => {
      const { engine, dir } = await savedState();
      await writeFile(join(dir, "engine.json"), text);
      await expectRefused(engine, dir, "CHECKPOINT_DAMAGED");
    },
  );

  it("counts steps by something other than a whole number", async () => {
    const { engine, dir } = await savedState();
    const state = JSON.parse(await readFile(join(dir, "engine.json"), "utf8")) as Record<string, unknown>;
    await writeFile(join(dir, "engine.json"), JSON.stringify({ ...state, optimizerStep: 1.5 }));
    await expectRefused(engine, dir, "CHECKPOINT_DAMAGED");
  });

  it("has its files mixed up", async () => {
    const { engine, dir } = await savedState();
    await copyFile(join(dir, "trained.safetensors"), join(dir, "optimizer.safetensors"));
    await expectRefused(engine, dir, "CHECKPOINT_SHAPE");
  });

  it("belongs to another model of the same shape", async () => {
    const { dir } = await savedState();
    await expectRefused(await makeTinyEngine({ modelSeed: 2 }), dir, "CHECKPOINT_MODEL");
  });

  it.each<[string, LocalEngineOptions]>([
    ["another rank", { loraRank: 4 }],
    ["another alpha", { loraAlpha: 1 }],
    ["full fine-tuning", { full: true }],
  ])("was trained with %s", async (_name, options) => {
    const { dir } = await savedState();
    await expectRefused(await makeTinyEngine(options), dir, "CHECKPOINT_TRAINING");
  });

  it("adapts layers that the engine doesn't, or the other way round", async () => {
    const { engine, dir } = await savedState();
    const fewer = await makeTinyEngine({ loraTargets: ["q_proj", "v_proj"] });
    await expectRefused(fewer, dir, "CHECKPOINT_SHAPE");
    const other = join(await temporaryFolder(), "fewer");
    await fewer.saveState(other);
    await expectRefused(engine, other, "CHECKPOINT_SHAPE");
  });
});

describe("saving", () => {
  it("refuses a folder with something in it, and leaves that alone", async () => {
    const dir = await temporaryFolder();
    await writeFile(join(dir, "notes.txt"), "mine");
    const engine = await makeTinyEngine();
    await expect(engine.saveState(dir)).rejects.toMatchObject({
      code: "CHECKPOINT_NOT_WRITTEN",
      message: expect.stringContaining(dir),
    });
    expect(await readdir(dir)).toEqual(["notes.txt"]);
  });

  it("takes an empty folder and says why it can't write", async () => {
    const parent = await temporaryFolder();
    const engine = await makeTinyEngine();
    await mkdir(join(parent, "empty"));
    await engine.saveState(join(parent, "empty"));
    expect((await readdir(join(parent, "empty"))).sort()).toEqual(["engine.json", "trained.safetensors"]);
    await writeFile(join(parent, "file"), "");
    await expect(engine.saveState(join(parent, "file", "state"))).rejects.toMatchObject({
      name: "CheckpointError",
      code: "CHECKPOINT_NOT_WRITTEN",
      message: expect.stringContaining("ENOTDIR"),
    });
  });
});

describe("the end of an engine", () => {
  it("comes once; after it every call is refused", async () => {
    const engine = await makeTinyEngine();
    await trainSteps(engine, 1);
    await engine.close();
    await engine.close();
    const closed = { name: "EngineError", code: "ENGINE_CLOSED" };
    const sampling = { n: 1, maxTokens: 1, temperature: 1, seed: 1 };
    await expect(engine.sample([[1]], sampling)).rejects.toMatchObject(closed);
    await expect(engine.forwardBackward(data, { name: "cross_entropy" })).rejects.toMatchObject(closed);
    await expect(engine.logprobs(data)).rejects.toMatchObject(closed);
    await expect(engine.optimStep(adam)).rejects.toMatchObject(closed);
    await expect(engine.zeroGrad()).rejects.toMatchObject(closed);
    await expect(engine.saveState("never-written")).rejects.toMatchObject(closed);
    await expect(engine.loadState("never-read")).rejects.toMatchObject(closed);
  });

  it("waits for what is going on", async () => {
    const engine = await makeTinyEngine();
    const outcomes = Promise.allSettled([
      engine.logprobs(data),
      engine.sample([[1, 2]], { n: 4, maxTokens: 40, temperature: 1, seed: 1 }),
      engine.forwardBackward(data, { name: "cross_entropy" }),
    ]);
    await engine.close();
    for (const outcome of await outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "ENGINE_CLOSED" });
    }
  });

  it("comes by itself at the end of a block", async () => {
    let left: LocalEngine;
    {
      await using engine = new LocalEngine(await makeTinyModel());
      left = engine;
      await engine.logprobs(data);
    }
    await expect(left.logprobs(data)).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  });
});

describe("loading", () => {
  it("takes a folder, and describes what is trained", async () => {
    const folder = join(await temporaryFolder(), "small-model");
    await writeTinyModel(folder, tinyConfig());
    await using engine = await LocalEngine.load(folder, { loraRank: 2 });
    expect(engine.contextLength).toBe(64);
    expect(engine.description).toMatchObject({
      engine: "local",
      model: "small-model",
      fingerprint: (await loadModel(folder)).fingerprint,
      training: "LoRA rank 2, alpha 4",
    });
  });

  it("works with token ids where the model has no tokenizer, and says so of text", async () => {
    await using engine = new LocalEngine({ ...(await makeTinyModel()), tokenizer: null });
    const [[sample]] = (await engine.sample([[1]], { n: 1, maxTokens: 3, temperature: 0, seed: 1 })) as [[Sample]];
    expect([sample.ids.length, sample.text]).toEqual([3, ""]);
    expect(() => engine.tokenizer.encode("text")).toThrow(expect.objectContaining({ code: "ENGINE_NO_TOKENIZER" }));
  });
});
