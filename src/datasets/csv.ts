/**
 * CSV, with commas or semicolons, and TSV with a header line, as RFC 4180 writes them: quoted fields may hold delimiters,
 * doubled quotes and line breaks. Values stay text. Knows nothing of what the columns mean.
 */
import { readLines, type JsonLine, type ReadLinesOptions } from "../core/data-lines.ts";
import { DataError } from "../core/errors.ts";

export interface ReadCsvOptions extends ReadLinesOptions {
  /** Default: a tab where the first line has one, else a semicolon where it has more of them than commas, else a comma. */
  delimiter?: string;
  /** Names of the columns of a file without a header line. Default: the first line names them. */
  header?: readonly string[];
  /** Whether a quote at the start of a field opens a quoted one; TREC-like TSV has none. Default true. */
  quotes?: boolean;
}

/** One record's fields, and whether its last field is still open at the end of the text. */
function splitRecord(text: string, delimiter: string, quotes: boolean): { fields: string[]; isOpen: boolean } {
  if (!quotes || !text.includes('"')) return { fields: text.split(delimiter), isOpen: false };
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    if (text[at] !== '"') {
      const end = text.indexOf(delimiter, at);
      fields.push(text.slice(at, end < 0 ? text.length : end));
      if (end < 0) return { fields, isOpen: false };
      at = end + delimiter.length;
      continue;
    }
    let value = "";
    at++;
    for (;;) {
      const end = text.indexOf('"', at);
      if (end < 0) return { fields, isOpen: true };
      value += text.slice(at, end);
      at = end + 1;
      if (text[at] !== '"') break;
      value += '"';
      at++;
    }
    const end = text.indexOf(delimiter, at);
    // What follows a closing quote is kept as it is, as other readers do.
    fields.push(value + text.slice(at, end < 0 ? text.length : end));
    if (end < 0) return { fields, isOpen: false };
    at = end + delimiter.length;
  }
}

/** What separates the fields of a file by its first line. Spreadsheets write semicolons where commas are decimal points. */
function guessDelimiter(line: string): string {
  if (line.includes("\t")) return "\t";
  const unquoted = line.replace(/"(?:[^"]|"")*"/g, "");
  const count = (char: string): number => unquoted.split(char).length - 1;
  return count(";") > count(",") ? ";" : ",";
}

/** Longest record, in lines: an unclosed quote must not swallow the rest of the file. */
const longestRecordLines = 10_000;

/**
 * Records of a CSV or TSV file as objects of text by column, with the number of the line that each begins on.
 * @throws DataError when the file can't be read, has no header, a record has more or fewer fields than the header, or a
 * quote isn't closed. @throws AbortError
 */
export async function* readCsv(path: string, options: ReadCsvOptions = {}): AsyncGenerator<JsonLine> {
  let header = options.header;
  let { delimiter } = options;
  const quotes = options.quotes ?? true;
  const fail = (line: number, message: string): DataError =>
    new DataError("DATA_BAD_CSV", `${path} line ${line}: ${message}`, { details: { path, line } });
  let pending: { line: number; parts: string[] } | undefined;
  for await (const { line, text } of readLines(path, options)) {
    if (!pending && text.trim() === "") continue;
    delimiter ??= guessDelimiter(text);
    const parts: string[] = pending ? [...pending.parts, text] : [text];
    const start: number = pending?.line ?? line;
    // Only a line with a quote can close a field, so that long quoted texts are scanned once and not once a line.
    if (pending && !text.includes('"')) {
      pending.parts.push(text);
      if (pending.parts.length > longestRecordLines) break;
      continue;
    }
    const { fields, isOpen } = splitRecord(parts.join("\n"), delimiter, quotes);
    if (isOpen) {
      pending = { line: start, parts };
      if (parts.length > longestRecordLines) break;
      continue;
    }
    pending = undefined;
    if (!header) {
      header = fields.map((name) => name.trim());
      const repeated = header.find((name, i) => header?.indexOf(name) !== i);
      if (repeated !== undefined) throw fail(start, `the header names "${repeated}" twice.`);
      continue;
    }
    if (fields.length !== header.length) {
      throw fail(start, `${fields.length} fields; expected ${header.length}: ${header.join(", ")}.`);
    }
    yield { line: start, value: Object.fromEntries(header.map((name, i) => [name, fields[i]])) };
  }
  if (pending) throw fail(pending.line, "a quote that opens here is never closed.");
  if (!header) throw new DataError("DATA_EMPTY", `${path}: has no lines.`, { details: { path } });
}

/** A record with its line end; fields with commas, quotes or line ends are quoted. */
export function formatCsvLine(fields: readonly string[]): string {
  return `${fields.map((field) => (/[",\n\r]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field)).join(",")}\n`;
}
