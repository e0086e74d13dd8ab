/** Loads a model from a Hugging Face folder, a GGUF file, or by a known name. */
import { stat } from "node:fs/promises";
import { endianness } from "node:os";
import { basename, join } from "node:path";
import { ModelError, throwIfAborted } from "../core/errors.ts";
import { configFromGguf, configFromHuggingFace } from "./architectures.ts";
import { readGgufHeader } from "./gguf.ts";
import { tokenizerFromGguf } from "./gguf-tokenizer.ts";
import { readJsonFile, tokenizerFromFolder } from "./hub-tokenizer.ts";
import type { LoadedModel, ModelConfig } from "./model.ts";
import { corruptFile, unreadableFile } from "./model-file-errors.ts";
import { resolveModel, type PullOptions } from "./pull.ts";
import { listWeightFiles, openModelFile, readSafetensorsHeader } from "./safetensors.ts";
import { countElements, type ModelFile, type StoredTensor } from "./stored-tensor.ts";
import { createTokenizer, type TemplateTokenizer, type TokenizerParts } from "./tokenizer.ts";
import { readTensor, readWeights } from "./weights.ts";

export interface LoadOptions {
  signal?: AbortSignal;
  /** For a known name that isn't in the cache yet. */
  pull?: Omit<PullOptions, "signal">;
  /** Called every few megabytes of weights. */
  onProgress?: (bytesRead: number, totalBytes: number) => void;
  /** Further variables of the chat template. Default `{ enable_thinking: false }`. */
  templateVariables?: Readonly<Record<string, unknown>>;
}

/**
 * Loads a model's weights as float32, its shape and its tokenizer.
 * @param source a Hugging Face folder (config.json, *.safetensors), a .gguf file, or a known name, which is pulled if it
 *   isn't in the cache
 * @throws ModelError, AbortError
 */
export async function loadModel(source: string, options: LoadOptions = {}): Promise<LoadedModel> {
  if (endianness() !== "LE") {
    throw new ModelError("UNSUPPORTED_PLATFORM", "Models can be loaded on little-endian processors only.");
  }
  throwIfAborted(options.signal);
  const { name, path } = await resolveModel(source, {
    ...options.pull,
    ...(options.signal ? { signal: options.signal } : {}),
  });
  const stats = await stat(path).catch((cause: unknown) => Promise.reject(unreadableFile(path, cause)));
  const model = await (stats.isDirectory() ? loadFolder(path, options) : loadGguf(path, options));
  return name === null ? model : { ...model, name };
}

/**
 * A model's tokenizer and context length without its weights: for policies whose weights are elsewhere. Of a folder only
 * the configuration and the tokenizer's files have to be there.
 * @throws ModelError, AbortError
 */
export async function loadTokenizer(
  source: string,
  options: LoadOptions = {},
): Promise<{ name: string; tokenizer: TemplateTokenizer; contextLength: number }> {
  const { name, path, config, parts } = await readTokenizerParts(source, options);
  const tokenizer = await makeTokenizer(parts, config, options);
  if (!tokenizer) {
    throw new ModelError("TOKENIZER_MISSING", `${path} holds no tokenizer; expected tokenizer.json in it.`, {
      details: { path },
    });
  }
  return { name: name ?? basename(path).replace(/\.gguf$/i, ""), tokenizer, contextLength: config.contextLength };
}

/** What a model's tokenizer is made of, and its shape; null where it has none. @throws ModelError, AbortError */
export async function readTokenizerParts(
  source: string,
  options: LoadOptions = {},
): Promise<{ name: string | null; path: string; config: ModelConfig; parts: TokenizerParts | null }> {
  const { name, path } = await resolveModel(source, {
    ...options.pull,
    ...(options.signal ? { signal: options.signal } : {}),
  });
  const stats = await stat(path).catch((cause: unknown) => Promise.reject(unreadableFile(path, cause)));
  return { name, path, ...(await (stats.isDirectory() ? readFolderParts(path) : readGgufParts(path))) };
}

async function readFolderParts(path: string): Promise<{ config: ModelConfig; parts: TokenizerParts | null }> {
  const configPath = join(path, "config.json");
  const json = await readJsonFile(configPath);
  if (!json) throw unreadableFile(configPath, Object.assign(new Error(), { code: "ENOENT" }));
  return { config: configFromHuggingFace(json, configPath), parts: await tokenizerFromFolder(path, json) };
}

async function readGgufParts(path: string): Promise<{ config: ModelConfig; parts: TokenizerParts | null }> {
  const file = await openModelFile(path);
  try {
    const header = readGgufHeader(file);
    const embedding = header.tensors.get("token_embd.weight");
    const shape = { vocabSize: embedding?.shape[0] ?? 1, hasOutput: header.tensors.has("output.weight") };
    const config = configFromGguf((key) => header.metadata.get(key), { ...shape, ropeFactors: null }, path);
    return { config, parts: tokenizerFromGguf(header, path) };
  } finally {
    await file.handle.close();
  }
}

async function loadGguf(path: string, options: LoadOptions): Promise<LoadedModel> {
  const file = await openModelFile(path);
  try {
    const header = readGgufHeader(file);
    const embedding = header.tensors.get("token_embd.weight");
    const config = configFromGguf(
      (key) => header.metadata.get(key),
      {
        vocabSize: embedding?.shape[0] ?? 1,
        hasOutput: header.tensors.has("output.weight"),
        ropeFactors: await readRopeFactors(header.tensors.get("rope_freqs.weight")),
      },
      path,
    );
    const tokenizer = await makeTokenizer(tokenizerFromGguf(header, path), config, options);
    const read = await readWeights(config, header.tensors, path, {
      gguf: true,
      ignore: (name) => name === "rope_freqs.weight",
      ...pickReading(options),
    });
    return { name: basename(path).replace(/\.gguf$/i, ""), config, tokenizer, ...read };
  } finally {
    await file.handle.close();
  }
}

async function loadFolder(path: string, options: LoadOptions): Promise<LoadedModel> {
  const configPath = join(path, "config.json");
  const json = await readJsonFile(configPath);
  if (!json) throw unreadableFile(configPath, Object.assign(new Error(), { code: "ENOENT" }));
  const config = configFromHuggingFace(json, configPath);
  const tokenizer = await makeTokenizer(await tokenizerFromFolder(path, json), config, options);
  const { paths, index } = await listWeightFiles(path);
  const files: ModelFile[] = [];
  try {
    const stored = new Map<string, StoredTensor>();
    for (const filePath of paths) {
      const file = await openModelFile(filePath);
      files.push(file);
      for (const tensor of await readSafetensorsHeader(file)) {
        if (stored.has(tensor.name)) throw corruptFile(filePath, 8, `${tensor.name} is in another file, too`);
        stored.set(tensor.name, tensor);
      }
    }
    for (const [name, filePath] of index ?? []) {
      if (stored.get(name)?.file.path !== filePath) {
        throw corruptFile(filePath, 8, `model.safetensors.index.json says that ${name} is in it, and it is not`);
      }
    }
    const read = await readWeights(config, stored, path, {
      gguf: false,
      // Old checkpoints store rotary frequencies, and some a copy of the tied embedding.
      ignore: (name) =>
        name.endsWith(".rotary_emb.inv_freq") || (config.tieWordEmbeddings && name === "lm_head.weight"),
      ...pickReading(options),
    });
    return { name: basename(path), config, tokenizer, ...read };
  } finally {
    await Promise.all(files.map((file) => file.handle.close()));
  }
}

const pickReading = (options: LoadOptions): Pick<LoadOptions, "signal" | "onProgress"> => ({
  ...(options.signal ? { signal: options.signal } : {}),
  ...(options.onProgress ? { onProgress: options.onProgress } : {}),
});

/** llama.cpp's divisors of rotary frequencies. */
async function readRopeFactors(stored: StoredTensor | undefined): Promise<Float32Array | null> {
  if (!stored) return null;
  const factors = new Float32Array(countElements(stored.shape));
  await readTensor(stored, factors);
  return factors;
}

async function makeTokenizer(
  parts: TokenizerParts | null,
  config: ModelConfig,
  options: LoadOptions,
): Promise<TemplateTokenizer | null> {
  if (!parts) return null;
  const tokenizer = await createTokenizer(
    options.templateVariables ? { ...parts, templateVariables: options.templateVariables } : parts,
  );
  if (tokenizer.vocabSize > config.vocabSize) {
    throw new ModelError(
      "TOKENIZER_MISMATCH",
      `${parts.where}: the tokenizer has ids up to ${tokenizer.vocabSize - 1}, but the model only embeds ` +
        `${config.vocabSize} tokens. The tokenizer belongs to another model.`,
      { details: { path: parts.where } },
    );
  }
  return tokenizer;
}
