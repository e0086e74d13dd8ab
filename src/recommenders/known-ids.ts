/**
 * A recommender held to a catalogue: ids that aren't in it are reported and never scored, and ids can be looked up where
 * the recommender itself can't tell.
 */
import { readCatalogueRows } from "../core/catalogue.ts";
import { RecommenderError } from "../core/errors.ts";
import type { Hit, Recommender } from "./recommender.ts";

/**
 * `inner` with the ids that there are. Closing it closes `inner`.
 * @returns a recommender whose `search` throws RecommenderError `RECOMMENDER_UNKNOWN_ID` for an id of none of `ids`
 */
export function withKnownIds(inner: Recommender, ids: Iterable<string>): Recommender {
  const known = new Set(ids);
  const check = (hits: readonly Hit[], query: string): void => {
    const unknown = hits.findIndex(({ id }) => !known.has(id));
    if (unknown === -1) return;
    throw new RecommenderError(
      "RECOMMENDER_UNKNOWN_ID",
      `${inner.name}: to the query ${JSON.stringify(query.slice(0, 60))}: hit ${unknown + 1} is "${hits[unknown]?.id}", which isn't in the catalogue of ${known.size} items. Do both have the same ids?`,
      { details: { query } },
    );
  };
  return {
    name: inner.name,
    async search(queries, options) {
      const answers = await inner.search(queries, options);
      if (Array.isArray(answers)) queries.forEach(({ text }, i) => check(answers[i] ?? [], text));
      return answers;
    },
    fingerprint: () => inner.fingerprint(),
    has: (id) => Promise.resolve(known.has(id)),
    close: () => inner.close(),
  };
}

/** Ids of a JSON Lines catalogue. @throws DataError, AbortError */
export async function readCatalogueIds(path: string, idField = "id", signal?: AbortSignal): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of readCatalogueRows(path, { idField, textFields: [], ...(signal ? { signal } : {}) })) {
    ids.push(id);
  }
  return ids;
}
