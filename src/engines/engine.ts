/**
 * The policy: a language model that can be sampled and trained. Verbs and losses are those of the Tinker API, so that
 * a local engine and a cluster are the same to the loop. An engine does not know of tasks, rewards or recommenders.
 */

import type { ChatTokenizer } from "../models/model.ts";

export type { ChatMessage, ChatTokenizer } from "../models/model.ts";

/** Token ids, `[T]`. */
export type TokenIds = readonly number[];

export interface SamplingParams {
  /** Completions for each prompt. */
  n: number;
  /** Longest completion, in tokens. */
  maxTokens: number;
  /** 0 is greedy. */
  temperature: number;
  /** Nucleus: smallest set of tokens with at least this probability. Default 1 (off). */
  topP?: number;
  /** Only the most likely tokens. Default 0 (off). */
  topK?: number;
  /** Only tokens at least this share as likely as the likeliest. Default 0 (off). */
  minP?: number;
  /** A completion ends before the first of these strings appears in it. */
  stop?: readonly string[];
  /** Tokens that end a completion, besides the tokenizer's `endIds`. */
  stopIds?: readonly number[];
  /** When true, end tokens don't end a completion: every one has exactly `maxTokens` tokens. Default false. */
  ignoreEnd?: boolean;
  /**
   * Addresses the random numbers together with the prompt's ids and the sample's index, so that a completion does not
   * depend on the batch that it was drawn in.
   */
  seed: number;
  /** Default: the policy. `reference` samples the model as it was before training (LoRA engines only). */
  weights?: Weights;
  signal?: AbortSignal;
  /** Called as completions end, with how many of `prompts.length × n` have. */
  onProgress?: (done: number) => void;
  /**
   * Called with a completion each time that it has grown and goes on, by the places of its prompt and among the prompt's
   * samples. Its arrays are the engine's own and grow on. Engines that can't tell don't call it.
   */
  onGrowth?: (prompt: number, index: number, sample: GrowingSample) => void;
}

/** Whether tokens are drawn from a part of the distribution. */
export function isCut({
  temperature,
  topP = 1,
  topK = 0,
  minP = 0,
}: Pick<SamplingParams, "temperature" | "topP" | "topK" | "minP">): boolean {
  return temperature > 0 && (topP < 1 || topK > 0 || minP > 0);
}

/** A completion as far as it has come: token ids and log-probs `[T]`. */
export interface GrowingSample {
  readonly ids: readonly number[];
  readonly logprobs: readonly number[] | Float32Array;
}

export type Weights = "policy" | "reference";

export interface Sample {
  /** The completion, its end token included where it ended by one. */
  ids: number[];
  /**
   * Log-probabilities of `ids` `[T]` under the policy at the sampling temperature, before top-p, top-k and min-p cut
   * the distribution: the old log-probs of the loss.
   */
  logprobs: Float32Array;
  /**
   * Where top-p, top-k or min-p cut the distribution: the probability `[T]` of the tokens that were left. A token was
   * drawn with probability exp(logprob) / keptMass, so keptMass is the weight that makes up for the cut.
   */
  keptMass?: Float32Array;
  /** The completion as text, end token and stop string left out. */
  text: string;
  /** `stop`: an end token or stop string; `length`: `maxTokens` was reached. */
  stopReason: "stop" | "length";
}

/** A prompt with one completion to learn from. Data with equal prompts are computed together. */
export interface Datum {
  prompt: TokenIds;
  completion: TokenIds;
  /** Log-probs of the completion `[T]` when it was sampled. Not needed for `cross_entropy`. */
  oldLogprobs?: Float32Array;
  /** Log-probs of the completion `[T]` under the reference policy. Needed when `klCoef` is above 0. */
  refLogprobs?: Float32Array;
  /** Advantage of every token of the completion. Not needed for `cross_entropy`. */
  advantage?: number;
  /** Advantage of each token `[T]`, instead of one for all. */
  advantages?: Float32Array;
  /** Weight of this datum in the loss. Default 1. */
  weight?: number;
  /** Weight of each token `[T]`, on top of `weight`. Default 1. */
  weights?: Float32Array;
}

export const lossNames = [
  "cross_entropy",
  "importance_sampling",
  "ppo",
  "grpo",
  "dapo",
  "dr_grpo",
  "gspo",
  "cispo",
] as const;
export type LossName = (typeof lossNames)[number];

/**
 * How token terms are added up: `token` divides their sum by the batch's completion tokens, `sequence` averages over
 * each completion first and then over completions, `constant` divides by completions × `maxTokens` (Dr. GRPO).
 */
export type Aggregation = "token" | "sequence" | "constant";

export interface Loss {
  name: LossName;
  /** Lower clip: the ratio is held at or above 1 − clipLow. Default 0.2 (gspo: 3e-2). */
  clipLow?: number;
  /** Upper clip: the ratio is held at or below 1 + clipHigh. Default 0.2 (dapo 0.28, gspo 4e-2). */
  clipHigh?: number;
  /** Weight of the KL term to the reference. Default 0; above 0 every datum needs `refLogprobs`. */
  klCoef?: number;
  /** k1: log-ratio, k2: half its square, k3: exp(d) − d − 1 (Schulman 2020). Default k3. */
  klEstimator?: "k1" | "k2" | "k3";
  /** Default: the loss's own (grpo and gspo `sequence`, dr_grpo `constant`, the rest `token`). */
  aggregation?: Aggregation;
  /** Temperature that the completions were sampled at; log-probs are taken at it. Default 1. */
  temperature?: number;
  /** For `constant` aggregation: the longest completion allowed, in tokens. */
  maxTokens?: number;
  /**
   * What the sums are divided by, when `data` is only a part of the step's batch (parts without gradient left out,
   * gradients accumulated over calls). Default: counted from `data`.
   */
  batch?: { tokens: number; completions: number };
}

export interface ForwardBackwardResult {
  /** This call's share of the batch's loss. */
  loss: number;
  /** Log-probs `[T]` of each datum's completion under the weights used, at the loss's temperature. */
  logprobs: Float32Array[];
  /** Means over the data's tokens: `entropy` (nats), `clipFraction`, `approxKl` (k3, old to new), `klToReference`. */
  metrics: Record<string, number>;
}

export interface AdamParams {
  learningRate: number;
  /** Default 0.9. */
  beta1?: number;
  /** Default 0.999. */
  beta2?: number;
  /** Default 1e-8. */
  epsilon?: number;
  /** Decoupled weight decay (AdamW). Default 0. */
  weightDecay?: number;
  /** Gradients are scaled down to this global L2 norm. Default 1; Infinity: off. */
  maxGradNorm?: number;
}

export interface OptimResult {
  /** Global L2 norm of the gradients before clipping. */
  gradNorm: number;
  /**
   * False when nothing was changed: gradients weren't finite (they are cleared), or there were none (then `gradNorm` is
   * 0).
   */
  applied: boolean;
}

export interface LogprobsOptions {
  weights?: Weights;
  /** Default 1. */
  temperature?: number;
  signal?: AbortSignal;
}

/** The most that one step of a run can ask of an engine. */
export interface LongestStep {
  prompts: number;
  /** Tokens of the longest prompt. */
  promptTokens: number;
  sampling: SamplingParams;
  loss: Loss;
}

export interface Engine {
  /** What is trained, for logs and the run folder: model, weights trained, device. */
  readonly description: Readonly<Record<string, unknown>>;
  readonly tokenizer: ChatTokenizer;
  /** Longest prompt plus completion, in tokens. */
  readonly contextLength: number;
  /**
   * Whether completions can be sampled while the engine trains: they are then drawn from the weights as they were when
   * `sample` was called. Default false.
   */
  readonly samplesWhileTraining?: boolean;
  /** Whether completions from a distribution that was cut have {@link Sample.keptMass}. Default false. */
  readonly givesKeptMass?: boolean;
  /** `[P][n]` completions. @throws AbortError, EngineError */
  sample(prompts: readonly TokenIds[], params: SamplingParams): Promise<Sample[][]>;
  /** Adds the loss's gradients to those that wait for {@link optimStep}. @throws AbortError, EngineError */
  forwardBackward(
    data: readonly Datum[],
    loss: Loss,
    options?: { signal?: AbortSignal },
  ): Promise<ForwardBackwardResult>;
  /** One AdamW step with the gradients gathered so far, which it clears. */
  optimStep(params: AdamParams): Promise<OptimResult>;
  /** Drops the gradients gathered so far. */
  zeroGrad(): Promise<void>;
  /**
   * Runs the largest batches that such a step is cut into and throws the results away, so that too little memory shows
   * before the first step. Engines that compute elsewhere leave it out. @throws AbortError, EngineError `ENGINE_MEMORY`
   */
  tryStep?(step: LongestStep): Promise<void>;
  /** Log-probs `[T]` of each datum's completion, without gradients. */
  logprobs(data: readonly Pick<Datum, "prompt" | "completion">[], options?: LogprobsOptions): Promise<Float32Array[]>;
  /** Writes trained weights and optimizer state to an empty or absent folder, in one that is there. */
  saveState(dir: string): Promise<void>;
  /** Restores what {@link saveState} wrote. @throws CheckpointError */
  loadState(dir: string): Promise<void>;
  /**
   * Frees what {@link saveState} keeps elsewhere for the state in `dir`, whose folder is about to be removed; a failure to do
   * so is not an error. Engines whose states are all in the folder leave it out.
   */
  dropState?(dir: string): Promise<void>;
  close(): Promise<void>;
}
