/**
 * Examples: what a user asked and what was relevant to it. Read from JSON Lines; each example's place in its file is
 * remembered beside it, so that later faults can name the line.
 */
import { DataError } from "../core/errors.ts";
import { readJsonl, type JsonObject, type ReadLinesOptions } from "../core/data-lines.ts";
import { gainsOf, relevantIds, type Relevance } from "../ranking/judgments.ts";

/** One example of a task. Tasks with more fields (a history, a category) extend it. */
export interface Example {
  /** Unique within its file. Where the file gives none: `line-17`. */
  id: string;
  /** The user's words. */
  query: string;
  /** Relevant item ids, or graded gains by id. */
  relevant: readonly string[] | Readonly<Record<string, number>>;
}

/** Where a row stands. */
export interface RowPlace {
  path: string;
  line: number;
}

export interface ReadExamplesOptions<E> extends ReadLinesOptions {
  /**
   * Turns a row of the file into an example, for files that aren't `{id?, query, relevant}`. What it throws is reported
   * with the line. Default: {@link parseExample}.
   */
  parse?: (row: JsonObject, place: RowPlace) => E;
}

const places = new WeakMap<object, RowPlace>();

/** Remembers where an example was read. */
export function rememberPlace(example: object, place: RowPlace): void {
  places.set(example, place);
}

/** Where an example was read; undefined for one made in code. */
export function placeOf(example: object): RowPlace | undefined {
  return places.get(example);
}

/** An example's place in words: `test.jsonl line 3`, or its id where it wasn't read from a file. */
export function describePlace(example: { id: string }): string {
  const place = places.get(example);
  return place ? `${place.path} line ${place.line}` : `example "${example.id}"`;
}

function describe(value: unknown): string {
  const text = value === undefined ? "absent" : (JSON.stringify(value) ?? String(value));
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

function parseRelevant(value: unknown, where: string): Example["relevant"] {
  const bad = (got: string): DataError =>
    new DataError(
      "DATA_BAD_RELEVANT",
      `${where}: "relevant" ${got}; expected a list of item ids such as ["12"], or gains such as {"12": 1}.`,
    );
  if (Array.isArray(value)) {
    const ids = value.map((id: unknown) => (Number.isSafeInteger(id) ? String(id) : id));
    if (!ids.every((id): id is string => typeof id === "string" && id !== "")) throw bad(`is ${describe(value)}`);
    if (ids.length === 0) throw bad("is empty");
    return [...new Set(ids)];
  }
  if (typeof value !== "object" || value === null) throw bad(`is ${describe(value)}`);
  const gains = value as Record<string, number>;
  for (const [id, gain] of Object.entries(gains)) {
    if (typeof gain !== "number") throw bad(`gives "${id}" the gain ${describe(gain)}`);
  }
  if (relevantIds(gains).length === 0) throw bad("has no gain above 0");
  return gains;
}

/**
 * An example from a row `{id?, query, relevant}`; other fields are kept as they are.
 * @throws DataError when `query` is empty or not text, or nothing is relevant.
 */
export function parseExample(row: JsonObject, place: RowPlace): Example {
  const where = `${place.path} line ${place.line}`;
  const { id, query, relevant } = row;
  if (typeof query !== "string" || query.trim() === "") {
    throw new DataError("DATA_BAD_QUERY", `${where}: "query" is ${describe(query)}; expected text that isn't empty.`);
  }
  if (id !== undefined && (typeof id !== "string" || id === "") && !Number.isSafeInteger(id)) {
    throw new DataError("DATA_BAD_ID", `${where}: "id" is ${describe(id)}; expected a string, or leave it out.`);
  }
  return {
    ...row,
    id: id === undefined ? `line-${place.line}` : String(id),
    query,
    relevant: parseRelevant(relevant, where),
  };
}

/**
 * All examples of a JSON Lines file, in its order.
 * @throws DataError when the file can't be read, has no rows, a row is unusable, or two examples have the same id.
 * @throws AbortError
 */
export async function readExamples<E extends { id: string } = Example>(
  path: string,
  options: ReadExamplesOptions<E> = {},
): Promise<E[]> {
  const parse = options.parse ?? (parseExample as unknown as (row: JsonObject, place: RowPlace) => E);
  const examples: E[] = [];
  const lineById = new Map<string, number>();
  for await (const { line, value } of readJsonl(path, options)) {
    const place = { path, line };
    let example: E;
    try {
      example = parse(value, place);
    } catch (cause) {
      if (cause instanceof DataError) throw cause;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new DataError("DATA_BAD_EXAMPLE", `${path} line ${line}: ${reason}`, { cause, details: { path, line } });
    }
    const earlier = lineById.get(example.id);
    if (earlier !== undefined) {
      throw new DataError(
        "DATA_DUPLICATE_ID",
        `${path} line ${line}: id "${example.id}" was used before, at line ${earlier}. Ids must differ; or leave them out.`,
        { details: { path, line } },
      );
    }
    lineById.set(example.id, line);
    rememberPlace(example, place);
    examples.push(example);
  }
  if (examples.length === 0) {
    throw new DataError(
      "DATA_EMPTY",
      `${path}: no examples. Write one JSON object {"query": ..., "relevant": [...]} per line.`,
    );
  }
  return examples;
}

/** Relevant ids that a catalogue lacks. */
export interface MissingRelevant {
  /** Examples checked. */
  examples: number;
  /** Relevant ids of all examples. */
  relevant: number;
  /** Each relevant id that is missing, with the example that names it. */
  missing: { id: string; example: { id: string } }[];
  /** Examples of which nothing relevant is in the catalogue: they can't earn anything. */
  unreachable: number;
}

export interface CheckRelevantOptions {
  /** Refuses when more than this share of relevant ids is missing. Default 0: any missing id is refused. */
  maxMissingShare?: number;
}

/** Ids looked up at once: one behind a network takes a while each. */
const lookUpBatch = 64;

/** Which of the ids there are; each is looked up once. */
async function lookUp(
  ids: readonly string[],
  has: (id: string) => boolean | Promise<boolean>,
): Promise<Map<string, boolean>> {
  const unique = [...new Set(ids)];
  const known = new Map<string, boolean>();
  for (let start = 0; start < unique.length; start += lookUpBatch) {
    const batch = unique.slice(start, start + lookUpBatch);
    const answers = await Promise.all(batch.map((id) => has(id)));
    batch.forEach((id, i) => known.set(id, answers[i] as boolean));
  }
  return known;
}

/**
 * Looks up every relevant id (gain above 0) in the catalogue.
 * @param hasId A set of the catalogue's ids, or a function such as a recommender's `has`.
 * @throws DataError when more than the allowed share is missing; it names the first few with their lines.
 */
export async function checkRelevant(
  examples: readonly { id: string; relevant: Relevance }[],
  hasId: ReadonlySet<string> | ((id: string) => boolean | Promise<boolean>),
  options: CheckRelevantOptions = {},
): Promise<MissingRelevant> {
  const has = typeof hasId === "function" ? hasId : (id: string) => hasId.has(id);
  const result: MissingRelevant = { examples: examples.length, relevant: 0, missing: [], unreachable: 0 };
  const known = await lookUp(
    examples.flatMap(({ relevant }) => [...gainsOf(relevant)].flatMap(([id, gain]) => (gain > 0 ? [id] : []))),
    has,
  );
  for (const example of examples) {
    let found = 0;
    for (const [id, gain] of gainsOf(example.relevant)) {
      if (gain <= 0) continue;
      result.relevant++;
      if (known.get(id)) found++;
      else result.missing.push({ id, example });
    }
    if (found === 0) result.unreachable++;
  }
  const { missing, relevant } = result;
  if (missing.length > (options.maxMissingShare ?? 0) * relevant) {
    const shown = missing.slice(0, 5).map(({ id, example }) => `  "${id}" (${describePlace(example)})`);
    if (missing.length > shown.length) shown.push(`  and ${missing.length - shown.length} more`);
    throw new DataError(
      "DATA_RELEVANT_NOT_IN_CATALOGUE",
      `${missing.length} of ${relevant} relevant ids aren't in the catalogue:\n${shown.join("\n")}\n` +
        `Check that examples and catalogue use the same ids.`,
      { details: { missing: missing.length, relevant } },
    );
  }
  return result;
}
