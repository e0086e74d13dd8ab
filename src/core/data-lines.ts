/**
 * Users' data as JSON Lines, read as a stream: one JSON object a line, blank lines skipped, every fault named with its
 * file and line (our own logs, which may end in a torn line, are read by `json-lines.ts`). Knows nothing of what the
 * objects mean.
 */
import { open } from "node:fs/promises";
import { describeFileError } from "./atomic-write.ts";
import { DataError, RecR1Error, throwIfAborted } from "./errors.ts";

export type JsonObject = Record<string, unknown>;

/** An object with the number of its line, from 1. */
export interface JsonLine {
  line: number;
  value: JsonObject;
}

export interface ReadLinesOptions {
  signal?: AbortSignal;
  /** A longer line is refused, in bytes. Default 64 MiB. */
  maxLineBytes?: number;
  /** Called as the file is read, with bytes read and the file's size. */
  onProgress?: (readBytes: number, totalBytes: number) => void;
}

const chunkBytes = 1 << 20;
const newline = 0x0a;
const carriageReturn = 0x0d;

/** A file-system error as a {@link DataError} that says what to do; other errors come back as they are. */
export function toDataError(error: unknown, path: string): unknown {
  const described = describeFileError(error, "read", path);
  if (!(described instanceof RecR1Error) || described === error) return described;
  return new DataError(described.code, described.message, { cause: error, details: { path } });
}

/** Refuses what is plainly not UTF-8 text, by its first bytes. */
function checkStart(path: string, start: Buffer): void {
  const wide = (start[0] === 0xff && start[1] === 0xfe) || (start[0] === 0xfe && start[1] === 0xff);
  if (wide) throw new DataError("DATA_NOT_UTF8", `${path}: is UTF-16; expected UTF-8. Save it as UTF-8.`);
  if (start[0] === 0x1f && start[1] === 0x8b) {
    throw new DataError("DATA_NOT_UTF8", `${path}: is gzip-compressed; expected plain text. Unpack it first.`);
  }
  if (start.subarray(0, 4).toString("latin1") === "PAR1") {
    throw new DataError("DATA_NOT_UTF8", `${path}: is a parquet file; expected UTF-8 text.`);
  }
}

/**
 * Lines of a UTF-8 text file with their numbers from 1, without their ends (LF or CRLF) and the byte order mark.
 * @throws DataError when the file is missing, unreadable, not UTF-8, or a line is too long. @throws AbortError
 */
export async function* readLines(
  path: string,
  options: ReadLinesOptions = {},
): AsyncGenerator<{ line: number; text: string }> {
  const maxLineBytes = options.maxLineBytes ?? 64 * 2 ** 20;
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let line = 0;
  const decode = (bytes: Buffer): { line: number; text: string } => {
    line++;
    const end = bytes.at(-1) === carriageReturn ? bytes.length - 1 : bytes.length;
    try {
      const text = decoder.decode(bytes.subarray(0, end));
      return { line, text: line === 1 && text.startsWith("\ufeff") ? text.slice(1) : text };
    } catch (cause) {
      throw new DataError("DATA_NOT_UTF8", `${path} line ${line}: not valid UTF-8. Save the file as UTF-8.`, {
        cause,
        details: { path, line },
      });
    }
  };
  const file = await open(path, "r").catch((cause: unknown) => {
    throw toDataError(cause, path);
  });
  try {
    const totalBytes = (await file.stat()).size;
    let readBytes = 0;
    // Parts of a line that goes on over chunks; joined once, so that a huge line costs no more than its length.
    let parts: Buffer[] = [];
    let partBytes = 0;
    for (;;) {
      throwIfAborted(options.signal);
      const { bytesRead, buffer } = await file
        .read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, null)
        .catch((cause: unknown) => {
          throw toDataError(cause, path);
        });
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      if (readBytes === 0) checkStart(path, chunk);
      readBytes += bytesRead;
      let start = 0;
      for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
        const rest = chunk.subarray(start, end);
        yield decode(parts.length === 0 ? rest : Buffer.concat([...parts, rest]));
        parts = [];
        partBytes = 0;
        start = end + 1;
      }
      if (start < bytesRead) {
        parts.push(chunk.subarray(start));
        partBytes += bytesRead - start;
      }
      if (partBytes > maxLineBytes) {
        throw new DataError(
          "DATA_LINE_TOO_LONG",
          `${path} line ${line + 1}: longer than ${maxLineBytes} bytes. Write one record per line.`,
          { details: { path, line: line + 1 } },
        );
      }
      options.onProgress?.(readBytes, totalBytes);
    }
    if (partBytes > 0) yield decode(Buffer.concat(parts));
  } finally {
    await file.close();
  }
}

/** Levels of arrays and objects in a record; what walks through values deeper than some thousands runs out of stack. */
const maxDepth = 500;

/** Whether a JSON value has more levels than `depth`; walks without recursion. */
function isDeeper(value: unknown, depth: number): boolean {
  let level: unknown[] = [value];
  for (let passed = 0; level.length > 0; passed++) {
    level = level.filter((item) => typeof item === "object" && item !== null);
    if (passed >= depth && level.length > 0) return true;
    level = level.flatMap((item) => Object.values(item as object) as unknown[]);
  }
  return false;
}

/** Shortens a line for an error message. */
function excerpt(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

function parseLine(path: string, line: number, text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const isArrayFile = line === 1 && text.trimStart().startsWith("[");
    const advice = isArrayFile
      ? "The file looks like one JSON array; write one object per line instead."
      : "Write one JSON object per line.";
    throw new DataError("DATA_NOT_JSON", `${path} line ${line}: not JSON: ${excerpt(text)}\n${advice}`, {
      cause,
      details: { path, line },
    });
  }
  // A level has two characters at least, so that most lines need not be walked through.
  if (text.length > 2 * maxDepth && isDeeper(value, maxDepth)) {
    throw new DataError(
      "DATA_TOO_DEEP",
      `${path} line ${line}: more than ${maxDepth} arrays and objects within each other. Write flatter records.`,
      { details: { path, line } },
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const got = value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`;
    throw new DataError(
      "DATA_NOT_OBJECT",
      `${path} line ${line}: expected a JSON object such as {"id": "1", ...}, got ${got}: ${excerpt(text)}`,
      { details: { path, line } },
    );
  }
  return value as JsonObject;
}

/**
 * Objects of a JSON Lines file, streamed.
 * @throws DataError as {@link readLines}, and where a line isn't a JSON object. @throws AbortError
 */
export async function* readJsonl(path: string, options: ReadLinesOptions = {}): AsyncGenerator<JsonLine> {
  for await (const { line, text } of readLines(path, options)) {
    if (text.trim() !== "") yield { line, value: parseLine(path, line, text) };
  }
}
