/**
 * The baseline doctor: sends sample queries by every path before any training and looks for what breaks baselines
 * quietly, so that gains aren't gains over a searcher that lost its words.
 */
import { throwIfAborted } from "../../core/errors.ts";
import { randomStream, shuffle } from "../../core/random.ts";
import type { Engine } from "../../engines/engine.ts";
import type { Recommender } from "../../recommenders/recommender.ts";
import { loadSplit, splitNames } from "../../rl/task.ts";
import type { LoadedExample, SplitName, Task } from "../../rl/task.ts";
import {
  checkDuplicateRelevant,
  checkExamples,
  checkLeaks,
  checkMissingRelevant,
  checkOverlap,
} from "./data-checks.ts";
import type { CheckOutcome, Diagnosis } from "./diagnosis.ts";
import { collectPlainWords, createAsker } from "./patient.ts";
import type { Patient } from "./patient.ts";
import { checkMetrics, checkParser, checkPolicy, checkPrompts, checkReward } from "./reward-checks.ts";
import type { PromptFit } from "./reward-checks.ts";
import {
  checkAnswers,
  checkCutOff,
  checkEmpty,
  checkEverRelevant,
  checkFailures,
  checkOddQueries,
  checkRepeatable,
} from "./search-checks.ts";
import { checkWords } from "./word-checks.ts";

export interface ExamineOptions<E extends object> {
  task: Task<E>;
  recommender: Recommender;
  /** Examples that queries are sent for. Default 60. */
  sampleSize?: number;
  /** Addresses the choice of examples. Default 0. */
  seed?: number;
  /** Share of relevant ids that the index may lack. Default 0. */
  maxMissingShare?: number;
  /** For the check that prompts fit; without it that check is skipped. */
  tokenizer?: PromptFit;
  /** Longest completion, in tokens. Default 48. */
  maxTokens?: number;
  /** Asks the untrained policy a few prompts, too; it also stands in for `tokenizer`. */
  engine?: Engine;
  signal?: AbortSignal;
}

/** Prompts and completions that the policy is asked for. */
const policyPrompts = 8;
const policyGroup = 4;

/**
 * Examines a task and its recommender. Nothing is changed, and a recommender that fails is a finding, not an error.
 * @throws DataError when examples can't be loaded; TaskError when `prompt` or `raw` throws; AbortError
 */
export async function examineTask<E extends object>(options: ExamineOptions<E>): Promise<Diagnosis> {
  const { task, recommender, sampleSize = 60, seed = 0, maxMissingShare = 0, maxTokens = 48, engine, signal } = options;
  const splits = await loadSplits(task);
  const pool = splits.valid ?? splits.train ?? [];
  const sample = shuffle(pool, randomStream(seed, "doctor")).slice(0, sampleSize);
  const asker = createAsker(task, recommender, signal);
  const queries = [...new Set(sample.flatMap(({ example }) => task.raw(example) ?? []))];
  const raw = await asker.ask(queries);
  const patient: Patient<E> = {
    task,
    recommender,
    splits,
    sample,
    ask: asker.ask,
    askOnce: asker.askOnce,
    plainWords: collectPlainWords(raw.values(), 200),
    signal,
  };
  const outcomes: CheckOutcome[] = [];
  const steps: (() => CheckOutcome | CheckOutcome[] | Promise<CheckOutcome | CheckOutcome[]>)[] = [
    () => checkOverlap(patient),
    () => checkDuplicateRelevant(patient),
    () => checkMissingRelevant(patient, maxMissingShare),
    () => checkExamples(patient),
    () => checkLeaks(patient),
    () => checkFailures(raw),
    () => checkAnswers(patient, queries),
    () => checkEmpty(patient, raw),
    () => checkWords(patient),
    () => checkRepeatable(patient, queries),
    () => checkCutOff(patient),
    () => checkEverRelevant(patient, raw),
    () => checkOddQueries(patient),
    () => checkReward(patient, raw),
    () => checkMetrics(patient, raw),
    () => checkParser(patient),
    () => checkPrompts(patient, options.tokenizer ?? engine, maxTokens),
    () => checkPolicy(patient, engine, { maxTokens, groupSize: policyGroup, prompts: policyPrompts, seed }),
  ];
  for (const step of steps) {
    throwIfAborted(signal);
    outcomes.push(...[await step()].flat());
  }
  return {
    task: task.name,
    recommender: recommender.name,
    fingerprint: await recommender.fingerprint(),
    examples: Object.fromEntries(Object.entries(splits).map(([name, examples]) => [name, examples.length])),
    searches: asker.sent(),
    outcomes,
  };
}

/** Every split that the task has. */
export async function loadSplits<E extends object>(
  task: Task<E>,
): Promise<Partial<Record<SplitName, LoadedExample<E>[]>>> {
  const splits: Partial<Record<SplitName, LoadedExample<E>[]>> = {};
  for (const name of splitNames) {
    const examples = await loadSplit(task, name);
    if (examples) splits[name] = examples;
  }
  return splits;
}
