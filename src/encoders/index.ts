/**
 * Sentence encoders in this process: any Hugging Face folder with an ONNX file, or BERT weights in safetensors, which
 * run on a graph of our own. Vectors have length 1, so that a dot product is a cosine.
 */
import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import { ConfigError, EngineError, ModelError, throwIfAborted } from "../core/errors.ts";
import { readJsonFile, tokenizerFromFolder } from "../models/hub-tokenizer.ts";
import { resolveModel, type PullOptions } from "../models/pull.ts";
import type { EncodeOptions, SentenceEncoder, TextKind } from "./encoder.ts";
import { poolings, readEncoderSettings, type EncoderSettings, type Pooling } from "./encoder-settings.ts";
import { TextTokenizer } from "./text-tokenizer.ts";
import { openTokenModel, type NetworkOutput, type TokenModel } from "./token-model.ts";

export type { EncodeOptions, SentenceEncoder, TextKind } from "./encoder.ts";
export type { Pooling } from "./encoder-settings.ts";

export interface EncoderOptions {
  /** Default: as the folder says, `mean` where it doesn't. */
  pooling?: Pooling;
  /** Longest text in tokens, special tokens included; the rest is cut off. Default: as the folder says. */
  maxTokens?: number;
  /** Put before every query. Default: as the folder says, nothing where it doesn't. */
  queryPrompt?: string;
  /** Put before every document. Default: as the folder says, nothing where it doesn't. */
  documentPrompt?: string;
  /** The ONNX file, as a path in the folder. Default `model.onnx` or `onnx/model.onnx`, then `model.safetensors`. */
  file?: string;
  /** Threads of one run. Default: onnxruntime's own choice. */
  threads?: number;
  signal?: AbortSignal;
  /** For a known name that isn't in the cache yet. */
  pull?: Omit<PullOptions, "signal">;
}

/** The encoder that is used where none is named. */
export const defaultEncoder = "all-minilm-l6-v2";

/** Texts are padded to a multiple of this many tokens. */
const tokenStep = 16;
/** Tokens of one run, padding included. */
const batchTokens = 4096;

/**
 * Loads a sentence encoder.
 * @param source a Hugging Face folder, or a known name, which is pulled if it isn't in the cache
 * @throws ModelError, ConfigError, EngineError, AbortError
 */
export async function loadEncoder(
  source: string = defaultEncoder,
  options: EncoderOptions = {},
): Promise<SentenceEncoder> {
  checkOptions(options);
  throwIfAborted(options.signal);
  const { name, path } = await resolveModel(source, {
    ...options.pull,
    ...(options.signal ? { signal: options.signal } : {}),
  });
  const config = await readJsonFile(join(path, "config.json"));
  const parts = config && (await tokenizerFromFolder(path, config));
  if (!config || !parts) {
    const missing = config ? "tokenizer.json" : "config.json";
    throw new ModelError("MODEL_NOT_FOUND", `${path}: no encoder here: there is no ${missing}.`, { details: { path } });
  }
  const settings = await readEncoderSettings(path, config, {
    ...(options.pooling ? { pooling: options.pooling } : {}),
    ...(options.maxTokens === undefined ? {} : { maxTokens: options.maxTokens }),
  });
  settings.prompts.query = options.queryPrompt ?? settings.prompts.query;
  settings.prompts.document = options.documentPrompt ?? settings.prompts.document;
  const tokenizer = await TextTokenizer.create(parts, settings.maxTokens);
  const model = await openTokenModel(path, config, { file: options.file, threads: options.threads });
  const digest = createHash("sha256")
    .update(JSON.stringify([model.digest, settings, parts.tokenizerJson]))
    .digest("hex");
  const encoder = new NetworkEncoder(name ?? basename(path), digest, tokenizer, model, settings);
  try {
    await encoder.measure();
  } catch (error) {
    await encoder.close();
    throw error;
  }
  return encoder;
}

function checkOptions({ pooling, maxTokens }: EncoderOptions): void {
  if (pooling !== undefined && !poolings.includes(pooling)) {
    const got = String(pooling);
    throw new ConfigError("CONFIG_BAD_POOLING", `encoder: pooling is ${got}; expected ${poolings.join(" or ")}.`);
  }
  if (maxTokens !== undefined && !(Number.isInteger(maxTokens) && maxTokens >= 3)) {
    const got = String(maxTokens);
    throw new ConfigError("CONFIG_BAD_NUMBER", `encoder: maxTokens is ${got}; expected a whole number, 3 or more.`);
  }
}

class NetworkEncoder implements SentenceEncoder {
  readonly name: string;
  readonly fingerprint: string;
  dimensions = 0;
  readonly #tokenizer: TextTokenizer;
  readonly #model: TokenModel;
  readonly #settings: EncoderSettings;

  constructor(name: string, digest: string, tokenizer: TextTokenizer, model: TokenModel, settings: EncoderSettings) {
    this.name = name;
    this.fingerprint = digest;
    this.#tokenizer = tokenizer;
    this.#model = model;
    this.#settings = settings;
  }

  /** Finds out how long vectors are, by making one. */
  async measure(): Promise<void> {
    const { shape } = await this.#run([this.#tokenizer.encode("a")], tokenStep);
    this.dimensions = shape.at(-1) ?? 0;
  }

  async encode(texts: readonly string[], kind: TextKind, options: EncodeOptions = {}): Promise<Float32Array> {
    const prompt = this.#settings.prompts[kind];
    const vectors = new Float32Array(texts.length * this.dimensions);
    // Only texts padded to the same length share a run: so the arithmetic on a text is the same in any company.
    const byLength = new Map<number, { text: number; ids: number[] }[]>();
    texts.forEach((text, i) => {
      const ids = this.#tokenizer.encode(prompt + text);
      const tokens = Math.min(Math.ceil(ids.length / tokenStep) * tokenStep, this.#settings.maxTokens);
      const group = byLength.get(tokens);
      if (group) group.push({ text: i, ids });
      else byLength.set(tokens, [{ text: i, ids }]);
    });
    let done = 0;
    for (const [tokens, group] of byLength) {
      const batchSize = Math.max(1, Math.floor(batchTokens / tokens));
      for (let start = 0; start < group.length; start += batchSize) {
        throwIfAborted(options.signal);
        const batch = group.slice(start, start + batchSize);
        const lists = batch.map(({ ids }) => ids);
        const pooled = this.#pool(await this.#run(lists, tokens), lists);
        batch.forEach(({ text }, row) => {
          const vector = pooled.subarray(row * this.dimensions, (row + 1) * this.dimensions);
          vectors.set(vector, text * this.dimensions);
        });
        done += batch.length;
        options.onProgress?.(done);
      }
    }
    throwIfAborted(options.signal);
    return vectors;
  }

  close(): Promise<void> {
    return this.#model.close();
  }

  #run(lists: readonly (readonly number[])[], tokens: number): Promise<NetworkOutput> {
    const ids = new BigInt64Array(lists.length * tokens);
    const mask = new BigInt64Array(lists.length * tokens);
    lists.forEach((list, row) => {
      list.forEach((id, i) => {
        ids[row * tokens + i] = BigInt(id);
        mask[row * tokens + i] = 1n;
      });
    });
    return this.#model.run({ texts: lists.length, tokens, ids, mask });
  }

  /** Vectors of texts, of length 1, from those of their tokens. */
  #pool({ shape, data }: NetworkOutput, lists: readonly (readonly number[])[]): Float32Array {
    const size = this.dimensions;
    const isPooled = shape.length === 2;
    if (shape[0] !== lists.length || shape.at(-1) !== size || (!isPooled && shape.length !== 3)) {
      throw new EngineError(
        "ENCODER_OUTPUT",
        `The encoder ${this.name} gave numbers in the shape [${shape.join(", ")}]; expected [texts, tokens, ${size}].`,
      );
    }
    const tokens = isPooled ? 1 : (shape[1] as number);
    const pooled = new Float32Array(lists.length * size);
    lists.forEach((list, row) => {
      const out = pooled.subarray(row * size, (row + 1) * size);
      const counted = isPooled || this.#settings.pooling === "cls" ? 1 : list.length;
      for (let t = 0; t < counted; t++) {
        const start = (row * tokens + t) * size;
        for (let i = 0; i < size; i++) out[i] = (out[i] as number) + (data[start + i] as number);
      }
      normalize(out, this.name);
    });
    return pooled;
  }
}

/** Scales a vector to length 1. @throws EngineError where it has no direction */
function normalize(vector: Float32Array, name: string): void {
  let sum = 0;
  for (const value of vector) sum += value * value;
  const length = Math.sqrt(sum);
  if (!(length > 0 && Number.isFinite(length))) {
    throw new EngineError("ENCODER_OUTPUT", `The encoder ${name} gave a vector of length ${length}; it is damaged.`);
  }
  for (let i = 0; i < vector.length; i++) vector[i] = (vector[i] as number) / length;
}
