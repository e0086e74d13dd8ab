/** From systems' answers to one table that can be argued with: means, intervals, tests, slices, lengths, costs. */
import { countWords } from "../../core/words.ts";
import type { Evaluation, FoundAnswer } from "../../rl/evaluation.ts";
import { scoreFound } from "../../rl/evaluation.ts";
import type { Mode } from "../../rl/modes.ts";
import type { LoadedExample, Task } from "../../rl/task.ts";
import type { EvaluationCounts } from "../../runs/records.ts";
import { compareSystems, scoresByExample } from "../compare.ts";
import type { ReportComparison } from "../report/report-data.ts";
import { bootstrapInterval } from "../significance.ts";
import { judgedOf } from "./slices.ts";
import type { Slice } from "./slices.ts";
import type { SystemFamily, Usage } from "./system.ts";

/** Version of {@link Comparison} as a file. */
export const comparisonFormat = 1;

export interface MeanInterval {
  mean: number;
  /** Ends of the 95 % bootstrap interval. */
  low: number;
  high: number;
  /** Queries that it is the mean of. */
  queries: number;
}

/** One system's row. */
export interface SystemResult {
  id: string;
  name: string;
  family: SystemFamily;
  settings: Readonly<Record<string, unknown>>;
  /** The metric on the validation examples that settings were chosen on. */
  validation: number | null;
  /** By metric. */
  metrics: Record<string, MeanInterval>;
  /** The deciding metric on each slice. */
  slices: Record<string, MeanInterval>;
  counts: EvaluationCounts;
  /** Mean words of the queries that were written. */
  queryWords: number;
  /** Mean share of the first `unjudgedDepth` hits that nobody judged; null where examples have no judgments. */
  unjudged: number | null;
  /** What answering the split cost. */
  usage: Usage;
  /** What tuning or training cost before. */
  preparation: Usage | null;
  /** By metric, one score for each example in the comparison's order, the mean over its completions; null: failed. */
  scores: Record<string, (number | null)[]>;
  /** Whether no other system is at least as good with queries at most as long, and better in one of the two. */
  onFront: boolean;
}

/** A whole comparison, as it is written to `comparison.json`. */
export interface Comparison {
  format: typeof comparisonFormat;
  /** ISO 8601, UTC. */
  createdAt: string;
  task: string;
  split: string;
  mode: Mode;
  seed: number;
  recommender: { name: string; fingerprint: string };
  /** The metric that decides: the task's first. */
  metric: string;
  metrics: string[];
  /** Ids and raw words of the examples, in the order of all scores. */
  examples: { id: string; raw: string | null }[];
  slices: { name: string; description: string; examples: number[] }[];
  /** Hits that were asked for: how deep a ranking goes at most. Absent where nobody wrote it down. */
  topK?: number;
  unjudgedDepth: number;
  systems: SystemResult[];
  /** Paired tests, p-values Holm-corrected over all of them. */
  comparisons: ReportComparison[];
  notes: string[];
}

/** A system's answers on the split. */
export interface AnsweredSystem<E extends object> {
  id: string;
  name: string;
  family: SystemFamily;
  settings?: Readonly<Record<string, unknown>>;
  validation?: number;
  preparation?: Usage;
  found: readonly FoundAnswer<E>[];
  usage: Usage;
}

export interface MeasureOptions<E extends object> {
  task: Task<E>;
  split: string;
  examples: readonly LoadedExample<E>[];
  slices: readonly Slice[];
  systems: readonly AnsweredSystem<E>[];
  recommender: { name: string; fingerprint: string };
  mode?: Mode;
  /** Addresses the random numbers of tests and intervals. Default 0. */
  seed?: number;
  /** Ids of systems, each tested against every other one. Default: every policy, or else all but the first system. */
  focus?: readonly string[];
  /** Hits that are looked at for judgments. Default 10. */
  unjudgedDepth?: number;
  notes?: readonly string[];
}

/**
 * The comparison of systems that answered the same examples. Every system is tested against the raw words (where they
 * are among them), those in focus against every other one; Holm's correction is over all of these tests.
 * @throws DataError when a system failed on every example
 */
export function measureComparison<E extends object>(options: MeasureOptions<E>): Comparison {
  const { task, split, examples, slices, systems, mode = "sound", seed = 0, unjudgedDepth = 10, notes = [] } = options;
  const ids = examples.map(({ id }) => id);
  const evaluations = systems.map(({ found }) => scoreFound(found, { task }));
  const metric = (task.metrics[0] as { name: string }).name;
  const metrics = task.metrics.map(({ name }) => name);
  const indexed = slices.map(({ name, description, examples: members }) => {
    const inSlice = new Set(members);
    return { name, description, examples: ids.flatMap((id, i) => (inSlice.has(id) ? [i] : [])) };
  });
  const results = systems.map((system, i) => {
    const evaluation = evaluations[i] as Evaluation;
    const scores = Object.fromEntries(metrics.map((name) => [name, scoresByExample(evaluation, name, ids)]));
    const deciding = scores[metric] as (number | null)[];
    const bySlice = indexed.flatMap(({ name, examples: members }) => {
      const mean = meanInterval(
        members.map((member) => deciding[member] ?? null),
        seed,
      );
      return mean ? [[name, mean] as const] : [];
    });
    const byMetric = metrics.flatMap((name) => {
      const mean = meanInterval(scores[name] as (number | null)[], seed);
      return mean ? [[name, mean] as const] : [];
    });
    return {
      id: system.id,
      name: system.name,
      family: system.family,
      settings: system.settings ?? {},
      validation: system.validation ?? null,
      metrics: Object.fromEntries(byMetric),
      slices: Object.fromEntries(bySlice),
      counts: evaluation.counts,
      queryWords: meanQueryWords(system.found),
      unjudged: meanUnjudged(system.found, unjudgedDepth),
      usage: system.usage,
      preparation: system.preparation ?? null,
      scores,
      onFront: false,
    };
  });
  const scored = results.map(({ id, name, scores }) => ({ id, name, scores: scores[metric] as (number | null)[] }));
  const { comparisons } = compareSystems(scored, choosePairs(options), { seed });
  return {
    format: comparisonFormat,
    createdAt: new Date().toISOString(),
    task: task.name,
    split,
    mode,
    seed,
    recommender: options.recommender,
    metric,
    metrics,
    examples: examples.map(({ id, example }) => ({ id, raw: task.raw(example) })),
    slices: indexed,
    topK: task.topK,
    unjudgedDepth,
    systems: markFront(results, metric),
    comparisons,
    notes: [...notes],
  };
}

function meanInterval(scores: readonly (number | null)[], seed: number): MeanInterval | undefined {
  const counted = scores.filter((score) => score !== null);
  if (counted.length === 0) return undefined;
  const { mean, low, high } = bootstrapInterval(counted, { seed });
  return { mean, low, high, queries: counted.length };
}

/** Pairs to be tested, each once. */
function choosePairs<E extends object>({ systems, focus }: MeasureOptions<E>): [string, string][] {
  const ids = systems.map(({ id }) => id);
  const policies = systems.filter(({ family }) => family === "policy").map(({ id }) => id);
  const chosen = focus ?? (policies.length > 0 ? policies : []);
  const pairs = new Map<string, [string, string]>();
  const add = (system: string, baseline: string): void => {
    const key = [system, baseline].sort().join("\u0000");
    if (system !== baseline && !pairs.has(key)) pairs.set(key, [system, baseline]);
  };
  for (const system of chosen) for (const other of ids) add(system, other);
  if (ids.includes("raw")) for (const system of ids) add(system, "raw");
  return [...pairs.values()];
}

/** Mean words of the queries written; 0 where none was. */
export function meanQueryWords(found: readonly FoundAnswer<object>[]): number {
  const lengths = found.flatMap(({ query }) => (query === null ? [] : [countWords(query)]));
  return lengths.length === 0 ? 0 : lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
}

/** Mean share of the first `depth` hits without a judgment; null where nothing is judged or nothing was found. */
export function meanUnjudged(found: readonly FoundAnswer<object>[], depth: number): number | null {
  const shares = found.flatMap(({ example, hits }) => {
    const judged = judgedOf(example.example);
    const seen = (hits ?? []).slice(0, depth);
    if (judged.size === 0 || seen.length === 0) return [];
    return [seen.filter(({ id }) => !judged.has(id)).length / seen.length];
  });
  return shares.length === 0 ? null : shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

/** Marks the systems on the front of quality against length. */
function markFront(systems: readonly SystemResult[], metric: string): SystemResult[] {
  const quality = (system: SystemResult): number => system.metrics[metric]?.mean ?? Number.NEGATIVE_INFINITY;
  return systems.map((system) => ({
    ...system,
    onFront: !systems.some(
      (other) =>
        quality(other) >= quality(system) &&
        other.queryWords <= system.queryWords &&
        (quality(other) > quality(system) || other.queryWords < system.queryWords),
    ),
  }));
}

/** The classical baseline that was best on validation, never on the split itself; the raw words where none was tuned. */
export function bestClassical(comparison: Comparison): SystemResult | undefined {
  const tuned = comparison.systems.filter(({ family, validation }) => family === "classical" && validation !== null);
  return (
    tuned.reduce<SystemResult | undefined>(
      (best, system) => (!best || (system.validation as number) > (best.validation as number) ? system : best),
      undefined,
    ) ?? comparison.systems.find(({ id }) => id === "raw")
  );
}
