/**
 * BERT (Devlin et al. 2019) as an ONNX graph of our own, for encoders that come as safetensors and not as ONNX. A pure
 * function of the weights, which are its inputs under their Hugging Face names.
 */
import { join } from "node:path";
import { ModelError } from "../core/errors.ts";
import { Graph, type Value } from "../graph/graph.ts";
import {
  Add,
  FusedMatMul,
  Gather,
  Gelu,
  Gemm,
  LayerNormalization,
  MatMul,
  Reshape,
  Softmax,
  Transpose,
} from "../graph/operators.ts";
import type { WeightTensor } from "../models/model.ts";
import { SettingsReader } from "../models/settings-reader.ts";

export interface BertConfig {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  /** Longest text, in tokens. */
  positions: number;
  tokenTypes: number;
  layerNormEps: number;
}

/** @param path the folder's config.json, for messages @throws ModelError where it isn't a BERT that is known here */
export function readBertConfig(json: Record<string, unknown>, path: string): BertConfig {
  const read = new SettingsReader(path, (key) => json[key]);
  const type = read.string("model_type");
  if (type !== "bert") {
    throw read.unsupported("model_type", type, "bert; give a folder with an ONNX file for other encoders");
  }
  const activation = read.string("hidden_act", "gelu");
  if (activation !== "gelu") throw read.unsupported("hidden_act", activation, "gelu");
  const positions = read.string("position_embedding_type", "absolute");
  if (positions !== "absolute") throw read.unsupported("position_embedding_type", positions, "absolute");
  const config: BertConfig = {
    vocabSize: read.integer("vocab_size"),
    hiddenSize: read.integer("hidden_size"),
    intermediateSize: read.integer("intermediate_size"),
    layers: read.integer("num_hidden_layers"),
    heads: read.integer("num_attention_heads"),
    positions: read.integer("max_position_embeddings"),
    tokenTypes: read.integer("type_vocab_size", { fallback: 2 }),
    layerNormEps: read.number("layer_norm_eps", { min: 0, fallback: 1e-12 }),
  };
  if (config.hiddenSize % config.heads !== 0) {
    throw read.wrong("num_attention_heads", config.heads, `a divisor of hidden_size ${config.hiddenSize}`);
  }
  return config;
}

/** Shapes of the weights that the graph reads, by Hugging Face name. */
export function bertWeightShapes(config: BertConfig): Map<string, number[]> {
  const { hiddenSize: hidden, intermediateSize: wide } = config;
  const shapes = new Map<string, number[]>();
  const norm = (name: string): void => {
    shapes.set(`${name}.weight`, [hidden]).set(`${name}.bias`, [hidden]);
  };
  const linear = (name: string, out: number, input: number): void => {
    shapes.set(`${name}.weight`, [out, input]).set(`${name}.bias`, [out]);
  };
  shapes.set("embeddings.word_embeddings.weight", [config.vocabSize, hidden]);
  shapes.set("embeddings.position_embeddings.weight", [config.positions, hidden]);
  shapes.set("embeddings.token_type_embeddings.weight", [config.tokenTypes, hidden]);
  norm("embeddings.LayerNorm");
  for (let i = 0; i < config.layers; i++) {
    const layer = `encoder.layer.${i}`;
    for (const name of ["query", "key", "value"]) linear(`${layer}.attention.self.${name}`, hidden, hidden);
    linear(`${layer}.attention.output.dense`, hidden, hidden);
    norm(`${layer}.attention.output.LayerNorm`);
    linear(`${layer}.intermediate.dense`, wide, hidden);
    linear(`${layer}.output.dense`, hidden, wide);
    norm(`${layer}.output.LayerNorm`);
  }
  return shapes;
}

/**
 * The weights that the graph reads, checked.
 * @param tensors as stored; a prefix `bert.` is taken off
 * @throws ModelError where one is missing or has another shape
 */
export function pickBertWeights(
  tensors: ReadonlyMap<string, WeightTensor>,
  config: BertConfig,
  folder: string,
): Map<string, WeightTensor> {
  const picked = new Map<string, WeightTensor>();
  const path = join(folder, "model.safetensors");
  for (const [name, shape] of bertWeightShapes(config)) {
    const tensor = tensors.get(name) ?? tensors.get(`bert.${name}`);
    if (tensor?.shape.join() !== shape.join()) {
      throw new ModelError(
        "MODEL_WEIGHTS_MISMATCH",
        `${path}: ${name} ${tensor ? `has the shape [${tensor.shape.join(", ")}]` : "is missing"}; ` +
          `expected [${shape.join(", ")}] by config.json. The two don't belong together.`,
        { details: { path, tensor: name } },
      );
    }
    picked.set(name, tensor);
  }
  return picked;
}

/**
 * `input_ids [B, T]`, `token_type_ids [B, T]`, `positions [T]` int64, `mask [B, 1, 1, T]` float32 (0, or −∞ at padding)
 * → `last_hidden_state [B, T, hidden]`.
 */
export function buildBertGraph(config: BertConfig): Graph {
  const graph = new Graph();
  const shapes = bertWeightShapes(config);
  const known = new Map<string, Value>();
  const weight = (name: string): Value => {
    const value = known.get(name) ?? graph.input(name, "float32", shapes.get(name) as number[]);
    known.set(name, value);
    return value;
  };
  const { hiddenSize, heads, layerNormEps } = config;
  const headDim = hiddenSize / heads;
  const ids = graph.input("input_ids", "int64", ["B", "T"]);
  const types = graph.input("token_type_ids", "int64", ["B", "T"]);
  const positions = graph.input("positions", "int64", ["T"]);
  const mask = graph.input("mask", "float32", ["B", 1, 1, "T"]);
  const flatten = (x: Value): Value => Reshape(x, [-1, hiddenSize], ["N", hiddenSize]);
  const batchLike = graph.node("Shape", [ids], {}, [{ type: "int64", shape: [2] }])[0] as Value;
  const unflatten = (x: Value, rest: readonly number[]): Value => {
    const sizes = graph.node("Concat", [batchLike, graph.constantInt64(rest)], { axis: 0 }, [
      { type: "int64", shape: [2 + rest.length] },
    ])[0] as Value;
    return graph.node("Reshape", [x, sizes], {}, [{ type: "float32", shape: ["B", "T", ...rest] }])[0] as Value;
  };
  const norm = (x: Value, name: string): Value =>
    LayerNormalization(x, weight(`${name}.weight`), weight(`${name}.bias`), layerNormEps)[0];
  const linear = (x: Value, name: string): Value =>
    Gemm(x, weight(`${name}.weight`), weight(`${name}.bias`), { transB: true });
  const toHeads = (x: Value): Value => Transpose(unflatten(x, [heads, headDim]), [0, 2, 1, 3]);

  const embedded = Add(
    Add(
      Gather(weight("embeddings.word_embeddings.weight"), ids),
      Gather(weight("embeddings.position_embeddings.weight"), positions),
    ),
    Gather(weight("embeddings.token_type_embeddings.weight"), types),
  );
  let x = norm(flatten(embedded), "embeddings.LayerNorm"); // [N, hidden], N = B · T
  for (let i = 0; i < config.layers; i++) {
    const layer = `encoder.layer.${i}`;
    const [q, k, v] = ["query", "key", "value"].map((name) => toHeads(linear(x, `${layer}.attention.self.${name}`)));
    const scores = FusedMatMul(q as Value, k as Value, { transB: true, alpha: 1 / Math.sqrt(headDim) });
    const mixed = MatMul(Softmax(Add(scores, mask)), v as Value); // [B, heads, T, headDim]
    const attended = linear(flatten(Transpose(mixed, [0, 2, 1, 3])), `${layer}.attention.output.dense`);
    x = norm(Add(attended, x), `${layer}.attention.output.LayerNorm`);
    const wide = Gelu(linear(x, `${layer}.intermediate.dense`));
    x = norm(Add(linear(wide, `${layer}.output.dense`), x), `${layer}.output.LayerNorm`);
  }
  graph.output("last_hidden_state", unflatten(x, [hiddenSize]));
  return graph;
}
