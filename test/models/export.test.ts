/** What is exported is what was trained: every format, read back by our own loader. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { randomStream } from "../../src/core/random.ts";
import { LocalEngine } from "../../src/engines/local/index.ts";
import { encodeTensor, float32ToBfloat16, float32ToFloat16 } from "../../src/models/encode-tensors.ts";
import { encodings } from "../../src/models/encodings.ts";
import { requireEmptyFolder, writeModelFolder } from "../../src/models/export-folder.ts";
import { float16ToFloat32 } from "../../src/models/float16.ts";
import { writeGguf, type GgufType } from "../../src/models/gguf-writer.ts";
import { loadModel, readTokenizerParts } from "../../src/models/load.ts";
import type { ModelConfig } from "../../src/models/model.ts";
import { readPeftFolder, writePeftFolder } from "../../src/models/peft-folder.ts";
import { writeTinyModelFolder } from "../support/tiny-model-folder.ts";
import { letters, makeTinyEngine, makeTinyModel } from "../engines/local/tiny-models.ts";

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "rec-r1-export-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const data = [
  { prompt: [1, 2, 3], completion: [4, 5, 6, 25] },
  { prompt: [7], completion: [8, 9] },
];

/** An engine whose adapter does something. */
async function makeTrained(config: Partial<ModelConfig>): Promise<LocalEngine> {
  const engine = await makeTinyEngine({ config, loraRank: 3, loraAlpha: 5 });
  const random = randomStream(5, "adapter");
  engine.replaceTrained(
    new Map(
      [...engine.trained].map(([name, { length }]) => [name, Float32Array.from({ length }, () => random.next() - 0.5)]),
    ),
  );
  return engine;
}

type Weights = ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>;
const weightsOf = async (engine: LocalEngine): Promise<Weights> => (await engine.policyWeights()) as Weights;

async function logprobsOf(path: string): Promise<number[]> {
  const engine = new LocalEngine({ ...(await loadModel(path)), tokenizer: letters }, { threads: 1 });
  onTestFinished(() => engine.close());
  return flat(await engine.logprobs(data));
}

const flat = (rows: readonly Float32Array[]): number[] => rows.flatMap((row) => [...row]);
const furthest = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value - (b[i] as number))));

const scaled = { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContextLength: 8192 } as const;
const families: [string, Partial<ModelConfig>][] = [
  ["llama", { hiddenSize: 32, intermediateSize: 64, headDim: 8 }],
  ["llama, untied, stretched", { tieWordEmbeddings: false, headDim: 16, ropeScaling: scaled, ropeTheta: 500_000 }],
  ["llama, stretched linearly", { ropeScaling: { type: "linear", factor: 4 } }],
  ["qwen2", { architecture: "qwen2" }],
  ["qwen3, heads of another size", { architecture: "qwen3", headDim: 8 }],
];

describe.each(families)("%s", (_name, config) => {
  it("as a GGUF file is the policy, bit for bit in float32", async () => {
    const engine = await makeTrained(config);
    const path = join(await makeFolder(), "m.gguf");
    const weights = await weightsOf(engine);
    await writeGguf(path, { name: "tiny", config: engine.modelConfig, weights, tokenizer: null }, "f32");
    const read = await loadModel(path);
    expect(read.config).toEqual(engine.modelConfig);
    for (const [name, { data: expected }] of weights) expect(read.weights.get(name)?.data, name).toEqual(expected);
    expect(furthest(await logprobsOf(path), flat(await engine.logprobs(data)))).toBeLessThan(1e-5);
  });

  it("as a Hugging Face folder is the policy, and differs from the model that it began as", async () => {
    const engine = await makeTrained(config);
    const folder = await makeFolder();
    await writeModelFolder(folder, { config: engine.modelConfig, weights: await weightsOf(engine), parts: null });
    const own = flat(await engine.logprobs(data));
    expect(furthest(await logprobsOf(folder), own)).toBeLessThan(1e-5);
    expect(furthest(flat(await engine.logprobs(data, { weights: "reference" })), own)).toBeGreaterThan(1e-2);
  });
});

it.each<[GgufType, number]>([
  ["f16", 0.02],
  ["q8_0", 0.2],
])("a GGUF file in %s is near", async (type, tolerance) => {
  const engine = await makeTrained({ hiddenSize: 32, intermediateSize: 64, headDim: 8 });
  const path = join(await makeFolder(), "m.gguf");
  const weights = await weightsOf(engine);
  await writeGguf(path, { name: "tiny", config: engine.modelConfig, weights, tokenizer: null }, type);
  const own = flat(await engine.logprobs(data));
  const difference = furthest(await logprobsOf(path), own);
  expect(difference).toBeLessThan(tolerance);
  expect(difference).toBeGreaterThan(0);
});

it.each(["f16", "bf16"] as const)("a Hugging Face folder in %s is near", async (type) => {
  const engine = await makeTrained({});
  const folder = await makeFolder();
  await writeModelFolder(folder, { config: engine.modelConfig, weights: await weightsOf(engine), parts: null }, type);
  expect(furthest(await logprobsOf(folder), flat(await engine.logprobs(data)))).toBeLessThan(0.1);
});

it("Gemma goes to a Hugging Face folder, and is refused as GGUF", async () => {
  const engine = await makeTrained({ architecture: "gemma3_text" });
  const folder = await makeFolder();
  const model = { config: engine.modelConfig, weights: await weightsOf(engine) };
  await writeModelFolder(folder, { ...model, parts: null });
  expect(furthest(await logprobsOf(folder), flat(await engine.logprobs(data)))).toBeLessThan(1e-5);
  const config: unknown = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
  expect(config).toMatchObject({ max_position_embeddings: 640, sliding_window: 64 });
  const gguf = writeGguf(join(folder, "m.gguf"), { ...model, name: "g", tokenizer: null }, "f16");
  await expect(gguf).rejects.toThrowError(/gemma3_text architecture are not written/);
});

it("an adapter in PEFT's layout is read back into an engine of its own", async () => {
  const engine = await makeTrained({});
  const folder = join(await makeFolder(), "adapter");
  const { lora, trained, trainedShapes } = engine;
  const tensors = new Map(
    [...trained].map(([name, values]) => [name, { shape: trainedShapes.get(name) as number[], data: values }]),
  );
  await writePeftFolder(folder, { ...(lora as NonNullable<typeof lora>), tensors }, { base: "some/base", parts: null });
  expect(await readdir(folder)).toEqual(["adapter_config.json", "adapter_model.safetensors"]);
  const json = JSON.parse(await readFile(join(folder, "adapter_config.json"), "utf8")) as object;
  expect(json).toMatchObject({ peft_type: "LORA", r: 3, lora_alpha: 5, base_model_name_or_path: "some/base" });
  const adapter = await readPeftFolder(folder);
  const other = new LocalEngine(await makeTinyModel(), {
    loraRank: adapter.rank,
    loraAlpha: adapter.alpha,
    threads: 1,
  });
  onTestFinished(() => other.close());
  other.replaceTrained(new Map([...adapter.tensors].map(([name, { data: values }]) => [name, values])));
  expect(flat(await other.logprobs(data))).toEqual(flat(await engine.logprobs(data)));
});

it("a tokenizer goes along into a GGUF file, chat template and end tokens included", async () => {
  const folder = await makeFolder();
  await writeTinyModelFolder(join(folder, "hf"));
  const model = await loadModel(join(folder, "hf"));
  const { parts } = await readTokenizerParts(join(folder, "hf"));
  const endIds = model.tokenizer?.endIds ?? [];
  const path = join(folder, "m.gguf");
  const tokenizer = parts && { ...parts, endIds };
  await writeGguf(path, { name: "tiny", config: model.config, weights: model.weights, tokenizer }, "f16");
  const read = (await loadModel(path)).tokenizer;
  expect(read?.endIds).toEqual(endIds);
  const messages = [{ role: "user", content: "abc b x<|end|>" }] as const;
  expect(read?.encodeChat(messages)).toEqual(model.tokenizer?.encodeChat(messages));
  expect(read?.decode([4, 5, 6])).toBe(model.tokenizer?.decode([4, 5, 6]));
});

it("an export goes to a folder of its own", async () => {
  const folder = await makeFolder();
  await requireEmptyFolder(folder);
  await requireEmptyFolder(join(folder, "absent"));
  await writeTinyModelFolder(join(folder, "full"));
  await expect(requireEmptyFolder(join(folder, "full"))).rejects.toThrowError(/not empty/);
});

describe("numbers", () => {
  it("every half-precision number goes to float32 and back", () => {
    for (let bits = 0; bits < 65_536; bits++) {
      const isNaN = (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;
      if (!isNaN) expect(float32ToFloat16(float16ToFloat32(bits))).toBe(bits);
    }
    expect(float32ToFloat16(Number.NaN) & 0x7fff).toBeGreaterThan(0x7c00);
  });

  it("what lies between goes to the nearest, and to the even one from the middle", () => {
    const between = (low: number, share: number): number => {
      const [a, b] = [float16ToFloat32(low), float16ToFloat32(low + 1)];
      return a + (b - a) * share;
    };
    for (const low of [0, 1, 2, 3, 1022, 1023, 1024, 1025, 15_360, 15_361, 31_000, 31_001]) {
      expect(float32ToFloat16(between(low, 0.49))).toBe(low);
      expect(float32ToFloat16(between(low, 0.51))).toBe(low + 1);
      expect(float32ToFloat16(between(low, 0.5))).toBe(low % 2 === 0 ? low : low + 1);
      expect(float32ToFloat16(-between(low, 0.51))).toBe((low + 1) | 0x8000);
    }
    expect([65_504, 65_519, 65_520, 1e9].map(float32ToFloat16)).toEqual([0x7bff, 0x7bff, 0x7c00, 0x7c00]);
    expect(() => encodeTensor(Float32Array.of(70_000), "f16", "w")).toThrowError(/w holds 70000/);
  });

  it("bfloat16 rounds to even, too", () => {
    const one = 0x3f80;
    expect([1, 1 + 2 ** -8, 1 + 2 ** -8 + 2 ** -16, 1 + 3 * 2 ** -8, -1].map(float32ToBfloat16)).toEqual([
      one,
      one,
      one + 1,
      one + 2,
      0xbf80,
    ]);
  });

  it("eight bits are off by no more than half a step of their block", () => {
    const random = randomStream(1, "q8");
    const values = Float32Array.from({ length: 320 }, (_, i) => (random.next() - 0.5) * 10 ** ((i >> 5) - 5));
    values.fill(0, 64, 96);
    const bytes = encodeTensor(values, "q8_0", "w");
    expect(bytes.length).toBe(340);
    const read = new Float32Array(320);
    encodings.Q8_0.decode(bytes, read);
    for (let start = 0; start < 320; start += 32) {
      const block = values.subarray(start, start + 32);
      const step = Math.max(...block.map(Math.abs)) / 127;
      // The scale itself is stored in half precision.
      const most = step * 0.5 + 127 * step * 2 ** -11 + 2 ** -24 * 127;
      block.forEach((value, i) => expect(Math.abs((read[start + i] as number) - value)).toBeLessThanOrEqual(most));
    }
  });
});
