/** Options of a run that is started from the command line: training's own and the engine's. */
import { z } from "zod";
import { resolveConfig } from "../core/config.ts";
import type { ConfigLayer } from "../core/config.ts";
import { recipeEngineLayer, recipeLayer, trainConfigSchema } from "../rl/train-config.ts";
import type { TrainConfig } from "../rl/train-config.ts";
import { absoluteSearchConfig, searchShape } from "./task-recommender.ts";
import type { SearchConfig } from "./task-recommender.ts";

const engineShape = {
  engine: z
    .string()
    .default("local")
    .describe("where the policy is: local, or the address of a server that speaks the Tinker API"),
  baseModel: z.string().optional().describe("the model's name on that server; default: --model, or the only one there"),
  apiKeyEnv: z.string().default("TINKER_API_KEY").describe("environment variable that holds that server's key"),
  maxOpenRequests: z
    .number()
    .int()
    .min(4)
    .default(64)
    .describe("requests to that server that are open at once, at most; it may ask for fewer"),
  model: z
    .string()
    .default("smollm2-135m-instruct")
    .describe("Hugging Face folder, .gguf file or known name (see: rec-r1 model list)"),
  templateVariables: z
    .string()
    .refine((text) => parseTemplateVariables(text) !== null, "expected a JSON object, as text")
    .optional()
    .describe(
      `variables of the model's chat template, as JSON; default: {"enable_thinking":false}, which other templates ignore`,
    ),
  loraRank: z.number().int().min(1).default(16).describe("rank of the adapter that is trained"),
  loraAlpha: z.number().positive().optional().describe("scale of the adapter; default: twice its rank"),
  loraTargets: z
    .string()
    .optional()
    .describe("linear layers that get an adapter, with commas between (q_proj,v_proj); default: all seven"),
  full: z.boolean().default(false).describe("train all weights, without an adapter"),
  threads: z.number().int().min(1).optional().describe("CPU threads; default: all physical cores"),
  maxRows: z.number().int().min(1).optional().describe("tokens that are trained on at once; default: 512"),
  memoryGb: z.number().positive().optional().describe("most memory to use, in GB; default: what is free"),
};

export const engineConfigSchema = z.object(engineShape);
export type EngineConfig = z.output<typeof engineConfigSchema>;

/** Variables of a chat template, from JSON; null where it is no object. */
function parseTemplateVariables(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown> | null) : null;
  } catch {
    return null;
  }
}

/** The variables of the chat template that the settings name, as the engines take them. */
export function templateVariablesOf({ templateVariables }: EngineConfig): {
  templateVariables?: Record<string, unknown>;
} {
  const variables = templateVariables === undefined ? null : parseTemplateVariables(templateVariables);
  return variables === null ? {} : { templateVariables: variables };
}

/** Options of the command line alone: neither the run's nor the engine's. */
const commandShape = {
  doctor: z
    .boolean()
    .default(true)
    .describe("examine the baseline first, and refuse to train against a broken one (see: rec-r1 doctor)"),
};

/** Who is told of the run besides the terminal. */
const trackerShape = {
  tensorboard: z.boolean().default(false).describe("write a TensorBoard event file to tensorboard/ in the run folder"),
  mlflow: z.string().optional().describe("address of an MLflow server that gets the run's figures"),
  mlflowExperiment: z.string().default("rec-r1").describe("experiment on that server"),
};

export const trackerConfigSchema = z.object(trackerShape);
export type TrackerConfig = z.output<typeof trackerConfigSchema>;

export const launchConfigSchema = trainConfigSchema
  .extend(engineShape)
  .extend(searchShape)
  .extend(trackerShape)
  .extend(commandShape);

/**
 * Settings of a run from layers, weakest first, with the recipe that they name below them all.
 * @throws ConfigError
 */
export function resolveLaunchConfig(layers: readonly ConfigLayer[]): {
  train: TrainConfig;
  engine: EngineConfig;
  search: SearchConfig;
  trackers: TrackerConfig;
  doctor: boolean;
} {
  const values = resolveConfig(launchConfigSchema, [recipeLayer(layers), recipeEngineLayer(layers), ...layers]);
  const isEngineKey = ([key]: [string, unknown]): boolean => Object.hasOwn(engineShape, key);
  const { doctor, recommender, cacheDir, tensorboard, mlflow, mlflowExperiment, ...others } = values;
  const entries = Object.entries(others);
  return {
    train: Object.fromEntries(entries.filter((entry) => !isEngineKey(entry))) as TrainConfig,
    engine: Object.fromEntries(entries.filter(isEngineKey)) as EngineConfig,
    search: absoluteSearchConfig({ recommender, cacheDir }),
    trackers: { tensorboard, mlflowExperiment, ...(mlflow === undefined ? {} : { mlflow }) },
    doctor,
  };
}
