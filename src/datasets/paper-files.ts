/**
 * The Rec-R1 authors' own data files, in all of their layouts: prompts with targets for training and tests (parquet),
 * whole conversations for supervised fine-tuning (parquet), queries with items and histories with targets (JSON), and
 * histories of whole reviews (JSON Lines). Knows nothing of what prompts should say.
 */
import type { JsonObject, ReadLinesOptions } from "../core/data-lines.ts";
import { idOf, idsOf, RowFault, textOf } from "./fields.ts";
import { RowCounter, type DropOptions } from "./load-report.ts";
import { readRows } from "./rows.ts";
import type { HistoryExample, PaperFields, SearchExample } from "./task-examples.ts";

export type PaperFileOptions = DropOptions & ReadLinesOptions;

/** A conversation of a supervised file, and what the assistant answers. */
export interface PaperConversation {
  messages: { role: "system" | "user"; content: string }[];
  completion: string;
}

/** Rows of the file, each through `parse`; rows that it refuses with a {@link RowFault} are counted. */
export async function readCounted<E extends { id: string }>(
  path: string,
  options: PaperFileOptions & { columns?: readonly string[] },
  parse: (row: JsonObject, line: number, counter: RowCounter) => E | null,
): Promise<E[]> {
  const counter = new RowCounter(path);
  const examples: E[] = [];
  const ids = new Set<string>();
  for await (const { line, value } of readRows(path, options)) {
    counter.read();
    try {
      const example = parse(value, line, counter);
      if (example === null) continue;
      // Two rows of one name would be told apart by nothing; the row's number does it.
      if (ids.has(example.id)) example.id = `${example.id}#${line}`;
      ids.add(example.id);
      examples.push(example);
    } catch (error) {
      if (!(error instanceof RowFault)) throw error;
      counter.drop(error.message, line);
    }
  }
  return counter.finish(examples, options);
}

function paperFields(row: JsonObject): PaperFields {
  const prompt = (row.prompt as { content?: unknown }[] | undefined)?.[0]?.content;
  return {
    ...(typeof row.data_source === "string" ? { dataSource: row.data_source } : {}),
    ...(typeof prompt === "string" ? { filePrompt: prompt } : {}),
  };
}

/** `DATA_SOURCE-INDEX` where the row has both, else its `qid`, else its number. */
function rowId(row: JsonObject, line: number): string {
  const index = (row.extra_info as { index?: unknown } | undefined)?.index;
  if (typeof row.data_source === "string" && typeof index === "number") return `${row.data_source}-${index}`;
  return Number.isSafeInteger(row.qid) || (typeof row.qid === "string" && row.qid !== "")
    ? String(row.qid as number)
    : `row-${line}`;
}

/** The judged ids of a row: of its `reward_model` where it has one, as the authors' reward reads them, else `item_id`. */
function targetsOf(row: JsonObject, field: string): string[] {
  const truth = (row.reward_model as { ground_truth?: JsonObject } | undefined)?.ground_truth;
  return truth && truth.target !== undefined ? idsOf(truth, "target") : idsOf(row, field);
}

/**
 * Queries with their items: `{query, item_id}` as JSON, CSV or parquet, with or without the authors' prompts.
 * Amazon-C4's own files have this layout, too.
 * @throws DataError when the file can't be read or too many rows can't be used. @throws AbortError
 */
export async function readPaperSearch(path: string, options: PaperFileOptions = {}): Promise<SearchExample[]> {
  return readCounted(path, options, (row, line) => {
    const query = textOf(row, "query");
    const targets = targetsOf(row, "item_id");
    return { id: rowId(row, line), query, relevant: [...new Set(targets)], targets, ...paperFields(row) };
  });
}

/** The titles of a history text, `Item 1: …`, a line for each item. */
export function parseHistoryText(text: string): string[] {
  const titles: string[] = [];
  if (!text.startsWith("Item 1:")) return titles;
  let at = 0;
  for (let n = 1; ; n++) {
    const start = at + `Item ${n}:`.length;
    const next = text.indexOf(`\nItem ${n + 1}:`, at);
    // The blank after the colon belongs to the layout; the authors trim the whole text, so the last may lack it.
    titles.push(text.slice(start, next < 0 ? text.length : next).replace(/^ /, ""));
    if (next < 0) return titles;
    at = next + 1;
  }
}

export interface HistoryFileOptions extends PaperFileOptions {
  /** Titles by item id, for files that have ids alone. */
  titles?: ReadonlyMap<string, string>;
  /** Items of a history that are kept, the newest. Default 10, as in the paper; of titles that a file brings, all. */
  maxHistory?: number;
}

/** A history example; titles that the file doesn't have are looked up, and empty where none is known. */
export function makeHistoryExample(
  { id, user, history, target }: { id: string; user: string; history: readonly string[]; target: string },
  { titles, maxHistory = 10 }: { titles?: ReadonlyMap<string, string>; maxHistory?: number },
): HistoryExample {
  if (history.length === 0) throw new RowFault("the history is empty");
  const kept = history.slice(-maxHistory);
  return {
    id,
    user,
    history: kept,
    ...(kept.length < history.length ? { bought: history } : {}),
    titles: kept.map((item) => titles?.get(item) ?? ""),
    target,
    relevant: [target],
  };
}

/**
 * Histories with the item bought next: `{user_id, history_list, target}`, with or without `history_text` and prompts.
 * @throws DataError when the file can't be read or too many rows can't be used. @throws AbortError
 */
export async function readPaperHistories(path: string, options: HistoryFileOptions = {}): Promise<HistoryExample[]> {
  return readCounted(path, options, (row, line) => {
    const base = {
      id: rowId(row, line),
      user: idOf(row, "user_id"),
      history: Array.isArray(row.history_list) && row.history_list.length === 0 ? [] : idsOf(row, "history_list"),
      target: targetsOf(row, "target")[0] as string,
    };
    const example = { ...makeHistoryExample(base, options), ...paperFields(row) };
    if (typeof row.history_text === "string") {
      const titles = parseHistoryText(row.history_text);
      example.titles = options.maxHistory === undefined ? titles : titles.slice(-options.maxHistory);
    }
    return example;
  });
}

/**
 * Histories of whole reviews, as the authors split Amazon Reviews 2023: `{user_id, history: [review …], target: review}`.
 * A review's own title is not the item's, so titles come from a catalogue.
 * @throws DataError when the file can't be read or too many rows can't be used. @throws AbortError
 */
export async function readPaperReviews(path: string, options: HistoryFileOptions = {}): Promise<HistoryExample[]> {
  return readCounted(path, options, (row, line) => {
    const itemOf = (review: unknown): string => {
      if (typeof review !== "object" || review === null) throw new RowFault("a review of the history is no object");
      return idOf(review as JsonObject, "parent_asin" in review ? "parent_asin" : "asin");
    };
    if (!Array.isArray(row.history)) throw new RowFault('"history" is no list of reviews');
    const history = row.history.map(itemOf);
    const base = { id: `row-${line}`, user: idOf(row, "user_id"), history, target: itemOf(row.target) };
    return makeHistoryExample(base, options);
  });
}

/**
 * Conversations for supervised fine-tuning: a column `text` in ChatML. The completion is what follows the assistant's
 * header, without the mark that ends it.
 * @throws DataError when the file can't be read or too many rows can't be used. @throws AbortError
 */
export async function readPaperConversations(
  path: string,
  options: PaperFileOptions = {},
): Promise<(PaperConversation & { id: string; text: string })[]> {
  return readCounted(path, options, (row, line) => {
    const text = textOf(row, "text");
    return { id: `row-${line}`, text, ...parseChatMl(text) };
  });
}

function parseChatMl(text: string): PaperConversation {
  const header = "<|im_start|>assistant\n";
  const at = text.indexOf(header);
  if (at < 0) throw new RowFault("the text has no turn of the assistant");
  const messages = [...text.slice(0, at).matchAll(/<\|im_start\|>(system|user)\n([\s\S]*?)<\|im_end\|>\n/g)].map(
    ([, role, content]) => ({ role: role as "system" | "user", content: content as string }),
  );
  if (!messages.some(({ role }) => role === "user")) throw new RowFault("the text has no turn of the user");
  return { messages, completion: text.slice(at + header.length).replace(/<\|im_end\|>\s*$/, "") };
}
