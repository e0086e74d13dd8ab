/**
 * Judgments (qrels) and runs in TREC's text formats, in and out: `query 0 item gain` and `query Q0 item rank score tag`,
 * fields parted by white space, as trec_eval reads them.
 */
import { writeFileAtomic } from "../core/atomic-write.ts";
import { readLines, type ReadLinesOptions } from "../core/data-lines.ts";
import { DataError } from "../core/errors.ts";
import { orderAsTrecEval } from "../ranking/evaluate-run.ts";
import type { Qrels, Run, ScoredId } from "../ranking/judgments.ts";

interface TrecLine {
  line: number;
  fields: string[];
}

async function* readFields(
  path: string,
  columns: readonly string[],
  options: ReadLinesOptions,
): AsyncGenerator<TrecLine> {
  for await (const { line, text } of readLines(path, options)) {
    const trimmed = text.trim();
    if (trimmed === "") continue;
    const fields = trimmed.split(/\s+/);
    if (fields.length !== columns.length) {
      throw new DataError(
        "DATA_BAD_TREC_LINE",
        `${path} line ${line}: ${fields.length} fields; expected ${columns.length}: ${columns.join(" ")}.`,
        { details: { path, line } },
      );
    }
    yield { line, fields };
  }
}

function parseNumber(path: string, line: number, column: string, text: string, isGood: (value: number) => boolean) {
  const value = Number(text);
  if (isGood(value)) return value;
  const expected = column === "gain" ? "a whole number" : "a number";
  throw new DataError("DATA_BAD_TREC_LINE", `${path} line ${line}: ${column} is "${text}"; expected ${expected}.`, {
    details: { path, line },
  });
}

function duplicate(path: string, line: number, query: string, item: string): DataError {
  return new DataError(
    "DATA_DUPLICATE_ID",
    `${path} line ${line}: item "${item}" comes a second time for query "${query}". Keep one of the lines.`,
    { details: { path, line } },
  );
}

function checkNotEmpty(path: string, size: number): void {
  if (size === 0) throw new DataError("DATA_EMPTY", `${path}: has no lines.`);
}

/**
 * Judgments of a qrels file; gains are whole numbers, 0 and below is not relevant.
 * @throws DataError when the file can't be read, is empty, a line is malformed or an item judged twice. @throws AbortError
 */
export async function readQrels(path: string, options: ReadLinesOptions = {}): Promise<Qrels> {
  const qrels = new Map<string, Map<string, number>>();
  for await (const { line, fields } of readFields(path, ["query", "0", "item", "gain"], options)) {
    const [query, , item, gainText] = fields as [string, string, string, string];
    const gain = parseNumber(path, line, "gain", gainText, Number.isSafeInteger);
    const gains = qrels.get(query) ?? new Map<string, number>();
    if (gains.has(item)) throw duplicate(path, line, query, item);
    qrels.set(query, gains.set(item, gain));
  }
  checkNotEmpty(path, qrels.size);
  return qrels;
}

/**
 * Answers of a run file, in trec_eval's order: by score, not by the rank column, which trec_eval ignores.
 * @throws DataError when the file can't be read, is empty, a line is malformed or an item comes twice. @throws AbortError
 */
export async function readRun(path: string, options: ReadLinesOptions = {}): Promise<Run> {
  const run = new Map<string, Map<string, number>>();
  const columns = ["query", "Q0", "item", "rank", "score", "tag"];
  for await (const { line, fields } of readFields(path, columns, options)) {
    const [query, , item, , scoreText] = fields as [string, string, string, string, string];
    const score = parseNumber(path, line, "score", scoreText, Number.isFinite);
    const scores = run.get(query) ?? new Map<string, number>();
    if (scores.has(item)) throw duplicate(path, line, query, item);
    run.set(query, scores.set(item, score));
  }
  checkNotEmpty(path, run.size);
  const ordered = new Map<string, ScoredId[]>();
  for (const [query, scores] of run) {
    ordered.set(query, orderAsTrecEval([...scores].map(([id, score]) => ({ id, score }))));
  }
  return ordered;
}

function checkName(what: string, name: string): string {
  if (name !== "" && !/\s/.test(name)) return name;
  throw new DataError(
    "DATA_BAD_ID",
    `${what} ${JSON.stringify(name)} can't be written to a TREC file: expected text without white space.`,
  );
}

/**
 * A query's id as TREC's formats can hold it, which are parted by white space: percent-encoded, and only there, so that
 * other ids stay as they are. Depends on nothing but the id and no two ids come out alike, so that judgments and runs
 * that are written apart fit together.
 */
export function toTrecId(id: string): string {
  // A % that reads as an encoded character is encoded, too; that of an empty id stands for nothing else then.
  return id === "" ? "%00" : id.replace(/\s|%(?=[0-9a-f]{2})/gi, encodeURIComponent);
}

/**
 * Writes judgments, whole or not at all.
 * @throws DataError on ids with white space or gains that aren't whole; RecR1Error when the file can't be written
 */
export async function writeQrels(path: string, qrels: Qrels): Promise<void> {
  const lines: string[] = [];
  for (const [query, gains] of qrels) {
    checkName("query id", query);
    for (const [item, gain] of gains) {
      if (!Number.isSafeInteger(gain)) {
        throw new DataError(
          "DATA_BAD_GAIN",
          `The gain of "${item}" for query "${query}" is ${gain}; TREC files hold whole numbers.`,
        );
      }
      lines.push(`${query} 0 ${checkName("item id", item)} ${gain}\n`);
    }
  }
  await writeFileAtomic(path, lines.join(""));
}

/**
 * Writes a run with the order given as ranks, whole or not at all. trec_eval orders by score again, so hits of equal
 * score come out in its order, whatever their ranks here.
 * @param tag The run's name, the last column. Default `rec-r1`.
 * @throws DataError on ids with white space or scores that aren't finite; RecR1Error when the file can't be written
 */
export async function writeRun(path: string, run: Run, tag = "rec-r1"): Promise<void> {
  checkName("tag", tag);
  const lines: string[] = [];
  for (const [query, scored] of run) {
    checkName("query id", query);
    for (const [i, { id, score }] of scored.entries()) {
      if (!Number.isFinite(score)) {
        throw new DataError(
          "DATA_BAD_SCORE",
          `The score of "${id}" for query "${query}" is ${score}; expected a number.`,
        );
      }
      lines.push(`${query} Q0 ${checkName("item id", id)} ${i + 1} ${score} ${tag}\n`);
    }
  }
  await writeFileAtomic(path, lines.join(""));
}
