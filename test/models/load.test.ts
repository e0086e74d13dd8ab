import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { AbortError, ModelError } from "../../src/core/errors.ts";
import { loadModel } from "../../src/models/load.ts";
import type { LoadedModel } from "../../src/models/model.ts";
import {
  float32,
  gguf,
  ggufWeights,
  makeFolder,
  numbers,
  safetensors,
  tinyConfig,
  tinyMetadata,
  tinyWeights,
  writeBytes,
  writeFolder,
  type RawTensor,
} from "./model-files.ts";

const families = [
  { name: "llama", options: {}, config: {} },
  { name: "llama", options: { untied: true }, config: { tie_word_embeddings: false } },
  { name: "qwen2", options: { biases: true }, config: { model_type: "qwen2" } },
  { name: "qwen3", options: { qkNorm: true }, config: { model_type: "qwen3", head_dim: 8 } },
] as const;

function expectWeights(model: LoadedModel, expected: Readonly<Record<string, RawTensor>>): void {
  expect([...model.weights.keys()].sort()).toEqual(Object.keys(expected).sort());
  for (const [name, { shape, bytes }] of Object.entries(expected)) {
    const { shape: gotShape, data } = model.weights.get(name)!;
    expect(gotShape).toEqual(shape);
    expect(Buffer.from(data.buffer, data.byteOffset, data.byteLength).equals(bytes), name).toBe(true);
  }
}

/** That `names` lie one after the other in one buffer which holds nothing else. */
function expectFused(model: LoadedModel, names: readonly string[]): void {
  let end = 0;
  const tensors = names.map((name) => model.weights.get(name)!.data);
  for (const data of tensors) {
    expect(data.buffer).toBe(tensors[0]!.buffer);
    expect(data.byteOffset).toBe(end);
    end += data.byteLength;
  }
  expect(tensors[0]!.buffer.byteLength).toBe(end);
}

describe.each(families)("$name $options", ({ name, options, config }) => {
  const weights = tinyWeights(options);
  const json = { ...tinyConfig, ...config };

  test("a Hugging Face folder gives its weights, fused ones side by side", async () => {
    const model = await loadModel(await writeFolder(json, weights));
    expectWeights(model, weights);
    expect(model.tokenizer).toBeNull();
    expect(model.config).toMatchObject({ architecture: name, layers: 2, heads: 4, kvHeads: 2, headDim: 8 });
    for (const layer of ["model.layers.0", "model.layers.1"]) {
      const attention = ["q", "k", "v"].map((part) => `${layer}.self_attn.${part}_proj`);
      expectFused(
        model,
        attention.map((part) => `${part}.weight`),
      );
      expectFused(model, [`${layer}.mlp.gate_proj.weight`, `${layer}.mlp.up_proj.weight`]);
      if (model.config.attentionBias) {
        expectFused(
          model,
          attention.map((part) => `${part}.bias`),
        );
      }
    }
  });

  test("a GGUF file gives the same weights and shape", async () => {
    const path = await writeBytes("tiny.gguf", gguf(tinyMetadata(name), ggufWeights(name, weights)));
    const model = await loadModel(path);
    expectWeights(model, weights);
    const fromFolder = await loadModel(await writeFolder({ ...json, rope_theta: 10000.5 }, weights));
    expect(model.config).toEqual(fromFolder.config);
    expect(model.name).toBe("tiny");
  });
});

test("llama.cpp's frequency divisors are read, whatever their type", async () => {
  const weights = ggufWeights("llama", tinyWeights());
  const load = async (divisors: RawTensor): Promise<LoadedModel> =>
    loadModel(await writeBytes("rope.gguf", gguf(tinyMetadata(), { ...weights, "rope_freqs.weight": divisors })));
  expect((await load(float32([4], Float32Array.of(1, 1, 1, 1)))).config.ropeScaling).toBeNull();
  const half = { type: "F16", shape: [4], bytes: Buffer.from([0, 0x3c, 0, 0x3c, 0, 0x3c, 0, 0x48]) };
  await expect(load(half)).rejects.toThrow(/rope_freqs.weight/);
  half.bytes[7] = 0x3c;
  expect((await load(half)).config.ropeScaling).toBeNull();
});

test("F16 and BF16 weights become float32", async () => {
  const weights = tinyWeights();
  // 1.5 is 0x3e00 as F16 and 0x3fc0 as BF16.
  const fill = (type: string, bits: number[]): RawTensor => ({
    type,
    shape: [32],
    bytes: Buffer.concat(Array.from({ length: 32 }, () => Buffer.from(bits))),
  });
  weights["model.norm.weight"] = fill("F16", [0x00, 0x3e]);
  weights["model.layers.0.input_layernorm.weight"] = fill("BF16", [0xc0, 0x3f]);
  for (const path of [
    await writeFolder(tinyConfig, weights),
    await writeBytes("half.gguf", gguf(tinyMetadata(), ggufWeights("llama", weights))),
  ]) {
    const model = await loadModel(path);
    for (const name of ["model.norm.weight", "model.layers.0.input_layernorm.weight"]) {
      expect(model.weights.get(name)!.data).toEqual(new Float32Array(32).fill(1.5));
    }
  }
});

describe("sharded safetensors", () => {
  async function writeShards(edit: (map: Record<string, string>) => void = () => undefined): Promise<string> {
    const folder = await makeFolder();
    const entries = Object.entries(tinyWeights());
    const map: Record<string, string> = {};
    for (const [i, part] of [entries.slice(0, 9), entries.slice(9)].entries()) {
      const file = `model-0000${i + 1}-of-00002.safetensors`;
      await writeFile(join(folder, file), safetensors(Object.fromEntries(part)));
      for (const [name] of part) map[name] = file;
    }
    edit(map);
    await writeFile(join(folder, "config.json"), JSON.stringify(tinyConfig));
    await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
    return folder;
  }

  test("are read as one model", async () => {
    expectWeights(await loadModel(await writeShards()), tinyWeights());
  });

  test.each([
    [
      "a tensor is in another file than the index says",
      (map: Record<string, string>) => void (map["model.norm.weight"] = "model-00001-of-00002.safetensors"),
      "MODEL_FILE_CORRUPT",
    ],
    ["a file is missing", (map: Record<string, string>) => void (map.x = "model-9.safetensors"), "MODEL_NOT_FOUND"],
    ["a file is elsewhere", (map: Record<string, string>) => void (map.x = "../secret"), "MODEL_FILE_CORRUPT"],
  ])("refused where %s", async (_, edit, code) => {
    await expect(loadModel(await writeShards(edit))).rejects.toMatchObject({ code });
  });
});

describe("weights that can't be right are refused", () => {
  const change = (edit: (weights: Record<string, RawTensor>) => void): Record<string, RawTensor> => {
    const weights = tinyWeights();
    edit(weights);
    return weights;
  };
  const name = "model.layers.1.mlp.down_proj.weight";
  const withNumber = (value: number) => (weights: Record<string, RawTensor>) => {
    const data = numbers(32 * 64, 7);
    data[70] = value;
    weights[name] = float32([32, 64], data);
  };
  test.each([
    ["missing", change((weights) => delete weights[name]), "TENSOR_MISSING", name],
    ["extra", change((weights) => (weights["model.x"] = weights[name]!)), "TENSOR_UNEXPECTED", "model.x"],
    ["transposed", change((weights) => (weights[name]!.shape = [64, 32])), "TENSOR_SHAPE", "[64, 32]"],
    ["NaN", change(withNumber(NaN)), "TENSOR_NOT_FINITE", "NaN at index 70"],
    ["infinite", change(withNumber(-Infinity)), "TENSOR_NOT_FINITE", "-Infinity at index 70"],
  ])("%s", async (_, weights, code, words) => {
    const loading = loadModel(await writeFolder(tinyConfig, weights));
    await expect(loading).rejects.toThrow(ModelError);
    await expect(loading).rejects.toMatchObject({ code, message: expect.stringContaining(words) as string });
  });

  test("but copies that old checkpoints carry are passed over", async () => {
    const weights = change((all) => {
      all["lm_head.weight"] = all["model.embed_tokens.weight"]!;
      all["model.layers.0.self_attn.rotary_emb.inv_freq"] = float32([4], numbers(4, 1));
    });
    expectWeights(await loadModel(await writeFolder(tinyConfig, weights)), tinyWeights());
  });

  test("a layer count of a billion fails at once", async () => {
    const started = performance.now();
    const folder = await writeFolder({ ...tinyConfig, num_hidden_layers: 1e9 }, tinyWeights());
    await expect(loadModel(folder)).rejects.toMatchObject({ code: "TENSOR_MISSING" });
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

test("the fingerprint tells weights and shapes apart, and not folders", async () => {
  const weights = tinyWeights();
  const print = async (config: object, tensors: Record<string, RawTensor>): Promise<string> =>
    (await loadModel(await writeFolder(config as Record<string, unknown>, tensors))).fingerprint;
  const first = await print(tinyConfig, weights);
  expect(first).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(await print(tinyConfig, weights)).toBe(first);
  expect(await print({ ...tinyConfig, rope_theta: 5000 }, weights)).not.toBe(first);
  expect(await print(tinyConfig, { ...weights, "model.norm.weight": float32([32], numbers(32, 99)) })).not.toBe(first);
});

test("progress ends with all bytes, and an abort stops", async () => {
  const folder = await writeFolder(tinyConfig, tinyWeights());
  const seen: [number, number][] = [];
  await loadModel(folder, { onProgress: (done, total) => seen.push([done, total]) });
  const [done, total] = seen.at(-1)!;
  expect(done).toBe(total);
  const stop = new AbortController();
  const loading = loadModel(folder, { signal: stop.signal, onProgress: () => stop.abort() });
  await expect(loading).rejects.toThrow(AbortError);
});

test.each([
  ["nothing there", async () => join(await makeFolder(), "model.gguf"), "MODEL_NOT_FOUND"],
  ["an empty folder", async () => makeFolder(), "MODEL_NOT_FOUND"],
  ["an empty file", async () => writeBytes("empty.gguf", Buffer.alloc(0)), "MODEL_FILE_CORRUPT"],
  ["a picture", async () => writeBytes("x.png", Buffer.from("\x89PNG........................")), "MODEL_FILE_CORRUPT"],
  [
    "a config.json that isn't JSON",
    async () => writeFolder(tinyConfig, tinyWeights(), { "config.json": "{" }),
    "MODEL_FILE_CORRUPT",
  ],
  [
    "a config.json that is a list",
    async () => writeFolder(tinyConfig, tinyWeights(), { "config.json": "[]" }),
    "MODEL_FILE_CORRUPT",
  ],
  [
    "a folder in place of the weights",
    async () => {
      const folder = await makeFolder();
      await writeFile(join(folder, "config.json"), JSON.stringify(tinyConfig));
      await mkdir(join(folder, "model.safetensors"));
      return folder;
    },
    "MODEL_UNREADABLE",
  ],
  [
    "weights cut short",
    async () => {
      const folder = await writeFolder(tinyConfig, tinyWeights());
      await truncate(join(folder, "model.safetensors"), 5000);
      return folder;
    },
    "MODEL_FILE_CORRUPT",
  ],
])("%s: an error that says so", async (_, make, code) => {
  const path = await make();
  await expect(loadModel(path)).rejects.toMatchObject({ code, message: expect.stringContaining(path) as string });
});
