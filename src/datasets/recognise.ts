/**
 * What a data file is, told from its columns and not from its name, so that every loader and `rec-r1 data check` agree.
 */
import { readJsonl, readLines, type JsonObject } from "../core/data-lines.ts";
import { DataError } from "../core/errors.ts";
import { describeParquet } from "./parquet.ts";
import { detectFormat, readRows, type RowFormat } from "./rows.ts";

/** Kinds of files, each with what marks it. The first that fits is taken. */
const kinds = {
  "rec-r1-search": {
    about: "Rec-R1 prompts for product search",
    needs: ["prompt", "reward_model", "query", "item_id"],
  },
  "rec-r1-histories": {
    about: "Rec-R1 prompts for next-item recommendation",
    needs: ["prompt", "reward_model", "history_list", "target"],
  },
  "rec-r1-conversations": { about: "Rec-R1 conversations for supervised fine-tuning", needs: ["text"], only: true },
  "amazon-c4": { about: "Amazon-C4 queries", needs: ["qid", "query", "item_id", "ori_review"] },
  "query-items": { about: "queries with item ids", needs: ["query", "item_id"] },
  "history-lists": { about: "histories with a target", needs: ["user_id", "history_list", "target"] },
  "review-histories": { about: "histories of whole reviews with a target", needs: ["user_id", "history", "target"] },
  histories: { about: "histories with a target", needs: ["user", "history", "target"] },
  "esci-examples": { about: "ESCI judgments", needs: ["query", "product_id", "esci_label"] },
  "esci-products": { about: "ESCI products", needs: ["product_id", "product_title"] },
  "amazon-2023-sequences": {
    about: "Amazon Reviews 2023, purchases with their history",
    needs: ["user_id", "parent_asin", "timestamp", "history"],
  },
  "amazon-2023": { about: "Amazon Reviews 2023, purchases", needs: ["user_id", "parent_asin", "timestamp"] },
  "amazon-2018": { about: "Amazon Reviews 2014 or 2018, reviews", needs: ["reviewerID", "asin", "unixReviewTime"] },
  "amazon-2023-items": { about: "Amazon Reviews 2023, items", needs: ["parent_asin", "title"] },
  "amazon-2018-items": { about: "Amazon Reviews 2014 or 2018, items", needs: ["asin", "title"] },
  recbole: { about: "RecBole sequences", needs: ["user_id:token", "item_id_list:token_seq", "item_id:token"] },
  candidates: { about: "queries with candidates to re-rank", needs: ["query", "candidates", "relevant"] },
  examples: { about: "queries with relevant ids", needs: ["query", "relevant"] },
  "beir-qrels": { about: "BEIR judgments", needs: ["query-id", "corpus-id", "score"] },
  "beir-corpus": { about: "BEIR documents", needs: ["_id", "title", "text"] },
  "beir-queries": { about: "BEIR queries", needs: ["_id", "text"] },
  "rec-r1-answers": { about: "Rec-R1 answers of a model, by example", needs: ["key", "generated_text", "target"] },
  "rec-r1-rankings": { about: "Rec-R1 rankings, by example and query", needs: ["key", "retrieved", "target"] },
  "item-pool": { about: "items with category and text", needs: ["item_id", "metadata"] },
  documents: { about: "documents of an Anserini index", needs: ["id", "contents"] },
  catalogue: { about: "a catalogue", needs: ["id", "title"] },
} as const satisfies Record<string, { about: string; needs: readonly string[]; only?: boolean }>;

/** Kinds that have no columns and are told by the form of their lines. */
const lineKinds = {
  "trec-qrels": "TREC judgments",
  "trec-run": "a TREC run",
  "trec-topics": "TREC topics",
  ratings: "Amazon Reviews 2014 or 2018, ratings only (user or item first, then rating and time)",
} as const;

export type FileKind = keyof typeof kinds | keyof typeof lineKinds;

export interface RecognisedFile {
  path: string;
  format: RowFormat | "text";
  kind: FileKind;
  /** The kind in words. */
  about: string;
  /** Columns, or the fields of the first row. */
  fields: string[];
}

/**
 * Tells what a data file is.
 * @throws DataError `DATA_UNKNOWN_LAYOUT` naming the fields found; and where the file can't be read
 */
export async function recogniseFile(path: string): Promise<RecognisedFile> {
  const format = await detectFormat(path);
  const lineKind = format === "csv" || format === "tsv" ? await lineKindOf(path) : undefined;
  if (lineKind) return { path, format: "text", kind: lineKind, about: lineKinds[lineKind], fields: [] };
  const fields = await fieldsOf(path, format);
  const found = Object.entries(kinds).find(([, { needs, ...rest }]) => {
    const fits = needs.every((name) => fields.includes(name));
    return fits && (!("only" in rest) || fields.length === needs.length);
  });
  if (!found) {
    throw new DataError(
      "DATA_UNKNOWN_LAYOUT",
      `${path}: not a layout that is known; it has the fields ${fields.slice(0, 20).join(", ") || "(none)"}. Expected, for example, "query" and "relevant" (product search), "user", "history" and "target" (next item), or "id" and "title" (a catalogue).`,
      { details: { path, fields } },
    );
  }
  const [kind, { about }] = found as [FileKind, { about: string }];
  return { path, format, kind, about, fields };
}

async function fieldsOf(path: string, format: RowFormat): Promise<string[]> {
  if (format === "parquet") return (await describeParquet(path)).columns;
  if (format === "jsonl") {
    for await (const { value } of readLenientJsonl(path)) return Object.keys(value);
    return [];
  }
  for await (const { value } of readRows(path, { format })) return Object.keys(value);
  throw new DataError("DATA_EMPTY", `${path}: has no rows.`, { details: { path } });
}

/**
 * Rows of a JSON Lines file, or of one written by Python as dictionaries (`{'asin': '…'}`), which is how the metadata of
 * Amazon Reviews 2014 comes.
 */
export async function* readLenientJsonl(path: string): AsyncGenerator<{ line: number; value: JsonObject }> {
  let isPython: boolean | undefined;
  for await (const { text } of readLines(path)) {
    if (text.trim() === "") continue;
    isPython = /^\s*\{\s*u?'/.test(text);
    break;
  }
  if (!isPython) {
    yield* readJsonl(path);
    return;
  }
  const { parsePythonDict } = await import("./python-dict.ts");
  for await (const { line, text } of readLines(path)) {
    if (text.trim() !== "") yield { line, value: parsePythonDict(text, `${path} line ${line}`) };
  }
}

/** Lines looked at to tell files without a header. */
const linesLookedAt = 5;

async function lineKindOf(path: string): Promise<keyof typeof lineKinds | undefined> {
  const lines: string[] = [];
  for await (const { text } of readLines(path)) {
    if (text.trim() !== "") lines.push(text.trim());
    if (lines.length === linesLookedAt) break;
  }
  const all = (pattern: RegExp): boolean => lines.length > 0 && lines.every((line) => pattern.test(line));
  if (/^<top>/i.test(lines[0] ?? "")) return "trec-topics";
  if (all(/^\S+\s+(Q0|0)\s+\S+\s+\d+\s+-?[\d.eE+-]+\s+\S+$/)) return "trec-run";
  if (all(/^\S+\s+\S+\s+\S+\s+-?\d+$/)) return "trec-qrels";
  if (all(/^[^\s]+\t[^\t]+$/) && !/^(_?id|qid|query([-_]?id)?)\t/i.test(lines[0] as string)) return "trec-topics";
  if (all(/^[^,\t]+,[^,\t]+,\d(\.\d+)?,\d{9,13}$/)) return "ratings";
  return undefined;
}
