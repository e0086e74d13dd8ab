/** Every option of training: name, type, default and help text in one schema, and recipes over it. */
import { z } from "zod";
import { resolveConfig } from "../core/config.ts";
import type { ConfigLayer } from "../core/config.ts";
import { ConfigError } from "../core/errors.ts";
import { suggestion } from "../core/suggest.ts";
import { lossNames } from "../engines/engine.ts";
import { modes } from "./modes.ts";
import { recipes } from "./recipes.ts";
import type { Recipe } from "./recipes.ts";

const count = (): z.ZodNumber => z.number().int().min(1);
const countOrOff = (): z.ZodNumber => z.number().int().min(0);
const share = (): z.ZodNumber => z.number().min(0).max(1);

/** Losses that learn from advantages. */
const policyLosses = lossNames.filter((name) => name !== "cross_entropy");

export const trainConfigSchema = z.object({
  recipe: z.string().default("small").describe("named set of defaults"),
  seed: z.number().int().default(0).describe("same seed, same run"),

  steps: countOrOff().default(100).describe("reinforcement-learning steps"),
  promptsPerStep: count().default(16).describe("different prompts in a step"),
  groupSize: z.number().int().min(2).default(8).describe("completions for each prompt"),
  maxTokens: count().default(48).describe("longest completion, in tokens"),
  maxPromptTokens: countOrOff()
    .default(0)
    .describe("longest prompt, in tokens; longer ones are made shorter by the task; 0: what the context allows"),
  temperature: z.number().positive().default(1).describe("sampling temperature in training"),
  topP: z.number().gt(0).max(1).default(1).describe("nucleus sampling in training; 1: off"),
  topK: countOrOff().default(0).describe("sample from so many of the likeliest tokens only; 0: off"),
  minP: share().default(0).describe("sample only tokens at least this share as likely as the likeliest; 0: off"),
  correctTruncation: z
    .boolean()
    .default(true)
    .describe("weigh tokens by the probability that topP, topK and minP left, to make up for the cut"),
  resampleRounds: countOrOff()
    .default(0)
    .describe("times a step draws new prompts for groups whose rewards are all equal (DAPO's dynamic sampling)"),

  mode: z
    .enum(modes)
    .default("sound")
    .describe(
      "how queries are sent and NDCG is computed; compatible: as the published code of Rec-R1 does, bug for bug",
    ),
  lengthCost: z.number().min(0).default(0).describe("subtracted from the reward for each word of a query; 0: off"),
  lengthFreeWords: countOrOff().default(0).describe("words of a query that cost nothing"),

  loss: z.enum(policyLosses).default("grpo").describe("policy loss"),
  advantageNorm: z
    .enum(["auto", "group", "batch", "none"])
    .default("auto")
    .describe("what advantages are divided by; auto: none for dr_grpo, else the group's standard deviation"),
  advantageBaseline: z
    .enum(["mean", "leave_one_out"])
    .default("mean")
    .describe("what a reward is compared with: the group's mean, or the mean of the others (RLOO)"),
  overlongShare: share()
    .default(0)
    .describe("last part of maxTokens in which completions lose up to 1 of reward (DAPO's overlong shaping); 0: off"),
  negativeScale: z
    .number()
    .min(0)
    .default(1)
    .describe("factor on negative advantages; 0: learn from better completions only"),
  clipLow: z.number().min(0).optional().describe("lower clip of the ratio; default: the loss's own"),
  clipHigh: z.number().min(0).optional().describe("upper clip of the ratio; default: the loss's own"),
  aggregation: z
    .enum(["token", "sequence", "constant"])
    .optional()
    .describe("how token terms are averaged; default: the loss's own"),
  klCoef: z.number().min(0).default(0).describe("weight of the KL term to the untrained policy; 0: off"),
  klEstimator: z.enum(["k1", "k2", "k3"]).default("k3").describe("estimator of the KL term"),
  klOnEqualGroups: z
    .boolean()
    .default(true)
    .describe("with a KL term: groups whose rewards are all equal still get it (exact, but costs their backward pass)"),
  overlapSteps: countOrOff()
    .default(0)
    .describe("steps that rollouts are collected ahead of training; needs an engine that samples while it trains"),
  epochsPerBatch: count().default(1).describe("passes over each step's rollouts"),
  minibatches: count().default(1).describe("optimizer steps in each pass, at most promptsPerStep"),
  distillCoef: z
    .number()
    .min(0)
    .default(0)
    .describe("weight of cross-entropy on the best completion of each group; 0: off"),

  learningRate: z.number().positive().default(1e-4).describe("peak learning rate"),
  schedule: z.enum(["constant", "linear", "cosine"]).default("constant").describe("how the learning rate falls"),
  rampSteps: countOrOff().default(0).describe("steps in which the learning rate rises from 0 to its peak"),
  beta1: z.number().min(0).lt(1).default(0.9).describe("AdamW: decay of the gradients' mean"),
  beta2: z.number().min(0).lt(1).default(0.999).describe("AdamW: decay of their squares' mean"),
  weightDecay: z.number().min(0).default(0).describe("AdamW: decoupled weight decay"),
  maxGradNorm: z.number().positive().default(1).describe("gradients are scaled down to this L2 norm"),

  warmupSteps: countOrOff().default(0).describe("supervised steps on the task's warm-up texts, before the others"),
  warmupBatch: count().default(32).describe("texts in a warm-up step"),
  warmupSchedule: z
    .enum(["constant", "linear", "cosine"])
    .default("constant")
    .describe("how the warm-up's learning rate falls"),
  warmupLearningRate: z.number().positive().optional().describe("learning rate of the warm-up; default: learningRate"),

  evalEvery: countOrOff().default(10).describe("steps between evaluations on the validation split; 0: none"),
  evalAtStart: z.boolean().default(true).describe("evaluate before the first step, too"),
  evalLimit: countOrOff().default(200).describe("examples of the validation split to use; 0: all"),
  earlyStop: countOrOff().default(0).describe("end after this many evaluations without a new best; 0: off"),
  maxMinutes: z
    .number()
    .min(0)
    .default(0)
    .describe("end when another step and an evaluation would go past this; 0: no limit"),

  checkpointEvery: countOrOff().default(10).describe("steps between checkpoints, besides those at evaluations"),
  keepCheckpoints: count().default(2).describe("newest checkpoints kept, besides the best"),
  recordHits: countOrOff().default(10).describe("hits recorded for each rollout"),
  recordTokensEvery: countOrOff()
    .default(10)
    .describe("steps between those whose rollouts are recorded token by token (twice as large); 0: none"),
  maxFailureShare: share().default(0.2).describe("share of a step's rollouts that may fail before the run stops"),
  recommenderCheckEvery: countOrOff()
    .default(1)
    .describe("steps between checks that the recommender is still the one the run began with; 0: none"),
  maxMissingShare: share().default(0).describe("share of the examples' relevant ids that the catalogue may lack"),
  maxSkippedSteps: countOrOff()
    .default(3)
    .describe("steps in a row with gradients that aren't finite before the run stops"),
});

/** Resolved training options. */
export type TrainConfig = z.output<typeof trainConfigSchema>;
/** Training options as a caller gives them: all optional. */
export type TrainConfigInput = z.input<typeof trainConfigSchema>;

/**
 * Options that may differ when a run is resumed: they change when it ends or what is kept, not what a step does (but for
 * `steps`, over which a learning rate falls that isn't constant; that is warned of).
 */
export const resumableKeys: readonly (keyof TrainConfig)[] = [
  "steps",
  "earlyStop",
  "maxMinutes",
  "checkpointEvery",
  "keepCheckpoints",
  "maxFailureShare",
  "maxSkippedSteps",
  "recommenderCheckEvery",
  "recordTokensEvery",
];

/**
 * The layer of the recipe that `layers` (last one wins) ask for.
 * @throws ConfigError `UNKNOWN_RECIPE`
 */
export function recipeLayer(layers: readonly ConfigLayer[]): ConfigLayer {
  const { name, recipe } = recipeOf(layers);
  return { source: `recipe ${name}`, values: recipe.values };
}

/** The same recipe's options of the engine, for programs that make one. @throws ConfigError `UNKNOWN_RECIPE` */
export function recipeEngineLayer(layers: readonly ConfigLayer[]): ConfigLayer {
  const { name, recipe } = recipeOf(layers);
  return { source: `recipe ${name}`, values: recipe.engine ?? {} };
}

function recipeOf(layers: readonly ConfigLayer[]): { name: string; recipe: Recipe } {
  const asked = layers.map(({ values }) => values.recipe).findLast((name) => name !== undefined) ?? "small";
  const name = String(asked);
  const recipe = typeof asked === "string" && Object.hasOwn(recipes, asked) ? recipes[asked] : undefined;
  if (recipe) return { name, recipe };
  throw new ConfigError("UNKNOWN_RECIPE", `Unknown recipe "${name}".${suggestion(name, Object.keys(recipes))}`);
}

/**
 * Training options from layers, weakest first; the recipe they name goes below them all.
 * @throws ConfigError
 */
export function resolveTrainConfig(layers: readonly ConfigLayer[]): TrainConfig {
  return resolveConfig(trainConfigSchema, [recipeLayer(layers), ...layers]);
}
