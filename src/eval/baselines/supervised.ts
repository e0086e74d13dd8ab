/**
 * The supervised baseline: fine-tuning on rewrites (a teacher's, from a file or a model, or the policy's own best of n)
 * with the same engine and the same budget as the policy that is trained by reinforcement. The run is an ordinary run
 * folder, trained by the loop's own supervised phase and nothing else.
 */
import { performance } from "node:perf_hooks";
import { readJsonl } from "../../core/data-lines.ts";
import { DataError, TaskError } from "../../core/errors.ts";
import { randomStream, shuffle } from "../../core/random.ts";
import type { Engine } from "../../engines/engine.ts";
import type { Recommender } from "../../recommenders/recommender.ts";
import type { OnTrainEvent } from "../../rl/events.ts";
import { answerExamples, askingOf } from "../../rl/evaluation.ts";
import { encodeExample } from "../../rl/prompt.ts";
import { collectRollouts } from "../../rl/rollout.ts";
import { loadSplit } from "../../rl/task.ts";
import type { LoadedExample, Task, WarmupExample } from "../../rl/task.ts";
import { train } from "../../rl/train.ts";
import type { TrainResult } from "../../rl/train.ts";
import { resolveTrainConfig } from "../../rl/train-config.ts";
import type { TrainConfigInput } from "../../rl/train-config.ts";
import { crossEntropy } from "../../rl/update.ts";
import { toWarmupDatum } from "../../rl/warmup.ts";
import { countTokens, priceOf } from "../comparison/system.ts";
import type { Prices, Usage } from "../comparison/system.ts";

/** A completion to be learnt, for one example. */
export interface Rewrite {
  example: string;
  completion: string;
}

/**
 * A teacher's rewrites from a JSON Lines file: `{"id" or "query", "completion" or "rewrite"}`. Rows are matched by the
 * example's id, or by its raw words; rows of other splits are left out.
 * @throws DataError when a row is malformed or none belongs to an example
 */
export async function readRewrites<E extends object>(
  path: string,
  task: Task<E>,
  examples: readonly LoadedExample<E>[],
): Promise<Rewrite[]> {
  const byId = new Map(examples.map(({ id }) => [id, id]));
  const byWords = new Map(examples.map(({ id, example }) => [task.raw(example), id]));
  const rewrites: Rewrite[] = [];
  let rows = 0;
  for await (const { line, value } of readJsonl(path)) {
    rows++;
    const { id, query, completion, rewrite } = value;
    const text = completion ?? rewrite;
    if (typeof text !== "string" || text.trim() === "" || (id === undefined && typeof query !== "string")) {
      throw new DataError(
        "BAD_REWRITE",
        `${path} line ${line}: expected {"id" or "query": …, "completion" or "rewrite": a text}, got ${JSON.stringify(value).slice(0, 100)}.`,
        { details: { path, line } },
      );
    }
    const example = id === undefined ? byWords.get(query as string) : byId.get(String(id));
    if (example !== undefined) rewrites.push({ example, completion: text });
  }
  if (rewrites.length > 0) return rewrites;
  throw new DataError(
    "BAD_REWRITE",
    `${path}: none of its ${rows} rows belongs to a training example. Use the examples' ids, or their raw words as "query".`,
  );
}

export interface CollectOptions<E extends object> {
  engine: Engine;
  task: Task<E>;
  recommender: Recommender;
  examples: readonly LoadedExample<E>[];
  /** Longest completion, in tokens. */
  maxTokens: number;
  /** Longest prompt, in tokens; 0: what the context allows. Default 0. */
  maxPromptTokens?: number;
  /** Completions for each example. */
  n: number;
  /** Default 1. */
  temperature?: number;
  /** Default 0. */
  seed?: number;
  /** No further prompts are asked when this many seconds have passed. Default: no limit. */
  budgetSeconds?: number;
  prices?: Prices;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** Prompts asked in one call. */
const promptBatch = 16;

/**
 * Rewrites by a model, each the best of `n` by the task's own reward (rejection sampling; RAFT, Dong et al. 2023). An
 * example whose completions all earn the same teaches nothing about which one is better and is left out, when `n` is
 * above 1; one without a parsed query always is. Examples are asked in an order of the seed's until the budget is spent.
 */
export async function collectBestOfN<E extends object>(
  options: CollectOptions<E>,
): Promise<{ rewrites: Rewrite[]; asked: number; usage: Usage }> {
  const { task, recommender, examples, maxTokens, maxPromptTokens = 0, n } = options;
  const { temperature = 1, seed = 0, budgetSeconds = Infinity } = options;
  const start = performance.now();
  const { engine, counts } = countTokens(options.engine);
  const elapsed = (): number => (performance.now() - start) / 1000;
  const order = shuffle(examples, randomStream(seed, "best of n"));
  const rewrites: Rewrite[] = [];
  let asked = 0;
  while (asked < order.length && elapsed() < budgetSeconds) {
    const batch = order.slice(asked, asked + promptBatch);
    const { groups } = await collectRollouts(batch, {
      engine,
      recommender,
      task,
      maxPromptTokens,
      sampling: {
        n,
        maxTokens,
        temperature: n === 1 ? 0 : temperature,
        seed,
        ...(options.signal ? { signal: options.signal } : {}),
      },
    });
    for (const { example, rollouts } of groups) {
      const scored = rollouts.flatMap(({ reward, query, sample }) =>
        reward === null || query === null ? [] : [{ reward, text: sample.text }],
      );
      const lowest = Math.min(...rollouts.flatMap(({ reward }) => (reward === null ? [] : [reward])));
      const best = scored.reduce<(typeof scored)[number] | undefined>(
        (a, b) => (!a || b.reward > a.reward ? b : a),
        undefined,
      );
      if (best && (n === 1 || best.reward > lowest)) rewrites.push({ example: example.id, completion: best.text });
    }
    asked += batch.length;
    options.onProgress?.(asked, order.length);
  }
  const usage = { seconds: elapsed(), ...counts, dollars: priceOf(counts, options.prices) };
  return { rewrites, asked, usage };
}

export interface FineTuneOptions<E extends object> {
  task: Task<E>;
  recommender: Recommender;
  engine: Engine;
  examples: readonly LoadedExample<E>[];
  rewrites: readonly Rewrite[];
  runDir: string;
  /** Seconds that training and its evaluations may take. */
  budgetSeconds: number;
  /** The options of the run that it is compared with: batch sizes, learning rate, how often it is evaluated. */
  config: TrainConfigInput;
  launch?: Record<string, unknown>;
  signal?: AbortSignal;
  onEvent?: OnTrainEvent;
}

/**
 * Supervised fine-tuning in a run folder of its own, for as many steps as the budget holds, over which the learning rate's
 * schedule goes: the settings of the run's own supervised phase, evaluated and chosen on validation as often as the run.
 * @throws as {@link train}; DataError `NO_REWRITES`
 */
export async function fineTune<E extends object>(options: FineTuneOptions<E>): Promise<TrainResult> {
  const { task, recommender, engine, rewrites, runDir, budgetSeconds, config, launch, signal, onEvent } = options;
  if (rewrites.length === 0) {
    throw new DataError(
      "NO_REWRITES",
      "There is nothing to learn: no example has a rewrite. Sample more for each, or give a file.",
    );
  }
  const texts = toWarmup(options);
  const warmupBatch = Math.min(texts.length, config.warmupBatch ?? config.promptsPerStep ?? 16);
  const warmupSteps = await countStepsThatFit(options, texts.slice(0, warmupBatch));
  return train<E>({
    ...config,
    task: { ...task, config: {}, warmup: { examples: () => texts } },
    recommender,
    engine,
    runDir,
    steps: 0,
    warmupSteps,
    warmupBatch,
    maxMinutes: Math.max(0.01, budgetSeconds / 60),
    ...(launch ? { launch } : {}),
    ...(signal ? { signal } : {}),
    ...(onEvent ? { onEvent } : {}),
  });
}

/** Validation examples that are answered to see how long an evaluation takes. */
const timedExamples = 32;

/**
 * Steps that fit into the budget with their evaluations, by one of each: the schedule of the learning rate is to end when
 * the time does, or the baseline would be worse than it could be.
 */
async function countStepsThatFit<E extends object>(
  { task, recommender, engine, budgetSeconds, config: given, signal }: FineTuneOptions<E>,
  texts: readonly WarmupExample[],
): Promise<number> {
  const config = resolveTrainConfig([{ source: "fineTune()", values: given }]);
  const abort = signal ? { signal } : {};
  const data = texts.map((text) => toWarmupDatum(text, engine));
  const step = async (): Promise<void> => {
    await engine.forwardBackward(data, crossEntropy(data), abort);
    await engine.zeroGrad();
  };
  // What is done once, such as compiling graphs, is left out.
  await step();
  const stepSeconds = await secondsOf(step);
  const all = config.evalEvery > 0 ? ((await loadSplit(task, "valid")) ?? []) : [];
  const valid = config.evalLimit > 0 ? all.slice(0, config.evalLimit) : all;
  const timed = valid.slice(0, timedExamples);
  const answering = { engine, task, recommender, ...askingOf(config), ...abort };
  const evaluationSeconds =
    timed.length === 0 ? 0 : (await secondsOf(() => answerExamples(timed, answering))) * (valid.length / timed.length);
  const perStep = stepSeconds + (config.evalEvery > 0 ? evaluationSeconds / config.evalEvery : 0);
  // The first evaluation comes before the first step.
  return Math.max(1, Math.floor((budgetSeconds - evaluationSeconds) / perStep));
}

async function secondsOf(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return (performance.now() - start) / 1000;
}

/** Rewrites as texts to learn; prompts are those that the policy is asked with, shortened where they must be. */
function toWarmup<E extends object>({ task, engine, examples, rewrites, config }: FineTuneOptions<E>): WarmupExample[] {
  const byId = new Map(examples.map((example) => [example.id, example.example]));
  const { maxTokens = 48, maxPromptTokens = 0 } = config;
  return rewrites.flatMap(({ example: id, completion }): WarmupExample[] => {
    const example = byId.get(id);
    if (!example) return [];
    const room = Math.max(maxTokens, engine.tokenizer.encode(completion).length + 1);
    try {
      const { messages } = encodeExample(engine, task, example, { maxTokens: room, maxPromptTokens });
      return [{ messages, completion }];
    } catch (error) {
      if (error instanceof TaskError && error.code === "PROMPT_TOO_LONG") return [];
      throw error;
    }
  });
}
