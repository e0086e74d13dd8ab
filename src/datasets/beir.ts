/**
 * Retrieval collections: BEIR folders (Thakur et al. 2021: `corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`) and TREC's
 * topics with judgments. Examples are the judged queries.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readJsonl, readLines, type ReadLinesOptions } from "../core/data-lines.ts";
import { DataError } from "../core/errors.ts";
import type { Qrels } from "../ranking/judgments.ts";
import { readCsv } from "./csv.ts";
import { idOf, numberOf, RowFault } from "./fields.ts";
import { RowCounter, type DropOptions } from "./load-report.ts";
import { readQrels } from "./trec.ts";
import type { SearchExample } from "./task-examples.ts";

export interface CollectionOptions extends DropOptions, ReadLinesOptions {}

/**
 * Examples of a split of a BEIR folder. The corpus is indexed as it is: `text: ["title", "text"]`, `id: "_id"`.
 * @param split `train`, `dev` or `test`
 * @throws DataError when a file is missing or malformed, or too many judged queries have no text. @throws AbortError
 */
export async function readBeir(
  folder: string,
  split: string,
  options: CollectionOptions = {},
): Promise<SearchExample[]> {
  const path = join(folder, "qrels", `${split}.tsv`);
  if (!existsSync(path)) {
    throw new DataError("NOT_FOUND", `${folder}: no qrels/${split}.tsv. A BEIR folder has one for each split.`);
  }
  const qrels = await readBeirQrels(path, options);
  const queries = new Map<string, string>();
  for await (const { value } of readJsonl(join(folder, "queries.jsonl"), options)) {
    if (typeof value._id === "string" && typeof value.text === "string") queries.set(value._id, value.text);
  }
  return toExamples(path, qrels, queries, options);
}

/** Judgments of a BEIR file: TSV with the header `query-id corpus-id score`. */
export async function readBeirQrels(path: string, options: CollectionOptions = {}): Promise<Qrels> {
  const counter = new RowCounter(path);
  const qrels = new Map<string, Map<string, number>>();
  for await (const { line, value } of readCsv(path, { ...options, delimiter: "\t", quotes: false })) {
    counter.read();
    try {
      const query = idOf(value, "query-id");
      const gains = qrels.get(query) ?? new Map<string, number>();
      gains.set(idOf(value, "corpus-id"), numberOf(value, "score"));
      qrels.set(query, gains);
    } catch (error) {
      if (!(error instanceof RowFault)) throw error;
      counter.drop(error.message, line);
    }
  }
  counter.finish([...qrels], options);
  return qrels;
}

/**
 * Examples of a TREC collection.
 * @param topics TREC's `<top>` form, of which the title is taken, or `id<TAB>text` lines
 * @param qrels judgments as trec_eval reads them
 * @throws DataError when a file is missing or malformed, or too many judged queries have no text. @throws AbortError
 */
export async function readTrecCollection(
  topics: string,
  qrels: string,
  options: CollectionOptions = {},
): Promise<SearchExample[]> {
  return toExamples(qrels, await readQrels(qrels, options), await readTopics(topics, options), options);
}

/** Queries by id. @throws DataError when the file can't be read or has none */
export async function readTopics(path: string, options: ReadLinesOptions = {}): Promise<Map<string, string>> {
  const lines: string[] = [];
  for await (const { text } of readLines(path, options)) lines.push(text);
  const text = lines.join("\n");
  const topics = new Map<string, string>();
  if (/<top>/i.test(text)) {
    for (const part of text.split(/<top>/i).slice(1)) {
      const [, id] = /<num>\s*(?:Number:)?\s*([^\s<]+)/i.exec(part) ?? [];
      const [, title] = /<title>\s*(?:Topic:)?([^<]*)/i.exec(part) ?? [];
      if (id !== undefined && title !== undefined) topics.set(id, title.replace(/\s+/g, " ").trim());
    }
  } else {
    for (const line of lines) {
      const tab = line.indexOf("\t");
      if (tab > 0) topics.set(line.slice(0, tab).trim(), line.slice(tab + 1).trim());
    }
  }
  if (topics.size > 0) return topics;
  throw new DataError(
    "DATA_EMPTY",
    `${path}: no topics. Expected <top> … </top>, or lines of an id, a tab and the query.`,
  );
}

function toExamples(
  path: string,
  qrels: Qrels,
  queries: ReadonlyMap<string, string>,
  options: DropOptions,
): SearchExample[] {
  const counter = new RowCounter(path);
  const examples: SearchExample[] = [];
  let row = 0;
  for (const [id, gains] of qrels) {
    counter.read();
    row++;
    const query = queries.get(id);
    if (query === undefined || query.trim() === "") {
      counter.drop("a judged query has no text", row);
      continue;
    }
    if (![...gains.values()].some((gain) => gain > 0)) {
      counter.filter("queries without anything relevant");
      continue;
    }
    examples.push({ id, query, relevant: Object.fromEntries(gains) });
  }
  return counter.finish(examples, options);
}
