/** Reads a model's weights from its files into float32 arrays, one copy, laid out for fused products. */
import { createHash } from "node:crypto";
import { ModelError, throwIfAborted } from "../core/errors.ts";
import { planTensors, type TensorPlan } from "./architectures.ts";
import type { ModelConfig, WeightTensor } from "./model.ts";
import { corruptFile, unreadableFile } from "./model-file-errors.ts";
import { countElements, type StoredTensor } from "./stored-tensor.ts";

/** Encoded bytes read and decoded at a time. */
const chunkBytes = 4 * 1024 * 1024;

export interface ReadWeightsOptions {
  /** Whether the tensors go by GGUF names and llama.cpp's row order. */
  gguf: boolean;
  /** Names that a file may hold besides the weights. */
  ignore?: (name: string) => boolean;
  signal?: AbortSignal | undefined;
  /** Called after every few megabytes. */
  onProgress?: ((bytesRead: number, totalBytes: number) => void) | undefined;
}

/**
 * Weights of a model, and the SHA-256 of its configuration and stored weights.
 * @param stored the tensors of all files, by their name in the file
 * @param where the file or folder, for messages
 * @throws ModelError where a tensor is missing, unknown, of another shape, or holds NaN or infinity
 */
export async function readWeights(
  config: ModelConfig,
  stored: ReadonlyMap<string, StoredTensor>,
  where: string,
  options: ReadWeightsOptions,
): Promise<{ weights: Map<string, WeightTensor>; fingerprint: string }> {
  const pairs = matchTensors(config, stored, where, options);
  const weights = allocateWeights(pairs.map((pair) => pair.plan));
  const totalBytes = pairs.reduce((sum, pair) => sum + pair.source.byteLength, 0);
  const hash = createHash("sha256").update(JSON.stringify(config));
  const chunk = Buffer.allocUnsafeSlow(Math.min(chunkBytes, totalBytes));
  let bytesRead = 0;
  // Files are read front to back; the order also makes the hash well defined.
  const inFileOrder = [...pairs].sort(
    (a, b) => compare(a.source.file.path, b.source.file.path) || a.source.offset - b.source.offset,
  );
  for (const { plan, source } of inFileOrder) {
    hash.update(`\n${plan.name} ${source.encoding.name} ${plan.shape.join("x")}\n`);
    const { data } = weights.get(plan.name)!;
    await readTensor(source, data, chunk, (bytes) => {
      hash.update(bytes);
      bytesRead += bytes.length;
      options.onProgress?.(bytesRead, totalBytes);
      throwIfAborted(options.signal);
    });
    if (options.gguf && plan.interleavedHeads > 0) separateHalves(data, plan.interleavedHeads, plan.shape[0]!);
  }
  return { weights, fingerprint: `sha256:${hash.digest("hex")}` };
}

interface TensorPair {
  plan: TensorPlan;
  source: StoredTensor;
}

/** Pairs every planned tensor with a stored one. */
function matchTensors(
  config: ModelConfig,
  stored: ReadonlyMap<string, StoredTensor>,
  where: string,
  options: ReadWeightsOptions,
): TensorPair[] {
  const pairs: TensorPair[] = [];
  const missing: string[] = [];
  for (const plan of planTensors(config)) {
    const name = options.gguf ? plan.ggufName : plan.name;
    const source = stored.get(name);
    if (!source) missing.push(name);
    // A damaged layer count asks for any number of tensors: five are enough for the message.
    if (missing.length === 5) break;
    if (!source) continue;
    if (source.shape.length !== plan.shape.length || source.shape.some((size, i) => size !== plan.shape[i])) {
      throw new ModelError(
        "TENSOR_SHAPE",
        `${source.file.path}: ${name} has shape [${source.shape.join(", ")}]; ` +
          `the model's configuration asks for [${plan.shape.join(", ")}].`,
        { details: { path: source.file.path, tensor: name } },
      );
    }
    pairs.push({ plan, source });
  }
  if (missing.length > 0) {
    throw new ModelError(
      "TENSOR_MISSING",
      `${where}: weights that the model needs are missing: ${missing.join(", ")}${missing.length === 5 ? " …" : ""}. ` +
        "Is the download complete, and does the configuration belong to these weights?",
      { details: { path: where, tensors: missing } },
    );
  }
  const used = new Set(pairs.map((pair) => pair.source.name));
  const extra = [...stored.keys()].filter((name) => !used.has(name) && !options.ignore?.(name));
  if (extra.length > 0) {
    throw new ModelError(
      "TENSOR_UNEXPECTED",
      `${where}: ${extra.length} weights are unknown to the ${config.architecture} architecture, so the model would ` +
        `compute something else: ${extra.slice(0, 5).join(", ")}${extra.length > 5 ? " …" : ""}.`,
      { details: { path: where, tensors: extra.slice(0, 50) } },
    );
  }
  return pairs;
}

/** One buffer for tensors that are multiplied together, one for each of the others. */
function allocateWeights(plans: readonly TensorPlan[]): Map<string, WeightTensor> {
  const sizes = new Map<string, number>();
  for (const plan of plans) sizes.set(plan.buffer, (sizes.get(plan.buffer) ?? 0) + countElements(plan.shape));
  const buffers = new Map<string, ArrayBuffer>();
  const used = new Map<string, number>();
  const weights = new Map<string, WeightTensor>();
  for (const plan of plans) {
    const buffer = buffers.get(plan.buffer) ?? allocate(sizes.get(plan.buffer)! * 4, plan.buffer);
    buffers.set(plan.buffer, buffer);
    const start = used.get(plan.buffer) ?? 0;
    const length = countElements(plan.shape);
    used.set(plan.buffer, start + length);
    weights.set(plan.name, { shape: plan.shape, data: new Float32Array(buffer, start * 4, length) });
  }
  return weights;
}

function allocate(byteLength: number, name: string): ArrayBuffer {
  try {
    return new ArrayBuffer(byteLength);
  } catch (cause) {
    throw new ModelError(
      "MODEL_TOO_LARGE",
      `There isn't enough memory for the weights: ${name} needs ${byteLength} bytes as float32. Use a smaller model.`,
      { cause, details: { tensor: name, byteLength } },
    );
  }
}

/**
 * Reads a stored tensor as float32.
 * @param out where to, one number for each of the tensor's
 * @param chunk memory to read encoded bytes into; its size is how many are read at a time
 * @param onBytes gets each stretch of encoded bytes
 * @throws ModelError where the file ends early or can't be read, or numbers are NaN or infinite
 */
export async function readTensor(
  source: StoredTensor,
  out: Float32Array,
  chunk: Buffer = Buffer.allocUnsafeSlow(Math.min(chunkBytes, source.byteLength)),
  onBytes?: (bytes: Uint8Array) => void,
): Promise<void> {
  const { blockSize, blockBytes, decode } = source.encoding;
  const asBytes = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
  const step = Math.max(1, Math.floor(chunk.length / blockBytes)) * blockBytes;
  for (let done = 0; done < source.byteLength; done += step) {
    const length = Math.min(step, source.byteLength - done);
    const first = (done / blockBytes) * blockSize;
    const numbers = out.subarray(first, first + (length / blockBytes) * blockSize);
    const bytes = decode ? chunk.subarray(0, length) : asBytes.subarray(done, done + length);
    await readFully(source, done, bytes);
    onBytes?.(bytes);
    decode?.(bytes, numbers);
    checkFinite(source, numbers, first);
  }
}

async function readFully(source: StoredTensor, from: number, bytes: Uint8Array): Promise<void> {
  const { path, handle } = source.file;
  for (let filled = 0; filled < bytes.length;) {
    const position = source.offset + from + filled;
    const { bytesRead } = await handle
      .read(bytes, filled, bytes.length - filled, position)
      .catch((cause: unknown) => Promise.reject(unreadableFile(path, cause)));
    if (bytesRead === 0) throw corruptFile(path, position, `the file ends inside ${source.name}`);
    filled += bytesRead;
  }
}

function checkFinite(source: StoredTensor, numbers: Float32Array, first: number): void {
  // x − x is 0 for every finite x and NaN for the others, so one sum tells.
  let sum = 0;
  for (let i = 0; i < numbers.length; i++) sum += numbers[i]! - numbers[i]!;
  if (sum === 0) return;
  const at = numbers.findIndex((x) => !Number.isFinite(x));
  throw new ModelError(
    "TENSOR_NOT_FINITE",
    `${source.file.path}: ${source.name} holds ${numbers[at]} at index ${first + at}. ` +
      "A model with such weights can't be used; it was damaged in training or in conversion.",
    { details: { path: source.file.path, tensor: source.name, index: first + at } },
  );
}

/**
 * llama.cpp's row order 0, d/2, 1, d/2 + 1 … within each head, back to 0, 1, 2 … (in place, one head of extra memory).
 * Source: `LlamaModel.permute` in llama.cpp's convert_hf_to_gguf.py.
 */
function separateHalves(data: Float32Array, heads: number, rows: number): void {
  const headRows = rows / heads;
  const rowSize = data.length / rows;
  const head = new Float32Array(headRows * rowSize);
  for (let start = 0; start < data.length; start += head.length) {
    head.set(data.subarray(start, start + head.length));
    for (let row = 0; row < headRows; row++) {
      const from = row < headRows / 2 ? 2 * row : 2 * row - headRows + 1;
      data.set(head.subarray(from * rowSize, (from + 1) * rowSize), start + row * rowSize);
    }
  }
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
