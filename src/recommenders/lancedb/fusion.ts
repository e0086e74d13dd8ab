/** Two rankings of the same items made into one: what hybrid search does with words and vectors. */
import { ConfigError } from "../../core/errors.ts";
import type { Found } from "./order-found.ts";

export interface FusionOptions {
  /**
   * `rrf`: reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): Σ weight / (k + rank). `weighted`: Σ weight ·
   * score, each list's scores spread from 0 (its last candidate) to 1 (its first). Default `rrf`.
   */
  method?: "rrf" | "weighted";
  /** Share of the vectors, from 0 to 1; the words have the rest. Default 0.5. */
  denseWeight?: number;
  /** Of `rrf`: the larger, the less the first ranks matter. Default 60. */
  k?: number;
  /** Candidates of each list; more where `topK` is. Default 200. */
  depth?: number;
}

export type Fusion = Required<FusionOptions>;

/** @throws ConfigError on an unknown method or a number out of range */
export function resolveFusion(options: FusionOptions): Fusion {
  const fusion = { method: "rrf", denseWeight: 0.5, k: 60, depth: 200, ...options } as Fusion;
  const check = (field: keyof Fusion, isRight: boolean, expected: string): void => {
    if (isRight) return;
    const got = String(fusion[field]);
    throw new ConfigError("CONFIG_BAD_FUSION", `lancedb: fusion.${field} is ${got}; expected ${expected}.`);
  };
  check("method", ["rrf", "weighted"].includes(fusion.method), "rrf or weighted");
  check("denseWeight", fusion.denseWeight >= 0 && fusion.denseWeight <= 1, "a number from 0 to 1");
  check("k", fusion.k > 0 && Number.isFinite(fusion.k), "a number above 0");
  check("depth", Number.isInteger(fusion.depth) && fusion.depth >= 1, "a whole number, 1 or more");
  return fusion;
}

/** What each candidate of a list contributes. */
function contributions({ scores }: Found, fusion: Fusion): number[] {
  if (fusion.method === "rrf") return scores.map((_, i) => 1 / (fusion.k + i + 1));
  const first = scores[0] ?? 0;
  const spread = first - (scores.at(-1) ?? 0);
  return scores.map((score) => (spread > 0 ? 1 - (first - score) / spread : 1));
}

/**
 * One ranking from two: by the sum of contributions, ties by `rankOf` ascending. An item that only one list has gets
 * nothing from the other.
 * @param rankOf a place's rank among all ids
 */
export function fuse(words: Found, vectors: Found, fusion: Fusion, rankOf: (place: number) => number): Found {
  const sums = new Map<number, number>();
  const lists: [Found, number][] = [
    [words, 1 - fusion.denseWeight],
    [vectors, fusion.denseWeight],
  ];
  for (const [found, weight] of lists) {
    if (weight === 0) continue;
    contributions(found, fusion).forEach((share, i) => {
      const place = found.places[i] as number;
      sums.set(place, (sums.get(place) ?? 0) + weight * share);
    });
  }
  const order = [...sums].sort(([a, scoreA], [b, scoreB]) => scoreB - scoreA || rankOf(a) - rankOf(b));
  return { places: order.map(([place]) => place), scores: order.map(([, score]) => score) };
}
