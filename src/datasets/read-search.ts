/** Product-search examples from a file of any known layout. */
import type { ReadLinesOptions } from "../core/data-lines.ts";
import { DataError } from "../core/errors.ts";
import { rememberPlace } from "./examples.ts";
import { RowFault } from "./fields.ts";
import { passReport, type DropOptions } from "./load-report.ts";
import { readCounted, readPaperSearch } from "./paper-files.ts";
import { checkedExample } from "./read-rankings.ts";
import { recogniseFile, type FileKind, type RecognisedFile } from "./recognise.ts";
import type { SearchExample } from "./task-examples.ts";

/** Kinds of files that hold queries with what is relevant to them. */
export const searchKinds: readonly FileKind[] = ["rec-r1-search", "amazon-c4", "query-items", "examples"];

export interface ReadSearchOptions extends DropOptions, ReadLinesOptions {
  /** Whether ids hold commas, as the catalogue knows: a comma in a cell of several ids parts none then. Default false. */
  commasInIds?: boolean;
}

/**
 * Queries with their relevant items: the authors' files, Amazon-C4, JSON Lines `{query, relevant}`, or CSV with the
 * columns `query` and `relevant` (ids parted by blanks or commas, or JSON). Rows of `query` and `item_id` are pairs:
 * those of the same query are one example.
 * @throws DataError when the file can't be read, has another layout, or too many rows can't be used. @throws AbortError
 */
export async function readSearchFile(path: string, options: ReadSearchOptions = {}): Promise<SearchExample[]> {
  const { kind, format, about } = await recogniseFile(path);
  if (kind === "query-items") return mergeQueries(await readPaperSearch(path, options));
  if (kind === "rec-r1-search" || kind === "amazon-c4") return readPaperSearch(path, options);
  if (kind === "examples") return readExampleRows(path, format, options);
  throw new DataError("DATA_WRONG_LAYOUT", `${path}: is ${about}; expected queries with what is relevant to them.`, {
    details: { path, kind },
  });
}

/** Examples of the same query as one, with all of their items, in the order of the file. */
function mergeQueries(examples: SearchExample[]): SearchExample[] {
  const byQuery = new Map<string, SearchExample>();
  for (const example of examples) {
    const before = byQuery.get(example.query);
    if (!before) {
      byQuery.set(example.query, example);
      continue;
    }
    before.targets = [...(before.targets ?? []), ...(example.targets ?? [])];
    before.relevant = [...new Set(before.targets)];
  }
  const merged = [...byQuery.values()];
  passReport(examples, merged);
  return merged;
}

/** `{query, relevant}` in any format. */
function readExampleRows(
  path: string,
  format: RecognisedFile["format"],
  { commasInIds = false, ...options }: ReadSearchOptions,
): Promise<SearchExample[]> {
  // The rows of a JSON document or a parquet file are no lines that an error could name.
  const hasLines = format === "jsonl" || format === "csv" || format === "tsv";
  return readCounted(path, options, (row, line) => {
    const relevant = format === "jsonl" ? row.relevant : parseRelevantCell(row.relevant, commasInIds);
    const example = checkedExample({ ...row, relevant }, path, line);
    if (hasLines) rememberPlace(example, { path, line });
    return example;
  });
}

/** A cell such as `12 15`, `12,15`, `["12", "15"]` or `{"12": 3}`; what is no text stays as it is. */
function parseRelevantCell(cell: unknown, commasInIds: boolean): unknown {
  if (typeof cell !== "string") return cell;
  if (/^\s*[[{]/.test(cell)) {
    try {
      return JSON.parse(cell);
    } catch {
      throw new RowFault('"relevant" is neither ids nor JSON');
    }
  }
  // Beside other separators a comma belongs to an id, as in `a,1 b,2`.
  const isCommas = !commasInIds && !/[\s|;]/.test(cell.trim().replace(/\s*,\s*/g, ","));
  return cell.split(isCommas ? /[\s,]+/ : /[\s|;]+/).filter((id) => id !== "");
}
