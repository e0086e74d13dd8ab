/** What a catalogue's fields are, guessed from its rows: which one is the id, which ones have text worth searching. */
import { DataError } from "../../core/errors.ts";
import type { JsonObject, ReadLinesOptions } from "../../core/data-lines.ts";
import { detectFormat, readRows } from "../../datasets/rows.ts";
import type { RowFormat } from "../../datasets/rows.ts";

export interface CatalogueLook {
  path: string;
  format: RowFormat;
  /** Fields in the order of the first row. */
  fields: string[];
  /** Undefined where no field looks like one. */
  id: string | undefined;
  /** Fields with text, the likeliest first: a name or title, then what describes. */
  text: string[];
  /** The first rows, for showing. */
  rows: JsonObject[];
}

/** Rows that are looked at. */
const rowsLookedAt = 500;

const idNames = [
  "id",
  "_id",
  "itemid",
  "productid",
  "docid",
  "documentid",
  "sku",
  "asin",
  "parentasin",
  "code",
  "isbn",
];
const nameNames = ["title", "name", "producttitle", "productname", "headline", "label"];
const describingNames = [
  "text",
  "description",
  "productdescription",
  "body",
  "content",
  "summary",
  "brand",
  "category",
];

const plain = (name: string): string =>
  name.toLowerCase().replace(/[\s_.-]/g, (char) => (char === "_" && name.startsWith("_") ? "_" : ""));

/**
 * Looks at a catalogue's first rows.
 * @throws DataError when the file can't be read, has no rows, or no field has text. @throws AbortError
 */
export async function lookAtCatalogue(path: string, options: ReadLinesOptions = {}): Promise<CatalogueLook> {
  const { format, rows, fields } = await readFirstRows(path, options);
  const id = guessId(fields, rows);
  const text = guessText(
    fields.filter((field) => field !== id),
    rows,
  );
  if (text.length === 0) {
    throw new DataError(
      "DATA_NO_TEXT",
      `${path}: no field has text to search; it has ${fields.slice(0, 20).join(", ")}.`,
      {
        details: { path },
      },
    );
  }
  return { path, format, fields, id, text, rows: rows.slice(0, 3) };
}

/**
 * The field that holds a catalogue's ids: `id` where its rows have one, else the likeliest; undefined where none looks like
 * it. @throws as {@link lookAtCatalogue}, but needs no text
 */
export async function findIdField(path: string): Promise<string | undefined> {
  const { rows, fields } = await readFirstRows(path, {});
  return fields.includes("id") ? "id" : guessId(fields, rows);
}

async function readFirstRows(
  path: string,
  options: ReadLinesOptions,
): Promise<Pick<CatalogueLook, "format" | "rows" | "fields">> {
  const format = await detectFormat(path);
  const rows: JsonObject[] = [];
  for await (const { value } of readRows(path, { ...options, format })) {
    rows.push(value);
    if (rows.length === rowsLookedAt) break;
  }
  if (rows.length === 0) throw new DataError("DATA_EMPTY_CATALOGUE", `${path}: the catalogue has no rows.`);
  return { format, rows, fields: [...new Set(rows.flatMap((row) => Object.keys(row)))] };
}

/** The field whose values could be ids (all there, all different), by its name where several could. */
function guessId(fields: readonly string[], rows: readonly JsonObject[]): string | undefined {
  const candidates = fields.filter((field) => {
    const values = rows.map((row) => row[field]);
    const areIds = values.every(
      (value) => Number.isSafeInteger(value) || (typeof value === "string" && value !== "" && value.length <= 200),
    );
    return areIds && new Set(values.map(String)).size === rows.length;
  });
  const rankOf = (field: string): number => {
    const at = idNames.indexOf(plain(field));
    return at >= 0 ? at : /(^|[_\s-])id$|Id$/.test(field) ? idNames.length : Infinity;
  };
  const named = candidates.filter((field) => rankOf(field) < Infinity).sort((a, b) => rankOf(a) - rankOf(b));
  return named[0] ?? candidates.find((field) => rows.every((row) => !/\s/.test(String(row[field]))));
}

/** Fields whose values are words in at least half of the rows: names first, then descriptions, then others. */
function guessText(fields: readonly string[], rows: readonly JsonObject[]): string[] {
  const isText = (value: unknown): boolean => {
    const text = Array.isArray(value) ? value.join(" ") : value;
    // Two letters in a row, and no address: numbers, codes, dates and links are not what people search for.
    return typeof text === "string" && /\p{L}{2}/u.test(text) && !/^(https?:|data:|\/)/.test(text);
  };
  const rankOf = (field: string): number => {
    const [name, describing] = [nameNames.indexOf(plain(field)), describingNames.indexOf(plain(field))];
    return name >= 0 ? name : describing >= 0 ? 100 + describing : 1000 + fields.indexOf(field);
  };
  return fields
    .filter((field) => rows.filter((row) => isText(row[field])).length * 2 >= rows.length)
    .filter((field) => rankOf(field) < 1000 || isWordy(field, rows))
    .sort((a, b) => rankOf(a) - rankOf(b))
    .slice(0, 4);
}

/** Whether a field of no known name holds words: several of them on average, and not a few values again and again. */
function isWordy(field: string, rows: readonly JsonObject[]): boolean {
  const values = rows.map((row) => String(row[field] ?? ""));
  const words = values.reduce((sum, value) => sum + value.split(/\s+/).length, 0) / values.length;
  return words >= 2 && new Set(values).size > rows.length / 10;
}
