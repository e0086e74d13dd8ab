/**
 * Whether a run is worse than a reference, for a CI job: a paired bootstrap on every slice, a floor for the metric, a
 * floor for general ability. A verdict with its evidence; nothing is thrown for a regression.
 */
import { ConfigError, DataError } from "../core/errors.ts";
import type { Comparison, SystemResult } from "./comparison/measure.ts";
import type { ForgettingReport } from "./forgetting/report.ts";
import { bootstrapDifference } from "./significance.ts";

export interface GateOptions {
  /** The deciding metric. Default: that of the comparison. */
  metric?: string;
  /** Drop of the mean that is put up with on the whole split and on every slice. Default 0. */
  maxDrop?: number;
  /** Lowest mean of the metric on the whole split. Default: none. */
  floor?: number;
  /** Slices of fewer examples are reported and don't decide. Default 20. */
  minSlice?: number;
  /** Share of each measure of general ability that has to be kept. Default 0.95. */
  keepAbility?: number;
  /** Default 0. */
  seed?: number;
}

export interface GateCheck {
  name: string;
  passed: boolean;
  /** Whether it decides. */
  decides: boolean;
  message: string;
}

export interface Verdict {
  passed: boolean;
  checks: GateCheck[];
}

/**
 * Compares a system with a reference on the examples that both have a score for: those of the same id and the same raw
 * words. A slice fails when its difference is below −maxDrop with 95 % confidence: the upper end of the bootstrap
 * interval is below it.
 * @throws DataError when they share no example; ConfigError on an unknown metric, or where task, split or mode differ
 */
export function judgeRegression(
  candidate: { comparison: Comparison; system: string },
  reference: { comparison: Comparison; system: string },
  options: GateOptions = {},
): Verdict {
  const { maxDrop = 0, minSlice = 20, floor, seed = 0 } = options;
  requireSameKind(candidate.comparison, reference.comparison);
  const metric = options.metric ?? candidate.comparison.metric;
  const now = scoresById(candidate.comparison, candidate.system, metric);
  const before = scoresById(reference.comparison, reference.system, metric);
  // Examples without an id are numbered, and a line more makes each number name another example.
  const [wordsNow, wordsBefore] = [rawById(candidate.comparison), rawById(reference.comparison)];
  const isOther = (id: string): boolean => wordsNow.has(id) && wordsNow.get(id) !== wordsBefore.get(id);
  const ids = [...now.keys()].filter((id) => before.has(id) && !isOther(id));
  if (ids.length === 0) {
    throw new DataError(
      "NOTHING_TO_PAIR",
      `The two comparisons share no example, of the same id and the same words, with a score by ${metric}.`,
    );
  }
  const paired = new Set(ids);
  const checks: GateCheck[] = [];
  const check = (name: string, members: readonly string[], decides: boolean): void => {
    const pairs = members.filter((id) => paired.has(id));
    if (pairs.length === 0) return;
    const { mean, low, high } = bootstrapDifference(
      pairs.map((id) => now.get(id) as number),
      pairs.map((id) => before.get(id) as number),
      { seed },
    );
    const note = decides ? "" : `; under ${minSlice} examples, does not decide`;
    checks.push({
      name,
      passed: high >= -maxDrop,
      decides,
      message: `${metric} ${signed(mean)} [${signed(low)}, ${signed(high)}] on ${pairs.length} examples${note}`,
    });
  };
  check("all", ids, true);
  for (const { name, examples } of candidate.comparison.slices) {
    const members = examples.flatMap((index) => candidate.comparison.examples[index]?.id ?? []);
    check(`slice ${name}`, members, members.filter((id) => paired.has(id)).length >= minSlice);
  }
  const lost = [...before.keys()].filter((id) => !paired.has(id));
  if (lost.length > 0) {
    const others = lost.filter(isOther).length;
    const why =
      others > 0 ? `failed, left out, or ${others} with other words under the same id` : "failed, or left out";
    const message = `${lost.length} of ${before.size} examples of the reference have no score in the candidate (${why})`;
    checks.push({ name: "coverage", passed: lost.length <= 0.05 * before.size, decides: true, message });
  }
  if (floor !== undefined) {
    const mean = [...now.values()].reduce((sum, score) => sum + score, 0) / now.size;
    checks.push({
      name: "floor",
      passed: mean >= floor,
      decides: true,
      message: `mean ${mean.toFixed(4)}, floor ${floor}`,
    });
  }
  return verdictOf(checks);
}

/** @throws ConfigError `COMPARISONS_DIFFER` */
function requireSameKind(candidate: Comparison, reference: Comparison): void {
  const differing = (["task", "split", "mode"] as const).filter((key) => candidate[key] !== reference[key]);
  if (differing.length === 0) return;
  const describe = (comparison: Comparison): string => differing.map((key) => `${key} ${comparison[key]}`).join(", ");
  throw new ConfigError(
    "COMPARISONS_DIFFER",
    `The comparison is of ${describe(candidate)}, the reference of ${describe(reference)}: a difference between the two would say nothing of the policy. Make both with rec-r1 compare on the same task, split and mode.`,
  );
}

function rawById({ examples }: Comparison): Map<string, string | null> {
  return new Map(examples.map(({ id, raw }) => [id, raw]));
}

/** Whether general ability was kept: every measure where more is better at `keepAbility` of what it was, or above. */
export function judgeAbility(report: ForgettingReport, { keepAbility = 0.95 }: GateOptions = {}): Verdict {
  const checks = report.policies.flatMap(({ name, measures }) =>
    Object.entries(measures).flatMap(([measure, { value, base, better }]): GateCheck[] => {
      if (base === null || better === "none") return [];
      const kept = better === "more" ? (base === 0 ? 1 : value / base) : value === 0 ? 1 : base / value;
      const message = `${base.toFixed(4)} before, ${value.toFixed(4)} after: ${(100 * kept).toFixed(1)} % kept`;
      return [{ name: `${name} ${measure}`, passed: kept >= keepAbility, decides: true, message }];
    }),
  );
  return verdictOf(checks);
}

export function mergeVerdicts(verdicts: readonly Verdict[]): Verdict {
  return verdictOf(verdicts.flatMap(({ checks }) => checks));
}

function verdictOf(checks: GateCheck[]): Verdict {
  return { passed: checks.every(({ passed, decides }) => passed || !decides), checks };
}

const signed = (value: number): string => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;

/** The system that is meant: by id, or the only policy. @throws ConfigError `UNKNOWN_SYSTEM` */
export function findSystem(comparison: Comparison, id: string | undefined): SystemResult {
  const policies = comparison.systems.filter(({ family }) => family === "policy");
  const found =
    id === undefined
      ? policies.length === 1
        ? policies[0]
        : undefined
      : comparison.systems.find((system) => system.id === id);
  if (found) return found;
  const known = comparison.systems.map((system) => system.id).join(", ");
  throw new ConfigError(
    "UNKNOWN_SYSTEM",
    id === undefined
      ? `The comparison has ${policies.length} policies; say which system is meant. It has: ${known}.`
      : `The comparison has no system "${id}"; it has: ${known}.`,
  );
}

function scoresById(comparison: Comparison, id: string, metric: string): Map<string, number> {
  const scores = findSystem(comparison, id).scores[metric];
  if (!scores) {
    throw new ConfigError(
      "UNKNOWN_METRIC",
      `The comparison has no metric "${metric}"; it has: ${comparison.metrics.join(", ")}.`,
    );
  }
  return new Map(
    comparison.examples.flatMap(({ id: example }, i) => {
      const score = scores[i];
      return score === null || score === undefined ? [] : [[example, score] as const];
    }),
  );
}

export function formatVerdict({ passed, checks }: Verdict): string {
  const width = Math.max(0, ...checks.map(({ name }) => name.length));
  const mark = (one: GateCheck): string => (one.passed ? "ok  " : one.decides ? "FAIL" : "warn");
  const lines = checks.map((one) => `${mark(one)}  ${one.name.padEnd(width)}  ${one.message}`);
  return `${[...lines, passed ? "passed" : "regression"].join("\n")}\n`;
}
