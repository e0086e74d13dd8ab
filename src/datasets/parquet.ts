/**
 * Parquet files, row by row, with values as JSON has them. The library (`hyparquet`, plain JavaScript) loads on first
 * use; one row group is in memory at a time. Knows nothing of what the rows mean.
 */
import { stat } from "node:fs/promises";
import type { AsyncBuffer, FileMetaData } from "hyparquet";
import { toDataError, type JsonLine, type JsonObject } from "../core/data-lines.ts";
import { DataError, throwIfAborted } from "../core/errors.ts";

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

interface OpenParquet {
  file: AsyncBuffer;
  metadata: FileMetaData;
  columns: string[];
}

async function openParquet(path: string): Promise<OpenParquet> {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetSchema } = await import("hyparquet");
  let file: AsyncBuffer;
  try {
    if (!(await stat(path)).isFile()) {
      throw new DataError("DATA_NOT_A_FILE", `${path}: is not a file.`, { details: { path } });
    }
    file = await asyncBufferFromFile(path);
  } catch (cause) {
    throw toDataError(cause, path);
  }
  try {
    const metadata = await parquetMetadataAsync(file);
    const columns = parquetSchema(metadata).children.map(({ element }) => element.name);
    return { file, metadata, columns };
  } catch (cause) {
    throw badParquet(path, cause);
  }
}

function badParquet(path: string, cause: unknown): DataError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new DataError("DATA_BAD_PARQUET", `${path}: not a whole parquet file (${reason}). Fetch or write it again.`, {
    cause,
    details: { path },
  });
}

/** @throws DataError where the file can't be read or isn't parquet */
export async function describeParquet(path: string): Promise<ParquetSummary> {
  const { metadata, columns } = await openParquet(path);
  return { rows: Number(metadata.num_rows), columns };
}

/**
 * Rows of a parquet file with their numbers from 1. 64-bit integers become numbers where they fit exactly and text
 * where they don't, times become ISO 8601 text.
 * @throws DataError when the file can't be read, isn't parquet, or lacks a column asked for. @throws AbortError
 */
export async function* readParquet(path: string, options: ReadParquetOptions = {}): AsyncGenerator<JsonLine> {
  const { file, metadata, columns } = await openParquet(path);
  checkColumns(path, columns, options.columns ?? []);
  const [{ parquetReadObjects }, { compressors }] = await Promise.all([
    import("hyparquet"),
    import("hyparquet-compressors"),
  ]);
  let rowStart = 0;
  for (const group of metadata.row_groups) {
    throwIfAborted(options.signal);
    const rowEnd = rowStart + Number(group.num_rows);
    let rows: Record<string, unknown>[];
    try {
      rows = await parquetReadObjects({
        file,
        metadata,
        compressors,
        rowStart,
        rowEnd,
        ...(options.columns ? { columns: [...options.columns] } : {}),
      });
    } catch (cause) {
      throw badParquet(path, cause);
    }
    for (const [i, row] of rows.entries()) yield { line: rowStart + i + 1, value: toJson(row) as JsonObject };
    rowStart = rowEnd;
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

function toJson(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value === undefined) return null;
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, toJson);
  if (Array.isArray(value)) return value.map(toJson);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]));
}
