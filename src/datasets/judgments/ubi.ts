/**
 * User Behavior Insights (UBI, schema 1.0 to 1.3): events and queries as OpenSearch, Elasticsearch and Solr keep them.
 * Events become a click log; rankings become queries. Documents may come as JSON Lines or an array, bare or as an index
 * exports them (`_source`), or as a search reply.
 */
import type { JsonObject, ReadLinesOptions } from "../../core/data-lines.ts";
import { writeFileAtomic } from "../../core/atomic-write.ts";
import { DataError } from "../../core/errors.ts";
import { detectFormat, readJsonFile, readRows } from "../rows.ts";
import { ClickLogBuilder } from "./click-log.ts";
import type { ClickLog } from "./click-log.ts";

export interface ReadUbiOptions extends ReadLinesOptions {
  /** File of UBI queries, for events that have a `query_id` and no `user_query`. */
  queries?: string;
  /** Actions that count as a click. Default: `click`. */
  actions?: readonly string[];
  /** Ordinal of the first result: 1 by the schema's examples; some applications count from 0. Default 1. */
  firstPosition?: 0 | 1;
}

export interface UbiLog {
  log: ClickLog;
  /** Events that were used, and those that were passed over by reason. */
  used: number;
  passedOver: Record<string, number>;
}

/**
 * Share of the clicks, and of the impressions, that have an ordinal where positions are used: the few others are passed
 * over. Where more lack it, leaving them out would say something else of the items.
 */
const leastShareWithPosition = 0.95;

/**
 * Clicks and impressions of UBI events. Impressions are used where there are some, and positions where nearly all events
 * have one; events without are passed over then.
 * @throws DataError when a file can't be read, or no event is a click on an item. @throws AbortError
 */
export async function readUbiEvents(path: string, options: ReadUbiOptions = {}): Promise<UbiLog> {
  const { queries: queriesPath, actions = ["click"], firstPosition = 1, ...reading } = options;
  const texts = queriesPath === undefined ? new Map<string, string>() : await readUbiQueries(queriesPath, reading);
  const passedOver: Record<string, number> = {};
  const pass = (why: string): void => void (passedOver[why] = (passedOver[why] ?? 0) + 1);
  let rows: { query: string; item: string; isClick: boolean; position: number | null }[] = [];
  for await (const event of readDocuments(path, reading)) {
    const { action_name: action, user_query: own, query_id: queryId, event_attributes: attributes } = event;
    const isClick = typeof action === "string" && actions.includes(action);
    if (!isClick && action !== "impression") {
      pass("another action");
      continue;
    }
    const known = typeof queryId === "string" ? texts.get(queryId) : undefined;
    const query = typeof own === "string" && own.trim() !== "" ? own : known;
    const { object, position } = (attributes ?? {}) as { object?: JsonObject; position?: JsonObject };
    const item = object?.["object_id"];
    const ordinal = wholeNumber(position?.["ordinal"]);
    if (query === undefined)
      pass(queriesPath === undefined ? "no user_query" : "no user_query, and its query_id is unknown");
    else if ((typeof item !== "string" && typeof item !== "number") || String(item).trim() === "") pass("no object_id");
    else {
      const place = ordinal === null ? null : ordinal - firstPosition + 1;
      if (place !== null && place < 1) {
        throw new DataError(
          "DATA_BAD_POSITION",
          `${path}: an event has the ordinal ${String(ordinal)}, so results are counted from 0. Say so: --first-position 0.`,
        );
      }
      rows.push({ query, item: String(item).trim(), isClick, position: place });
    }
  }
  const clicks = rows.filter(({ isClick }) => isClick).length;
  if (clicks === 0) {
    const why = Object.entries(passedOver).map(([reason, count]) => `${count} with ${reason}`);
    throw new DataError(
      "DATA_EMPTY",
      `${path}: no event is a click (${actions.join(", ")}) on an item for a known query${why.length > 0 ? `; passed over: ${why.join(", ")}` : ""}.`,
      { details: { path } },
    );
  }
  const hasImpressions = clicks < rows.length;
  const hasPositions = [true, false].every((kind) => {
    const ofKind = rows.filter(({ isClick }) => isClick === kind);
    return ofKind.filter(({ position }) => position !== null).length >= leastShareWithPosition * ofKind.length;
  });
  if (hasPositions) {
    rows = rows.filter(({ position }) => {
      if (position === null) pass("no ordinal");
      return position !== null;
    });
  }
  const builder = new ClickLogBuilder(path);
  for (const { query, item, isClick, position } of rows) {
    builder.add({
      query,
      item,
      position: hasPositions ? position : null,
      clicks: isClick ? 1 : 0,
      impressions: hasImpressions ? (isClick ? 0 : 1) : null,
    });
  }
  return { log: builder.finish(), used: rows.length, passedOver };
}

/** A whole number, also where an application logs it as text; null for anything else. */
function wholeNumber(value: unknown): number | null {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return Number.isInteger(number) ? (number as number) : null;
}

/** Texts of UBI queries by `query_id`. */
async function readUbiQueries(path: string, options: ReadLinesOptions): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for await (const { query_id: id, user_query: text } of readDocuments(path, options)) {
    if (typeof id === "string" && typeof text === "string" && text.trim() !== "") texts.set(id, text);
  }
  if (texts.size > 0) return texts;
  throw new DataError("DATA_WRONG_LAYOUT", `${path}: no row has query_id and user_query; expected UBI queries.`, {
    details: { path },
  });
}

/** The documents of a file, whichever way it holds them. */
async function* readDocuments(path: string, options: ReadLinesOptions): AsyncGenerator<JsonObject> {
  const unwrap = (row: JsonObject): JsonObject =>
    typeof row["_source"] === "object" && row["_source"] !== null ? (row["_source"] as JsonObject) : row;
  if (["json", "jsonl"].includes(await detectFormat(path))) {
    const reply = await readSearchReply(path, options.signal);
    if (reply) {
      for (const row of reply) yield unwrap(row);
      return;
    }
  }
  for await (const { value } of readRows(path, options)) yield unwrap(value);
}

/** Hits of a search reply that was saved as one JSON object; undefined where the file is something else. */
async function readSearchReply(path: string, signal: AbortSignal | undefined): Promise<JsonObject[] | undefined> {
  let first: unknown;
  try {
    first = await readJsonFile(path, signal);
  } catch (error) {
    // Several objects, one a line, are not JSON as a whole.
    if (error instanceof DataError && ["DATA_NOT_JSON", "DATA_TOO_LARGE"].includes(error.code)) return undefined;
    throw error;
  }
  const hits = (first as { hits?: { hits?: unknown } }).hits?.hits;
  return Array.isArray(hits) ? (hits as JsonObject[]) : undefined;
}

/** A query with what it found, as UBI keeps it. */
export interface UbiQuery {
  id: string;
  /** What the user typed. */
  userQuery: string;
  /** What was searched for; null where nothing was. */
  query: string | null;
  hits: readonly string[];
}

/** Writes UBI query documents as JSON Lines, whole or not at all. @param options.timestamp ISO 8601, UTC */
export async function writeUbiQueries(
  path: string,
  queries: readonly UbiQuery[],
  { timestamp, policy }: { timestamp: string; policy: string },
): Promise<void> {
  const lines = queries.map(({ id, userQuery, query, hits }) =>
    JSON.stringify({
      application: "rec-r1",
      query_id: id,
      client_id: "rec-r1",
      user_query: userQuery,
      timestamp,
      query_attributes: { policy, rewritten_query: query },
      query_response_hit_ids: hits,
    }),
  );
  await writeFileAtomic(path, lines.map((line) => `${line}\n`).join(""));
}
