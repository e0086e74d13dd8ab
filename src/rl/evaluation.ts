/** Answers to a split's examples and their metrics: what training looks at in between and what `eval/` builds on. */
import { RecommenderError, TaskError } from "../core/errors.ts";
import type { Engine, Sample, SamplingParams, Weights } from "../engines/engine.ts";
import type { Hit, Recommender } from "../recommenders/recommender.ts";
import type { EvaluationCounts, EvaluationRecord } from "../runs/records.ts";
import { meanOf } from "./advantage.ts";
import { lastSearch, playEpisodes } from "./episode.ts";
import type { Turn } from "./episode.ts";
import { encodeExample } from "./prompt.ts";
import { searchAll } from "./search.ts";
import type { LoadedExample, Task } from "./task.ts";
import type { TrainConfig } from "./train-config.ts";

/** Metrics of one policy on one set of examples. */
export interface Evaluation {
  /** The metric that decides: the task's first. */
  metric: string;
  /** Means over records that were not dropped. */
  means: Record<string, number>;
  counts: EvaluationCounts;
  records: EvaluationRecord[];
}

/** What one example was answered with; query null: no answer could be parsed. */
export interface Answer<E> {
  example: LoadedExample<E>;
  sample: number;
  completion: string | null;
  query: string | null;
}

export interface ScoreOptions<E extends object> {
  recommender: Recommender;
  task: Task<E>;
  /** Hits recorded for each query. Default 10. */
  recordHits?: number;
  signal?: AbortSignal;
  /** Called with what was found, before it is scored: records keep no more than ids. */
  onFound?: (found: readonly FoundAnswer<E>[]) => void;
}

/** An answer with what the recommender found for it. */
export interface FoundAnswer<E> extends Answer<E> {
  /** Best first; null: nothing was searched, or the search failed. */
  hits: Hit[] | null;
  /** Why the search failed. */
  failure?: string;
}

/** Queries searched for at once. */
const searchBatchSize = 256;

/** Searches for answers' queries; equal queries of a batch once. What was found for them before counts for nothing. */
export async function searchAnswers<E extends object>(
  answers: readonly Answer<E>[],
  { recommender, task, signal }: Omit<ScoreOptions<E>, "recordHits" | "onFound">,
): Promise<FoundAnswer<E>[]> {
  const found: FoundAnswer<E>[] = [];
  for (let start = 0; start < answers.length; start += searchBatchSize) {
    const batch = answers.slice(start, start + searchBatchSize);
    const queries = batch.map(({ query }) => query).filter((query) => query !== null);
    const outcomes = await searchAll(recommender, queries, { topK: task.topK, ...(signal ? { signal } : {}) });
    for (const { example, sample, completion, query } of batch) {
      const outcome = query === null ? null : (outcomes.get(query) ?? null);
      const hits = outcome && "hits" in outcome ? outcome.hits : null;
      const failure = outcome && "failure" in outcome ? { failure: outcome.failure } : {};
      found.push({ example, sample, completion, query, hits, ...failure });
    }
  }
  return found;
}

/**
 * Searches for answers' queries and scores them. No query and no hits score 0; a query on which the recommender failed
 * has no scores, is left out of the means, and is counted.
 */
export async function scoreAnswers<E extends object>(
  answers: readonly Answer<E>[],
  options: ScoreOptions<E>,
): Promise<Evaluation> {
  const found = await searchAnswers(answers, options);
  options.onFound?.(found);
  return scoreFound(found, options);
}

/** The same for answers that were searched for before. */
export function scoreFound<E extends object>(
  found: readonly FoundAnswer<E>[],
  { task, recordHits = 10 }: Pick<ScoreOptions<E>, "task" | "recordHits">,
): Evaluation {
  const records = found.map(({ example, sample, completion, query, hits, failure }): EvaluationRecord => {
    const scores = Object.fromEntries(
      task.metrics.map((metric) => [metric.name, scoreOf(task, metric, example.example, hits ?? [])]),
    );
    return {
      example: example.id,
      sample,
      completion,
      query,
      hits: hits?.slice(0, recordHits).map((hit) => hit.id) ?? null,
      scores: failure === undefined ? scores : null,
      ...(failure === undefined ? {} : { failure }),
    };
  });
  return summarise(task, records);
}

function scoreOf<E extends object>(
  task: Task<E>,
  metric: Task<E>["metrics"][number],
  example: E,
  hits: Parameters<typeof metric.score>[0]["hits"],
): number {
  const score = metric.score({ example, hits });
  if (Number.isFinite(score)) return score;
  throw new TaskError(
    "BAD_METRIC",
    `Task "${task.name}": the metric ${metric.name} gave ${score}; expected a finite number.`,
  );
}

function summarise<E extends object>(task: Task<E>, records: EvaluationRecord[]): Evaluation {
  const scored = records.filter((record) => record.scores !== null);
  const means = Object.fromEntries(
    task.metrics.map(({ name }) => [name, meanOf(scored.map((record) => record.scores?.[name] as number))]),
  );
  const counts: EvaluationCounts = {
    queries: records.length,
    failed: records.length - scored.length,
    unparsed: records.filter((record) => record.query === null).length,
    empty: records.filter((record) => record.hits?.length === 0).length,
  };
  return { metric: (task.metrics[0] as { name: string }).name, means, counts, records };
}

/** Standard errors of an evaluation's means: the records' standard deviation (n − 1) over √n. */
export function standardErrorsOf({ means, records }: Pick<Evaluation, "means" | "records">): Record<string, number> {
  const scored = records.map(({ scores }) => scores).filter((scores) => scores !== null);
  const n = scored.length;
  if (n < 2) return {};
  const errorOf = ([name, mean]: [string, number]): [string, number] => {
    const squares = scored.reduce((sum, scores) => sum + ((scores[name] as number) - mean) ** 2, 0);
    return [name, Math.sqrt(squares / (n - 1) / n)];
  };
  return Object.fromEntries(Object.entries(means).map(errorOf));
}

/**
 * Refuses an evaluation of which too many queries failed: its means would say more about the outage than the policy.
 * @throws RecommenderError `TOO_MANY_FAILURES`
 */
export function checkEvaluationFailures({ counts, records }: Evaluation, maxFailureShare: number): void {
  if (counts.failed <= maxFailureShare * counts.queries) return;
  const first = records.find(({ failure }) => failure !== undefined)?.failure;
  throw new RecommenderError(
    "TOO_MANY_FAILURES",
    `The recommender failed on ${counts.failed} of ${counts.queries} queries of an evaluation, more than maxFailureShare = ${maxFailureShare} allows. The first failure: ${first}. Repair the recommender and go on.`,
    { retryable: true, details: { failed: counts.failed, queries: counts.queries } },
  );
}

/** How a policy is asked, whether during training, after it, or in a comparison. */
export interface AskOptions {
  /** Longest completion, in tokens. Default 48. */
  maxTokens?: number;
  /** Longest prompt, in tokens; 0: what the context allows. Default 0. */
  maxPromptTokens?: number;
  /** Completions for each example: 0 is one greedy completion, otherwise so many are sampled. Default 0. */
  samples?: number;
  /** Sampling temperature when `samples` is above 0. Default 1. */
  temperature?: number;
  /** Nucleus sampling when `samples` is above 0. Default 1 (off). */
  topP?: number;
  /** Sampling from so many of the likeliest tokens when `samples` is above 0. Default 0 (off). */
  topK?: number;
  /** Sampling from tokens at least this share as likely as the likeliest when `samples` is above 0. Default 0 (off). */
  minP?: number;
  /** Default 0. */
  seed?: number;
  /** `reference`: the policy as it was before training. Default `policy`. */
  weights?: Weights;
  signal?: AbortSignal;
  /** Called as completions end, with how many of all have. */
  onProgress?: (done: number, total: number) => void;
}

export interface AnswerOptions<E extends object> extends AskOptions {
  engine: Engine;
  task: Task<E>;
  /** What a policy that may search several times sees its hits of. */
  recommender: Recommender;
}

/** A run's own limits and sampling, for asking its policy as it was asked in training. */
export function askingOf({
  maxTokens,
  maxPromptTokens,
  temperature,
  topP,
  topK,
  minP,
  seed,
}: Pick<TrainConfig, "maxTokens" | "maxPromptTokens" | "temperature" | "topP" | "topK" | "minP" | "seed">): AskOptions {
  return { maxTokens, maxPromptTokens, temperature, topP, topK, minP, seed };
}

function samplingOf({
  samples = 0,
  temperature = 1,
  topP = 1,
  topK = 0,
  minP = 0,
  maxTokens = 48,
  seed = 0,
  weights,
  signal,
}: AskOptions): SamplingParams {
  return {
    n: Math.max(1, samples),
    maxTokens,
    seed,
    ...(samples === 0 ? { temperature: 0 } : { temperature, topP, topK, minP }),
    ...(weights ? { weights } : {}),
    ...(signal ? { signal } : {}),
  };
}

/** Prompts sampled in one call: bounds what is held in memory and how often progress shows. */
const promptBatchSize = 64;

/** The policy's answers to examples; of an episode of several searches, the last. */
export async function answerExamples<E extends object>(
  examples: readonly LoadedExample<E>[],
  options: AnswerOptions<E>,
): Promise<Answer<E>[]> {
  const { engine, task, recommender, maxPromptTokens = 0, onProgress } = options;
  const sampling = samplingOf(options);
  const limits = { maxTokens: sampling.maxTokens, maxPromptTokens };
  const answers: Answer<E>[] = [];
  const total = examples.length * sampling.n;
  for (let start = 0; start < examples.length; start += promptBatchSize) {
    const batch = examples.slice(start, start + promptBatchSize);
    const openings = batch.map(({ example }) => ({ example, ...encodeExample(engine, task, example, limits) }));
    const before = answers.length;
    const params = { ...sampling, onProgress: (done: number) => onProgress?.(before + done, total) };
    if (task.episode) {
      const { turns_P_G } = await playEpisodes(openings, { engine, task, recommender, sampling: params });
      batch.forEach((example, p) => {
        (turns_P_G[p] as Turn[][]).forEach((turns, sample) => {
          const { sample: last, query } = lastSearch(turns);
          answers.push({ example, sample, completion: last.text, query });
        });
      });
      continue;
    }
    const prompts = openings.map(({ ids }) => ids);
    const samples_P_G = await engine.sample(prompts, params);
    batch.forEach((example, p) => {
      (samples_P_G[p] as Sample[]).forEach(({ text }, sample) => {
        answers.push({ example, sample, completion: text, query: task.parse(text, example.example) });
      });
    });
  }
  return answers;
}
