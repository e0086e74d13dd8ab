/**
 * The decoder's layers as a graph: embeddings, attention (in whichever way the caller wants it), gated feed-forward.
 * Everything that differs between architectures comes from the config.
 */
import type { Graph, Value } from "../../graph/graph.ts";
import {
  Add,
  Gather,
  GeluTanh,
  Mul,
  Reshape,
  ReshapeLike,
  RotaryEmbedding,
  ScatterAdd,
  Silu,
  SimplifiedLayerNormalization,
  ZerosLike,
} from "../../graph/operators.ts";
import type { TensorData } from "../../graph/session.ts";
import type { ModelConfig } from "../../models/model.ts";
import type { Projected } from "./attention.ts";
import { type LinearLayer, type Products, rowProducts } from "./linear.ts";
import {
  loraNames,
  projectionModule,
  type ProjectionName,
  projectionShape,
  type Training,
  type WeightInputs,
} from "./weight-inputs.ts";

export interface TransformerInputs {
  /** `[N]` int64 */
  ids: Value;
  /** `[N, 1]` int64 */
  positions: Value;
  /** `[positions, headDim / 2]` cosines and sines of the rotary angles. */
  cos: Value;
  sin: Value;
  /** The same for layers that turn by another base. */
  local?: { cos: Value; sin: Value };
}

export type Attend = (projected: Projected, layer: number) => Value;

/** Declares the inputs of N tokens. */
export function transformerInputs(graph: Graph, config: ModelConfig): TransformerInputs {
  const table = (name: string): Value => graph.input(name, "float32", ["positions", config.headDim / 2]);
  return {
    ids: graph.input("ids", "int64", ["N"]),
    positions: graph.input("positions", "int64", ["N", 1]),
    cos: table("rope.cos"),
    sin: table("rope.sin"),
    ...(config.traits?.localRope ? { local: { cos: table("rope.local.cos"), sin: table("rope.local.sin") } } : {}),
  };
}

export interface TransformerOptions {
  /** Adds the adapter's or all weights to the tape. */
  training?: Training | undefined;
  /** Default {@link rowProducts}. */
  products?: Products;
}

/** Final hidden states `[N, hidden]`, before the last norm. */
export function transformer(
  weights: WeightInputs,
  config: ModelConfig,
  inputs: TransformerInputs,
  attend: Attend,
  { training, products = rowProducts }: TransformerOptions = {},
): Value {
  const { hiddenSize, traits = {} } = config;
  const { activation = "silu", normsAround = false, embeddingScale = 1, localRope } = traits;
  const activate = activation === "silu" ? Silu : GeluTanh;
  let x = gatherRows(weights.get("model.embed_tokens.weight", [config.vocabSize, hiddenSize]), inputs.ids);
  if (embeddingScale !== 1) x = Mul(x, x.graph.constant(embeddingScale));
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const norm = (input: Value, name: string): Value =>
      input.graph.recomputed(() => rmsNorm(weights, config, input, `${prefix}.${name}.weight`, hiddenSize));
    const isLocal = localRope?.layers.includes(layer) ?? false;
    const { cos, sin } = isLocal && inputs.local ? inputs.local : inputs;
    const layersOf = (...projections: ProjectionName[]): LinearLayer[] =>
      projections.map((projection) => projectionInputs(weights, config, layer, projection, training));
    const qkv = products.project(norm(x, "input_layernorm"), layersOf("q_proj", "k_proj", "v_proj"));
    const [q, k, v] = qkv as [Value, Value, Value];
    const attended = attend(rotate(weights, config, { ...inputs, cos, sin }, prefix, q, k, v), layer);
    const mixed = products.project(attended, layersOf("o_proj"))[0] as Value;
    x = Add(x, normsAround ? norm(mixed, "post_attention_layernorm") : mixed);
    const inner = norm(x, normsAround ? "pre_feedforward_layernorm" : "post_attention_layernorm");
    const [gate, up] = products.enter(inner, layersOf("gate_proj", "up_proj")) as [Value, Value];
    const gated = gate.graph.recomputed(() => Mul(activate(gate), up));
    const fed = products.leave(gated, layersOf("down_proj"))[0] as Value;
    x = Add(x, normsAround ? norm(fed, "post_feedforward_layernorm") : fed);
  }
  return x;
}

/** Root-mean-square norm over the last axis by a named weight `[size]`. */
function rmsNorm(weights: WeightInputs, config: ModelConfig, x: Value, name: string, size: number): Value {
  const stored = weights.get(name, [size]);
  const offset = config.traits?.normOffset ?? 0;
  const weight = offset === 0 ? stored : Add(stored, x.graph.constant(offset));
  return SimplifiedLayerNormalization(x, weight, config.rmsNormEps)[0];
}

/** The last norm, `[.., hidden]`. */
export function finalNorm(weights: WeightInputs, config: ModelConfig, x: Value): Value {
  return rmsNorm(weights, config, x, "model.norm.weight", config.hiddenSize);
}

/** Rows of `x` by `[M]` indices that may repeat, with a gradient that adds them up. */
export function gatherRows(x: Value, indices: Value): Value {
  return x.graph.composite(
    "gatherRows",
    [x],
    () => [Gather(x, indices)],
    (_operation, [dy]) => [dy && ScatterAdd(ZerosLike(x), Reshape(indices, [-1, 1], ["M", 1]), dy)],
  )[0] as Value;
}

function projectionInputs(
  weights: WeightInputs,
  config: ModelConfig,
  layer: number,
  projection: ProjectionName,
  training: Training | undefined,
): LinearLayer {
  const module = projectionModule(layer, projection);
  const [out, input] = projectionShape(config, projection);
  const weight = weights.get(`${module}.weight`, [out, input]);
  const hasBias = config.attentionBias && ["q_proj", "k_proj", "v_proj"].includes(projection);
  const bias = hasBias ? { bias: weights.get(`${module}.bias`, [out]) } : {};
  if (training?.kind !== "lora" || !training.lora.targets.includes(projection)) return { weight, ...bias };
  const { rank, alpha } = training.lora;
  const names = loraNames(module);
  const a = weights.get(names.a, [rank, input]);
  const b = weights.get(names.b, [out, rank]);
  return { weight, ...bias, lora: { a, b, rank, scale: alpha / rank } };
}

/** Norms of heads where the model has them, then rotary positions on q and k. */
function rotate(
  weights: WeightInputs,
  config: ModelConfig,
  { positions, cos, sin }: TransformerInputs,
  prefix: string,
  q: Value,
  k: Value,
  v: Value,
): Projected {
  const { headDim } = config;
  const turn = (x: Value, heads: number, name: string): Value => {
    let rows = x;
    if (config.qkNorm) {
      const perHead = Reshape(x, [0, heads, headDim], ["N", heads, headDim]);
      rows = ReshapeLike(rmsNorm(weights, config, perHead, `${prefix}.self_attn.${name}.weight`, headDim), x);
    }
    // Rows go in as sequences of one token: the operator refuses sequences longer than its tables, and a batch may be.
    const batched = Reshape(rows, [-1, 1, heads * headDim], ["N", 1, heads * headDim]);
    const turned = RotaryEmbedding(batched, positions, cos, sin, heads);
    return Reshape(turned, [-1, heads * headDim], ["N", heads * headDim]);
  };
  return { q: turn(q, config.heads, "q_norm"), k: turn(k, config.kvHeads, "k_norm"), v };
}

/**
 * Feeds of the rotary angles: cosines and sines `[contextLength, headDim / 2]` each (Su et al. 2021), with the frequencies
 * stretched as the config says (Llama 3.1's rule, or linearly), and those of local layers where there are any.
 */
export function rotaryFeeds(config: ModelConfig): Readonly<Record<string, TensorData>> {
  const feeds = (prefix: string, own: ModelConfig): Record<string, TensorData> => {
    const { cos, sin, shape } = rotaryTables(own);
    return { [`${prefix}.cos`]: { shape, data: cos }, [`${prefix}.sin`]: { shape, data: sin } };
  };
  const local = config.traits?.localRope;
  return {
    ...feeds("rope", config),
    ...(local ? feeds("rope.local", { ...config, ropeTheta: local.theta, ropeScaling: null }) : {}),
  };
}

function rotaryTables(config: ModelConfig): { cos: Float32Array; sin: Float32Array; shape: [number, number] } {
  const half = config.headDim / 2;
  const shape: [number, number] = [config.contextLength, half];
  const cos = new Float32Array(config.contextLength * half);
  const sin = new Float32Array(config.contextLength * half);
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(scaleFrequency(config.ropeTheta ** (-(2 * i) / config.headDim), config));
    for (let position = 0; position < config.contextLength; position++) {
      cos[position * half + i] = Math.cos(position * frequency);
      sin[position * half + i] = Math.sin(position * frequency);
    }
  }
  return { cos, sin, shape };
}

function scaleFrequency(frequency: number, { ropeScaling }: ModelConfig): number {
  if (!ropeScaling) return frequency;
  if (ropeScaling.type === "linear") return frequency / ropeScaling.factor;
  const { factor, lowFreqFactor, highFreqFactor, originalContextLength } = ropeScaling;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength < originalContextLength / highFreqFactor) return frequency;
  if (wavelength > originalContextLength / lowFreqFactor) return frequency / factor;
  const smooth = (originalContextLength / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}
