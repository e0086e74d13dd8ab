/**
 * The engine's graphs, each a pure function of weights and inputs: prefill, decode, score, train, merge. Built here,
 * compiled and run elsewhere.
 */
import { addGradients } from "../../graph/gradients.ts";
import { Graph, type Value } from "../../graph/graph.ts";
import { Gather, Gemm, Mul, Softmax } from "../../graph/operators.ts";
import type { ModelConfig } from "../../models/model.ts";
import {
  decodeAttention,
  type DecodeInputs,
  packedAttention,
  type PackedIndices,
  type PromptIndices,
  promptAttention,
} from "./attention.ts";
import type { LossShape } from "../loss-settings.ts";
import { drawTokens, likeliestTokens } from "./draw-in-graph.ts";
import { buildLoss, type LossInputs, lossReads } from "./losses.ts";
import { scoreTokens } from "./scoring.ts";
import { columnProducts } from "./linear.ts";
import { type Attend, finalNorm, gatherRows, transformer, transformerInputs } from "./transformer.ts";
import { headName, type Training, WeightInputs } from "./weight-inputs.ts";

export interface BuiltGraph {
  graph: Graph;
  /** Names of the weights that the graph takes as inputs. */
  weightNames: string[];
}

function head(weights: WeightInputs, config: ModelConfig): Value {
  return weights.get(headName(config), [config.vocabSize, config.hiddenSize]);
}

/** Next-token probabilities `[.., vocab]` at the temperature whose inverse is given. */
function probabilities(weights: WeightInputs, config: ModelConfig, hidden: Value, inverseTemperature: Value): Value {
  const scaled = Mul(finalNorm(weights, config, hidden), inverseTemperature);
  return Softmax(Gemm(scaled, head(weights, config), undefined, { transB: true }));
}

function promptInputs(graph: Graph, { heads, kvHeads }: ModelConfig): PromptIndices {
  return {
    prefixQueryRows: graph.input("prefixQueryRows", "int32", [1, kvHeads, "GF"]),
    prefixKeyRows: graph.input("prefixKeyRows", "int32", [1, kvHeads, "F"]),
    promptQueryRows: graph.input("promptQueryRows", "int32", ["P", kvHeads, "GT"]),
    promptKeyRows: graph.input("promptKeyRows", "int32", ["P", kvHeads, "T"]),
    rowQuerySlots: graph.input("rowQuerySlots", "int32", ["N", heads]),
    rowKeySlots: graph.input("rowKeySlots", "int32", ["N", kvHeads]),
    prefixMask: graph.input("prefixMask", "float32", [1, 1, "GF", "F"]),
    prefixKeyMask: graph.input("prefixKeyMask", "float32", [1, 1, 1, "F"]),
    promptMask: graph.input("promptMask", "float32", ["P", 1, "GT", "T"]),
    promptKeySizes: graph.input("promptKeySizes", "int64", [2]),
  };
}

/**
 * How the next tokens are chosen: drawn from the whole distribution or the likeliest, both in the graph, which gives `tokens`
 * `[N, 1]` int64 and `tokenProbabilities` `[N, 1]`; or elsewhere, from the `probabilities` `[N, vocab]` that it gives then.
 */
export type Choosing = "draw" | "greedy" | "elsewhere";

/** Makes outputs of what {@link Choosing} says, of `distribution` `[N, vocab]`; `draw` takes `uniforms` `[N, 1]` float64. */
function outputNextTokens(distribution: Value, choosing: Choosing): void {
  const { graph, shape } = distribution;
  if (choosing === "elsewhere") {
    graph.output("probabilities", distribution);
    return;
  }
  const { tokens, probabilities: ofTokens } =
    choosing === "greedy"
      ? likeliestTokens(distribution)
      : drawTokens(distribution, graph.input("uniforms", "float64", [shape[0] as string, 1]));
  graph.output("tokens", tokens);
  graph.output("tokenProbabilities", ofTokens);
}

/**
 * Prompts → keys and values of every layer L, `prefixKeys.L`, `prefixValues.L` `[1, kvHeads, F, D]` and
 * `promptKeys.L`, `promptValues.L` `[P, kvHeads, T, D]`, and the first tokens of S completions, whose prompts `samplePrompts`
 * `[S]` int64 names.
 */
export function buildPrefillGraph(config: ModelConfig, choosing: Choosing): BuiltGraph {
  const graph = new Graph();
  const weights = new WeightInputs(graph);
  const inputs = transformerInputs(graph, config);
  const indices = promptInputs(graph, config);
  const lastRows = graph.input("lastRows", "int64", ["P"]);
  const inverseTemperature = graph.input("inverseTemperature", "float32", []);
  const attend: Attend = (projected, layer) => {
    const { rows, prefixKeys, prefixValues, promptKeys, promptValues } = promptAttention(projected, indices, config);
    graph.output(`prefixKeys.${layer}`, prefixKeys);
    graph.output(`prefixValues.${layer}`, prefixValues);
    graph.output(`promptKeys.${layer}`, promptKeys);
    graph.output(`promptValues.${layer}`, promptValues);
    return rows;
  };
  const hidden = transformer(weights, config, inputs, attend, { products: columnProducts });
  const following = probabilities(weights, config, Gather(hidden, lastRows), inverseTemperature);
  outputNextTokens(Gather(following, graph.input("samplePrompts", "int64", ["S"])), choosing);
  return { graph, weightNames: [...weights.all.keys()] };
}

/** One step of N running completions → `newKeys.L`, `newValues.L` `[N, kvHeads, 1, D]`, and their next tokens. */
export function buildDecodeGraph(config: ModelConfig, choosing: Choosing): BuiltGraph {
  const graph = new Graph();
  const weights = new WeightInputs(graph);
  const inputs = transformerInputs(graph, config);
  const { heads, kvHeads, headDim } = config;
  const shared = {
    promptPlaces: graph.input("promptPlaces", "int32", ["P", kvHeads, "mG"]),
    queryPlaces: graph.input("queryPlaces", "int32", ["N", kvHeads, heads / kvHeads]),
    promptKeyMask: graph.input("promptKeyMask", "float32", ["P", 1, 1, "T"]),
    ownMask: graph.input("ownMask", "float32", [1, 1, 1, "L"]),
    keySizes: graph.input("keySizes", "int64", [3]),
    promptScoreSizes: graph.input("promptScoreSizes", "int64", [2]),
  };
  const inverseTemperature = graph.input("inverseTemperature", "float32", []);
  const attend: Attend = (projected, layer) => {
    const decode: DecodeInputs = {
      ...shared,
      promptKeys: graph.input(`promptKeys.${layer}`, "float32", ["P", kvHeads, "T", headDim]),
      promptValues: graph.input(`promptValues.${layer}`, "float32", ["P", kvHeads, "T", headDim]),
      ownKeys: graph.input(`ownKeys.${layer}`, "float32", ["N", kvHeads, "L", headDim]),
      ownValues: graph.input(`ownValues.${layer}`, "float32", ["N", kvHeads, "L", headDim]),
    };
    const { rows, newK, newV } = decodeAttention(projected, decode, config);
    graph.output(`newKeys.${layer}`, newK);
    graph.output(`newValues.${layer}`, newV);
    return rows;
  };
  const hidden = transformer(weights, config, inputs, attend, { products: columnProducts });
  outputNextTokens(probabilities(weights, config, hidden, inverseTemperature), choosing);
  return { graph, weightNames: [...weights.all.keys()] };
}

function scoreGraph(config: ModelConfig, chunks: number, training?: Training) {
  const graph = new Graph();
  const weights = new WeightInputs(graph);
  const inputs = transformerInputs(graph, config);
  const indices: PackedIndices = {
    ...promptInputs(graph, config),
    completionQueryRows: graph.input("completionQueryRows", "int32", ["P", config.kvHeads, "n", "GC"]),
    completionKeyRows: graph.input("completionKeyRows", "int32", ["P", config.kvHeads, "n", "C"]),
    promptKeyMask: graph.input("promptKeyMask", "float32", ["P", 1, 1, "T"]),
    completionMask: graph.input("completionMask", "float32", [1, 1, 1, "GC", "C"]),
    completionKeySizes: graph.input("completionKeySizes", "int64", [3]),
    ownScoreSizes: graph.input("ownScoreSizes", "int64", [4]),
  };
  const hidden = transformer(weights, config, inputs, (projected) => packedAttention(projected, indices, config), {
    training,
  });
  const scoredHidden = gatherRows(hidden, graph.input("scoreRows", "int64", ["M"]));
  const { logprobs, entropy } = scoreTokens({
    hidden: finalNorm(weights, config, scoredHidden),
    head: head(weights, config),
    targets: graph.input("targets", "int64", ["M", 1]),
    inverseTemperature: graph.input("inverseTemperature", "float32", []),
    chunkSizes: graph.input("chunkSizes", "int64", [chunks]),
    chunks,
  });
  return { graph, weights, logprobs, entropy };
}

/** Packed groups → `logprobs` `[M, 1]` of their completions' tokens. */
export function buildScoreGraph(config: ModelConfig, chunks: number): BuiltGraph {
  const { graph, weights, logprobs } = scoreGraph(config, chunks);
  graph.output("logprobs", logprobs);
  return { graph, weightNames: [...weights.all.keys()] };
}

/**
 * Packed groups → `loss` `[1, 1]`, `logprobs`, `entropy` `[M, 1]` and `gradient.NAME` of every trained weight.
 * @returns also the trained weights' names in order
 */
export function buildTrainGraph(
  config: ModelConfig,
  chunks: number,
  training: Training,
  shape: LossShape,
): BuiltGraph & { trainedNames: string[] } {
  const { graph, weights, logprobs, entropy } = scoreGraph(config, chunks, training);
  const sizes: Record<keyof LossInputs, [string | number, string | number]> = {
    oldLogprobs: ["M", 1],
    refLogprobs: ["M", 1],
    advantages: ["M", 1],
    weights: ["M", 1],
    sequenceMean: ["S", "M"],
    sequenceTokens: ["M", "S"],
  };
  const lossInputs = Object.fromEntries(
    (Object.keys(sizes) as (keyof LossInputs)[]).map((name) => [
      name,
      lossReads(shape, name) ? graph.input(`loss.${name}`, "float32", sizes[name]) : logprobs,
    ]),
  ) as unknown as LossInputs;
  const loss = buildLoss(logprobs, shape, lossInputs);
  const trained = [...weights.all].filter(([name]) => (training.kind === "full" ? true : name.includes(".lora_")));
  const gradients = addGradients(
    loss,
    trained.map(([, value]) => value),
  );
  graph.output("loss", loss);
  graph.output("logprobs", logprobs);
  graph.output("entropy", entropy);
  trained.forEach(([name], i) => graph.output(`gradient.${name}`, gradients[i] as Value));
  return { graph, weightNames: [...weights.all.keys()], trainedNames: trained.map(([name]) => name) };
}

/** `weight + scale · b · a` → `merged` `[out, in]`, for an adapter of any size. */
export function buildMergeGraph(scale: number): Graph {
  const graph = new Graph();
  const weight = graph.input("weight", "float32", ["out", "in"]);
  const a = graph.input("a", "float32", ["rank", "in"]);
  const b = graph.input("b", "float32", ["out", "rank"]);
  graph.output("merged", Gemm(b, a, weight, { alpha: scale }));
  return graph;
}
