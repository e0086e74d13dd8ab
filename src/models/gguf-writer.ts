/**
 * Writes a model as a GGUF file (version 3) that llama.cpp loads: its metadata keys, tensor names, row order and tokenizer.
 * Sources: docs/gguf.md of ggml; convert_hf_to_gguf.py and gguf-py of llama.cpp.
 */
import { open } from "node:fs/promises";
import { ModelError } from "../core/errors.ts";
import { findArchitecture, planTensors, type TensorPlan } from "./architectures.ts";
import { encodeTensor, encodingOf, type WritableType } from "./encode-tensors.ts";
import { ggufTokenizer } from "./gguf-tokenizer-writer.ts";
import type { ModelConfig, WeightTensor } from "./model.ts";
import { llama3Divisors } from "./rope-divisors.ts";
import { countElements } from "./stored-tensor.ts";
import type { TokenizerParts } from "./tokenizer.ts";

/** Types that GGUF files are written in. */
export type GgufType = Extract<WritableType, "f32" | "f16" | "q8_0">;

/** A metadata value with its GGUF type. */
export type GgufEntry =
  | { type: "uint32" | "float32"; value: number }
  | { type: "bool"; value: boolean }
  | { type: "string"; value: string }
  | { type: "strings"; value: readonly string[] }
  | { type: "int32s"; value: readonly number[] };

/** `general.file_type` and ggml's number of the tensors' type. */
const types: Readonly<Record<GgufType, { fileType: number; ggml: number }>> = {
  f32: { fileType: 0, ggml: 0 },
  f16: { fileType: 1, ggml: 1 },
  q8_0: { fileType: 7, ggml: 8 },
};

const alignment = 32;

export interface GgufModel {
  name: string;
  config: ModelConfig;
  /** By Hugging Face name. */
  weights: ReadonlyMap<string, Pick<WeightTensor, "shape" | "data">>;
  /** Null: the file gets no tokenizer. */
  tokenizer: TokenizerParts | null;
}

/** A tensor on its way into the file. */
interface Stored {
  ggufName: string;
  shape: readonly number[];
  type: GgufType;
  encode: () => Uint8Array;
  byteLength: number;
}

/**
 * Writes `model` to `path`, flushed to disk; an existing file is replaced. Matrices get `type`, vectors stay float32 (as
 * llama.cpp wants them), and so does a matrix whose rows are no whole blocks: those become f16.
 * @throws ModelError for architectures and tokenizers that GGUF is not written for, and numbers beyond half precision
 */
export async function writeGguf(path: string, model: GgufModel, type: GgufType): Promise<void> {
  const { config, weights, tokenizer } = model;
  if (findArchitecture(config.architecture, path).readTraits) {
    throw new ModelError(
      "EXPORT_ARCHITECTURE",
      `GGUF files of the ${config.architecture} architecture are not written. Export it as safetensors; llama.cpp's converter takes that.`,
    );
  }
  const metadata = { ...describeModel(model, type), ...(tokenizer ? ggufTokenizer(tokenizer, config.vocabSize) : {}) };
  const tensors = [...planTensors(config)].map((plan) => toStored(plan, weights, type));
  const divisors = llama3Divisors(config);
  if (divisors) tensors.push(vector("rope_freqs.weight", divisors));
  const handle = await open(path, "w");
  try {
    const header = encodeHeader(metadata, tensors);
    await handle.writeFile(header);
    for (const tensor of tensors) {
      await handle.writeFile(tensor.encode());
      await handle.writeFile(Buffer.alloc(padding(tensor.byteLength)));
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const padding = (length: number): number => (alignment - (length % alignment)) % alignment;

function vector(ggufName: string, data: Float32Array): Stored {
  return {
    ggufName,
    shape: [data.length],
    type: "f32",
    encode: () => encodeTensor(data, "f32", ggufName),
    byteLength: data.byteLength,
  };
}

function toStored(plan: TensorPlan, weights: GgufModel["weights"], asked: GgufType): Stored {
  const { name, ggufName, shape, interleavedHeads } = plan;
  const weight = weights.get(name);
  if (!weight) throw new ModelError("TENSOR_MISSING", `The weights have no ${name}.`, { details: { tensor: name } });
  const columns = shape.at(-1) as number;
  const isWhole = columns % encodingOf(asked).blockSize === 0;
  const type = shape.length === 1 ? "f32" : isWhole ? asked : "f16";
  const { blockSize, blockBytes } = encodingOf(type);
  return {
    ggufName,
    shape,
    type,
    byteLength: (countElements(shape) / blockSize) * blockBytes,
    encode: () => {
      const rows = shape[0] as number;
      const data = interleavedHeads > 0 ? interleaveHalves(weight.data, interleavedHeads, rows) : weight.data;
      return encodeTensor(data, type, name);
    },
  };
}

/**
 * Rows of each head in llama.cpp's order 0, d/2, 1, d/2 + 1 … (`LlamaModel.permute` in convert_hf_to_gguf.py).
 */
function interleaveHalves(data: Float32Array, heads: number, rows: number): Float32Array {
  const headRows = rows / heads;
  const rowSize = data.length / rows;
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    const [head, inHead] = [Math.floor(row / headRows), row % headRows];
    const to = head * headRows + (inHead < headRows / 2 ? 2 * inHead : 2 * inHead - headRows + 1);
    out.set(data.subarray(row * rowSize, (row + 1) * rowSize), to * rowSize);
  }
  return out;
}

function describeModel({ name, config }: GgufModel, type: GgufType): Record<string, GgufEntry> {
  const { architecture: a, heads, headDim, hiddenSize, ropeScaling } = config;
  const uint = (value: number): GgufEntry => ({ type: "uint32", value });
  const float = (value: number): GgufEntry => ({ type: "float32", value });
  const text = (value: string): GgufEntry => ({ type: "string", value });
  return {
    "general.architecture": text(a),
    "general.type": text("model"),
    "general.name": text(name),
    "general.file_type": uint(types[type].fileType),
    "general.quantization_version": uint(2),
    [`${a}.vocab_size`]: uint(config.vocabSize),
    [`${a}.context_length`]: uint(config.contextLength),
    [`${a}.embedding_length`]: uint(hiddenSize),
    [`${a}.block_count`]: uint(config.layers),
    [`${a}.feed_forward_length`]: uint(config.intermediateSize),
    [`${a}.attention.head_count`]: uint(heads),
    [`${a}.attention.head_count_kv`]: uint(config.kvHeads),
    [`${a}.attention.layer_norm_rms_epsilon`]: float(config.rmsNormEps),
    [`${a}.rope.freq_base`]: float(config.ropeTheta),
    [`${a}.rope.dimension_count`]: uint(headDim),
    ...(headDim * heads === hiddenSize
      ? {}
      : { [`${a}.attention.key_length`]: uint(headDim), [`${a}.attention.value_length`]: uint(headDim) }),
    ...(ropeScaling?.type === "linear"
      ? { [`${a}.rope.scaling.type`]: text("linear"), [`${a}.rope.scaling.factor`]: float(ropeScaling.factor) }
      : {}),
  };
}

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const uint64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const string = (text: string): Buffer => {
  const bytes = Buffer.from(text, "utf8");
  return Buffer.concat([uint64(bytes.length), bytes]);
};

/** GGUF's type number of an entry, and its bytes. */
function encodeEntry(entry: GgufEntry): Buffer {
  switch (entry.type) {
    case "uint32":
      return Buffer.concat([uint32(4), uint32(entry.value)]);
    case "float32": {
      const bytes = Buffer.alloc(4);
      bytes.writeFloatLE(entry.value);
      return Buffer.concat([uint32(6), bytes]);
    }
    case "bool":
      return Buffer.concat([uint32(7), Buffer.of(entry.value ? 1 : 0)]);
    case "string":
      return Buffer.concat([uint32(8), string(entry.value)]);
    case "strings":
      return Buffer.concat([uint32(9), uint32(8), uint64(entry.value.length), ...entry.value.map(string)]);
    case "int32s": {
      const numbers = Buffer.from(Int32Array.from(entry.value).buffer);
      return Buffer.concat([uint32(9), uint32(5), uint64(entry.value.length), numbers]);
    }
  }
}

function encodeHeader(metadata: Readonly<Record<string, GgufEntry>>, tensors: readonly Stored[]): Buffer {
  const entries = Object.entries(metadata);
  const parts = [Buffer.from("GGUF"), uint32(3), uint64(tensors.length), uint64(entries.length)];
  for (const [key, entry] of entries) parts.push(string(key), encodeEntry(entry));
  let offset = 0;
  for (const { ggufName, shape, type, byteLength } of tensors) {
    // GGUF names the fastest dimension first.
    parts.push(string(ggufName), uint32(shape.length), ...[...shape].reverse().map(uint64));
    parts.push(uint32(types[type].ggml), uint64(offset));
    offset += byteLength + padding(byteLength);
  }
  const header = Buffer.concat(parts);
  return Buffer.concat([header, Buffer.alloc(padding(header.length))]);
}
