/**
 * Rows of a data file whatever its format: parquet, JSON Lines, one JSON document, CSV or TSV, told apart by content and
 * not by name. Knows nothing of what the rows mean.
 */
import { constants } from "node:buffer";
import { open, readFile, stat } from "node:fs/promises";
import { readJsonl, toDataError, type JsonLine, type JsonObject, type ReadLinesOptions } from "../core/data-lines.ts";
import { DataError, throwIfAborted } from "../core/errors.ts";
import { readCsv } from "./csv.ts";
import { readParquet } from "./parquet.ts";

export type RowFormat = "parquet" | "jsonl" | "json" | "csv" | "tsv";

export interface ReadRowsOptions extends ReadLinesOptions {
  /** Default: told from the file's first bytes. */
  format?: RowFormat;
  /** Only these columns of a parquet file; other formats give whole rows. */
  columns?: readonly string[];
}

/** A JSON document is read whole, into one string; a file that may not fit has to come as JSON Lines or parquet. */
const largestDocumentBytes = constants.MAX_STRING_LENGTH;

/**
 * The format of a data file by its first bytes.
 * @throws DataError when the file can't be read or is empty
 */
export async function detectFormat(path: string): Promise<RowFormat> {
  const start = await readStart(path);
  if (start.subarray(0, 4).toString("latin1") === "PAR1") return "parquet";
  const text = start
    .toString("utf8")
    .replace(/^\uFEFF/, "")
    .trimStart();
  if (text === "") throw new DataError("DATA_EMPTY", `${path}: is empty.`, { details: { path } });
  if (text.startsWith("[")) return "json";
  if (text.startsWith("{")) return isSpread(text) ? "json" : "jsonl";
  return (text.split("\n", 1)[0] as string).includes("\t") ? "tsv" : "csv";
}

/** Whether an object's first line doesn't end it: one document over many lines, and not an object a line. */
function isSpread(text: string): boolean {
  const [first = "", ...rest] = text.split("\n");
  return rest.length > 0 && /[{[,]\s*$/.test(first) && !/^\{\s*u?'/.test(first);
}

async function readStart(path: string): Promise<Buffer> {
  try {
    const file = await open(path, "r");
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(1 << 16), 0, 1 << 16, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw toDataError(cause, path);
  }
}

/**
 * Rows of a file with their numbers (lines of text formats, rows of parquet and JSON documents), from 1. The rows of a
 * JSON document are the objects of its array; or, where it is an object of objects, these with their `key`; or itself.
 * @throws DataError when the file can't be read or is malformed. @throws AbortError
 */
export async function* readRows(path: string, options: ReadRowsOptions = {}): AsyncGenerator<JsonLine> {
  const format = options.format ?? (await detectFormat(path));
  const { columns, signal } = options;
  if (format === "parquet") {
    yield* readParquet(path, { ...(columns ? { columns } : {}), ...(signal ? { signal } : {}) });
  } else if (format === "jsonl") yield* readJsonl(path, options);
  else if (format === "json") yield* readJsonDocument(path, signal);
  else yield* readCsv(path, { ...options, ...(format === "tsv" ? { delimiter: "\t" } : {}) });
}

/**
 * A JSON file's value, read whole.
 * @throws DataError when the file can't be read, is larger than a string can be, not UTF-8 or not JSON. @throws AbortError
 */
export async function readJsonFile(path: string, signal?: AbortSignal): Promise<unknown> {
  throwIfAborted(signal);
  let bytes: Buffer;
  try {
    const { size } = await stat(path);
    if (size > largestDocumentBytes) {
      throw new DataError(
        "DATA_TOO_LARGE",
        `${path}: a JSON document of ${size} bytes; a string holds ${largestDocumentBytes} at most. Write it as JSON Lines.`,
        { details: { path } },
      );
    }
    bytes = await readFile(path);
  } catch (cause) {
    throw toDataError(cause, path);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new DataError("DATA_NOT_UTF8", `${path}: not valid UTF-8. Save the file as UTF-8.`, { cause });
  }
  try {
    return JSON.parse(text.replace(/^\uFEFF/, "")) as unknown;
  } catch (cause) {
    throw new DataError("DATA_NOT_JSON", `${path}: not JSON (${(cause as Error).message}).`, {
      cause,
      details: { path },
    });
  }
}

async function* readJsonDocument(path: string, signal: AbortSignal | undefined): AsyncGenerator<JsonLine> {
  const document = await readJsonFile(path, signal);
  for (const [i, value] of rowsOfDocument(document).entries()) {
    if (!isObject(value)) {
      const got = JSON.stringify(value).slice(0, 80);
      throw new DataError("DATA_NOT_OBJECT", `${path} row ${i + 1}: expected a JSON object, got ${got}.`, {
        details: { path, row: i + 1 },
      });
    }
    yield { line: i + 1, value };
  }
}

function rowsOfDocument(document: unknown): unknown[] {
  if (!isObject(document)) return document as unknown[];
  const entries = Object.entries(document);
  const isTable = entries.length > 0 && entries.every(([, value]) => isObject(value));
  return isTable ? entries.map(([key, value]) => ({ key, ...(value as JsonObject) })) : [document];
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
