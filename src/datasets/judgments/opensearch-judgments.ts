/**
 * Judgment lists of OpenSearch's Search Relevance Workbench: the body that `PUT _plugins/_search_relevance/judgments`
 * takes with the type `IMPORT_JUDGMENT`, and what `GET` gives back (one list, or a search reply of several).
 */
import { writeFileAtomic } from "../../core/atomic-write.ts";
import { DataError } from "../../core/errors.ts";
import { readJsonFile } from "../rows.ts";
import { JudgmentCollector } from "./judged-query.ts";
import type { JudgedQuery } from "./judged-query.ts";

type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Judgments of a list; of a search reply with several lists, all of them together.
 * @throws DataError when the file can't be read or is no judgment list. @throws AbortError
 */
export async function readOpenSearchJudgments(
  path: string,
  options: { signal?: AbortSignal } = {},
): Promise<JudgedQuery[]> {
  const lists = findLists(await readJsonFile(path, options.signal));
  const bad = (what: string): DataError =>
    new DataError(
      "DATA_WRONG_LAYOUT",
      `${path}: ${what}; expected {"judgmentRatings": [{"query": "red shoes", "ratings": [{"docId": "1", "rating": "1.0"}]}]}.`,
      { details: { path } },
    );
  if (lists.length === 0) throw bad("has no judgmentRatings");
  const collector = new JudgmentCollector();
  for (const list of lists) {
    for (const [i, [query, ratings]] of entriesOf(list, bad).entries()) {
      const place = `${path}, judgmentRatings ${i + 1}`;
      if (typeof query !== "string" || query.trim() === "") throw bad(`judgmentRatings ${i + 1} has no query`);
      if (!Array.isArray(ratings)) throw bad(`judgmentRatings ${i + 1} has no list of ratings`);
      for (const rating of ratings as unknown[]) {
        const { docId, rating: value } = isObject(rating) ? rating : {};
        const gain = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
        if (typeof docId !== "string" || docId === "") throw bad(`a rating of "${query}" has no docId`);
        if (typeof gain !== "number" || !Number.isFinite(gain)) {
          throw bad(`the rating of "${docId}" for "${query}" is ${JSON.stringify(value) ?? "absent"}`);
        }
        collector.add(query, docId, gain, place);
      }
    }
  }
  return collector.finish(path);
}

/** Every `judgmentRatings` of a list, of a document around it, or of a search reply. */
function findLists(value: unknown): unknown[] {
  if (!isObject(value)) return [];
  if (value["judgmentRatings"] !== undefined) return [value["judgmentRatings"]];
  if (isObject(value["_source"])) return findLists(value["_source"]);
  const { hits } = isObject(value["hits"]) ? value["hits"] : {};
  return Array.isArray(hits) ? hits.flatMap(findLists) : [];
}

/** Query and ratings of each entry; early versions had an object by query instead of a list. */
function entriesOf(list: unknown, bad: (what: string) => DataError): [query: unknown, ratings: unknown][] {
  if (Array.isArray(list)) {
    return (list as unknown[]).map((entry) => (isObject(entry) ? [entry["query"], entry["ratings"]] : ["", entry]));
  }
  if (isObject(list)) return Object.entries(list);
  throw bad("judgmentRatings is neither a list nor an object");
}

/**
 * Writes a list that `PUT _plugins/_search_relevance/judgments` imports, whole or not at all. Ratings are texts there.
 * @throws RecR1Error when the file can't be written
 */
export async function writeOpenSearchJudgments(
  path: string,
  queries: readonly JudgedQuery[],
  { name = "rec-r1", description = "Written by rec-r1 convert" }: { name?: string; description?: string } = {},
): Promise<void> {
  const judgmentRatings = queries.map(({ query, gains }) => ({
    query,
    ratings: [...gains].map(([docId, gain]) => ({
      docId,
      rating: Number.isInteger(gain) ? `${gain}.0` : String(gain),
    })),
  }));
  const list = { name, description, type: "IMPORT_JUDGMENT", judgmentRatings };
  await writeFileAtomic(path, `${JSON.stringify(list, null, 1)}\n`);
}
