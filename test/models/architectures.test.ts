import { describe, expect, test } from "vitest";
import { configFromGguf, configFromHuggingFace, type GgufTensorFacts } from "../../src/models/architectures.ts";
import { tinyConfig, tinyMetadata, type MetadataValue } from "./model-files.ts";

const read = (changes: Record<string, unknown>) => configFromHuggingFace({ ...tinyConfig, ...changes }, "config.json");

describe("config.json", () => {
  const llama3 = { factor: 32, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
  const scaled = {
    ropeTheta: 500000,
    ropeScaling: { type: "llama3", factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalContextLength: 8192 },
  };
  test.each([
    ["Transformers 4", { rope_theta: 500000, rope_scaling: { ...llama3, rope_type: "llama3" } }, scaled],
    ["Transformers 5", { rope_parameters: { ...llama3, rope_theta: 500000, rope_type: "llama3" } }, scaled],
    [
      "before rope_type",
      { rope_scaling: { type: "linear", factor: 2 } },
      { ropeScaling: { type: "linear", factor: 2 } },
    ],
    ["no scaling", { rope_scaling: null }, { ropeTheta: 10000, ropeScaling: null }],
  ])("rope as %s spells it", (_, changes, expected) => {
    expect(read(changes)).toMatchObject(expected);
  });

  test("defaults are those of Transformers", () => {
    expect(read({ num_key_value_heads: undefined, tie_word_embeddings: undefined, head_dim: null })).toMatchObject({
      kvHeads: 4,
      headDim: 8,
      tieWordEmbeddings: false,
    });
    expect(read({ model_type: "qwen3" })).toMatchObject({ headDim: 128, qkNorm: true, attentionBias: false });
    expect(read({ model_type: "qwen2" })).toMatchObject({ headDim: 8, qkNorm: false, attentionBias: true });
  });

  const gemma = { model_type: "gemma3_text", hidden_act: undefined, num_hidden_layers: 7, head_dim: 16 };

  test("Gemma 3: its traits, bases of rotation and window, in either spelling", () => {
    const old = { ...gemma, sliding_window: 24, rope_theta: 5e5, rope_local_base_freq: 1e3, query_pre_attn_scalar: 64 };
    const expected = {
      qkNorm: true,
      ropeTheta: 5e5,
      ropeScaling: null,
      contextLength: 24,
      fullContextLength: 64,
      traits: {
        activation: "gelu_tanh",
        normsAround: true,
        normOffset: 1,
        attentionScale: 1 / 8,
        localRope: { theta: 1e3, layers: [0, 1, 2, 3, 4, 6] },
      },
    };
    expect(read(old)).toMatchObject(expected);
    const types = Array.from({ length: 7 }, (_, i) => (i === 5 ? "full_attention" : "sliding_attention"));
    const bases = { full_attention: { rope_theta: 5e5 }, sliding_attention: { rope_theta: 1e3 } };
    const { rope_theta: _theta, rope_local_base_freq: _local, ...rest } = old;
    expect(read({ ...rest, layer_types: types, rope_parameters: bases })).toMatchObject(expected);
  });

  test.each([
    [{ final_logit_softcapping: 30 }, /final_logit_softcapping/],
    [{ hidden_activation: "gelu" }, /gelu_pytorch_tanh/],
    [{ use_bidirectional_attention: true }, /use_bidirectional_attention/],
    [{ rope_scaling: { factor: 8, rope_type: "linear" } }, /rope_scaling/],
    [{ num_hidden_layers: 2 ** 30 }, /1,000 at most/],
  ])("Gemma 3 with %j is refused", (changes, message) => {
    expect(() => read({ ...gemma, ...changes })).toThrow(message);
  });

  test.each([
    [{ model_type: "mamba" }, "UNSUPPORTED_ARCHITECTURE", /"mamba" is not supported. Supported: llama, qwen2, qwen3/],
    [{ hidden_act: "gelu" }, "MODEL_UNSUPPORTED", /"hidden_act" is "gelu".*Supported: silu/],
    [{ mlp_bias: true }, "MODEL_UNSUPPORTED", /mlp_bias/],
    [{ attention_bias: true }, "MODEL_UNSUPPORTED", /attention_bias/],
    [{ use_sliding_window: true }, "MODEL_UNSUPPORTED", /use_sliding_window/],
    [{ layer_types: ["full_attention", "sliding_attention"] }, "MODEL_UNSUPPORTED", /layer_types/],
    [{ partial_rotary_factor: 0.5 }, "MODEL_UNSUPPORTED", /partial_rotary_factor/],
    [{ quantization_config: { bits: 4 } }, "MODEL_UNSUPPORTED", /quantization_config/],
    [{ rope_scaling: { rope_type: "yarn", factor: 4 } }, "MODEL_UNSUPPORTED", /"yarn".*default, linear, llama3/],
    [{ hidden_size: "32" }, "MODEL_CONFIG_INVALID", /"hidden_size" must be a number; got "32"/],
    [{ hidden_size: undefined }, "MODEL_CONFIG_INVALID", /got nothing/],
    [{ hidden_size: 33 }, "MODEL_CONFIG_INVALID", /"head_dim" must be an integer; got 8.25/],
    [{ num_hidden_layers: 1.5 }, "MODEL_CONFIG_INVALID", /num_hidden_layers/],
    [{ num_hidden_layers: -1 }, "MODEL_CONFIG_INVALID", /from 1 to/],
    [{ num_attention_heads: 0 }, "MODEL_CONFIG_INVALID", /num_attention_heads/],
    [{ num_key_value_heads: 3 }, "MODEL_CONFIG_INVALID", /divisor of the 4/],
    [{ head_dim: 7 }, "MODEL_CONFIG_INVALID", /even/],
    [{ tie_word_embeddings: "yes" }, "MODEL_CONFIG_INVALID", /true or false/],
    [{ rope_scaling: [] }, "MODEL_CONFIG_INVALID", /rope_scaling/],
  ])("%j is refused", (changes, code, message) => {
    expect(() => read(changes)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });
});

describe("GGUF metadata", () => {
  const readGguf = (changes: Record<string, MetadataValue>, facts: Partial<GgufTensorFacts> = {}) => {
    const metadata: Record<string, MetadataValue> = { ...tinyMetadata(), ...changes };
    return configFromGguf(
      (key) => metadata[key],
      { vocabSize: 12, hasOutput: false, ropeFactors: null, ...facts },
      "m",
    );
  };

  /** Divisors as llama.cpp's converter computes them (`LlamaModel.generate_extra_tensors`). */
  function llama3Factors(headDim: number, theta: number, factor: number): Float32Array {
    return Float32Array.from({ length: headDim / 2 }, (_, i) => {
      const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
      if (wavelength < 8192 / 4) return 1;
      if (wavelength > 8192 / 1) return factor;
      const smooth = (8192 / wavelength - 1) / (4 - 1);
      return 1 / ((1 - smooth) / factor + smooth);
    });
  }

  test("Llama 3's frequencies are recognised, others are refused", () => {
    const metadata = { "llama.rope.freq_base": 500000, "llama.attention.key_length": 64 };
    const factors = llama3Factors(64, 500000, 32);
    expect(new Set(factors).size).toBeGreaterThan(3);
    expect(readGguf(metadata, { ropeFactors: factors }).ropeScaling).toEqual({
      type: "llama3",
      factor: 32,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalContextLength: 8192,
    });
    expect(readGguf(metadata, { ropeFactors: new Float32Array(32).fill(1) }).ropeScaling).toBeNull();
    for (const ropeFactors of [factors.map((x, i) => (i === 20 ? x * 1.1 : x)), factors.subarray(1)]) {
      expect(() => readGguf(metadata, { ropeFactors })).toThrow(/rope_freqs.weight/);
    }
  });

  test.each([
    [
      { "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.5 },
      { type: "linear", factor: 4.5 },
    ],
    [{ "llama.rope.scale_linear": 2.5 }, { type: "linear", factor: 2.5 }],
    [{ "llama.rope.scaling.type": "none" }, null],
  ])("rope scaling %j", (changes, expected) => {
    expect(readGguf(changes).ropeScaling).toEqual(expected);
  });

  test("32-bit floats become the decimals that were meant", () => {
    const key = "llama.attention.layer_norm_rms_epsilon";
    expect(Math.fround(1e-5)).not.toBe(1e-5);
    expect(readGguf({ [key]: Math.fround(1e-5) }).rmsNormEps).toBe(1e-5);
    // Seven digits don't give this one back, so it stays as it is.
    const exact = Math.fround(0.123456789);
    expect(readGguf({ [key]: exact }).rmsNormEps).toBe(exact);
  });

  test.each([
    [{ "llama.expert_count": 8 }, /expert_count/],
    [{ "llama.rope.dimension_count": 4 }, /rope.dimension_count/],
    [{ "llama.rope.scaling.type": "yarn" }, /yarn/],
    [{ "llama.block_count": "two" }, /block_count/],
  ])("%j is refused", (changes, message) => {
    expect(() => readGguf(changes as Record<string, MetadataValue>)).toThrow(message);
  });
});
