/**
 * From scores per query to what a report states: each system's mean with its interval, and systems in pairs with their
 * difference, wins and losses and a p-value that allows for the number of comparisons.
 */
import { DataError } from "../core/errors.ts";
import {
  bootstrapDifference,
  bootstrapInterval,
  countOutcomes,
  holmCorrection,
  pairedRandomizationTest,
} from "./significance.ts";
import type { Evaluation } from "../rl/evaluation.ts";
import type { ReportComparison, ReportSystem } from "./report/report-data.ts";

export interface ScoredSystem {
  id: string;
  name: string;
  /** The name within a sentence, such as `the tuned model`. Default: `name`. */
  phrase?: string;
  /** One score per query `[n]`, in the same order for every system; null where the system failed on the query. */
  scores: readonly (number | null)[];
}

export interface CompareOptions {
  /** Addresses the random numbers of tests and intervals. Default 0. */
  seed?: number;
}

/**
 * Means and comparisons of `pairs` (system id, baseline id). A pair is compared on the queries that neither failed on;
 * p-values are Holm-corrected over all pairs.
 *
 * @throws DataError when a pair names no system, numbers of queries differ, or no query is left to compare on.
 */
export function compareSystems(
  systems: readonly ScoredSystem[],
  pairs: readonly (readonly [system: string, baseline: string])[],
  options: CompareOptions = {},
): { systems: ReportSystem[]; comparisons: ReportComparison[] } {
  const seed = options.seed ?? 0;
  const find = (id: string): ScoredSystem => {
    const system = systems.find((candidate) => candidate.id === id);
    if (system) return system;
    const known = systems.map((candidate) => candidate.id).join(", ");
    throw new DataError("COMPARE_SYSTEM", `There is no system "${id}" to compare; there are: ${known || "none"}.`);
  };
  const summaries = systems.map(({ id, name, phrase, scores }): ReportSystem => {
    const counted = scores.filter((score) => score !== null);
    if (counted.length === 0) {
      throw new DataError(
        "COMPARE_EMPTY",
        `System "${id}" has no score: it failed on all of ${scores.length} queries.`,
      );
    }
    const { mean, low, high } = bootstrapInterval(counted, { seed });
    return {
      id,
      name,
      ...(phrase === undefined ? {} : { phrase }),
      mean,
      low,
      high,
      queries: counted.length,
      failed: scores.length - counted.length,
    };
  });
  const tested = pairs.map(([systemId, baselineId]) => {
    const [a, b] = pairScores(find(systemId), find(baselineId));
    const { mean, low, high } = bootstrapDifference(a, b, { seed });
    const { p } = pairedRandomizationTest(a, b, { seed });
    return { system: systemId, baseline: baselineId, difference: mean, low, high, ...countOutcomes(a, b), p };
  });
  const corrected = holmCorrection(tested.map(({ p }) => p));
  return {
    systems: summaries,
    comparisons: tested.map((pair, i) => ({ ...pair, p: corrected[i] as number, uncorrectedP: pair.p })),
  };
}

/** An evaluation's scores in the order of `ids`, the mean over an example's completions; null where all failed. */
export function scoresByExample({ records }: Evaluation, metric: string, ids: readonly string[]): (number | null)[] {
  const scores = new Map<string, number[]>();
  for (const record of records) {
    const score = record.scores?.[metric];
    if (score !== undefined) scores.set(record.example, [...(scores.get(record.example) ?? []), score]);
  }
  return ids.map((id) => {
    const own = scores.get(id);
    return own ? own.reduce((sum, score) => sum + score, 0) / own.length : null;
  });
}

/** Scores of both on the queries that both have one for. */
function pairScores(system: ScoredSystem, baseline: ScoredSystem): [number[], number[]] {
  if (system.scores.length !== baseline.scores.length) {
    throw new DataError(
      "COMPARE_UNPAIRED",
      `Systems "${system.id}" and "${baseline.id}" have ${system.scores.length} and ${baseline.scores.length} scores; ` +
        "they must have been asked the same queries in the same order.",
    );
  }
  const [a, b]: [number[], number[]] = [[], []];
  system.scores.forEach((score, i) => {
    const other = baseline.scores[i];
    if (score === null || other === null || other === undefined) return;
    a.push(score);
    b.push(other);
  });
  if (a.length > 0) return [a, b];
  throw new DataError(
    "COMPARE_EMPTY",
    `Systems "${system.id}" and "${baseline.id}" have no query in common that both answered.`,
  );
}
