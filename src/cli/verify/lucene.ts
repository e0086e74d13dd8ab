/** Checks the embedded search engine against Lucene's answers to the same queries over the same documents. */
import { join } from "node:path";
import { DataError } from "../../core/errors.ts";
import type { LanceDbRecommender } from "../../recommenders/lancedb/index.ts";
import type { Check } from "./check.ts";
import { readTextLines } from "./reference-files.ts";

/** Hits compared for each query. */
const depth = 10;
/** Documents of almost equal score change places with the last digits of a length norm, which Lucene stores in a byte. */
const leastOverlap = 0.93;

/** Share of the first ten hits in common, mean over queries. @throws DataError, RecommenderError, AbortError */
export async function verifyLucene(
  folder: string,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<Check[]> {
  const documents = (await readTable(join(folder, "docs.tsv"))).map(([id, text]) => ({ id, text }));
  const queries = await readTable(join(folder, "queries.tsv"));
  const expected = await readRun(join(folder, "run.txt"));
  const signal = options.signal ? { signal: options.signal } : {};
  await using recommender = await index(documents, signal);
  const answers = await recommender.search(
    queries.map(([, text]) => ({ text })),
    { topK: depth, ...signal },
  );
  const overlaps = queries.map(([query], q) => {
    const ours = (answers[q] ?? []).map(({ id }) => id);
    const theirs = (expected.get(query) ?? []).slice(0, depth);
    const most = Math.max(theirs.length, ours.length);
    return most === 0 ? 1 : theirs.filter((id) => ours.includes(id)).length / most;
  });
  const mean = overlaps.reduce((a, b) => a + b, 0) / overlaps.length;
  return [
    {
      quantity: `first ${depth} hits that differ from Lucene's, mean share`,
      error: 1 - mean,
      tolerance: 1 - leastOverlap,
      note: `${queries.length} queries, ${documents.length} documents, overlap ${mean.toFixed(4)}`,
    },
  ];
}

// A function of its own: where `await using` is compiled for older runtimes, TypeScript leaves the path of an import as it is.
async function index(
  documents: { id: string; text: string }[],
  options: { signal?: AbortSignal },
): Promise<LanceDbRecommender> {
  const { LanceDbRecommender } = await import("../../recommenders/lancedb/index.ts");
  return LanceDbRecommender.fromRows(documents, { text: ["text"], store: [], ...options });
}

/** Lines of an id, a tab and a text. */
async function readTable(path: string): Promise<[id: string, text: string][]> {
  const rows = (await readTextLines(path)).map((line, i): [string, string] => {
    const tab = line.indexOf("\t");
    if (tab <= 0) throw new DataError("DATA_BAD_FIXTURE", `${path} line ${i + 1}: expected an id, a tab and a text.`);
    return [line.slice(0, tab), line.slice(tab + 1)];
  });
  if (rows.length === 0) throw new DataError("DATA_BAD_FIXTURE", `${path}: is empty.`);
  return rows;
}

/** Document ids by query, by rank, of a run in TREC's format: query, Q0, document, rank, score, name. */
async function readRun(path: string): Promise<Map<string, string[]>> {
  const ranked = new Map<string, { id: string; rank: number }[]>();
  (await readTextLines(path)).forEach((line, i) => {
    const [query, , id, rank] = line.trim().split(/\s+/);
    if (query === undefined || id === undefined || !Number.isInteger(Number(rank))) {
      throw new DataError("DATA_BAD_FIXTURE", `${path} line ${i + 1}: expected query, Q0, document, rank and score.`);
    }
    const hits = ranked.get(query) ?? [];
    hits.push({ id, rank: Number(rank) });
    ranked.set(query, hits);
  });
  return new Map([...ranked].map(([query, hits]) => [query, hits.sort((a, b) => a.rank - b.rank).map(({ id }) => id)]));
}
