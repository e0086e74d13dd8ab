/** Writes a model as a Hugging Face folder, for programs that read nothing else. */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describeFileError, makeWithParents } from "../core/atomic-write.ts";
import { ModelError } from "../core/errors.ts";
import { loadModel, readTokenizerParts } from "./load.ts";
import type { FamilyTraits, ModelConfig, WeightTensor } from "./model.ts";
import { type SafetensorsType, writeSafetensors } from "./safetensors-writer.ts";
import type { TokenizerParts } from "./tokenizer.ts";

/** The configuration as config.json spells it. */
function configJson(config: ModelConfig, endIds: readonly number[], type: SafetensorsType): Record<string, unknown> {
  const classes = {
    llama: "LlamaForCausalLM",
    qwen2: "Qwen2ForCausalLM",
    qwen3: "Qwen3ForCausalLM",
    gemma3_text: "Gemma3ForCausalLM",
  };
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
        : null;
  return {
    architectures: [classes[config.architecture]],
    model_type: config.architecture,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    max_position_embeddings: config.fullContextLength ?? config.contextLength,
    rms_norm_eps: config.rmsNormEps,
    rope_theta: config.ropeTheta,
    rope_scaling: scaling,
    tie_word_embeddings: config.tieWordEmbeddings,
    attention_bias: config.attentionBias,
    ...(config.traits ? traitsJson(config, config.traits) : { hidden_act: "silu" }),
    torch_dtype: { f32: "float32", f16: "float16", bf16: "bfloat16" }[type],
    ...(endIds.length > 0 ? { eos_token_id: endIds.length === 1 ? endIds[0] : endIds } : {}),
  };
}

/** Gemma 3's own settings, the only ones that traits are read from. */
function traitsJson({ layers, contextLength }: ModelConfig, traits: FamilyTraits): Record<string, unknown> {
  const local = traits.localRope?.layers ?? [];
  return {
    hidden_activation: "gelu_pytorch_tanh",
    query_pre_attn_scalar: Math.round((traits.attentionScale as number) ** -2),
    sliding_window: contextLength,
    rope_local_base_freq: traits.localRope?.theta,
    layer_types: Array.from({ length: layers }, (_, layer) =>
      local.includes(layer) ? "sliding_attention" : "full_attention",
    ),
  };
}

/**
 * Writes config.json, model.safetensors (float32), tokenizer.json and tokenizer_config.json to `folder`, which must be
 * empty or absent.
 * @throws ModelError `EXPORT_FOLDER` where it is neither; RecR1Error `DISK_FULL` …
 */
export async function exportModel(source: string, folder: string): Promise<void> {
  await requireEmptyFolder(folder);
  const model = await loadModel(source);
  const { parts } = await readTokenizerParts(source);
  const endIds = model.tokenizer?.endIds ?? [];
  await writeModelFolder(folder, {
    config: model.config,
    weights: model.weights,
    parts: parts && { ...parts, endIds },
  });
}

/** @throws ModelError `EXPORT_FOLDER` where `folder` is neither empty nor absent */
export async function requireEmptyFolder(folder: string): Promise<void> {
  const existing = await readdir(folder).catch(() => []);
  if (existing.length === 0) return;
  throw new ModelError("EXPORT_FOLDER", `${folder} is not empty; an export goes to a folder of its own.`);
}

export interface FolderModel {
  config: ModelConfig;
  /** By Hugging Face name. */
  weights: ReadonlyMap<string, Pick<WeightTensor, "shape" | "data">>;
  /** Its `endIds` are those that the model ends answers by. Null: the folder gets no tokenizer. */
  parts: TokenizerParts | null;
}

/**
 * Writes a model in Hugging Face's layout: config.json, generation_config.json, model.safetensors and the tokenizer's
 * files.
 * @param type of the weights. Default f32.
 * @throws ModelError `EXPORT_RANGE`; RecR1Error `DISK_FULL` …
 */
export async function writeModelFolder(
  folder: string,
  { config, weights, parts }: FolderModel,
  type: SafetensorsType = "f32",
): Promise<void> {
  try {
    await makeWithParents(folder);
    const endIds = parts?.endIds ?? [];
    await writeJson(folder, "config.json", configJson(config, endIds, type));
    if (endIds.length > 0) await writeJson(folder, "generation_config.json", { eos_token_id: endIds });
    const tensors = [...weights].map(([name, { shape, data }]) => ({ name, shape, data }));
    await writeSafetensors(join(folder, "model.safetensors"), tensors, {}, type);
    if (parts) await writeTokenizer(folder, parts);
  } catch (error) {
    throw describeFileError(error, "write the model to", folder);
  }
}

const writeJson = (folder: string, name: string, value: unknown): Promise<void> =>
  writeFile(join(folder, name), `${JSON.stringify(value, null, 1)}\n`);

/** Writes tokenizer.json and tokenizer_config.json, the chat template in the latter. */
export async function writeTokenizer(folder: string, parts: TokenizerParts): Promise<void> {
  const json = { version: "1.0", ...parts.tokenizerJson, added_tokens: addedTokens(parts) };
  await writeJson(folder, "tokenizer.json", json);
  await writeJson(folder, "tokenizer_config.json", tokenizerConfig(parts));
}

/** Added tokens with every field that other readers insist on. */
function addedTokens({ tokenizerJson }: TokenizerParts): Record<string, unknown>[] {
  const defaults = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false };
  const tokens = (tokenizerJson.added_tokens ?? []) as Record<string, unknown>[];
  return tokens.map((token) => ({ ...defaults, ...token }));
}

function tokenizerConfig({
  tokenizerConfig,
  bosToken,
  eosToken,
  chatTemplate,
}: TokenizerParts): Record<string, unknown> {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    ...tokenizerConfig,
    ...(bosToken === null ? {} : { bos_token: bosToken }),
    ...(eosToken === null ? {} : { eos_token: eosToken }),
    ...(chatTemplate === null ? {} : { chat_template: chatTemplate }),
  };
}
