/** Writes small model files for the tests: safetensors, Hugging Face folders, and GGUF. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** A folder that goes away with the test. */
export async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "rec-r1-models-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export interface RawTensor {
  /** By name; in GGUF files also by number. */
  type: string | number;
  /** Row-major, slowest first. */
  shape: number[];
  bytes: Buffer;
}

export const float32 = (shape: number[], data: Float32Array): RawTensor => ({
  type: "F32",
  shape,
  bytes: Buffer.from(data.buffer, data.byteOffset, data.byteLength),
});

/** Bytes of a safetensors file. */
export function safetensors(tensors: Readonly<Record<string, RawTensor>>): Buffer {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let offset = 0;
  for (const [name, { type, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype: type, shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
  }
  return safetensorsFrom(header, Buffer.concat(Object.values(tensors).map((tensor) => tensor.bytes)));
}

export function safetensorsFrom(header: unknown, data: Buffer): Buffer {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

const ggmlTypes: Readonly<Record<string, number>> = { F32: 0, F16: 1, IQ4_XS: 23, BF16: 30 };

export type MetadataValue = string | number | boolean | bigint | readonly string[] | Int32Array;

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};
export const u64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
export const ggufString = (text: string): Buffer => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);

function metadataValue(value: MetadataValue): Buffer {
  if (typeof value === "string") return Buffer.concat([u32(8), ggufString(value)]);
  if (typeof value === "boolean") return Buffer.concat([u32(7), Buffer.from([value ? 1 : 0])]);
  if (typeof value === "bigint") return Buffer.concat([u32(10), u64(value)]);
  if (typeof value === "number") {
    if (Number.isInteger(value)) return Buffer.concat([u32(4), u32(value)]);
    const bytes = Buffer.alloc(4);
    bytes.writeFloatLE(value);
    return Buffer.concat([u32(6), bytes]);
  }
  if (value instanceof Int32Array) {
    return Buffer.concat([u32(9), u32(5), u64(value.length), ...[...value].map(u32)]);
  }
  return Buffer.concat([u32(9), u32(8), u64(value.length), ...value.map(ggufString)]);
}

/** Bytes of a GGUF file of version 3. */
export function gguf(
  metadata: Readonly<Record<string, MetadataValue>>,
  tensors: Readonly<Record<string, RawTensor>>,
): Buffer {
  const align = (size: number): number => Math.ceil(size / 32) * 32;
  const head: Buffer[] = [Buffer.from("GGUF"), u32(3)];
  head.push(u64(Object.keys(tensors).length), u64(Object.keys(metadata).length));
  for (const [key, value] of Object.entries(metadata)) head.push(ggufString(key), metadataValue(value));
  let offset = 0;
  const data: Buffer[] = [];
  for (const [name, { type, shape, bytes }] of Object.entries(tensors)) {
    head.push(ggufString(name), u32(shape.length), ...[...shape].reverse().map(u64));
    head.push(u32(typeof type === "number" ? type : ggmlTypes[type]!), u64(offset));
    data.push(bytes, Buffer.alloc(align(bytes.length) - bytes.length));
    offset += align(bytes.length);
  }
  const header = Buffer.concat(head);
  return Buffer.concat([header, Buffer.alloc(align(header.length) - header.length), ...data]);
}

/** Numbers that look random and are the same in every run. */
export function numbers(count: number, seed: number): Float32Array {
  let state = seed * 2654435761 + 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2 ** 33;
  });
}

/** config.json of a model of two layers. */
export const tinyConfig = {
  model_type: "llama",
  vocab_size: 12,
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
};

type TinyOptions = { biases?: boolean; qkNorm?: boolean; untied?: boolean };

/** Weights that {@link tinyConfig} asks for, by Hugging Face name. */
export function tinyWeights(options: TinyOptions = {}): Record<string, RawTensor> {
  const shapes: Record<string, number[]> = { "model.embed_tokens.weight": [12, 32] };
  for (const layer of [0, 1]) {
    const prefix = `model.layers.${layer}`;
    // In an order that differs from the one in memory.
    shapes[`${prefix}.mlp.up_proj.weight`] = [64, 32];
    shapes[`${prefix}.mlp.down_proj.weight`] = [32, 64];
    shapes[`${prefix}.mlp.gate_proj.weight`] = [64, 32];
    for (const [name, rows] of [
      ["v", 16],
      ["k", 16],
      ["q", 32],
    ] as const) {
      shapes[`${prefix}.self_attn.${name}_proj.weight`] = [rows, 32];
      if (options.biases) shapes[`${prefix}.self_attn.${name}_proj.bias`] = [rows];
      if (options.qkNorm && name !== "v") shapes[`${prefix}.self_attn.${name}_norm.weight`] = [8];
    }
    shapes[`${prefix}.self_attn.o_proj.weight`] = [32, 32];
    shapes[`${prefix}.input_layernorm.weight`] = [32];
    shapes[`${prefix}.post_attention_layernorm.weight`] = [32];
  }
  shapes["model.norm.weight"] = [32];
  if (options.untied) shapes["lm_head.weight"] = [12, 32];
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape], i) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return [name, float32(shape, numbers(size, i + 1))];
    }),
  );
}

/** Writes a Hugging Face folder with one safetensors file. */
export async function writeFolder(
  config: Readonly<Record<string, unknown>>,
  weights: Readonly<Record<string, RawTensor>>,
  files: Readonly<Record<string, string>> = {},
): Promise<string> {
  const folder = await makeFolder();
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  await writeFile(join(folder, "model.safetensors"), safetensors(weights));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return folder;
}

/** Writes bytes to a file in a folder of its own. */
export async function writeBytes(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(await makeFolder(), name);
  await writeFile(path, bytes);
  return path;
}

const ggufNames: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens/, "token_embd"],
  [/^model\.norm/, "output_norm"],
  [/^lm_head/, "output"],
  [/^model\.layers\.(\d+)\.input_layernorm/, "blk.$1.attn_norm"],
  [/^model\.layers\.(\d+)\.post_attention_layernorm/, "blk.$1.ffn_norm"],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj/, "blk.$1.attn_output"],
  [/^model\.layers\.(\d+)\.self_attn\.([qkv])_proj/, "blk.$1.attn_$2"],
  [/^model\.layers\.(\d+)\.self_attn\.([qk])_norm/, "blk.$1.attn_$2_norm"],
  [/^model\.layers\.(\d+)\.mlp\.(\w+)_proj/, "blk.$1.ffn_$2"],
];

/** The same weights under GGUF names; for llama with the rows of q and k permuted as llama.cpp's converter does. */
export function ggufWeights(
  architecture: string,
  weights: Readonly<Record<string, RawTensor>>,
): Record<string, RawTensor> {
  return Object.fromEntries(
    Object.entries(weights).map(([name, tensor]) => {
      const [pattern, replacement] = ggufNames.find(([candidate]) => candidate.test(name))!;
      const heads = /q_proj\.weight$/.test(name) ? 4 : /k_proj\.weight$/.test(name) ? 2 : 0;
      const isPermuted = architecture === "llama" && heads > 0;
      return [name.replace(pattern, replacement), isPermuted ? permuteRows(tensor, heads) : tensor];
    }),
  );
}

/** `weights.reshape(heads, 2, rows / heads / 2, columns).swapaxes(1, 2)`, as in convert_hf_to_gguf.py. */
function permuteRows(tensor: RawTensor, heads: number): RawTensor {
  const [rows, columns] = tensor.shape as [number, number];
  const half = rows / heads / 2;
  const out: Buffer[] = [];
  for (let head = 0; head < heads; head++) {
    for (let pair = 0; pair < half; pair++) {
      for (const side of [0, 1]) {
        const row = (head * 2 + side) * half + pair;
        out.push(tensor.bytes.subarray(row * columns * 4, (row + 1) * columns * 4));
      }
    }
  }
  return { ...tensor, bytes: Buffer.concat(out) };
}

/** GGUF metadata that says the same as {@link tinyConfig}. */
export const tinyMetadata = (architecture = "llama"): Record<string, MetadataValue> => ({
  "general.architecture": architecture,
  [`${architecture}.block_count`]: 2,
  [`${architecture}.context_length`]: 64,
  [`${architecture}.embedding_length`]: 32,
  [`${architecture}.feed_forward_length`]: 64,
  [`${architecture}.attention.head_count`]: 4,
  [`${architecture}.attention.head_count_kv`]: 2,
  [`${architecture}.attention.layer_norm_rms_epsilon`]: 1e-5,
  [`${architecture}.rope.freq_base`]: 10000.5,
});
