/**
 * Several queries as one: a text of several lines is asked line by line, and the rankings are fused. So a policy may
 * write more than one query in a completion, in training and behind a server alike. Knows nothing of who writes them.
 */
import { ConfigError } from "../core/errors.ts";
import type { Hit, Query, Recommender, SearchOptions } from "./recommender.ts";

export interface FuseOptions {
  /** Lines of a text that are asked, the first ones. Default 4. */
  maxQueries?: number;
  /** The constant of reciprocal rank fusion: higher, and first places weigh less. Default 60. */
  rankConstant?: number;
}

/**
 * Fused ranking of several: Σ 1 / (constant + rank), rank from 1 (Cormack, Clarke and Büttcher 2009). Ties stand in the
 * order in which the ids first came.
 */
export function fuseRankings(rankings: readonly (readonly Hit[])[], rankConstant = 60): Hit[] {
  const fused = new Map<string, Hit>();
  for (const hits of rankings) {
    hits.forEach((hit, rank) => {
      const score = 1 / (rankConstant + rank + 1);
      const known = fused.get(hit.id);
      if (known) known.score += score;
      else fused.set(hit.id, { ...hit, score });
    });
  }
  return [...fused.values()].sort((a, b) => b.score - a.score);
}

/**
 * `inner` with texts of several lines read as several queries. A text of one line is answered as `inner` answers it,
 * scores included. Closing it closes `inner`.
 * @throws ConfigError when an option is out of range
 */
export function fused(inner: Recommender, options: FuseOptions = {}): Recommender {
  const { maxQueries = 4, rankConstant = 60 } = options;
  if (!Number.isInteger(maxQueries) || maxQueries < 1 || !(rankConstant >= 0)) {
    throw new ConfigError(
      "CONFIG_BAD_NUMBER",
      `fused: maxQueries is ${maxQueries} and rankConstant ${rankConstant}; expected a whole number from 1, and 0 or more.`,
    );
  }
  return {
    name: inner.name,
    async search(queries: readonly Query[], searchOptions: SearchOptions): Promise<Hit[][]> {
      const lines = queries.map(({ text }) => splitQueries(text).slice(0, maxQueries));
      const asked = lines.flat().map((text) => ({ text }));
      const answers = asked.length > 0 ? await inner.search(asked, searchOptions) : [];
      let at = 0;
      return lines.map((own) => {
        const rankings = answers.slice(at, at + own.length);
        at += own.length;
        const hits = rankings.length === 1 ? (rankings[0] as Hit[]) : fuseRankings(rankings, rankConstant);
        return hits.slice(0, searchOptions.topK);
      });
    },
    fingerprint: async () => `fused:${maxQueries}:${rankConstant}:${await inner.fingerprint()}`,
    ...(inner.has ? { has: (id: string) => (inner.has as (id: string) => Promise<boolean>)(id) } : {}),
    close: () => inner.close(),
  };
}

/** The lines of a text that aren't empty, each once. */
function splitQueries(text: string): string[] {
  return [...new Set(text.split("\n").map((line) => line.trim()))].filter((line) => line !== "");
}
