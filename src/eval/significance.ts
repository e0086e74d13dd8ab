/**
 * Whether one system really ranks better than another on the same queries: the paired randomization test, bootstrap
 * intervals and Holm's correction for several comparisons. Plain arithmetic over per-query scores; knows nothing of
 * queries, metrics or systems.
 */
import { DataError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";

export interface RandomizationOptions {
  /** Random sign assignments, when enumerating all of them would take more than this. Default 100,000. */
  iterations?: number;
  /** Addresses the random numbers. Default 0. */
  seed?: number;
}

export interface RandomizationResult {
  /** Mean of a − b. */
  difference: number;
  /** Two-sided p-value, above 0 and at most 1. */
  p: number;
  /** True when every sign assignment was counted, so that `p` has no sampling error. */
  exact: boolean;
  /** Sign assignments looked at. */
  iterations: number;
}

export interface BootstrapOptions {
  /** Share of resampled means inside the interval, above 0 and below 1. Default 0.95. */
  level?: number;
  /** Resamples drawn. Default 10,000. */
  iterations?: number;
  /** Addresses the random numbers. Default 0. */
  seed?: number;
}

export interface Interval {
  /** Mean of the values themselves. */
  mean: number;
  low: number;
  high: number;
  level: number;
}

export interface Outcomes {
  wins: number;
  ties: number;
  losses: number;
}

/**
 * Two-sided paired randomization test (Fisher's; Smucker, Allan and Carterette, CIKM 2007, section 3): the chance of a
 * mean difference at least as large in size when each query's two scores are swapped at random. All 2^m assignments of
 * the m queries that differ are counted when that is no more than `iterations`; otherwise `iterations` are drawn and
 * p = (count + 1) / (iterations + 1), because the observed assignment is one of them.
 *
 * @param a scores of one system, one per query `[n]`
 * @param b scores of the other on the same queries in the same order `[n]`
 * @throws DataError when there are no scores, their numbers differ, or one is not finite.
 */
export function pairedRandomizationTest(
  a: readonly number[],
  b: readonly number[],
  options: RandomizationOptions = {},
): RandomizationResult {
  const iterations = requireCount(options.iterations ?? 100_000, "iterations");
  const differences = subtractPaired(a, b);
  const observed = differences.reduce((sum, d) => sum + d, 0);
  const difference = observed / differences.length;
  // Equal scores contribute nothing whichever way they are swapped.
  const sizes = Float64Array.from(
    differences.filter((d) => d !== 0),
    Math.abs,
  );
  // Assignments that differ only by rounding count as ties, hence as at least as extreme.
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const threshold = Math.abs(observed) - 1e-12 * total;
  const assignments = 2 ** sizes.length;
  if (assignments <= iterations) {
    return { difference, p: countExtreme(sizes, threshold) / assignments, exact: true, iterations: assignments };
  }
  const random = randomStream(options.seed ?? 0, "paired-randomization");
  let extreme = 0;
  for (let i = 0; i < iterations; i++) {
    let flipped = 0;
    let bits = 0;
    for (let j = 0; j < sizes.length; j++) {
      if ((j & 31) === 0) bits = random.nextInt(2 ** 32) | 0;
      // Adds the size where the bit is set, without a branch that the processor would guess wrong half the time.
      flipped += (bits & 1) * (sizes[j] as number);
      bits >>>= 1;
    }
    if (Math.abs(total - 2 * flipped) >= threshold) extreme++;
  }
  return { difference, p: (extreme + 1) / (iterations + 1), exact: false, iterations };
}

/** How many of the 2^m sign assignments of `sizes` sum to at least `threshold` in size. */
function countExtreme(sizes: Float64Array, threshold: number): number {
  const visit = (index: number, sum: number): number => {
    const size = sizes[index];
    if (size === undefined) return Math.abs(sum) >= threshold ? 1 : 0;
    return visit(index + 1, sum + size) + visit(index + 1, sum - size);
  };
  return visit(0, 0);
}

/**
 * Percentile bootstrap interval of the mean (Efron 1979): values are drawn with replacement, `iterations` times, and
 * the interval holds the middle `level` of the resampled means, interpolated linearly between neighbours.
 *
 * @param values one score per query `[n]`
 * @throws DataError when there are no values, one is not finite, or an option is out of range.
 */
export function bootstrapInterval(values: readonly number[], options: BootstrapOptions = {}): Interval {
  const level = options.level ?? 0.95;
  if (!(level > 0 && level < 1)) {
    throw new DataError("STATISTICS_OPTION", `level must be above 0 and below 1, got ${level}.`);
  }
  const iterations = requireCount(options.iterations ?? 10_000, "iterations");
  requireScores(values, "values");
  const scores = Float64Array.from(values);
  const random = randomStream(options.seed ?? 0, "bootstrap");
  const means = new Float64Array(iterations);
  for (let i = 0; i < iterations; i++) {
    let sum = 0;
    for (let j = 0; j < scores.length; j++) sum += scores[random.nextInt(scores.length)] as number;
    means[i] = sum / scores.length;
  }
  means.sort();
  const tail = (1 - level) / 2;
  return {
    mean: scores.reduce((sum, score) => sum + score, 0) / scores.length,
    low: quantileOfSorted(means, tail),
    high: quantileOfSorted(means, 1 - tail),
    level,
  };
}

/**
 * Bootstrap interval of the mean of a − b, where each resample draws queries and keeps both scores of a query together.
 *
 * @param a scores of one system, one per query `[n]`
 * @param b scores of the other on the same queries in the same order `[n]`
 * @throws DataError as {@link pairedRandomizationTest} and {@link bootstrapInterval}.
 */
export function bootstrapDifference(
  a: readonly number[],
  b: readonly number[],
  options: BootstrapOptions = {},
): Interval {
  return bootstrapInterval(subtractPaired(a, b), options);
}

/**
 * Holm's step-down correction: p-values adjusted so that the chance of any false finding among all comparisons stays
 * at the level that each is compared with (Holm 1979). Order is kept.
 *
 * @param ps p-values of the comparisons `[m]`
 * @throws DataError when a p-value is not in [0, 1].
 */
export function holmCorrection(ps: readonly number[]): number[] {
  const wrong = ps.findIndex((p) => !(p >= 0 && p <= 1));
  if (wrong >= 0) {
    throw new DataError("STATISTICS_P_VALUE", `p-value ${wrong} must be between 0 and 1, got ${ps[wrong]}.`);
  }
  const order = ps.map((p, index) => ({ p, index })).sort((x, y) => x.p - y.p);
  const adjusted = new Array<number>(ps.length).fill(0);
  let highest = 0;
  order.forEach(({ p, index }, rank) => {
    highest = Math.max(highest, Math.min(1, p * (ps.length - rank)));
    adjusted[index] = highest;
  });
  return adjusted;
}

/**
 * On how many queries `a` scores above, the same as, and below `b`; scores within 1e-9 are the same.
 *
 * @throws DataError as {@link pairedRandomizationTest}.
 */
export function countOutcomes(a: readonly number[], b: readonly number[]): Outcomes {
  const outcomes: Outcomes = { wins: 0, ties: 0, losses: 0 };
  for (const d of subtractPaired(a, b)) outcomes[Math.abs(d) <= 1e-9 ? "ties" : d > 0 ? "wins" : "losses"]++;
  return outcomes;
}

/** Value below which `share` of `sorted` `[n]` lies, interpolated linearly (type 7 of Hyndman and Fan 1996). */
function quantileOfSorted(sorted: Float64Array, share: number): number {
  const position = share * (sorted.length - 1);
  const index = Math.floor(position);
  const low = sorted[index] as number;
  const high = sorted[Math.min(index + 1, sorted.length - 1)] as number;
  return low + (position - index) * (high - low);
}

function subtractPaired(a: readonly number[], b: readonly number[]): number[] {
  requireScores(a, "a");
  requireScores(b, "b");
  if (a.length !== b.length) {
    throw new DataError(
      "STATISTICS_UNPAIRED",
      `A paired comparison needs one score of each system per query: got ${a.length} and ${b.length} scores.`,
    );
  }
  return a.map((score, i) => score - (b[i] as number));
}

function requireScores(scores: readonly number[], name: string): void {
  if (scores.length === 0) throw new DataError("STATISTICS_EMPTY", `${name} has no scores; at least one is needed.`);
  const wrong = scores.findIndex((score) => !Number.isFinite(score));
  if (wrong >= 0) {
    throw new DataError(
      "STATISTICS_SCORE",
      `${name}[${wrong}] must be a finite number, got ${scores[wrong]}; leave failed queries out of both systems.`,
    );
  }
}

function requireCount(count: number, name: string): number {
  if (Number.isSafeInteger(count) && count >= 1) return count;
  throw new DataError("STATISTICS_OPTION", `${name} must be a whole number of at least 1, got ${count}.`);
}
