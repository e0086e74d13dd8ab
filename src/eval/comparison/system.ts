/**
 * What a comparison compares: anything that answers examples with ranked hits and can say what that cost. A system is
 * ready to be asked: what had to be tuned or trained was, on other data.
 */
import { performance } from "node:perf_hooks";
import type { Engine } from "../../engines/engine.ts";
import type { Recommender } from "../../recommenders/recommender.ts";
import { answerExamples, searchAnswers } from "../../rl/evaluation.ts";
import type { Answer, AskOptions, FoundAnswer } from "../../rl/evaluation.ts";
import type { LoadedExample, Task } from "../../rl/task.ts";

/** What something cost. */
export interface Usage {
  /** Wall time, in seconds. */
  seconds: number;
  promptTokens: number;
  completionTokens: number;
  /** Null where there is no price. */
  dollars: number | null;
}

export interface SystemAnswers<E extends object> {
  found: FoundAnswer<E>[];
  usage: Usage;
}

export const systemFamilies = ["raw", "classical", "recommender", "prompting", "supervised", "policy"] as const;
export type SystemFamily = (typeof systemFamilies)[number];

export interface ComparedSystem<E extends object> {
  /** Name on the command line and in files, such as `rm3`. */
  id: string;
  /** Name in tables. */
  name: string;
  family: SystemFamily;
  /** What was chosen on the validation split, and other settings. */
  settings?: Readonly<Record<string, unknown>>;
  /** The metric on the validation examples that settings were chosen on. */
  validation?: number;
  /** What tuning or training cost. */
  preparation?: Usage;
  answer(examples: readonly LoadedExample<E>[], signal?: AbortSignal): Promise<SystemAnswers<E>>;
}

export const noUsage: Usage = { seconds: 0, promptTokens: 0, completionTokens: 0, dollars: null };

/** Both together; money that isn't known on one side counts as none there. */
export function addUsage(a: Usage, b: Usage): Usage {
  return {
    seconds: a.seconds + b.seconds,
    promptTokens: a.promptTokens + b.promptTokens,
    completionTokens: a.completionTokens + b.completionTokens,
    dollars: a.dollars === null && b.dollars === null ? null : (a.dollars ?? 0) + (b.dollars ?? 0),
  };
}

/** Price of a hosted model, in US dollars per million tokens. */
export interface Prices {
  prompt: number;
  completion: number;
}

export interface QuerySystemOptions<E extends object> {
  task: Task<E>;
  recommender: Recommender;
}

/** A system that writes one query for each example without a model; null finds nothing and scores 0. */
export async function answerWithQueries<E extends object>(
  { task, recommender }: QuerySystemOptions<E>,
  examples: readonly LoadedExample<E>[],
  queryOf: (example: E) => string | null,
  signal?: AbortSignal,
): Promise<SystemAnswers<E>> {
  const start = performance.now();
  const answers = examples.map((example): Answer<E> => ({
    example,
    sample: 0,
    completion: null,
    query: queryOf(example.example),
  }));
  const found = await searchAnswers(answers, { task, recommender, ...(signal ? { signal } : {}) });
  return { found, usage: { ...noUsage, seconds: (performance.now() - start) / 1000 } };
}

export interface ModelSystemOptions<E extends object> extends QuerySystemOptions<E>, AskOptions {
  engine: Engine;
  prices?: Prices;
}

/** An engine whose sampling is counted, and what has been counted so far. */
export function countTokens(engine: Engine): {
  engine: Engine;
  counts: { promptTokens: number; completionTokens: number };
} {
  const counts = { promptTokens: 0, completionTokens: 0 };
  const counted: Engine = {
    description: engine.description,
    tokenizer: engine.tokenizer,
    contextLength: engine.contextLength,
    sample: async (prompts, params) => {
      const samples_P_G = await engine.sample(prompts, params);
      for (const prompt of prompts) counts.promptTokens += prompt.length;
      for (const { ids } of samples_P_G.flat()) counts.completionTokens += ids.length;
      return samples_P_G;
    },
    forwardBackward: (...args) => engine.forwardBackward(...args),
    optimStep: (params) => engine.optimStep(params),
    zeroGrad: () => engine.zeroGrad(),
    logprobs: (...args) => engine.logprobs(...args),
    saveState: (dir) => engine.saveState(dir),
    loadState: (dir) => engine.loadState(dir),
    close: () => engine.close(),
  };
  return { engine: counted, counts };
}

/** What tokens cost; null without prices. */
export function priceOf(
  { promptTokens, completionTokens }: { promptTokens: number; completionTokens: number },
  prices: Prices | undefined,
): number | null {
  return prices ? (promptTokens * prices.prompt + completionTokens * prices.completion) / 1e6 : null;
}

/** Answers of a model: its completions are parsed by the task and searched for. Every token is counted. */
export async function answerWithModel<E extends object>(
  options: ModelSystemOptions<E>,
  examples: readonly LoadedExample<E>[],
  signal?: AbortSignal,
): Promise<SystemAnswers<E>> {
  const { task, recommender } = options;
  const start = performance.now();
  const { engine, counts } = countTokens(options.engine);
  const abort = signal ? { signal } : {};
  const answers = await answerExamples(examples, { ...options, engine, ...abort });
  const found = await searchAnswers(answers, { task, recommender, ...abort });
  const seconds = (performance.now() - start) / 1000;
  return { found, usage: { seconds, ...counts, dollars: priceOf(counts, options.prices) } };
}

/** The users' words, searched for as they are. */
export function rawSystem<E extends object>(options: QuerySystemOptions<E>): ComparedSystem<E> {
  return {
    id: "raw",
    name: "raw words",
    family: "raw",
    answer: (examples, signal) => answerWithQueries(options, examples, (example) => options.task.raw(example), signal),
  };
}

/** A model as a system of the comparison. */
export function modelSystem<E extends object>(
  { id, name, family, settings, preparation }: Omit<ComparedSystem<E>, "answer" | "validation">,
  options: ModelSystemOptions<E>,
): ComparedSystem<E> {
  return {
    id,
    name,
    family,
    ...(settings ? { settings } : {}),
    ...(preparation ? { preparation } : {}),
    answer: (examples, signal) => answerWithModel(options, examples, signal),
  };
}
