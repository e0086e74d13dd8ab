/**
 * How good a policy is on a split, and how good its baselines are: the user's own words, or any queries from elsewhere.
 * Training's own evaluations use the same scoring (`rl/evaluation.ts`).
 */
import { DataError } from "../core/errors.ts";
import type { Engine } from "../engines/engine.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import { answerExamples, scoreAnswers } from "../rl/evaluation.ts";
import type { Answer, AskOptions, Evaluation, FoundAnswer } from "../rl/evaluation.ts";
import { loadCheckedSplit } from "../rl/run-session.ts";
import type { LoadedExample, SplitName, Task } from "../rl/task.ts";

export interface EvaluateOptions<E extends object> {
  task: Task<E>;
  recommender: Recommender;
  /** A split of the task, or examples that were loaded before. Default `test`. */
  split?: SplitName | readonly LoadedExample<E>[];
  /** Only the first so many examples; 0: all. Default 0. */
  limit?: number;
  /** Share of relevant ids that the catalogue may lack. Default 0. */
  maxMissingShare?: number;
  /** Hits recorded for each query. Default 10. */
  recordHits?: number;
  signal?: AbortSignal;
  /** Called with what was found, before it is scored. */
  onFound?: (found: readonly FoundAnswer<E>[]) => void;
}

export interface EvaluatePolicyOptions<E extends object> extends EvaluateOptions<E>, AskOptions {
  engine: Engine;
}

/**
 * Metrics of the policy's queries.
 * @throws DataError, TaskError, AbortError
 */
export async function evaluatePolicy<E extends object>(options: EvaluatePolicyOptions<E>): Promise<Evaluation> {
  const examples = await selectExamples(options);
  return scoreAnswers(await answerExamples(examples, options), options);
}

/** Metrics of the user's own words, searched for as they are. */
export async function evaluateRaw<E extends object>(options: EvaluateOptions<E>): Promise<Evaluation> {
  return evaluateQueries({ ...options, queryOf: (example) => options.task.raw(example) });
}

/** Metrics of any queries: true names, another system's rewrites. @param options.queryOf null scores 0 */
export async function evaluateQueries<E extends object>(
  options: EvaluateOptions<E> & { queryOf: (example: E) => string | null },
): Promise<Evaluation> {
  const examples = await selectExamples(options);
  const answers = examples.map((example): Answer<E> => ({
    example,
    sample: 0,
    completion: null,
    query: options.queryOf(example.example),
  }));
  return scoreAnswers(answers, options);
}

async function selectExamples<E extends object>({
  task,
  recommender,
  split = "test",
  limit = 0,
  maxMissingShare = 0,
}: EvaluateOptions<E>): Promise<readonly LoadedExample<E>[]> {
  const examples =
    typeof split === "string" ? await loadCheckedSplit(task, split, recommender, maxMissingShare) : split;
  return limit > 0 ? examples.slice(0, limit) : examples;
}

/**
 * Scores of two evaluations on the examples that both could answer, in the same order: what a paired test needs. An
 * example with several completions enters with their mean.
 * @throws DataError `NOTHING_TO_PAIR`
 */
export function pairScores(
  a: Evaluation,
  b: Evaluation,
  metric: string = a.metric,
): { a: number[]; b: number[]; ids: string[] } {
  const [scoresA, scoresB] = [scoresByExample(a, metric), scoresByExample(b, metric)];
  const ids = [...scoresA.keys()].filter((id) => scoresB.has(id));
  if (ids.length === 0) {
    throw new DataError("NOTHING_TO_PAIR", `The two evaluations share no example with a score by ${metric}.`);
  }
  return { a: ids.map((id) => scoresA.get(id) as number), b: ids.map((id) => scoresB.get(id) as number), ids };
}

function scoresByExample({ records }: Evaluation, metric: string): Map<string, number> {
  const sums = new Map<string, { sum: number; count: number }>();
  for (const { example, scores } of records) {
    const score = scores?.[metric];
    if (score === undefined) continue;
    const entry = sums.get(example) ?? { sum: 0, count: 0 };
    sums.set(example, { sum: entry.sum + score, count: entry.count + 1 });
  }
  return new Map([...sums].map(([id, { sum, count }]) => [id, sum / count]));
}
