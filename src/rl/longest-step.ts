/** How long a step of a run can get, from its options and its examples: known before the first one. */
import type { Engine, LongestStep } from "../engines/engine.ts";
import { encodeExample } from "./prompt.ts";
import type { LoadedExample, Task } from "./task.ts";
import type { TrainConfig } from "./train-config.ts";

/** Encoding every prompt would take long; the longest in tokens is among the longest in letters. */
const candidates = 16;

/** Prompts of a step, and tokens of the longest one among the training examples, or of an episode's last turn. */
export function findLongestStep<E extends object>({
  engine,
  task,
  train,
  config,
}: {
  engine: Engine;
  task: Task<E>;
  train: readonly LoadedExample<E>[];
  config: Pick<TrainConfig, "promptsPerStep" | "maxTokens" | "maxPromptTokens">;
}): Pick<LongestStep, "prompts" | "promptTokens"> {
  const { maxTokens, maxPromptTokens } = config;
  const longest = train
    .map(({ example }) => ({
      example,
      letters: task.prompt(example).reduce((sum, { content }) => sum + content.length, 0),
    }))
    .sort((a, b) => b.letters - a.letters)
    .slice(0, candidates)
    .map(({ example }) => encodeExample(engine, task, example, { maxTokens, maxPromptTokens }).ids.length);
  // A later turn of an episode begins with the earlier ones: what was written, and about as much again of what was found.
  const turns = (task.episode?.maxSearches ?? 1) - 1;
  const promptTokens = Math.min(engine.contextLength - maxTokens, Math.max(1, ...longest) + 2 * turns * maxTokens);
  return { prompts: Math.min(config.promptsPerStep, train.length), promptTokens };
}
