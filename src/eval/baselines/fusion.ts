/** Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): Σ 1 / (k + rank) over rankings. */
import type { Hit } from "../../recommenders/recommender.ts";

/**
 * One ranking from several; an item that a ranking lacks gets nothing from it, ties go by id.
 * @param k dampens the first ranks; 60 in the paper
 */
export function fuseRankings(
  rankings: readonly (readonly Hit[])[],
  { k = 60, topK }: { k?: number; topK: number },
): Hit[] {
  const fused = new Map<string, Hit>();
  for (const hits of rankings) {
    hits.forEach((hit, rank) => {
      const before = fused.get(hit.id);
      const score = (before?.score ?? 0) + 1 / (k + rank + 1);
      const payload = before?.payload ?? hit.payload;
      fused.set(hit.id, { id: hit.id, score, ...(payload ? { payload } : {}) });
    });
  }
  return [...fused.values()].sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1)).slice(0, topK);
}
