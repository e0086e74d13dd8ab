/** Items of a catalogue in any known layout: ids with titles, categories, or whole rows to be indexed. */
import type { JsonObject, ReadLinesOptions } from "../core/data-lines.ts";
import { DataError } from "../core/errors.ts";
import { idOf, RowFault } from "./fields.ts";
import { RowCounter, type DropOptions } from "./load-report.ts";
import { readLenientJsonl, recogniseFile, type FileKind } from "./recognise.ts";
import { readRows } from "./rows.ts";

/** An item, ready to be indexed. */
export interface ItemRow {
  id: string;
  title: string;
  /** Everything that may be searched: title, description, features …, a line each. */
  text: string;
  category: string;
}

interface Layout {
  id: string;
  title: readonly string[];
  text: readonly string[];
  category: readonly string[];
}

/** Where each layout keeps what an item has; of `title` and `category` the first field that is there counts. */
const layouts: Partial<Record<FileKind, Layout>> = {
  catalogue: { id: "id", title: ["title"], text: ["title", "description", "text"], category: ["category"] },
  "item-pool": { id: "item_id", title: ["title", "metadata"], text: ["metadata"], category: ["category"] },
  documents: { id: "id", title: ["title", "contents"], text: ["contents"], category: [] },
  "beir-corpus": { id: "_id", title: ["title"], text: ["title", "text"], category: [] },
  "esci-products": {
    id: "product_id",
    title: ["product_title"],
    text: ["product_title", "product_description", "product_bullet_point", "product_brand", "product_color"],
    category: [],
  },
  "amazon-2018-items": {
    id: "asin",
    title: ["title"],
    text: ["title", "feature", "categories", "category", "description"],
    category: ["main_cat"],
  },
  "amazon-2023-items": {
    id: "parent_asin",
    title: ["title"],
    text: ["title", "features", "categories", "description"],
    category: ["main_category"],
  },
};

/** Kinds of files that hold items. */
export const itemKinds = Object.keys(layouts) as FileKind[];

export interface ReadItemsOptions extends DropOptions, ReadLinesOptions {
  /** Only items of this locale, in files that have locales (ESCI). Default `us`. */
  locale?: string;
}

/** Text of a field, lists and lists of lists joined by blanks; markup of a web shop left out. */
function flatten(value: unknown): string {
  if (typeof value === "string")
    return value
      .replace(/<[^>]{1,200}>/g, " ")
      .replace(/\s+/g, " ")
      .trim();
  if (typeof value === "number") return String(value);
  if (!Array.isArray(value)) return "";
  return value
    .map(flatten)
    .filter((part) => part !== "")
    .join(" ");
}

/**
 * Items of a file; the first row of an id counts, later ones are left out.
 * @throws DataError when the file can't be read, has another layout, or too many rows can't be used. @throws AbortError
 */
export async function readItems(path: string, options: ReadItemsOptions = {}): Promise<ItemRow[]> {
  const { kind, format, about } = await recogniseFile(path);
  const layout = layouts[kind];
  if (!layout) {
    throw new DataError("DATA_WRONG_LAYOUT", `${path}: is ${about}; expected items with an id and a title.`, {
      details: { path, kind },
    });
  }
  const { locale = "us" } = options;
  const counter = new RowCounter(path);
  const items: ItemRow[] = [];
  const seen = new Set<string>();
  const first = (row: JsonObject, fields: readonly string[]): string =>
    fields.map((field) => flatten(row[field])).find((text) => text !== "") ?? "";
  const rows = format === "jsonl" ? readLenientJsonl(path) : readRows(path, options);
  for await (const { line, value } of rows) {
    counter.read();
    try {
      if (typeof value.product_locale === "string" && value.product_locale !== locale) {
        counter.filter("of another locale");
        continue;
      }
      const id = idOf(value, layout.id);
      if (seen.has(id)) {
        counter.filter("with an id that came before");
        continue;
      }
      seen.add(id);
      const parts = [...new Set(layout.text.map((field) => flatten(value[field])).filter((text) => text !== ""))];
      items.push({
        id,
        title: first(value, layout.title),
        text: parts.join("\n"),
        category: first(value, layout.category),
      });
    } catch (error) {
      if (!(error instanceof RowFault)) throw error;
      counter.drop(error.message, line);
    }
  }
  return counter.finish(items, options);
}

/** Titles by item id. @throws as {@link readItems} */
export async function readTitles(path: string, options: ReadItemsOptions = {}): Promise<Map<string, string>> {
  return new Map((await readItems(path, options)).map(({ id, title }) => [id, title]));
}

/** Categories by item id. @throws as {@link readItems} */
export async function readCategories(path: string, options: ReadItemsOptions = {}): Promise<Map<string, string>> {
  return new Map((await readItems(path, options)).map(({ id, category }) => [id, category]));
}
