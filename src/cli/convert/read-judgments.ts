/** Judgments of a file in any of the formats that are read, told apart by their content. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ReadLinesOptions } from "../../core/data-lines.ts";
import { ConfigError, DataError } from "../../core/errors.ts";
import { readTopics } from "../../datasets/beir.ts";
import {
  gradeAll,
  guessClickColumns,
  judgeClicks,
  readClickLog,
  readOpenSearchJudgments,
  readQuepid,
  readUbiEvents,
  toJudgedQuery,
  type ClickColumns,
  type ClickLog,
  type JudgedQuery,
} from "../../datasets/judgments/index.ts";
import { reportOf, summariseDropped } from "../../datasets/load-report.ts";
import { readSearchFile } from "../../datasets/read-search.ts";
import { detectFormat, readJsonFile, readRows } from "../../datasets/rows.ts";
import { readQrels } from "../../datasets/trec.ts";

export const judgmentSources = ["examples", "clicks", "ubi", "quepid", "opensearch", "trec"] as const;
export type JudgmentSource = (typeof judgmentSources)[number];

export interface ReadJudgmentsOptions extends ReadLinesOptions {
  topics?: string;
  queries?: string;
  action?: readonly string[];
  firstPosition?: number;
  query?: string;
  item?: string;
  clicks?: string;
  position?: string;
  impressions?: string;
  eta?: number | "auto";
  minClicks?: number;
  grades?: number;
  /** Whether the catalogue's ids hold commas, for a cell of several ids. */
  commasInIds?: boolean;
}

export interface ReadJudgments {
  queries: JudgedQuery[];
  /** What is worth saying of the reading, by name. */
  facts: Record<string, unknown>;
}

/**
 * What a file of judgments is.
 * @throws DataError `DATA_UNKNOWN_LAYOUT`; and where the file can't be read
 */
export async function recogniseJudgments(path: string): Promise<JudgmentSource | "run"> {
  if (existsSync(join(path, "config.json"))) return "run";
  const format = await detectFormat(path);
  const [fields, first] = await readFirst(path, format);
  const has = (...names: string[]): boolean => names.every((name) => fields.includes(name));
  if (has("judgmentRatings")) return "opensearch";
  if (has("query", "relevant") || has("query", "item_id", "reward_model")) return "examples";
  const { query, item, ...counts } = guessClickColumns(fields);
  // A click log may call its items docid, too; what Quepid writes has ratings beside them, and never clicks.
  const hasRatings = fields.length > 2 && Object.keys(counts).length === 0;
  if (format === "csv" && has("query", "docid") && hasRatings) return "quepid";
  if (has("action_name") || hasDeep(first, "action_name")) return "ubi";
  if (hasDeep(first, "judgmentRatings")) return "opensearch";
  if ((format === "csv" || format === "tsv") && /^\S+\s+\S+\s+\S+\s+-?\d+$/.test(fields.join("\t").trim()))
    return "trec";
  if (query !== undefined && item !== undefined) return "clicks";
  throw new DataError(
    "DATA_UNKNOWN_LAYOUT",
    `${path}: its fields are ${fields.slice(0, 20).join(", ") || "none"}, which is none of the known formats. Say what it is with --from, and for clicks which columns are which (--query, --item).`,
    { details: { path, fields } },
  );
}

/** Fields of the first row, and the row. A search reply or a judgment list is a row of its own. */
async function readFirst(path: string, format: string): Promise<[fields: string[], row: unknown]> {
  try {
    for await (const { value } of readRows(path)) return [Object.keys(value), value];
  } catch (error) {
    if (format === "csv" || format === "tsv") {
      // Lines without a header, such as TREC's.
      const { readLines } = await import("../../core/data-lines.ts");
      for await (const { text } of readLines(path)) return [text.trim().split(/\s+/), undefined];
    }
    // JSON over several lines is no JSON Lines.
    if (format !== "jsonl" || !(error instanceof DataError)) throw error;
    const value = await readJsonFile(path);
    return [Object.keys(value as object), value];
  }
  if (format === "csv" || format === "tsv") {
    const { readLines } = await import("../../core/data-lines.ts");
    for await (const { text } of readLines(path)) return [text.trim().split(/\s+/), undefined];
  }
  throw new DataError("DATA_EMPTY", `${path}: has no rows.`, { details: { path } });
}

/** Whether the document, or the first of a search reply's, has the field. */
function hasDeep(value: unknown, field: string): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { _source: source, hits } = value as { _source?: unknown; hits?: unknown[] | { hits?: unknown[] } };
  if (Object.hasOwn(value, field)) return true;
  // A reply of nothing but hits counts as a table of one row, which is its inside.
  const found = Array.isArray(hits) ? hits : hits?.hits;
  return hasDeep(source, field) || (Array.isArray(found) && hasDeep(found[0], field));
}

/** @throws DataError, ConfigError as the format's reader does. @throws AbortError */
export async function readJudgments(
  path: string,
  source: JudgmentSource | string,
  options: ReadJudgmentsOptions,
): Promise<ReadJudgments> {
  const { signal, onProgress, grades } = options;
  const reading = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) };
  const judged = (queries: JudgedQuery[], facts: Record<string, unknown> = {}): ReadJudgments => ({
    queries: grades === undefined ? queries : gradeAll(queries, grades),
    facts,
  });
  switch (source) {
    case "examples": {
      const { commasInIds = false } = options;
      const examples = await readSearchFile(path, { ...reading, commasInIds });
      return judged(examples.map(toJudgedQuery), factOfDropped(examples));
    }
    case "quepid":
      return judged(await readQuepid(path, reading));
    case "opensearch":
      return judged(await readOpenSearchJudgments(path, reading));
    case "trec":
      return judged(await readTrecJudgments(path, options.topics, reading));
    case "clicks":
      return fromClicks(await readClickLog(path, { ...reading, columns: columnsOf(options) }), options);
    case "ubi": {
      const { queries, action, firstPosition = 1 } = options;
      if (firstPosition !== 0 && firstPosition !== 1) {
        throw new ConfigError("BAD_OPTION", `--first-position is ${firstPosition}; expected 0 or 1.`);
      }
      const { log, used, passedOver } = await readUbiEvents(path, {
        ...reading,
        firstPosition,
        ...(queries === undefined ? {} : { queries }),
        ...(action === undefined ? {} : { actions: action }),
      });
      const fromLog = fromClicks(log, options);
      const rest = Object.keys(passedOver).length > 0 ? { "passed over": passedOver } : {};
      return { ...fromLog, facts: { events: used, ...rest, ...fromLog.facts } };
    }
    default:
      throw new ConfigError("BAD_OPTION", `"${source}" is none of ${judgmentSources.join(", ")}.`);
  }
}

function columnsOf({ query, item, clicks, position, impressions }: ReadJudgmentsOptions): Partial<ClickColumns> {
  const given = Object.entries({ query, item, clicks, position, impressions });
  return Object.fromEntries(given.filter(([, name]) => name !== undefined)) as Partial<ClickColumns>;
}

function fromClicks(log: ClickLog, { eta, minClicks, grades }: ReadJudgmentsOptions): ReadJudgments {
  const { queries, correction, read, leftOut } = judgeClicks(log, {
    ...(eta === undefined ? {} : { eta }),
    ...(minClicks === undefined ? {} : { minClicks }),
    ...(grades === undefined ? {} : { grades }),
  });
  return {
    queries,
    facts: {
      ...(log.columns === undefined ? {} : { columns: log.columns }),
      ...(log.columns !== undefined && log.columns.clicks === undefined ? { clicks: "every row is one click" } : {}),
      ...factOfDropped(log.queries),
      "queries read": read,
      "left out": `${leftOut} without an item that has enough clicks`,
      position: correction,
    },
  };
}

/** Rows that couldn't be used, where there were some. */
function factOfDropped(examples: object): { dropped?: string } {
  const report = reportOf(examples);
  return report && report.dropped.length > 0 ? { dropped: summariseDropped(report) } : {};
}

async function readTrecJudgments(
  path: string,
  topicsPath: string | undefined,
  options: ReadLinesOptions,
): Promise<JudgedQuery[]> {
  const beside = path.replace(/\.[^./]*$/, "") + ".topics.tsv";
  const topics =
    topicsPath ?? (existsSync(`${path}.topics.tsv`) ? `${path}.topics.tsv` : existsSync(beside) ? beside : undefined);
  if (topics === undefined) {
    throw new ConfigError(
      "NO_TOPICS",
      `${path} has ids of queries and not their texts. Give the texts: --topics FILE.`,
    );
  }
  const [qrels, texts] = [await readQrels(path, options), await readTopics(topics, options)];
  return [...qrels].map(([id, gains]) => {
    const query = texts.get(id);
    if (query !== undefined) return { id, query, gains };
    throw new DataError("DATA_MISSING_QUERY", `${topics}: has no text for the query "${id}" of ${path}.`);
  });
}
