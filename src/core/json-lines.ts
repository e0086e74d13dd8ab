/** JSON Lines as an append-only log: what was written whole can be read, a torn last line is left out. */
import { createReadStream } from "node:fs";
import { appendFile } from "node:fs/promises";
import { describeFileError } from "./atomic-write.ts";
import { DataError } from "./errors.ts";

/** One record as a line; numbers that JSON lacks become null. */
export function toJsonLine(record: unknown): string {
  return `${JSON.stringify(record)}\n`;
}

/** Adds records to the end of a log. @throws RecR1Error when the file can't be written */
export async function appendJsonLines(path: string, records: readonly unknown[]): Promise<void> {
  if (records.length === 0) return;
  try {
    await appendFile(path, records.map(toJsonLine).join(""));
  } catch (error) {
    throw describeFileError(error, "append to", path);
  }
}

/**
 * Reads a log record by record; the last line is left out where it isn't whole (a write that was cut off).
 * @throws DataError `MALFORMED_JSON` for any other line that isn't JSON
 */
export async function* readJsonLog<T>(path: string): AsyncGenerator<T> {
  let lineNumber = 0;
  let bad: { lineNumber: number; cause: unknown } | undefined;
  try {
    for await (const line of readLogLines(path)) {
      lineNumber++;
      if (line.trim() === "") continue;
      if (bad) throw malformed(path, bad.lineNumber, bad.cause);
      let record: T;
      try {
        record = JSON.parse(line) as T;
      } catch (cause) {
        bad = { lineNumber, cause };
        continue;
      }
      yield record;
    }
  } catch (error) {
    throw describeFileError(error, "read", path);
  }
}

/**
 * Lines as they were written: texts may hold U+2028 and U+2029, which JSON leaves as they are and Node's `readline` takes
 * for ends of lines from Node 24 on.
 */
async function* readLogLines(path: string): AsyncGenerator<string> {
  let open = "";
  for await (const chunk of createReadStream(path, "utf8") as AsyncIterable<string>) {
    if (!chunk.includes("\n")) {
      open += chunk;
      continue;
    }
    const lines = (open + chunk).split("\n");
    open = lines.pop() as string;
    yield* lines;
  }
  if (open !== "") yield open;
}

function malformed(path: string, lineNumber: number, cause: unknown): DataError {
  return new DataError(
    "MALFORMED_JSON",
    `${path}, line ${lineNumber}: not JSON (${cause instanceof Error ? cause.message : String(cause)}).`,
    { cause, details: { path, line: lineNumber } },
  );
}
