/** Small random models: written as Hugging Face folders and loaded as any other, with a tokenizer of single letters. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { nextGaussian, randomStream } from "../../../src/core/random.ts";
import { LocalEngine, type LocalEngineOptions } from "../../../src/engines/local/index.ts";
import { planTensors } from "../../../src/models/architectures.ts";
import { loadModel } from "../../../src/models/load.ts";
import type { ChatTokenizer, LoadedModel, ModelConfig } from "../../../src/models/model.ts";
import { writeSafetensors } from "../../../src/models/safetensors-writer.ts";

export function tinyConfig(changes: Partial<ModelConfig> = {}): ModelConfig {
  const architecture = changes.architecture ?? "llama";
  return {
    architecture,
    vocabSize: 26,
    hiddenSize: 16,
    intermediateSize: 24,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headDim: 4,
    contextLength: 64,
    rmsNormEps: 1e-5,
    ropeTheta: 10_000,
    ropeScaling: null,
    tieWordEmbeddings: true,
    attentionBias: architecture === "qwen2",
    qkNorm: architecture === "qwen3" || architecture === "gemma3_text",
    ...(architecture === "gemma3_text" ? { traits: gemmaTraits } : {}),
    ...changes,
  };
}

const gemmaTraits = {
  activation: "gelu_tanh",
  normsAround: true,
  normOffset: 1,
  embeddingScale: 4,
  attentionScale: 8 ** -0.5,
  localRope: { theta: 100, layers: [0] },
} as const;

/** Settings that only Gemma 3 has. */
function gemmaJson({ layers, contextLength, ropeTheta }: ModelConfig): Record<string, unknown> {
  const { theta, layers: local } = gemmaTraits.localRope;
  return {
    hidden_activation: "gelu_pytorch_tanh",
    query_pre_attn_scalar: 8,
    sliding_window: contextLength,
    max_position_embeddings: 10 * contextLength,
    layer_types: Array.from({ length: layers }, (_, layer) =>
      (local as readonly number[]).includes(layer) ? "sliding_attention" : "full_attention",
    ),
    rope_parameters: { sliding_attention: { rope_theta: theta }, full_attention: { rope_theta: ropeTheta } },
  };
}

/** The config as config.json spells it. */
function configJson(config: ModelConfig): Record<string, unknown> {
  const { ropeScaling } = config;
  const scaling =
    ropeScaling?.type === "llama3"
      ? {
          rope_type: "llama3",
          factor: ropeScaling.factor,
          low_freq_factor: ropeScaling.lowFreqFactor,
          high_freq_factor: ropeScaling.highFreqFactor,
          original_max_position_embeddings: ropeScaling.originalContextLength,
        }
      : ropeScaling
        ? { rope_type: "linear", factor: ropeScaling.factor }
        : { rope_type: "default" };
  return {
    model_type: config.architecture,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    max_position_embeddings: config.contextLength,
    rms_norm_eps: config.rmsNormEps,
    rope_parameters: { ...scaling, rope_theta: config.ropeTheta },
    tie_word_embeddings: config.tieWordEmbeddings,
    ...(config.architecture === "gemma3_text" ? gemmaJson(config) : {}),
  };
}

/**
 * Writes a random model to `folder`. Norm weights lie around 1, the rest is scaled so that hidden states neither vanish
 * nor explode and next-token distributions are neither flat nor certain.
 */
export async function writeTinyModel(folder: string, config: ModelConfig, seed = 1): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), JSON.stringify(configJson(config)));
  const offset = config.traits?.normOffset ?? 0;
  const tensors = [...planTensors(config)].map(({ name, shape }) => {
    const random = randomStream(seed, name);
    const isNorm = name.includes("norm");
    const deviation = isNorm || name.endsWith("bias") ? 0.3 : 1.4 / Math.sqrt(shape[1] as number);
    const length = shape.reduce((a, b) => a * b, 1);
    const data = Float32Array.from({ length }, () => (isNorm ? 1 - offset : 0) + deviation * nextGaussian(random));
    return { name, shape, data };
  });
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
}

/** A folder that goes away with the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "rec-r1-engine-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Ids are letters, `a` is 0; id 25, `z`, ends an answer. */
export const letters: ChatTokenizer = {
  encodeChat: (messages) => messages.flatMap(({ content }) => letters.encode(content)),
  encode: (text) => [...text].map((letter) => letter.charCodeAt(0) - 97),
  decode: (ids) => ids.map((id) => (id === 25 ? "" : String.fromCharCode(97 + id))).join(""),
  endIds: [25],
};

/** A random model, loaded from a folder written for it. */
export async function makeTinyModel(changes: Partial<ModelConfig> = {}, seed = 1): Promise<LoadedModel> {
  const folder = await temporaryFolder();
  await writeTinyModel(folder, tinyConfig(changes), seed);
  return { ...(await loadModel(folder)), tokenizer: letters };
}

/** An engine on a random model, closed with the test. */
export async function makeTinyEngine(
  options: LocalEngineOptions & { config?: Partial<ModelConfig>; modelSeed?: number } = {},
): Promise<LocalEngine> {
  const { config, modelSeed, ...engineOptions } = options;
  const engine = new LocalEngine(await makeTinyModel(config, modelSeed), {
    loraRank: 3,
    threads: 1,
    ...engineOptions,
  });
  onTestFinished(() => engine.close());
  return engine;
}
