/**
 * Evaluation of a whole run as trec_eval does it: its measure names, its order of ties, its rule for which queries
 * count. One-query metrics are in `metrics.ts`.
 */
import { ConfigError } from "../core/errors.ts";
import type { Qrels, Run, ScoredId, Relevance } from "./judgments.ts";
import { map, mrr, ndcg, precision, recall, success, type RankedId } from "./metrics.ts";

export interface EvaluateRunOptions {
  /**
   * Judged queries that the run doesn't answer: `skip` leaves them out of perQuery and means (trec_eval's default),
   * `zero` counts them as 0 (its `-c`). Default `skip`.
   */
  unanswered?: "skip" | "zero";
}

export interface RunEvaluation {
  /** query id → measure → value in [0, 1]. */
  perQuery: Map<string, Record<string, number>>;
  /** Measure → mean over the queries counted; 0 where none was. */
  means: Record<string, number>;
}

type Measure = (hits: readonly RankedId[], relevant: Relevance) => number;

const cutMeasures: Record<string, (k: number) => Measure> = {
  P: (k) => (hits, relevant) => precision(hits, relevant, { k }),
  recall: (k) => (hits, relevant) => recall(hits, relevant, { k }),
  ndcg_cut: (k) => (hits, relevant) => ndcg(hits, relevant, { k }),
  ndcg_exp_cut: (k) => (hits, relevant) => ndcg(hits, relevant, { k, gain: "exponential" }),
  map_cut: (k) => (hits, relevant) => map(hits, relevant, { k }),
  success: (k) => (hits, relevant) => success(hits, relevant, { k }),
};

const wholeMeasures: Record<string, Measure> = {
  map: (hits, relevant) => map(hits, relevant),
  recip_rank: (hits, relevant) => mrr(hits, relevant),
  ndcg: (hits, relevant) => ndcg(hits, relevant),
  ndcg_exp: (hits, relevant) => ndcg(hits, relevant, { gain: "exponential" }),
};

function parseMeasure(name: string): Measure {
  const whole = Object.hasOwn(wholeMeasures, name) ? wholeMeasures[name] : undefined;
  if (whole) return whole;
  const [, family, k] = /^([A-Za-z_]+)_([1-9]\d*)$/.exec(name) ?? [];
  const cut = family !== undefined && Object.hasOwn(cutMeasures, family) ? cutMeasures[family] : undefined;
  if (cut) return cut(Number(k));
  throw new ConfigError(
    "CONFIG_UNKNOWN_MEASURE",
    `Unknown measure "${name}". Expected one of ${Object.keys(wholeMeasures).join(", ")}, or ` +
      `${Object.keys(cutMeasures).join("_K, ")}_K with a whole number K, such as ndcg_cut_10.`,
  );
}

/** Orders by Unicode code points, which is the byte order of UTF-8 that C's strcmp sees. */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (a.charCodeAt(i) === b.charCodeAt(i)) continue;
    // At the first difference inside a surrogate pair both strings share the pair's first half, so units compare right.
    return (a.codePointAt(i) as number) - (b.codePointAt(i) as number);
  }
  return a.length - b.length;
}

/**
 * Scored ids in trec_eval's order: score descending, ties by id descending. Scores are compared as 32-bit floats,
 * which is how trec_eval keeps them, so scores that differ only beyond that are ties.
 */
export function orderAsTrecEval(scored: readonly ScoredId[]): ScoredId[] {
  return scored
    .map((entry) => ({ entry, score: Math.fround(entry.score) }))
    .sort((a, b) => b.score - a.score || compareCodePoints(b.entry.id, a.entry.id))
    .map(({ entry }) => entry);
}

/**
 * Every measure for each judged query of a run, and their means.
 *
 * Measures: `map`, `recip_rank`, `ndcg`, `P_K`, `recall_K`, `ndcg_cut_K`, `map_cut_K`, `success_K` as in trec_eval, and
 * `ndcg_exp`, `ndcg_exp_cut_K` with exponential gains. Queries that have no judgments are left out.
 * @throws ConfigError on an unknown measure.
 */
export function evaluateRun(
  qrels: Qrels,
  run: Run,
  measures: readonly string[],
  options: EvaluateRunOptions = {},
): RunEvaluation {
  const parsed = measures.map((name) => [name, parseMeasure(name)] as const);
  const perQuery: RunEvaluation["perQuery"] = new Map();
  const sums = new Map(measures.map((name) => [name, 0]));
  for (const [queryId, gains] of qrels) {
    const scored = run.get(queryId) ?? [];
    if (scored.length === 0 && options.unanswered !== "zero") continue;
    const hits = orderAsTrecEval(scored);
    const values: Record<string, number> = {};
    for (const [name, measure] of parsed) {
      const value = measure(hits, gains);
      values[name] = value;
      sums.set(name, (sums.get(name) as number) + value);
    }
    perQuery.set(queryId, values);
  }
  const means = Object.fromEntries(
    [...sums].map(([name, sum]) => [name, perQuery.size === 0 ? 0 : sum / perQuery.size]),
  );
  return { perQuery, means };
}
