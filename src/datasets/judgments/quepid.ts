/**
 * Quepid's CSV files: the ratings of a case (`query,docid,rating`, "basic" export and import) and the judgments of a book
 * (`query,docid` and a column for each judge), as its export writes them.
 */
import { writeFileAtomic } from "../../core/atomic-write.ts";
import type { ReadLinesOptions } from "../../core/data-lines.ts";
import { DataError } from "../../core/errors.ts";
import { formatCsvLine, readCsv } from "../csv.ts";
import { checkColumns } from "../parquet.ts";
import { JudgmentCollector } from "./judged-query.ts";
import type { JudgedQuery } from "./judged-query.ts";

/**
 * Judgments of a Quepid export. Rows without a rating are passed over; several judges' ratings are averaged.
 * @throws DataError when the file can't be read, lacks a column, or a rating is no number. @throws AbortError
 */
export async function readQuepid(path: string, options: ReadLinesOptions = {}): Promise<JudgedQuery[]> {
  const collector = new JudgmentCollector();
  let ratingColumns: string[] | undefined;
  for await (const { line, value } of readCsv(path, { ...options, delimiter: "," })) {
    if (!ratingColumns) {
      const columns = Object.keys(value);
      checkColumns(path, columns, ["query", "docid"]);
      ratingColumns = columns.filter((name) => name !== "query" && name !== "docid");
      if (ratingColumns.length === 0) checkColumns(path, columns, ["rating"]);
    }
    const { query, docid } = value as { query: string; docid: string };
    const ratings = ratingColumns
      .map((column) => (value[column] as string).trim())
      .filter((text) => text !== "")
      .map((text) => parseRating(text, `${path} line ${line}`));
    if (query.trim() === "") throw new DataError("DATA_BAD_QUERY", `${path} line ${line}: "query" is empty.`);
    if (docid.trim() === "" || ratings.length === 0) continue;
    const mean = ratings.reduce((sum, rating) => sum + rating, 0) / ratings.length;
    // Quepid writes a space before a text that a spreadsheet would take for a formula.
    collector.add(query.replace(/^ (?=[-=+@])/, ""), docid, mean, `${path} line ${line}`);
  }
  return collector.finish(path);
}

function parseRating(text: string, place: string): number {
  const rating = Number(text);
  if (Number.isFinite(rating)) return rating;
  throw new DataError("DATA_BAD_GAIN", `${place}: the rating is "${text}"; expected a number, or nothing.`);
}

/** Writes judgments as Quepid imports them, whole or not at all. @throws RecR1Error when the file can't be written */
export async function writeQuepid(path: string, queries: readonly JudgedQuery[]): Promise<void> {
  const lines = [formatCsvLine(["query", "docid", "rating"])];
  for (const { query, gains } of queries) {
    for (const [item, gain] of gains) {
      lines.push(formatCsvLine([/^[-=+@]/.test(query) ? ` ${query}` : query, item, String(gain)]));
    }
  }
  await writeFileAtomic(path, lines.join(""));
}
