/**
 * Click logs: how often items were clicked for a query, at which position, out of how many impressions. Rows of the same
 * query, item and position are added up.
 */
import type { JsonObject, ReadLinesOptions } from "../../core/data-lines.ts";
import { DataError } from "../../core/errors.ts";
import { idOf, numberOf, RowFault, textOf } from "../fields.ts";
import { RowCounter, type DropOptions } from "../load-report.ts";
import { readRows } from "../rows.ts";

/** Clicks on an item at one position. */
export interface PlacedClicks {
  /** 1 is the top; null where the log doesn't say. */
  position: number | null;
  clicks: number;
  /** Times that the item was shown there; null where the log doesn't say. */
  impressions: number | null;
}

/** Clicks by query and item. Queries are told apart without regard to case and spacing. */
export interface ClickLog {
  path: string;
  queries: { query: string; items: Map<string, PlacedClicks[]> }[];
  hasPositions: boolean;
  hasImpressions: boolean;
  /** Which of the file's columns were taken for what, where it has columns. */
  columns?: ClickColumns;
}

/** Names of a log's columns. */
export interface ClickColumns {
  query: string;
  item: string;
  /** Absent: every row is one click. */
  clicks?: string;
  position?: string;
  impressions?: string;
}

/** What columns are called, most likely first; compared without case, blanks and underscores. */
const columnNames = {
  query: ["query", "userquery", "searchterm", "searchquery", "keyword", "keywords", "querytext", "q", "term", "search"],
  item: [
    ...["clickedid", "itemid", "docid", "documentid", "productid", "objectid", "resultid", "clickeditem", "item"],
    ...["doc", "product", "sku", "asin", "id", "url"],
  ],
  // Whether a row was clicked (0 and 1) says more than a count of nothing in particular.
  clicks: [
    ...["clicks", "clickcount", "numclicks", "nclicks", "clicked", "isclicked", "wasclicked", "isclick", "click"],
    ...["count", "n", "times", "freq", "frequency"],
  ],
  position: ["position", "pos", "rank", "ordinal", "clickposition", "slot"],
  impressions: ["impressions", "impressioncount", "views", "shown", "imps", "numimpressions"],
} as const;

type Role = keyof typeof columnNames;

/** Which column of a log is which, by its name; a role that none fits is left out. */
export function guessClickColumns(fields: readonly string[]): Partial<ClickColumns> {
  const plain = new Map(fields.map((name) => [name.toLowerCase().replace(/[\s_-]/g, ""), name]));
  const guess = (role: Role): string | undefined => {
    const known = columnNames[role].find((name) => plain.has(name));
    return known === undefined ? undefined : plain.get(known);
  };
  const found = (Object.keys(columnNames) as Role[]).map((role) => [role, guess(role)] as const);
  return Object.fromEntries(found.filter(([, name]) => name !== undefined)) as Partial<ClickColumns>;
}

export interface ReadClickLogOptions extends ReadLinesOptions, DropOptions {
  /** Names of columns that aren't guessed from what they are called. */
  columns?: Partial<ClickColumns>;
}

/**
 * A click log in CSV, TSV, JSON, JSON Lines or parquet.
 * @throws DataError when the file can't be read, a column is missing, or too many rows can't be used. @throws AbortError
 */
export async function readClickLog(
  path: string,
  { columns: given = {}, maxDroppedShare, ...reading }: ReadClickLogOptions = {},
): Promise<ClickLog> {
  const counter = new RowCounter(path);
  const builder = new ClickLogBuilder(path);
  let columns: ClickColumns | undefined;
  for await (const { line, value } of readRows(path, reading)) {
    columns ??= chooseColumns(path, Object.keys(value), given);
    counter.read();
    try {
      builder.add(parseRow(value, columns));
    } catch (error) {
      if (!(error instanceof RowFault)) throw error;
      counter.drop(error.message, line);
    }
  }
  const log = builder.finish();
  counter.finish(log.queries, maxDroppedShare === undefined ? {} : { maxDroppedShare });
  return columns === undefined ? log : { ...log, columns };
}

function chooseColumns(path: string, fields: readonly string[], given: Partial<ClickColumns>): ClickColumns {
  const taken: readonly (string | undefined)[] = Object.values(given);
  const columns = { ...guessClickColumns(fields.filter((name) => !taken.includes(name))), ...given };
  for (const role of ["query", "item"] as const) {
    if (columns[role] !== undefined) continue;
    throw new DataError(
      "DATA_MISSING_COLUMN",
      `${path}: no column looks like the ${role === "query" ? "query" : "clicked item's id"}; it has ${fields.slice(0, 20).join(", ")}. Name it.`,
      { details: { path } },
    );
  }
  const missing = Object.values(columns).find((name) => name !== undefined && !fields.includes(name));
  if (missing !== undefined) {
    throw new DataError(
      "DATA_MISSING_COLUMN",
      `${path}: no column "${missing}"; it has ${fields.slice(0, 20).join(", ") || "none"}.`,
      { details: { path } },
    );
  }
  return columns as ClickColumns;
}

function parseRow(row: JsonObject, columns: ClickColumns): ClickRow {
  const count = (name: string, value = numberOf(row, name)): number => {
    if (value < 0) throw new RowFault(`"${name}" is below 0`);
    return value;
  };
  const clicks = columns.clicks === undefined ? 1 : count(columns.clicks, yesOrNo(row[columns.clicks]));
  const position = columns.position === undefined ? null : numberOf(row, columns.position);
  if (position !== null && (!Number.isInteger(position) || position < 1)) {
    throw new RowFault(`"${columns.position}" is no whole number from 1 on`);
  }
  const impressions = columns.impressions === undefined ? null : count(columns.impressions);
  if (impressions !== null && impressions < clicks) throw new RowFault("more clicks than impressions");
  return { query: textOf(row, columns.query), item: idOf(row, columns.item), clicks, position, impressions };
}

/** 1 for true and 0 for false, as JSON, parquet and CSV write them; undefined for anything else. */
function yesOrNo(value: unknown): number | undefined {
  const text = typeof value === "string" ? value.trim().toLowerCase() : value;
  if (text === true || text === "true") return 1;
  return text === false || text === "false" ? 0 : undefined;
}

export interface ClickRow extends PlacedClicks {
  query: string;
  item: string;
}

/** Adds rows up. */
export class ClickLogBuilder {
  private readonly path: string;
  private readonly byQuery = new Map<string, { query: string; items: Map<string, Map<number, PlacedClicks>> }>();
  private hasPositions = true;
  private hasImpressions = true;

  constructor(path: string) {
    this.path = path;
  }

  add({ query: text, item, clicks, position, impressions }: ClickRow): void {
    const query = text.trim().replace(/\s+/g, " ");
    const key = query.toLowerCase();
    const entry = this.byQuery.get(key) ?? { query, items: new Map<string, Map<number, PlacedClicks>>() };
    this.byQuery.set(key, entry);
    const places = entry.items.get(item) ?? new Map<number, PlacedClicks>();
    entry.items.set(item, places);
    const place = places.get(position ?? 0) ?? { position, clicks: 0, impressions: impressions === null ? null : 0 };
    place.clicks += clicks;
    if (place.impressions !== null && impressions !== null) place.impressions += impressions;
    places.set(position ?? 0, place);
    this.hasPositions &&= position !== null;
    this.hasImpressions &&= impressions !== null;
  }

  finish(): ClickLog {
    const queries = [...this.byQuery.values()].map(({ query, items }) => ({
      query,
      items: new Map([...items].map(([item, places]) => [item, [...places.values()]])),
    }));
    return { path: this.path, queries, hasPositions: this.hasPositions, hasImpressions: this.hasImpressions };
  }
}
