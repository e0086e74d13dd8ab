/**
 * Benchmarks of general ability from files, in the formats that they are published in: IFEval, GSM8K, MMLU, HumanEval.
 * What an item asks, and what counts as right; knows nothing of models.
 */
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { describeFileError } from "../../core/atomic-write.ts";
import { readJsonl } from "../../core/data-lines.ts";
import type { JsonObject } from "../../core/data-lines.ts";
import { DataError } from "../../core/errors.ts";
import { instructionCheckers } from "./instructions.ts";
import type { InstructionItem } from "./instructions.ts";

export interface ArithmeticItem {
  question: string;
  /** The number after `####`. */
  answer: string;
}

export interface ChoiceItem {
  subject: string;
  question: string;
  choices: readonly string[];
  /** Index of the right one. */
  answer: number;
}

export interface ProgramItem {
  id: string;
  /** Signature and docstring, to be gone on from. */
  prompt: string;
  entryPoint: string;
  /** Python that defines `check(candidate)`. */
  test: string;
}

async function readRows<T>(
  path: string,
  limit: number,
  parse: (row: JsonObject) => T | undefined,
  expected: string,
): Promise<T[]> {
  const items: T[] = [];
  for await (const { line, value } of readJsonl(path)) {
    if (limit > 0 && items.length >= limit) break;
    const item = parse(value);
    if (item === undefined) {
      throw new DataError(
        "BAD_BENCHMARK",
        `${path} line ${line}: expected ${expected}, got ${JSON.stringify(value).slice(0, 120)}.`,
        {
          details: { path, line },
        },
      );
    }
    items.push(item);
  }
  if (items.length === 0) throw new DataError("DATA_EMPTY", `${path}: no items.`);
  return items;
}

/** IFEval's `input_data.jsonl`: `{key, prompt, instruction_id_list, kwargs}`. @param limit 0: all @throws DataError */
export async function readInstructions(path: string, limit = 0): Promise<InstructionItem[]> {
  return readRows(
    path,
    limit,
    ({ key, prompt, instruction_id_list: ids, kwargs }) => {
      if (typeof prompt !== "string" || !Array.isArray(ids) || !ids.every((id) => typeof id === "string"))
        return undefined;
      if (!ids.every((id) => Object.hasOwn(instructionCheckers, id))) return undefined;
      const given = Array.isArray(kwargs) ? (kwargs as (JsonObject | null)[]) : [];
      return { key: String(key ?? ""), prompt, instructions: ids.map((id, i) => ({ id, given: given[i] ?? {} })) };
    },
    "{key, prompt, instruction_id_list, kwargs} with instructions of IFEval",
  );
}

/** GSM8K's lines: `{question, answer}`, the answer ending in `#### 72`. @param limit 0: all @throws DataError */
export async function readArithmetic(path: string, limit = 0): Promise<ArithmeticItem[]> {
  return readRows(
    path,
    limit,
    ({ question, answer }) => {
      const number = typeof answer === "string" ? /####\s*(.+)\s*$/.exec(answer)?.[1] : undefined;
      return typeof question === "string" && number !== undefined
        ? { question, answer: normaliseNumber(number) }
        : undefined;
    },
    "{question, answer} with an answer that ends in #### and a number",
  );
}

/** The number that a response ends with: behind `####`, or the last one in it; undefined where there is none. */
export function extractNumber(response: string): string | undefined {
  const marked = /####\s*([^\n]+)/.exec(response)?.[1];
  const numbers = (marked ?? response).match(/-?\$?\d[\d,]*(?:\.\d+)?/g);
  const last = marked === undefined ? numbers?.at(-1) : numbers?.[0];
  return last === undefined ? undefined : normaliseNumber(last);
}

function normaliseNumber(written: string): string {
  const clean = written.replace(/[$,%\s]/g, "").replace(/\.$/, "");
  return clean !== "" && Number.isFinite(Number(clean)) ? String(Number(clean)) : clean;
}

/**
 * MMLU: the published CSV (question, A, B, C, D, letter; the subject is the file's name), or JSON Lines `{question,
 * choices, answer, subject?}` with the answer's index. @param limit 0: all @throws DataError
 */
export async function readChoices(path: string, limit = 0): Promise<ChoiceItem[]> {
  if (!/\.csv$/i.test(path)) {
    return readRows(
      path,
      limit,
      ({ question, choices, answer, subject }) => {
        const isList = Array.isArray(choices) && choices.length >= 2 && choices.every((one) => typeof one === "string");
        const index = typeof answer === "string" && /^[A-Z]$/.test(answer) ? answer.charCodeAt(0) - 65 : answer;
        if (typeof question !== "string" || !isList || typeof index !== "number" || !(index in choices))
          return undefined;
        return {
          subject: typeof subject === "string" ? subject : "",
          question,
          choices: choices as string[],
          answer: index,
        };
      },
      "{question, choices, answer: index}",
    );
  }
  const subject = basename(path)
    .replace(/(_test|_val|_dev)?\.csv$/i, "")
    .replaceAll("_", " ");
  const rows = parseCsv(await readWhole(path));
  const items = rows.map((row, i): ChoiceItem => {
    const [question, ...rest] = row;
    const answer = "ABCD".indexOf(rest[4]?.trim() ?? "-");
    if (question === undefined || rest.length !== 5 || answer < 0) {
      throw new DataError(
        "BAD_BENCHMARK",
        `${path} row ${i + 1}: expected question, four choices and a letter from A to D, got ${row.length} fields.`,
      );
    }
    return { subject, question, choices: rest.slice(0, 4), answer };
  });
  if (items.length === 0) throw new DataError("DATA_EMPTY", `${path}: no items.`);
  return limit > 0 ? items.slice(0, limit) : items;
}

/**
 * The first items of several files, `limit` in all: as many of one as of another, as far as it has them, and the first
 * files one more where that doesn't come out even. @param limit 0: all
 */
export function takeShares<T>(files: readonly (readonly T[])[], limit = 0): T[] {
  const all = files.reduce((sum, items) => sum + items.length, 0);
  const taken = files.map(() => 0);
  let left = limit > 0 ? Math.min(limit, all) : all;
  while (left > 0) {
    files.forEach((items, i) => {
      const count = taken[i] as number;
      if (left === 0 || count === items.length) return;
      taken[i] = count + 1;
      left--;
    });
  }
  return files.flatMap((items, i) => items.slice(0, taken[i]));
}

/** HumanEval's lines: `{task_id, prompt, entry_point, test}`. @param limit 0: all @throws DataError */
export async function readPrograms(path: string, limit = 0): Promise<ProgramItem[]> {
  return readRows(
    path,
    limit,
    ({ task_id: id, prompt, entry_point: entryPoint, test }) =>
      typeof prompt === "string" &&
      typeof entryPoint === "string" &&
      typeof test === "string" &&
      /^[A-Za-z_]\w*$/.test(entryPoint)
        ? { id: String(id ?? ""), prompt, entryPoint, test }
        : undefined,
    "{task_id, prompt, entry_point, test}",
  );
}

/** The program that a completion makes: what a chat model wraps around it is taken off, what follows it is cut. */
export function assembleProgram({ prompt, entryPoint, test }: ProgramItem, response: string): string {
  const block = /```(?:python|py)?\n([^]*?)(?:```|$)/.exec(response)?.[1] ?? response;
  const isWhole = new RegExp(`^\\s*(?:async )?def ${entryPoint}\\b`, "m").test(block);
  const body = isWhole ? block : prompt + cutAtTopLevel(block);
  const imports = isWhole ? `${prompt.split(/^def /m)[0] ?? ""}\n` : "";
  return `${imports}${body}\n\n${test}\n\ncheck(${entryPoint})\n`;
}

/** A function's body up to the next statement that isn't indented. */
function cutAtTopLevel(body: string): string {
  const end = body.search(/\n(?=[^\s#)\]}])/);
  return end < 0 ? body : body.slice(0, end);
}

/** Rows of RFC 4180 text. */
function parseCsv(content: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  for (const [, quoted, plain, end] of content.matchAll(/(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r?\n|$)/g)) {
    row.push(quoted === undefined ? (plain ?? "") : quoted.replaceAll('""', '"'));
    if (end === ",") continue;
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  }
  return rows;
}

async function readWhole(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw describeFileError(error, "read", path);
  }
}
