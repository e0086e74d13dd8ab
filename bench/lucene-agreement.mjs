// How far the embedded BM25 and Lucene 9 agree on a task: NDCG@10 of both and the share of Lucene's first ten hits that
// ours have. Needs Java 17 and Maven.
//   npm run bench -- lucene-agreement --items items.jsonl --queries test.jsonl [--text title]
// Queries are lines of {"query", "relevant": [ids]}, or of {"history": [ids], "target": id}: then the last item's text.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ndcg } from "../dist/ranking/index.js";
import { inMemory, LanceDbRecommender } from "../dist/recommenders/lancedb/index.js";
import { findLucene, overlap, startLucene } from "./parts/lucene.mjs";
import { textOption } from "./parts/statistics.mjs";

const topK = 10;

const readLines = (path) =>
  readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
const toLine = (text) => String(text).replace(/\s+/g, " ").trim();

export async function run(args, log) {
  const [itemsPath, queriesPath] = [textOption(args, "items"), textOption(args, "queries")];
  if (!itemsPath || !queriesPath) throw new Error("--items and --queries are needed: JSON Lines files");
  const field = textOption(args, "text", "title");
  const items = readLines(itemsPath).map((item) => ({ id: String(item.id), title: toLine(item[field]) }));
  const titles = new Map(items.map(({ id, title }) => [id, title]));
  const rows = readLines(queriesPath).map(({ query, relevant, history, target }) =>
    history
      ? { text: titles.get(String(history.at(-1))), relevant: [String(target)] }
      : { text: toLine(query), relevant },
  );
  const folder = mkdtempSync(join(tmpdir(), "rec-r1-bench-"));
  try {
    const paths = { documents: join(folder, "documents.tsv"), queries: join(folder, "queries.txt") };
    writeFileSync(paths.documents, items.map(({ id, title }) => `${id}\t${title}\n`).join(""));
    writeFileSync(paths.queries, rows.map(({ text }) => `${text}\n`).join(""));
    const classPath = findLucene(folder, log);
    if (!classPath) throw new Error("there is no Lucene to compare with");
    const sizes = { topK, batchSize: 256, threads: 1 };
    const lucene = await startLucene(classPath, { ...paths, folder: join(folder, "lucene"), ...sizes });
    const { first } = await lucene.round();
    await lucene.close();
    const recommender = await LanceDbRecommender.fromRows(items, { text: ["title"], store: [], indexDir: inMemory });
    const answers = await recommender.search(rows, { topK });
    await recommender.close();
    const ours = answers.map((hits) => hits.map(({ id }) => id));
    const mean = (lists) => {
      const gains = lists.map((ids, i) => {
        const hits = ids.map((id, rank) => ({ id, score: -rank }));
        return ndcg(hits, rows[i].relevant, { k: topK });
      });
      return Number((gains.reduce((a, b) => a + b, 0) / rows.length).toFixed(4));
    };
    return { documents: items.length, queries: rows.length, ndcg10: { lucene: mean(first), ours: mean(ours) }, firstTenInCommon: overlap(ours, first) }; // prettier-ignore
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
