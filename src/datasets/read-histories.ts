/** Next-item examples from a file of any known layout. */
import type { JsonObject } from "../core/data-lines.ts";
import { DataError } from "../core/errors.ts";
import { idOf, idsOf, RowFault } from "./fields.ts";
import { readTitles } from "./items.ts";
import {
  makeHistoryExample,
  readCounted,
  readPaperHistories,
  readPaperReviews,
  type HistoryFileOptions,
} from "./paper-files.ts";
import { recogniseFile, type FileKind } from "./recognise.ts";
import type { HistoryExample } from "./task-examples.ts";

/** Titles by item id, or the file of the catalogue that has them. */
export type HistoryTitles = ReadonlyMap<string, string> | string;

export interface ReadHistoryOptions extends Omit<HistoryFileOptions, "titles"> {
  titles?: HistoryTitles;
}

/** Kinds of files that hold histories with the item that came next. */
export const historyKinds: readonly FileKind[] = [
  "rec-r1-histories",
  "history-lists",
  "review-histories",
  "histories",
  "amazon-2023-sequences",
  "recbole",
];

/** How each plain layout names user, history and target. */
const columns: Partial<Record<FileKind, { user: string; history: string; target: string }>> = {
  histories: { user: "user", history: "history", target: "target" },
  "amazon-2023-sequences": { user: "user_id", history: "history", target: "parent_asin" },
  recbole: { user: "user_id:token", history: "item_id_list:token_seq", target: "item_id:token" },
};

/**
 * Histories with the item that came next: the authors' files, `{user, history, target}`, the sequences of Amazon Reviews
 * 2023 (`…_w_his`), RecBole's `.inter` files.
 * @throws DataError when the file can't be read, has another layout, or too many rows can't be used. @throws AbortError
 */
export async function readHistoryFile(path: string, options: ReadHistoryOptions = {}): Promise<HistoryExample[]> {
  const { kind, about } = await recogniseFile(path);
  const { titles: source, ...rest } = options;
  const titles = typeof source === "string" ? await readTitlesOnce(source) : source;
  const given: HistoryFileOptions = { ...rest, ...(titles ? { titles } : {}) };
  if (kind === "rec-r1-histories" || kind === "history-lists") return readPaperHistories(path, given);
  if (kind === "review-histories") return readPaperReviews(path, given);
  const names = columns[kind];
  if (!names) {
    throw new DataError("DATA_WRONG_LAYOUT", `${path}: is ${about}; expected histories with the item bought next.`, {
      details: { path, kind },
    });
  }
  const isPurchaseLog = kind === "amazon-2023-sequences";
  return readCounted(path, given, (row, line, counter) => {
    const history = historyOf(row, names.history);
    // A log of purchases has each user's first one, too; that is no fault.
    if (history.length === 0 && isPurchaseLog) {
      counter.filter("first purchases, without a history");
      return null;
    }
    const user = idOf(row, names.user);
    return makeHistoryExample({ id: `row-${line}`, user, history, target: idOf(row, names.target) }, given);
  });
}

/** A list of ids, or ids parted by blanks. */
function historyOf(row: JsonObject, field: string): string[] {
  const value = row[field];
  if (typeof value === "string") return value.split(/\s+/).filter((id) => id !== "");
  if (Array.isArray(value) && value.length === 0) return [];
  if (value === undefined || value === null) throw new RowFault(`"${field}" is absent; expected a list of ids`);
  return idsOf(row, field);
}

/** A task's splits share a catalogue: its titles are read once. */
const titlesByPath = new Map<string, Promise<Map<string, string>>>();

function readTitlesOnce(path: string): Promise<Map<string, string>> {
  let titles = titlesByPath.get(path);
  if (!titles) {
    titles = readTitles(path);
    titles.catch(() => titlesByPath.delete(path));
    titlesByPath.set(path, titles);
  }
  return titles;
}
