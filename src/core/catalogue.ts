/**
 * Catalogue rows: what an item must have to be indexed. Used by whatever reads a catalogue, so that the same file gets
 * the same answer everywhere. Knows nothing of search engines.
 */
import { DataError } from "./errors.ts";
import { readJsonl, type JsonObject, type ReadLinesOptions } from "./data-lines.ts";

/** An item of a catalogue. */
export interface CatalogueRow {
  id: string;
  /** Texts by field, in the order of `textFields`. */
  texts: string[];
  /** The row as it was written. */
  fields: JsonObject;
}

export interface CatalogueOptions {
  /** Field that holds the id, a string or a whole number. Default `id`. */
  idField?: string;
  /** Fields whose text is searched, one or more. */
  textFields: readonly string[];
}

/** Checks rows one by one; remembers ids, so that a second use of one is refused with both places. */
export interface RowChecker {
  /** @throws DataError when the id or a text is missing or of the wrong type, or the id came before. */
  check(fields: JsonObject, line: number): CatalogueRow;
  readonly count: number;
}

function describeFields(fields: JsonObject): string {
  const names = Object.keys(fields);
  const shown = names.slice(0, 12).join(", ");
  return names.length === 0 ? "no fields at all" : `${shown}${names.length > 12 ? ", …" : ""}`;
}

function describeValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

/** The text of a field: a string, a number, null (empty), or a list of these, joined by line ends. */
function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (value === null) return "";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (!Array.isArray(value)) return undefined;
  const parts = value.map(textOf);
  return parts.every((part) => part !== undefined) ? parts.join("\n") : undefined;
}

/**
 * A checker for one catalogue.
 * @param where Names a row in messages, given its number: `catalogue.jsonl line 17`.
 */
export function createRowChecker(options: CatalogueOptions, where: (line: number) => string): RowChecker {
  const idField = options.idField ?? "id";
  const { textFields } = options;
  const lineById = new Map<string, number>();
  const fail = (code: string, line: number, message: string): never => {
    throw new DataError(code, `${where(line)}: ${message}`, { details: { line } });
  };
  const readId = (fields: JsonObject, line: number): string => {
    const raw = Object.hasOwn(fields, idField) ? fields[idField] : undefined;
    if (raw === undefined) {
      fail("DATA_MISSING_FIELD", line, `no field "${idField}" for the id; it has ${describeFields(fields)}.`);
    }
    if (typeof raw === "number" && Number.isSafeInteger(raw)) return String(raw);
    if (typeof raw === "string" && raw !== "") return raw;
    return fail(
      "DATA_BAD_ID",
      line,
      `"${idField}" is ${describeValue(raw)}; expected a string that isn't empty, or a whole number.`,
    );
  };
  const readText = (fields: JsonObject, field: string, line: number): string => {
    if (!Object.hasOwn(fields, field)) {
      const advice = `Name another field, or write "${field}": null where an item has no text.`;
      fail("DATA_MISSING_FIELD", line, `no field "${field}"; it has ${describeFields(fields)}. ${advice}`);
    }
    return (
      textOf(fields[field]) ??
      fail("DATA_BAD_FIELD", line, `"${field}" is ${describeValue(fields[field])}; expected text or a list of texts.`)
    );
  };
  return {
    get count() {
      return lineById.size;
    },
    check(fields, line) {
      const id = readId(fields, line);
      const earlier = lineById.get(id);
      if (earlier !== undefined) {
        const message = `id "${id}" was used before, at ${where(earlier)}. Every item needs an id of its own.`;
        fail("DATA_DUPLICATE_ID", line, message);
      }
      lineById.set(id, line);
      return { id, texts: textFields.map((field) => readText(fields, field, line)), fields };
    },
  };
}

/** The error of a catalogue without rows. */
export function emptyCatalogueError(where: string): DataError {
  return new DataError("DATA_EMPTY_CATALOGUE", `${where}: the catalogue has no rows. Write one JSON object per item.`);
}

/**
 * Rows of a JSON Lines catalogue, streamed and checked.
 * @throws DataError when the file can't be read, has no rows, or a row is unusable. @throws AbortError
 */
export async function* readCatalogueRows(
  path: string,
  options: CatalogueOptions & ReadLinesOptions,
): AsyncGenerator<CatalogueRow> {
  const checker = createRowChecker(options, (line) => `${path} line ${line}`);
  for await (const { line, value } of readJsonl(path, options)) yield checker.check(value, line);
  if (checker.count === 0) throw emptyCatalogueError(path);
}
