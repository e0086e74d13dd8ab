/**
 * How much memory the engine's runs take, from shapes alone: an estimate that errs to the high side, so that batches are
 * cut before memory runs out and not after. Nothing here allocates.
 */
import { EngineError } from "../../core/errors.ts";
import type { ModelConfig } from "../../models/model.ts";
import { listProjections, type Training } from "./weight-inputs.ts";

/** Sizes of a packed batch. */
export interface BatchSizes {
  /** Tokens that are computed. */
  rows: number;
  /** Tokens whose log-probs are wanted. */
  scored: number;
  groups: number;
  /** Slots of the common prefix, of the rest of the longest prompt, and of the longest completion. */
  prefixSlots: number;
  promptSlots: number;
  completionSlots: number;
  /** Completions of the largest group. */
  perGroup: number;
}

/** onnxruntime, Node and what fragmentation costs, in bytes. */
const runtimeBytes = 3e8;
const floatBytes = 4;

/** Scores that one layer's attention computes for a batch, over all heads. */
function countScores(config: ModelConfig, sizes: BatchSizes): number {
  const { groups, prefixSlots, promptSlots, completionSlots, perGroup } = sizes;
  const upper = prefixSlots ** 2 + groups * promptSlots * (prefixSlots + promptSlots);
  const lower = groups * perGroup * completionSlots * (prefixSlots + promptSlots + completionSlots);
  return config.heads * (upper + lower);
}

/** Numbers of a layer for each row that training keeps for the backward pass, attention probabilities left out. */
function keptPerRow({
  hiddenSize,
  intermediateSize,
  heads,
  kvHeads,
  headDim,
  qkNorm,
  traits = {},
}: ModelConfig): number {
  const hidden = (traits.normsAround ? 4 : 2) * hiddenSize;
  return hidden + (qkNorm ? 3 : 2) * (heads + kvHeads) * headDim + 2 * intermediateSize;
}

/** Numbers for each row that a layer needs while it is computed, in either direction. */
function workPerRow({ hiddenSize, intermediateSize, heads, kvHeads, headDim }: ModelConfig): number {
  return 8 * hiddenSize + 6 * (heads + kvHeads) * headDim + 8 * intermediateSize;
}

/** Most that one chunk's logits take, in bytes: products of fewer rows with the vocabulary are slower. */
const maxLogitBytes = 1.28e8;

/**
 * Into how many chunks the scored tokens of at most `maxRows` are cut, so that the vocabulary never fills the memory: as few as
 * keep a chunk's logits below 128 MB and their estimate below a quarter of what a run may take.
 */
export function countScoreChunks({ vocabSize }: ModelConfig, maxRows: number, runBytes: number): number {
  return Math.ceil((maxRows * vocabSize * floatBytes) / Math.min(maxLogitBytes, runBytes / 12));
}

/** Memory of the vocabulary's numbers for one chunk of scored tokens, in bytes. */
function chunkBytes(config: ModelConfig, scored: number, chunks: number): number {
  return 3 * Math.ceil(scored / chunks) * config.vocabSize * floatBytes;
}

/**
 * Bytes of a run of the training graph (`training` given: every layer keeps what its way back needs) or of the scoring
 * graph.
 */
export function estimateBatchBytes(
  config: ModelConfig,
  sizes: BatchSizes,
  chunks: number,
  training: Training | undefined,
): number {
  const scores = countScores(config, sizes);
  const work = sizes.rows * workPerRow(config) + 4 * scores;
  const kept = training ? config.layers * (sizes.rows * keptPerRow(config) + scores) : 0;
  // Full fine-tuning also holds the softmax of every chunk for the output layer's gradient.
  const keptChunks = training?.kind === "full" ? chunks : 1;
  const masks = (sizes.groups * sizes.promptSlots ** 2 + sizes.completionSlots ** 2) * (config.heads / config.kvHeads);
  return (kept + work + masks) * floatBytes + keptChunks * chunkBytes(config, sizes.scored, chunks);
}

/**
 * Bytes of a run of the prefill graph.
 * @param prompts how many there are, `tokens` of them all, `prefix` that all begin with, and `slots` for the rest of each
 */
export function estimatePrefillBytes(
  config: ModelConfig,
  { prompts, tokens, prefix, slots }: { prompts: number; tokens: number; prefix: number; slots: number },
): number {
  const upper = { prefixSlots: Math.max(1, prefix), promptSlots: slots, completionSlots: 0, perGroup: 0 };
  return estimateBatchBytes(config, { rows: tokens, scored: prompts, groups: prompts, ...upper }, 1, undefined);
}

/** Bytes of keys and values of one token in all layers. */
export function cacheBytesPerToken({ layers, kvHeads, headDim }: ModelConfig): number {
  return layers * kvHeads * headDim * 2 * floatBytes;
}

/** Numbers in the model's weights. */
function countWeights(config: ModelConfig): { layers: number; all: number } {
  const { layers, hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize } = config;
  const attention = 2 * hiddenSize * headDim * (heads + kvHeads);
  const linear = layers * (attention + 3 * hiddenSize * intermediateSize);
  const tables = (config.tieWordEmbeddings ? 1 : 2) * vocabSize * hiddenSize;
  return { layers: linear, all: linear + tables };
}

/** Numbers that are trained, norms and biases left out. */
function countTrained(config: ModelConfig, training: Training): number {
  if (training.kind === "full") return countWeights(config).all;
  const { rank, targets } = training.lora;
  return listProjections(config, targets).reduce((sum, { shape: [out, input] }) => sum + rank * (out + input), 0);
}

/**
 * Bytes that the engine holds all the time beside the model as loaded: merged weights or a kept reference, gradients (of
 * a batch, of a call and the sum of earlier calls), both optimizer moments.
 */
function estimateHeldBytes(config: ModelConfig, training: Training, keepReference: boolean): number {
  const trained = countTrained(config, training);
  const { layers, all } = countWeights(config);
  const copies = training.kind === "lora" ? layers + trained : keepReference ? all : 0;
  return (copies + 5 * trained) * floatBytes;
}

/** Bytes of the model as loaded. */
function estimateModelBytes(config: ModelConfig): number {
  return countWeights(config).all * floatBytes;
}

export interface MemoryBudget {
  /** What the process may use, in bytes. */
  limitBytes: number;
  /** What is left of it for one run. */
  runBytes: number;
}

/**
 * What is left for runs of the graphs.
 * @param memoryGb most that the process may use, in 10⁹ bytes; default: what it has and what is free now
 * @throws EngineError `ENGINE_MEMORY` where the model and its optimizer alone are too large
 */
export function planMemory(
  config: ModelConfig,
  training: Training,
  { memoryGb, keepReference = false }: { memoryGb?: number | undefined; keepReference?: boolean | undefined } = {},
): MemoryBudget {
  if (memoryGb !== undefined && !(memoryGb > 0)) {
    throw new EngineError("ENGINE_MEMORY", `memoryGb must be above 0, got ${memoryGb}.`);
  }
  const model = estimateModelBytes(config);
  const held = estimateHeldBytes(config, training, keepReference);
  const limitBytes = memoryGb === undefined ? model + process.availableMemory() : memoryGb * 1e9;
  const runBytes = limitBytes - model - held - runtimeBytes;
  if (runBytes > 0) return { limitBytes, runBytes };
  throw new EngineError(
    "ENGINE_MEMORY",
    `The model's weights take ${gigabytes(model)}, training them (${training.kind === "full" ? "all weights" : "an adapter"}) ` +
      `${gigabytes(held)} more and the runtime about ${gigabytes(runtimeBytes)}; ${gigabytes(limitBytes)} may be used. ` +
      `Take a smaller model${training.kind === "full" ? " or train an adapter" : ""}, or allow more memory (memoryGb).`,
    { details: { neededBytes: model + held + runtimeBytes, limitBytes } },
  );
}

/** `1.5 GB` (10⁹ bytes). */
export function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(bytes < 1e8 ? 3 : 1)} GB`;
}
