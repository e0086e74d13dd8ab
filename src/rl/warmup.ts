/** The optional supervised phase before the first step: cross-entropy on texts of the task's own. */
import { TaskError } from "../core/errors.ts";
import type { ChatMessage, Datum, Engine } from "../engines/engine.ts";
import { learningRateAt } from "./learning-rate.ts";
import type { Loop, StepOutcome } from "./loop.ts";
import { encodeExample, encodeMessages } from "./prompt.ts";
import { PromptOrder } from "./prompt-order.ts";
import type { Session } from "./run-session.ts";
import { UpdateMetrics } from "./step-metrics.ts";
import type { WarmupExample } from "./task.ts";
import { adamParams, applyGradients, crossEntropy } from "./update.ts";

export type WarmupOptions<E extends object> = Pick<
  Loop<E>,
  "task" | "engine" | "recommender" | "config" | "signal" | "onEvent"
>;

/**
 * The warm-up's texts. They are made once and kept in the run folder: a recommender may answer differently later.
 * @throws TaskError `TOO_LITTLE_WARMUP`, `PROMPT_TOO_LONG`
 */
export async function orderWarmup<E extends object>(
  { task, engine, recommender, config, signal, onEvent }: WarmupOptions<E>,
  { folder, train, state }: Session<E>,
): Promise<PromptOrder<Datum>> {
  const { maxFailureShare } = config;
  // Prompts are those of the rollouts to come: shortened where they have to be.
  const prompt = (example: E): readonly ChatMessage[] => encodeExample(engine, task, example, config).messages;
  const make = async (): Promise<readonly WarmupExample[]> =>
    (await task.warmup?.examples({
      task: { ...task, prompt },
      train,
      recommender,
      maxFailureShare,
      signal,
      onProgress: (doing, done, total) => onEvent({ kind: "progress", activity: doing, step: state.step, done, total }),
    })) ?? [];
  const kept = await folder.readWarmup<WarmupExample>();
  const examples = kept ?? (await make());
  if (examples.length < config.warmupBatch) {
    throw new TaskError(
      "TOO_LITTLE_WARMUP",
      `Task "${task.name}" has ${examples.length} warm-up texts, a warm-up step takes ${config.warmupBatch}. Give the task more (\`warmup.examples\`) and resume the run, or start another one with a lower warmupBatch or without warmupSteps.`,
    );
  }
  const data = examples.map((example) => toWarmupDatum(example, engine));
  const longest = data.reduce((max, { prompt, completion }) => Math.max(max, prompt.length + completion.length), 0);
  if (longest > engine.contextLength) {
    throw new TaskError(
      "PROMPT_TOO_LONG",
      `Task "${task.name}": a warm-up text has ${longest} tokens, the model's context is ${engine.contextLength}.`,
    );
  }
  if (!kept) await folder.writeWarmup(examples);
  return new PromptOrder(data, config.seed, "warmup");
}

/** A warm-up text as the engine takes it: the whole completion with its end is learnt, the prompt is not. */
export function toWarmupDatum(
  { messages, completion }: WarmupExample,
  { tokenizer }: Pick<Engine, "tokenizer">,
): Datum {
  const end = tokenizer.endIds.slice(0, 1);
  return { prompt: encodeMessages(tokenizer, messages), completion: [...tokenizer.encode(completion), ...end] };
}

/** One supervised step on the warm-up's texts. */
export async function takeWarmupStep<E extends object>(loop: Loop<E>, step: number): Promise<StepOutcome> {
  const { config, engine, signal, state } = loop;
  const start = performance.now();
  const size = config.warmupBatch;
  const data = (loop.warmupOrder as PromptOrder<Datum>).draw((step - 1) * size, size).items;
  const metrics = new UpdateMetrics();
  const learningRate = config.warmupLearningRate ?? config.learningRate;
  const schedule = { learningRate, schedule: config.warmupSchedule, rampSteps: config.rampSteps };
  const adam = adamParams(config, learningRateAt(step, { ...schedule, steps: config.warmupSteps }));
  const result = await engine.forwardBackward(data, crossEntropy(data), signal ? { signal } : {});
  metrics.addForwardBackward(data, result, false);
  await applyGradients(loop, { step, adam, result, data, metrics });
  return {
    values: { ...metrics.summarise(), learningRate: adam.learningRate },
    seconds: { learn: (performance.now() - start) / 1000 },
    cursor: state.cursor,
    skipped: metrics.skipped > 0,
  };
}
