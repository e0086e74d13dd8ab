/**
 * Parquet files, row by row, with values as JSON has them. The library (`hyparquet`, plain JavaScript) runs in a
 * process of its own (`parquet-process.ts`); one row group is in memory at a time. Knows nothing of what the rows mean.
 */
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { isAbort } from "../core/abort.ts";
import { toDataError, type JsonLine, type JsonObject } from "../core/data-lines.ts";
import { DataError, throwIfAborted } from "../core/errors.ts";
import { ParquetProcess, type ParquetShape } from "./parquet-process.ts";

export interface ReadParquetOptions {
  /** Only these columns, all of which the file must have. Default: all. */
  columns?: readonly string[];
  signal?: AbortSignal;
}

/** What a parquet file says of itself. */
export interface ParquetSummary {
  rows: number;
  /** Top-level columns, in the file's order. */
  columns: string[];
}

async function openParquet(
  path: string,
  signal?: AbortSignal,
): Promise<{ reader: ParquetProcess; shape: ParquetShape }> {
  let fileBytes: number;
  try {
    const info = await stat(path);
    if (!info.isFile()) throw new DataError("DATA_NOT_A_FILE", `${path}: is not a file.`, { details: { path } });
    await access(path, constants.R_OK);
    fileBytes = info.size;
  } catch (cause) {
    throw toDataError(cause, path);
  }
  const reader = new ParquetProcess(path, fileBytes);
  try {
    return { reader, shape: await reader.readShape(signal) };
  } catch (cause) {
    reader.close();
    throw badParquet(path, cause);
  }
}

function badParquet(path: string, cause: unknown): unknown {
  if (isAbort(cause) || cause instanceof DataError) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new DataError("DATA_BAD_PARQUET", `${path}: not a whole parquet file (${reason}). Fetch or write it again.`, {
    cause,
    details: { path },
  });
}

const countRows = ({ groups }: ParquetShape): number => groups.reduce((sum, rows) => sum + rows, 0);

/** @throws DataError where the file can't be read or isn't parquet */
export async function describeParquet(path: string): Promise<ParquetSummary> {
  const { reader, shape } = await openParquet(path);
  reader.close();
  return { rows: countRows(shape), columns: shape.columns };
}

/**
 * Rows of a parquet file with their numbers from 1. 64-bit integers become numbers where they fit exactly and text
 * where they don't, times become ISO 8601 text.
 * @throws DataError when the file can't be read, isn't parquet, or lacks a column asked for. @throws AbortError
 */
export async function* readParquet(path: string, options: ReadParquetOptions = {}): AsyncGenerator<JsonLine> {
  const { columns, signal } = options;
  const { reader, shape } = await openParquet(path, signal);
  try {
    checkColumns(path, shape.columns, columns ?? []);
    let line = 0;
    for (const [group, expected] of shape.groups.entries()) {
      throwIfAborted(signal);
      let rows: Record<string, unknown>[];
      try {
        rows = await reader.readGroup(group, columns, signal);
        if (rows.length !== expected) throw new Error(`${rows.length} rows where it says that there are ${expected}`);
      } catch (cause) {
        throw badParquet(path, cause);
      }
      for (const row of rows) yield { line: ++line, value: rowToJson(path, line, row) };
    }
  } finally {
    reader.close();
  }
}

/** @throws DataError `DATA_MISSING_COLUMN` naming what is missing and what there is */
export function checkColumns(path: string, present: readonly string[], needed: readonly string[]): void {
  const missing = needed.filter((name) => !present.includes(name));
  if (missing.length === 0) return;
  const list = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(", ");
  throw new DataError(
    "DATA_MISSING_COLUMN",
    `${path}: no column ${list(missing)}; it has ${list(present.slice(0, 20)) || "none"}.`,
    { details: { path, missing } },
  );
}

/** @throws DataError naming the row */
function rowToJson(path: string, line: number, row: Record<string, unknown>): JsonObject {
  try {
    return toJson(row) as JsonObject;
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    const message = `${path} row ${line}: it has a value that can't be read (${cause.message}). Write it again without it.`;
    throw new DataError("DATA_BAD_PARQUET", message, { cause, details: { path, line } });
  }
}

/** @throws RangeError for a time that no calendar has, and for values nested too deeply */
function toJson(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value === undefined) return null;
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, toJson);
  if (Array.isArray(value)) return value.map(toJson);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]));
}
