/**
 * SASRec (Kang and McAuley 2018, "Self-Attentive Sequential Recommendation"): a small transformer over item ids that
 * says what comes next. As graphs: weights and batches in, scores or a loss with gradients out.
 *
 * Departures from the paper: a softmax over all items, or over sampled ones with their bias taken out, instead of one
 * negative with a sigmoid (Klenitskiy and Vasilev 2023 found that to be what SASRec lacked); norms before every
 * sub-layer for queries, keys and values alike.
 */
import { nextGaussian, randomStream } from "../../core/random.ts";
import { addGradients } from "../../graph/gradients.ts";
import { Graph, type Value } from "../../graph/graph.ts";
import {
  Add,
  Exp,
  FusedMatMul,
  Gather,
  GatherElements,
  Gemm,
  LayerNormalization,
  LogSoftmax,
  MatMul,
  Max,
  Mul,
  Neg,
  ReduceSum,
  Reshape,
  Softmax,
  Transpose,
} from "../../graph/operators.ts";

export interface SasrecConfig {
  /** Items that can be recommended; row 0 of the embedding is padding, item i is row i + 1. */
  items: number;
  hiddenSize: number;
  blocks: number;
  heads: number;
  /** Longest history, in items. */
  historyLength: number;
}

/** Shapes of the weights, by name. */
export function sasrecShapes(config: SasrecConfig): Map<string, number[]> {
  const { hiddenSize: size } = config;
  const shapes = new Map<string, number[]>();
  const linear = (name: string): void => void shapes.set(`${name}.weight`, [size, size]).set(`${name}.bias`, [size]);
  const norm = (name: string): void => void shapes.set(`${name}.weight`, [size]).set(`${name}.bias`, [size]);
  shapes.set("items.weight", [config.items + 1, size]);
  shapes.set("positions.weight", [config.historyLength, size]);
  for (let i = 0; i < config.blocks; i++) {
    norm(`blocks.${i}.attention_norm`);
    for (const name of ["query", "key", "value", "output"]) linear(`blocks.${i}.${name}`);
    norm(`blocks.${i}.feed_forward_norm`);
    for (const name of ["inner", "outer"]) linear(`blocks.${i}.${name}`);
  }
  norm("final_norm");
  return shapes;
}

/** Standard deviation of weights at the start. */
export const startDeviation = 0.02;

/** Starting weights: norms at identity, biases 0, the rest normal. */
export function initSasrec(config: SasrecConfig, seed: number): Map<string, Float32Array> {
  return new Map(
    [...sasrecShapes(config)].map(([name, shape]) => {
      const count = shape.reduce((a, b) => a * b, 1);
      if (name.endsWith("norm.weight")) return [name, new Float32Array(count).fill(1)];
      if (name.endsWith(".bias")) return [name, new Float32Array(count)];
      const random = randomStream(seed, "sasrec", name);
      return [name, Float32Array.from({ length: count }, () => startDeviation * nextGaussian(random))];
    }),
  );
}

class Network {
  readonly graph = new Graph();
  readonly weights = new Map<string, Value>();
  readonly #config: SasrecConfig;
  /** Dropout masks are inputs, so that the graph is a pure function; scoring has none. */
  readonly dropoutNames: string[] = [];
  readonly #withDropout: boolean;

  constructor(config: SasrecConfig, withDropout: boolean) {
    this.#config = config;
    this.#withDropout = withDropout;
    for (const [name, shape] of sasrecShapes(config)) this.weights.set(name, this.graph.input(name, "float32", shape));
  }

  weight(name: string): Value {
    return this.weights.get(name) as Value;
  }

  /** Hidden states `[B · T, hidden]` of `sequences [B, T]`, under `mask [B, 1, T, T]` (0, or very negative). */
  encode(): Value {
    const { graph } = this;
    const { hiddenSize, blocks, historyLength } = this.#config;
    const sequences = graph.input("sequences", "int64", ["B", historyLength]);
    const mask = graph.input("mask", "float32", ["B", 1, historyLength, historyLength]);
    const flat = (x: Value): Value => Reshape(x, [-1, hiddenSize], ["N", hiddenSize]);
    const scaled = Mul(Gather(this.weight("items.weight"), sequences), graph.constant(Math.sqrt(hiddenSize)));
    let x = this.#dropout(flat(Add(scaled, this.weight("positions.weight"))), "input");
    for (let i = 0; i < blocks; i++) {
      x = Add(x, this.#dropout(this.#attend(this.#norm(x, `blocks.${i}.attention_norm`), i, mask), `attention.${i}`));
      const inner = this.#linear(this.#norm(x, `blocks.${i}.feed_forward_norm`), `blocks.${i}.inner`);
      const outer = this.#linear(Max(inner, graph.constant(0)), `blocks.${i}.outer`);
      x = Add(x, this.#dropout(outer, `feed_forward.${i}`));
    }
    return this.#norm(x, "final_norm");
  }

  #attend(x: Value, block: number, mask: Value): Value {
    const { hiddenSize, heads, historyLength: length } = this.#config;
    const headSize = hiddenSize / heads;
    const toHeads = (name: string): Value => {
      const projected = this.#linear(x, `blocks.${block}.${name}`);
      const split = Reshape(projected, [-1, length, heads, headSize], ["B", length, heads, headSize]);
      return Transpose(split, [0, 2, 1, 3]);
    };
    const alpha = 1 / Math.sqrt(headSize);
    const scores = FusedMatMul(toHeads("query"), toHeads("key"), { transB: true, alpha });
    const mixed = Transpose(MatMul(Softmax(Add(scores, mask)), toHeads("value")), [0, 2, 1, 3]);
    return this.#linear(Reshape(mixed, [-1, hiddenSize], ["N", hiddenSize]), `blocks.${block}.output`);
  }

  #linear(x: Value, name: string): Value {
    return Gemm(x, this.weight(`${name}.weight`), this.weight(`${name}.bias`), { transB: true });
  }

  #norm(x: Value, name: string): Value {
    return LayerNormalization(x, this.weight(`${name}.weight`), this.weight(`${name}.bias`), 1e-8)[0];
  }

  #dropout(x: Value, name: string): Value {
    if (!this.#withDropout) return x;
    this.dropoutNames.push(`dropout.${name}`);
    return Mul(x, this.graph.input(`dropout.${name}`, "float32", ["N", this.#config.hiddenSize]));
  }
}

/** `sequences`, `mask`, `lastRows [B]` int64 → `scores [B, items + 1]`, of which column 0 is padding. */
export function buildScoreGraph(config: SasrecConfig): Graph {
  const network = new Network(config, false);
  const { graph } = network;
  const last = Gather(network.encode(), graph.input("lastRows", "int64", ["B"]));
  graph.output("scores", Gemm(last, network.weight("items.weight"), undefined, { transB: true }));
  return graph;
}

/**
 * `sequences`, `mask`, dropout masks, `rows [M]` (places in `[B · T]` that predict something), `candidates [C]` (rows of
 * the embedding), `bias [C]` added to their logits, `targets [M, 1]` (places in candidates), `weights [M, 1]` →
 * `loss` and `gradient.NAME` of every weight.
 */
export function buildTrainGraph(config: SasrecConfig): { graph: Graph; dropoutNames: readonly string[] } {
  const network = new Network(config, true);
  const { graph } = network;
  const hidden = Gather(network.encode(), graph.input("rows", "int64", ["M"]));
  const candidates = Gather(network.weight("items.weight"), graph.input("candidates", "int64", ["C"]));
  const logits = Add(FusedMatMul(hidden, candidates, { transB: true }), graph.input("bias", "float32", ["C"]));
  const logprobs = pickLogprobs(logits, graph.input("targets", "int64", ["M", 1]));
  const loss = ReduceSum(Neg(Mul(logprobs, graph.input("weights", "float32", ["M", 1]))), [0, 1]);
  const weights = [...network.weights];
  const gradients = addGradients(
    loss,
    weights.map(([, value]) => value),
  );
  graph.output("loss", loss);
  weights.forEach(([name], i) => graph.output(`gradient.${name}`, gradients[i] as Value));
  return { graph, dropoutNames: network.dropoutNames };
}

/** Log-probability `[M, 1]` of each row's target under the softmax of `logits [M, C]`; gradient onehot − p. */
function pickLogprobs(logits: Value, targets: Value): Value {
  const { graph } = logits;
  const logSoftmax: Value[] = [];
  const build = (): Value[] => {
    logSoftmax.push(LogSoftmax(logits));
    return [GatherElements(logSoftmax[0] as Value, targets)];
  };
  const [picked] = graph.composite("pickLogprobs", [logits], build, (_operation, [dy]) => {
    if (!dy) return [];
    const away = Mul(Neg(Exp(logSoftmax[0] as Value)), dy);
    const spec = { type: "float32", shape: logits.shape } as const;
    return graph.node("ScatterElements", [away, targets, dy], { axis: 1, reduction: "add" }, [spec]);
  });
  return picked as Value;
}

/** Histories as rows of the embedding, padded on the left, and which place may look at which. */
export interface SequenceBatch {
  sequences: BigInt64Array;
  /** `[B, 1, T, T]`: 0 where place i may look at place j, that is at itself and at items before it. */
  mask: Float32Array;
}

/** Far below every score, and still a number: a row of padding looks at nothing, evenly. */
const masked = -1e9;

/** @param histories items' numbers from 0, oldest first; the last `historyLength` of each count */
export function packSequences(histories: readonly (readonly number[])[], length: number): SequenceBatch {
  const sequences = new BigInt64Array(histories.length * length);
  const mask = new Float32Array(histories.length * length * length).fill(masked);
  histories.forEach((history, b) => {
    const recent = history.slice(-length);
    const start = length - recent.length;
    recent.forEach((item, i) => (sequences[b * length + start + i] = BigInt(item + 1)));
    for (let i = 0; i < length; i++) {
      const first = i < start ? 0 : start;
      for (let j = first; j <= i; j++) mask[(b * length + i) * length + j] = 0;
    }
  });
  return { sequences, mask };
}
