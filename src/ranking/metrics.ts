/**
 * Metrics of one ranked answer. They take hits in the order given, best first, and know nothing of ties or of files;
 * definitions are those of trec_eval (https://github.com/usnistgov/trec_eval), in [0, 1], 0 where nothing is relevant.
 *
 * An id that comes twice in the hits earns once, at its first place; the repetition still takes up its rank, so that
 * repeating an answer never pays.
 */
import { ConfigError } from "../core/errors.ts";
import { gainsOf, type Relevance } from "./judgments.ts";

/** The part of a hit that metrics look at. */
export interface RankedId {
  readonly id: string;
}

export interface CutOption {
  /** Only the first `k` hits count, 1 or more. Default: all. */
  k?: number;
}

/** How a judged gain g enters NDCG: `linear` g (trec_eval's), `exponential` 2^g − 1 (Burges et al. 2005). */
export type GainKind = "linear" | "exponential";

export interface NdcgOptions extends CutOption {
  /** Default `linear`. */
  gain?: GainKind;
}

function checkCut(k: number | undefined, metric: string): number {
  if (k === undefined) return Infinity;
  if (!Number.isInteger(k) || k < 1) {
    throw new ConfigError("CONFIG_BAD_CUT", `${metric}: k is ${String(k)}; expected a whole number, 1 or more.`);
  }
  return k;
}

/** Gains at ranks 0 … min(k, hits) − 1: 0 for what is not relevant and for repeated ids. */
function gainsByRank(hits: readonly RankedId[], gains: ReadonlyMap<string, number>, k: number): number[] {
  const seen = new Set<string>();
  const length = Math.min(k, hits.length);
  const byRank: number[] = new Array<number>(length);
  for (let rank = 0; rank < length; rank++) {
    const { id } = hits[rank] as RankedId;
    const gain = seen.has(id) ? 0 : Math.max(0, gains.get(id) ?? 0);
    if (gain > 0) seen.add(id);
    byRank[rank] = gain;
  }
  return byRank;
}

function countRelevant(gains: ReadonlyMap<string, number>): number {
  let count = 0;
  for (const gain of gains.values()) if (gain > 0) count++;
  return count;
}

function countPositive(byRank: readonly number[]): number {
  return byRank.reduce((count, gain) => (gain > 0 ? count + 1 : count), 0);
}

function discountedSum(gains: readonly number[], kind: GainKind): number {
  let sum = 0;
  for (let rank = 0; rank < gains.length; rank++) {
    const gain = gains[rank] as number;
    if (gain > 0) sum += (kind === "linear" ? gain : 2 ** gain - 1) / Math.log2(rank + 2);
  }
  return sum;
}

/**
 * Normalised discounted cumulative gain: Σ gain / log2(rank + 1) over the sum of the best possible order of everything
 * judged (Järvelin & Kekäläinen 2002, with the discount of trec_eval's `ndcg` and `ndcg_cut`).
 * @throws ConfigError when `k` isn't a whole number above 0. @throws DataError when a gain isn't finite.
 */
export function ndcg(hits: readonly RankedId[], relevant: Relevance, options: NdcgOptions = {}): number {
  const k = checkCut(options.k, "ndcg");
  const kind = options.gain ?? "linear";
  const gains = gainsOf(relevant);
  const got = discountedSum(gainsByRank(hits, gains, k), kind);
  if (got === 0) return 0;
  const best = [...gains.values()].filter((gain) => gain > 0).sort((a, b) => b - a);
  return got / discountedSum(best.slice(0, Math.min(k, best.length)), kind);
}

/** Share of the relevant items that are among the first `k` hits. @throws ConfigError, DataError as {@link ndcg}. */
export function recall(hits: readonly RankedId[], relevant: Relevance, options: CutOption = {}): number {
  const gains = gainsOf(relevant);
  const total = countRelevant(gains);
  const k = checkCut(options.k, "recall");
  return total === 0 ? 0 : countPositive(gainsByRank(hits, gains, k)) / total;
}

/**
 * Share of the first `k` places that hold a relevant item; places left empty count as misses. Without `k`, of the
 * hits given. @throws ConfigError, DataError as {@link ndcg}.
 */
export function precision(hits: readonly RankedId[], relevant: Relevance, options: CutOption = {}): number {
  const k = checkCut(options.k, "precision");
  const places = k === Infinity ? hits.length : k;
  return places === 0 ? 0 : countPositive(gainsByRank(hits, gainsOf(relevant), k)) / places;
}

/** 1 / rank of the first relevant hit (its mean over queries is MRR). @throws ConfigError, DataError as {@link ndcg}. */
export function mrr(hits: readonly RankedId[], relevant: Relevance, options: CutOption = {}): number {
  const first = gainsByRank(hits, gainsOf(relevant), checkCut(options.k, "mrr")).findIndex((gain) => gain > 0);
  return first < 0 ? 0 : 1 / (first + 1);
}

/**
 * Average precision (its mean over queries is MAP): precision at each relevant hit, summed, over the number of all
 * relevant items. @throws ConfigError, DataError as {@link ndcg}.
 */
export function map(hits: readonly RankedId[], relevant: Relevance, options: CutOption = {}): number {
  const k = checkCut(options.k, "map");
  const gains = gainsOf(relevant);
  const total = countRelevant(gains);
  if (total === 0) return 0;
  let found = 0;
  let sum = 0;
  gainsByRank(hits, gains, k).forEach((gain, rank) => {
    if (gain > 0) sum += ++found / (rank + 1);
  });
  return sum / total;
}

/** 1 when a relevant item is among the first `k` hits, else 0. @throws ConfigError, DataError as {@link ndcg}. */
export function success(hits: readonly RankedId[], relevant: Relevance, options: CutOption = {}): number {
  return gainsByRank(hits, gainsOf(relevant), checkCut(options.k, "success")).some((gain) => gain > 0) ? 1 : 0;
}
