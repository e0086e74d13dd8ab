/** Re-ranking examples: `{query, candidates: [{id, title} …], relevant}`, JSON Lines, a JSON array or parquet. */
import type { JsonObject, ReadLinesOptions } from "../core/data-lines.ts";
import { DataError } from "../core/errors.ts";
import { parseExample } from "./examples.ts";
import { idOf, RowFault } from "./fields.ts";
import type { DropOptions } from "./load-report.ts";
import { readCounted } from "./paper-files.ts";
import type { RankingExample } from "./task-examples.ts";

/**
 * Queries with their candidates, in the order of the first-stage engine.
 * @throws DataError when the file can't be read or too many rows can't be used. @throws AbortError
 */
export async function readRankingFile(
  path: string,
  options: DropOptions & ReadLinesOptions = {},
): Promise<RankingExample[]> {
  return readCounted(path, options, (row, line) => {
    const { id, query, relevant } = checkedExample(row, path, line);
    if (!Array.isArray(row.candidates) || row.candidates.length === 0) {
      throw new RowFault('"candidates" is no list, or empty');
    }
    const candidates = row.candidates.map((candidate: unknown) => {
      const { title, ...rest } = (typeof candidate === "object" && candidate !== null ? candidate : {}) as JsonObject;
      return { id: idOf(rest, "id"), title: typeof title === "string" ? title : "" };
    });
    if (new Set(candidates.map((candidate) => candidate.id)).size < candidates.length) {
      throw new RowFault("a candidate comes twice");
    }
    return { id, query, candidates, relevant };
  });
}

/** An example's fields, a fault of them as a {@link RowFault} without the row's number. */
export function checkedExample(row: JsonObject, path: string, line: number): ReturnType<typeof parseExample> {
  try {
    return parseExample(row, { path, line });
  } catch (error) {
    if (error instanceof DataError) throw new RowFault(error.message.slice(error.message.indexOf(": ") + 2));
    throw error;
  }
}
