/**
 * The model families, each one small description. Adding one: a row in `architectures`, with the traits that set it apart
 * and, where it has weights of a new kind, a row in `layerTensors`. Nothing here reads files.
 */
import { ModelError } from "../core/errors.ts";
import { type ReadTraits, readGemma3Traits } from "./gemma3.ts";
import type { ModelConfig, RopeScaling } from "./model.ts";
import { SettingsReader } from "./settings-reader.ts";

export interface Architecture {
  /** `model_type` of config.json and `general.architecture` of GGUF. */
  name: ModelConfig["architecture"];
  /** Biases on q, k and v. */
  attentionBias: boolean;
  /** Norms over the heads of q and k. */
  qkNorm: boolean;
  /** Used where config.json doesn't say; null: hidden size / heads. */
  defaultHeadDim: number | null;
  /** Default false. */
  tiesEmbeddings?: boolean;
  /** Settings of config.json that decide more than the shape: traits, and how many tokens they hold for. */
  readTraits?: (settings: SettingsReader, shape: { hiddenSize: number; layers: number }) => ReadTraits;
  /** llama.cpp stores the rows of each head of q and k in the order of its own rotation: 0, d/2, 1, d/2 + 1 … */
  ggufInterleavesHeads: boolean;
}

export const architectures: readonly Architecture[] = [
  { name: "llama", attentionBias: false, qkNorm: false, defaultHeadDim: null, ggufInterleavesHeads: true },
  { name: "qwen2", attentionBias: true, qkNorm: false, defaultHeadDim: null, ggufInterleavesHeads: false },
  { name: "qwen3", attentionBias: false, qkNorm: true, defaultHeadDim: 128, ggufInterleavesHeads: false },
  {
    name: "gemma3_text",
    attentionBias: false,
    qkNorm: true,
    defaultHeadDim: 256,
    tiesEmbeddings: true,
    readTraits: readGemma3Traits,
    ggufInterleavesHeads: false,
  },
];

/** A weight that a model of a given shape must have. */
export interface TensorPlan {
  /** Hugging Face name. */
  name: string;
  ggufName: string;
  shape: number[];
  /** Tensors with the same key lie one after the other in one buffer. */
  buffer: string;
  /** Heads whose rows a GGUF file interleaves, 0 where it doesn't. */
  interleavedHeads: number;
}

interface LayerTensor {
  name: string;
  ggufName: string;
  shape: (config: ModelConfig) => number[];
  /** Tensors of a layer that share a buffer, in this table's order. */
  fusedAs?: string;
  when?: (config: ModelConfig) => boolean;
  /** Heads of its rows, for q and k. */
  rotatedHeads?: (config: ModelConfig) => number;
}

const queryRows = (config: ModelConfig): number => config.heads * config.headDim;
const keyRows = (config: ModelConfig): number => config.kvHeads * config.headDim;

const layerTensors: readonly LayerTensor[] = [
  { name: "input_layernorm.weight", ggufName: "attn_norm.weight", shape: (c) => [c.hiddenSize] },
  {
    name: "self_attn.q_proj.weight",
    ggufName: "attn_q.weight",
    shape: (c) => [queryRows(c), c.hiddenSize],
    fusedAs: "qkv.weight",
    rotatedHeads: (c) => c.heads,
  },
  {
    name: "self_attn.k_proj.weight",
    ggufName: "attn_k.weight",
    shape: (c) => [keyRows(c), c.hiddenSize],
    fusedAs: "qkv.weight",
    rotatedHeads: (c) => c.kvHeads,
  },
  {
    name: "self_attn.v_proj.weight",
    ggufName: "attn_v.weight",
    shape: (c) => [keyRows(c), c.hiddenSize],
    fusedAs: "qkv.weight",
  },
  {
    name: "self_attn.q_proj.bias",
    ggufName: "attn_q.bias",
    shape: (c) => [queryRows(c)],
    fusedAs: "qkv.bias",
    when: (c) => c.attentionBias,
    rotatedHeads: (c) => c.heads,
  },
  {
    name: "self_attn.k_proj.bias",
    ggufName: "attn_k.bias",
    shape: (c) => [keyRows(c)],
    fusedAs: "qkv.bias",
    when: (c) => c.attentionBias,
    rotatedHeads: (c) => c.kvHeads,
  },
  {
    name: "self_attn.v_proj.bias",
    ggufName: "attn_v.bias",
    shape: (c) => [keyRows(c)],
    fusedAs: "qkv.bias",
    when: (c) => c.attentionBias,
  },
  {
    name: "self_attn.q_norm.weight",
    ggufName: "attn_q_norm.weight",
    shape: (c) => [c.headDim],
    when: (c) => c.qkNorm,
  },
  {
    name: "self_attn.k_norm.weight",
    ggufName: "attn_k_norm.weight",
    shape: (c) => [c.headDim],
    when: (c) => c.qkNorm,
  },
  {
    name: "self_attn.o_proj.weight",
    ggufName: "attn_output.weight",
    shape: (c) => [c.hiddenSize, queryRows(c)],
  },
  {
    name: "post_attention_layernorm.weight",
    ggufName: "ffn_norm.weight",
    shape: (c) => [c.hiddenSize],
    when: (c) => !c.traits?.normsAround,
  },
  {
    name: "post_attention_layernorm.weight",
    ggufName: "post_attention_norm.weight",
    shape: (c) => [c.hiddenSize],
    when: (c) => c.traits?.normsAround === true,
  },
  {
    name: "pre_feedforward_layernorm.weight",
    ggufName: "ffn_norm.weight",
    shape: (c) => [c.hiddenSize],
    when: (c) => c.traits?.normsAround === true,
  },
  {
    name: "post_feedforward_layernorm.weight",
    ggufName: "post_ffw_norm.weight",
    shape: (c) => [c.hiddenSize],
    when: (c) => c.traits?.normsAround === true,
  },
  {
    name: "mlp.gate_proj.weight",
    ggufName: "ffn_gate.weight",
    shape: (c) => [c.intermediateSize, c.hiddenSize],
    fusedAs: "gate_up.weight",
  },
  {
    name: "mlp.up_proj.weight",
    ggufName: "ffn_up.weight",
    shape: (c) => [c.intermediateSize, c.hiddenSize],
    fusedAs: "gate_up.weight",
  },
  { name: "mlp.down_proj.weight", ggufName: "ffn_down.weight", shape: (c) => [c.hiddenSize, c.intermediateSize] },
];

/** Every weight of a model, lazily: a damaged layer count must not make a list of millions. */
export function* planTensors(config: ModelConfig): Generator<TensorPlan> {
  const { ggufInterleavesHeads } = findArchitecture(config.architecture, config.architecture);
  const single = (name: string, ggufName: string, shape: number[]): TensorPlan => ({
    name,
    ggufName,
    shape,
    buffer: name,
    interleavedHeads: 0,
  });
  yield single("model.embed_tokens.weight", "token_embd.weight", [config.vocabSize, config.hiddenSize]);
  for (let layer = 0; layer < config.layers; layer++) {
    for (const tensor of layerTensors) {
      if (tensor.when && !tensor.when(config)) continue;
      yield {
        name: `model.layers.${layer}.${tensor.name}`,
        ggufName: `blk.${layer}.${tensor.ggufName}`,
        shape: tensor.shape(config),
        buffer: `model.layers.${layer}.${tensor.fusedAs ?? tensor.name}`,
        interleavedHeads: ggufInterleavesHeads ? (tensor.rotatedHeads?.(config) ?? 0) : 0,
      };
    }
  }
  yield single("model.norm.weight", "output_norm.weight", [config.hiddenSize]);
  if (!config.tieWordEmbeddings) {
    yield single("lm_head.weight", "output.weight", [config.vocabSize, config.hiddenSize]);
  }
}

/** The description of an architecture. @throws ModelError naming those that are supported */
export function findArchitecture(name: string, where: string): Architecture {
  const found = architectures.find((architecture) => architecture.name === name);
  if (found) return found;
  throw new ModelError(
    "UNSUPPORTED_ARCHITECTURE",
    `${where}: the architecture "${name}" is not supported. Supported: ${architectures.map((a) => a.name).join(", ")}.`,
    { details: { architecture: name } },
  );
}

/**
 * Model shape from a Hugging Face config.json (Transformers 4 and 5 spellings).
 * @param where its path, for messages
 * @throws ModelError where it is incomplete, contradictory, or asks for what isn't supported
 */
export function configFromHuggingFace(json: Record<string, unknown>, where: string): ModelConfig {
  const settings = new SettingsReader(where, (key) => json[key]);
  const architecture = findArchitecture(settings.string("model_type"), where);
  settings.refuse("quantization_config", (value) => value !== undefined, "weights in F32, F16 or BF16");
  settings.refuse("hidden_act", (value) => value !== undefined && value !== "silu", "silu");
  settings.refuse("mlp_bias", (value) => value === true, "false");
  settings.refuse("use_sliding_window", (value) => value === true, "false");
  if (!architecture.readTraits) {
    settings.refuse(
      "layer_types",
      (value) => Array.isArray(value) && value.some((type) => type !== "full_attention"),
      "full_attention in every layer",
    );
  }
  // Qwen2's biases are part of its architecture; elsewhere the flag would add one to o as well.
  if (!architecture.attentionBias) settings.refuse("attention_bias", (value) => value === true, "false");
  const heads = settings.integer("num_attention_heads");
  const hiddenSize = settings.integer("hidden_size");
  const layers = settings.integer("num_hidden_layers");
  const contextLength = settings.integer("max_position_embeddings");
  const read = architecture.readTraits?.(settings, { hiddenSize, layers });
  return checkConfig(settings, {
    architecture: architecture.name,
    vocabSize: settings.integer("vocab_size"),
    hiddenSize,
    intermediateSize: settings.integer("intermediate_size"),
    layers,
    heads,
    kvHeads: settings.integer("num_key_value_heads", { fallback: heads }),
    headDim: settings.integer("head_dim", { fallback: architecture.defaultHeadDim ?? hiddenSize / heads }),
    contextLength: read ? Math.min(contextLength, read.maxContextLength) : contextLength,
    ...(read && contextLength > read.maxContextLength ? { fullContextLength: contextLength } : {}),
    rmsNormEps: settings.number("rms_norm_eps", { min: 0, max: 1, fallback: 1e-6 }),
    ...(read ? { ropeTheta: read.ropeTheta, ropeScaling: null } : ropeFromHuggingFace(settings, where)),
    tieWordEmbeddings: settings.boolean("tie_word_embeddings", architecture.tiesEmbeddings ?? false),
    attentionBias: architecture.attentionBias,
    qkNorm: architecture.qkNorm,
    ...(read ? { traits: read.traits } : {}),
  });
}

function ropeFromHuggingFace(settings: SettingsReader, where: string): Pick<ModelConfig, "ropeTheta" | "ropeScaling"> {
  // Transformers 5 has it all in rope_parameters; 4 has rope_theta beside rope_scaling (null: none).
  const key = settings.get("rope_parameters") === undefined ? "rope_scaling" : "rope_parameters";
  const value = settings.get(key) ?? {};
  if (typeof value !== "object" || Array.isArray(value)) throw settings.wrong(key, value, "an object");
  const rope = new SettingsReader(`${where}, ${key}`, (name) => (value as Record<string, unknown>)[name]);
  const ropeTheta = rope.number("rope_theta", {
    min: 1,
    fallback: settings.number("rope_theta", { min: 1, fallback: 10_000 }),
  });
  for (const reader of [settings, rope]) {
    reader.refuse("partial_rotary_factor", (factor) => factor !== undefined && factor !== 1, "1");
  }
  const type = rope.string("rope_type", rope.string("type", "default"));
  switch (type) {
    case "default":
      return { ropeTheta, ropeScaling: null };
    case "linear":
      return { ropeTheta, ropeScaling: { type, factor: rope.number("factor", { min: 1 }) } };
    case "llama3":
      return {
        ropeTheta,
        ropeScaling: {
          type,
          factor: rope.number("factor", { min: 1 }),
          lowFreqFactor: rope.number("low_freq_factor", { min: 0 }),
          highFreqFactor: rope.number("high_freq_factor", { min: 0 }),
          originalContextLength: rope.integer("original_max_position_embeddings"),
        },
      };
    default:
      throw rope.unsupported("rope_type", type, "default, linear, llama3");
  }
}

/** What a GGUF file's tensors say about its shape, beyond its metadata. */
export interface GgufTensorFacts {
  /** Rows of token_embd.weight. */
  vocabSize: number;
  /** Whether output.weight is there. */
  hasOutput: boolean;
  /** Divisors of the rotary frequencies `[headDim / 2]` (rope_freqs.weight), where the file has them. */
  ropeFactors: Float32Array | null;
}

/**
 * Model shape from GGUF metadata.
 * @param lookUp value of a metadata key
 * @param where the file, for messages
 * @throws ModelError where it is incomplete, contradictory, or asks for what isn't supported
 */
export function configFromGguf(lookUp: (key: string) => unknown, tensors: GgufTensorFacts, where: string): ModelConfig {
  const settings = new SettingsReader(where, lookUp);
  const architecture = findArchitecture(settings.string("general.architecture"), where);
  const { name } = architecture;
  if (architecture.readTraits) throw settings.unsupported("general.architecture", name, "a Hugging Face folder of it");
  settings.refuse(`${name}.expert_count`, (value) => value !== undefined && value !== 0, "0 (no experts)");
  const heads = settings.integer(`${name}.attention.head_count`);
  const hiddenSize = settings.integer(`${name}.embedding_length`);
  const headDim = settings.integer(`${name}.attention.key_length`, { fallback: hiddenSize / heads });
  for (const key of [`${name}.attention.value_length`, `${name}.rope.dimension_count`]) {
    settings.refuse(key, (value) => value !== undefined && value !== headDim, `${headDim}, the size of a head`);
  }
  const ropeTheta = settings.number(`${name}.rope.freq_base`, { min: 1, fallback: 10_000 });
  return checkConfig(settings, {
    architecture: name,
    vocabSize: tensors.vocabSize,
    hiddenSize,
    intermediateSize: settings.integer(`${name}.feed_forward_length`),
    layers: settings.integer(`${name}.block_count`),
    heads,
    kvHeads: settings.integer(`${name}.attention.head_count_kv`, { fallback: heads }),
    headDim,
    contextLength: settings.integer(`${name}.context_length`),
    rmsNormEps: roundFloat(settings.number(`${name}.attention.layer_norm_rms_epsilon`, { min: 0, max: 1 })),
    ropeTheta: roundFloat(ropeTheta),
    ropeScaling: ropeScalingFromGguf(settings, name, headDim, ropeTheta, tensors.ropeFactors),
    tieWordEmbeddings: !tensors.hasOutput,
    attentionBias: architecture.attentionBias,
    qkNorm: architecture.qkNorm,
  });
}

/** Metadata floats have 32 bits; this is the shortest decimal that has the same ones (1e-5, not 9.99999974e-6). */
function roundFloat(value: number): number {
  const short = Number(value.toPrecision(7));
  return Math.fround(short) === Math.fround(value) ? short : value;
}

function ropeScalingFromGguf(
  settings: SettingsReader,
  name: string,
  headDim: number,
  ropeTheta: number,
  factors: Float32Array | null,
): RopeScaling | null {
  if (factors) return recogniseLlama3Factors(settings, headDim, ropeTheta, factors);
  const key = `${name}.rope.scaling.type`;
  const oldFactor = settings.number(`${name}.rope.scale_linear`, { min: 1, fallback: 1 });
  const type = settings.string(key, oldFactor === 1 ? "none" : "linear");
  if (type === "none") return null;
  if (type !== "linear") throw settings.unsupported(key, type, "none, linear, and Llama 3's by rope_freqs.weight");
  const factor = settings.number(`${name}.rope.scaling.factor`, { min: 1, fallback: oldFactor });
  return factor === 1 ? null : { type, factor };
}

/**
 * llama.cpp stores Llama 3's rope scaling as one divisor a frequency. All Llama 3 models scale from 8,192 tokens with low
 * and high factors 1 and 4; the file's own numbers decide whether that is what it has.
 */
function recogniseLlama3Factors(
  settings: SettingsReader,
  headDim: number,
  ropeTheta: number,
  factors: Float32Array,
): RopeScaling | null {
  if (factors.every((factor) => factor === 1)) return null;
  const scaling: RopeScaling = {
    type: "llama3",
    factor: factors.reduce((a, b) => Math.max(a, b)),
    lowFreqFactor: 1,
    highFreqFactor: 4,
    originalContextLength: 8192,
  };
  const matches =
    factors.length === headDim / 2 &&
    factors.every((factor, i) => {
      const wavelength = 2 * Math.PI * ropeTheta ** ((2 * i) / headDim);
      const smooth = Math.min(1, Math.max(0, (scaling.originalContextLength / wavelength - 1) / 3));
      const expected = 1 / ((1 - smooth) / scaling.factor + smooth);
      return Math.abs(factor - expected) <= 1e-3 * expected;
    });
  if (!matches) throw settings.unsupported("rope_freqs.weight", "not Llama 3's", "Llama 3's rope scaling");
  return scaling;
}

function checkConfig(settings: SettingsReader, config: ModelConfig): ModelConfig {
  if (config.heads % config.kvHeads !== 0) {
    throw settings.wrong("key/value heads", config.kvHeads, `a divisor of the ${config.heads} attention heads`);
  }
  if (config.headDim % 2 !== 0) throw settings.wrong("head size", config.headDim, "even");
  return config;
}
