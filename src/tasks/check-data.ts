/**
 * What a data file is and what a preset would make of it: how many rows, what is dropped and why, and for the Rec-R1
 * authors' files in how many rows the preset's prompt equals the file's.
 */
import type { JsonObject } from "../core/data-lines.ts";
import { readBeirQrels, readTopics } from "../datasets/beir.ts";
import { readEsci } from "../datasets/esci.ts";
import { idOf, textOf } from "../datasets/fields.ts";
import { itemKinds, readItems } from "../datasets/items.ts";
import { reportOf, type LoadReport } from "../datasets/load-report.ts";
import { readCounted, readPaperConversations } from "../datasets/paper-files.ts";
import { purchaseKinds, readPurchases } from "../datasets/amazon-reviews.ts";
import { historyKinds, readHistoryFile } from "../datasets/read-histories.ts";
import { readRankingFile } from "../datasets/read-rankings.ts";
import { readSearchFile, searchKinds } from "../datasets/read-search.ts";
import { recogniseFile, type RecognisedFile } from "../datasets/recognise.ts";
import { readQrels, readRun } from "../datasets/trec.ts";
import { readRows } from "../datasets/rows.ts";
import {
  describeStyle,
  findStyle,
  formatHistory,
  paperPrompt,
  paperStyles,
  renderChatMl,
  resolveStyle,
  type PromptStyle,
} from "./paper-prompts.ts";

/** How the prompts of a file compare with those of the presets. */
export interface PromptCheck {
  /** Rows with a prompt. */
  rows: number;
  /** Rows in which the preset's prompt equals the file's, character for character. */
  equal: number;
  /** Rows by the style that equals. */
  styles: Record<string, number>;
  /** The first row that differs, with both prompts from a little before the first difference. */
  firstDifference?: { example: string; file: string; preset: string };
}

export interface DataCheck {
  path: string;
  format: RecognisedFile["format"];
  kind: RecognisedFile["kind"];
  /** The kind in words. */
  about: string;
  /** The preset that reads such files; null where none does (a catalogue, a run …). */
  preset: "product-search" | "next-item" | "re-ranking" | null;
  fields: string[];
  /** Rows read. */
  rows: number;
  /** What came of them: examples, items, purchases, conversations, judged queries. */
  usable: number;
  /** Rows left out on purpose, by reason. */
  filtered: Record<string, number>;
  /** Rows dropped for a fault, by reason. */
  dropped: LoadReport["dropped"];
  /** For files with prompts. */
  prompts?: PromptCheck;
}

/** Faults are reported here and never refused. */
const lenient = { maxDroppedShare: 1 };

/**
 * Reads a data file as its preset would, and reports.
 * @throws DataError where the file can't be read at all or its layout isn't known
 */
export async function checkDataFile(path: string, options: { signal?: AbortSignal } = {}): Promise<DataCheck> {
  const file = await recogniseFile(path);
  const { kind, format, about, fields } = file;
  const given = { ...lenient, ...options };
  const base = { path, format, kind, about, fields };
  if (searchKinds.includes(kind)) {
    const examples = await readSearchFile(path, given);
    const prompts = checkPrompts(examples, ({ query }) => query);
    return { ...base, preset: "product-search", ...summarise(examples), ...(prompts ? { prompts } : {}) };
  }
  if (historyKinds.includes(kind)) {
    const examples = await readHistoryFile(path, given);
    const prompts = checkPrompts(examples, ({ titles }) => formatHistory(titles));
    return { ...base, preset: "next-item", ...summarise(examples), ...(prompts ? { prompts } : {}) };
  }
  if (kind === "rec-r1-conversations") {
    const conversations = await readPaperConversations(path, given);
    const prompts = checkConversations(conversations);
    return { ...base, preset: "product-search", ...summarise(conversations), prompts };
  }
  if (kind === "esci-examples") return { ...base, preset: "product-search", ...summarise(await readEsci(path, given)) };
  if (kind === "candidates") return { ...base, preset: "re-ranking", ...summarise(await readRankingFile(path, given)) };
  if (purchaseKinds.includes(kind))
    return { ...base, preset: "next-item", ...summarise(await readPurchases(path, given)) };
  if (itemKinds.includes(kind)) return { ...base, preset: null, ...summarise(await readItems(path, given)) };
  return { ...base, preset: null, ...(await countOther(file, options)) };
}

type Counts = Pick<DataCheck, "rows" | "usable" | "filtered" | "dropped">;

function summarise(examples: readonly unknown[]): Counts {
  const report = reportOf(examples);
  const usable = examples.length;
  if (!report) return { rows: usable, usable, filtered: {}, dropped: [] };
  return { rows: report.rows, usable, filtered: report.filtered, dropped: report.dropped };
}

/** Judgments, runs, topics and queries: read whole, so that a malformed line is named. */
async function countOther({ path, kind }: RecognisedFile, options: { signal?: AbortSignal }): Promise<Counts> {
  const lists = (judged: Iterable<readonly [string, { size?: number; length?: number }]>): Counts => {
    const sizes = [...judged].map(([, list]) => list.size ?? list.length ?? 0);
    return { rows: sizes.reduce((sum, size) => sum + size, 0), usable: sizes.length, filtered: {}, dropped: [] };
  };
  if (kind === "trec-qrels") return lists(await readQrels(path, options));
  if (kind === "beir-qrels") return lists(await readBeirQrels(path, { ...lenient, ...options }));
  if (kind === "trec-run") return lists(await readRun(path, options));
  if (kind === "trec-topics") {
    const { size } = await readTopics(path, options);
    return { rows: size, usable: size, filtered: {}, dropped: [] };
  }
  if (kind === "rec-r1-answers") {
    const given = { ...lenient, ...options };
    const parse = (row: JsonObject) => ({ id: idOf(row, "key"), text: textOf(row, "generated_text") });
    return summarise(await readCounted(path, given, parse));
  }
  let rows = 0;
  for await (const row of readRows(path, options)) rows += row.line > 0 ? 1 : 0;
  return { rows, usable: rows, filtered: {}, dropped: [] };
}

interface WithPrompt {
  id: string;
  filePrompt?: string;
}

function checkPrompts<E extends WithPrompt>(
  examples: readonly E[],
  inputOf: (example: E) => string,
): PromptCheck | undefined {
  const asked = examples.filter((example) => example.filePrompt !== undefined);
  if (asked.length === 0) return undefined;
  const check: PromptCheck = { rows: asked.length, equal: 0, styles: {} };
  let likely: Required<PromptStyle> | undefined;
  for (const example of asked) {
    const prompt = example.filePrompt as string;
    const style = findStyle(inputOf(example), prompt, likely);
    count(check, example.id, style, prompt, () =>
      renderChatMl(paperPrompt(inputOf(example), likely ?? nearest(prompt))),
    );
    likely = style ?? likely;
  }
  return check;
}

function count(
  check: PromptCheck,
  example: string,
  style: Required<PromptStyle> | undefined,
  file: string,
  presetPrompt: () => string,
): void {
  if (style) {
    check.equal++;
    const name = describeStyle(style);
    check.styles[name] = (check.styles[name] ?? 0) + 1;
    return;
  }
  if (check.firstDifference) return;
  const preset = presetPrompt();
  let at = 0;
  while (at < file.length && file[at] === preset[at]) at++;
  const shown = (text: string): string => text.slice(Math.max(0, at - 40), at + 80);
  check.firstDifference = { example, file: shown(file), preset: shown(preset) };
}

/** The style to show beside a prompt that equals none: a history's for a history. */
function nearest(prompt: string): PromptStyle {
  return { kind: prompt.includes("purchase history") ? "next-item" : "terms" };
}

/** Conversations for fine-tuning go on after the assistant's header; their words stand between three backticks. */
function checkConversations(conversations: readonly { id: string; text: string }[]): PromptCheck {
  const check: PromptCheck = { rows: conversations.length, equal: 0, styles: {} };
  for (const { id, text } of conversations) {
    const header = "<|im_start|>assistant\n";
    const prompt = text.slice(0, text.indexOf(header) + header.length);
    const input = /```([\s\S]*)```/.exec(prompt)?.[1] ?? "";
    const render = (style: PromptStyle): string =>
      renderChatMl(paperPrompt(input, style).filter(({ role }) => role !== "assistant"));
    const style = paperStyles.find((candidate) => render(candidate) === prompt);
    count(check, id, style, prompt, () => render(resolveStyle(nearest(prompt))));
  }
  return check;
}
