/** JSON Lines as an append-only log: what was written whole can be read, a torn last line is left out. */
import { createReadStream } from "node:fs";
import { appendFile, open } from "node:fs/promises";
import { describeFileError } from "./atomic-write.ts";
import { DataError } from "./errors.ts";

const newline = 0x0a;

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

/** Bytes that are read at once on the way back to the beginning of the last line. */
const chunkBytes = 1 << 16;

/**
 * Cuts a torn last line off a log that is to be added to: the next record would become part of it, a fault in the
 * middle. A last line that is whole but for its end gets one.
 * @returns the log's size in bytes; 0 where there is none
 * @throws RecR1Error when the file can't be written
 */
export async function cutTornLine(path: string): Promise<number> {
  try {
    const file = await open(path, "r+");
    try {
      let start = (await file.stat()).size;
      let tail = Buffer.alloc(0);
      while (start > 0 && !tail.includes(newline)) {
        const bytes = Math.min(chunkBytes, start);
        start -= bytes;
        tail = Buffer.concat([(await file.read(Buffer.alloc(bytes), 0, bytes, start)).buffer, tail]);
      }
      const line = tail.subarray(tail.lastIndexOf(newline) + 1);
      const end = start + tail.length;
      if (line.length === 0) return end;
      if (isJson(line.toString("utf8"))) {
        await file.write("\n", end);
        return end + 1;
      }
      await file.truncate(end - line.length);
      return end - line.length;
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw describeFileError(error, "append to", path);
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
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
  let rest = "";
  for await (const chunk of createReadStream(path, "utf8") as AsyncIterable<string>) {
    if (!chunk.includes("\n")) {
      rest += chunk;
      continue;
    }
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() as string;
    yield* lines;
  }
  if (rest !== "") yield rest;
}

function malformed(path: string, lineNumber: number, cause: unknown): DataError {
  return new DataError(
    "MALFORMED_JSON",
    `${path}, line ${lineNumber}: not JSON (${cause instanceof Error ? cause.message : String(cause)}).`,
    { cause, details: { path, line: lineNumber } },
  );
}
