/** What a recommender answers to some fixed queries, as its fingerprint where it can't name its contents otherwise. */
import { sha256OfJson } from "../core/checksum.ts";
import type { Hit, Query, SearchOptions } from "./recommender.ts";

/** Queries whose answers stand for all: when the ids in them change, something has changed. */
export interface Probes {
  queries: readonly string[];
  /** Hits of each that count. Default 10. */
  topK?: number;
}

/** Ids, in their order, that `search` gives to the probes, as a checksum. Scores may jitter, so they don't count. */
export async function fingerprintByProbes(
  search: (queries: readonly Query[], options: SearchOptions) => Promise<Hit[][]>,
  { queries, topK = 10 }: Probes,
): Promise<string> {
  const answers = await search(
    queries.map((text) => ({ text })),
    { topK },
  );
  return sha256OfJson(answers.map((hits) => hits.map(({ id }) => id))).slice(0, 32);
}
