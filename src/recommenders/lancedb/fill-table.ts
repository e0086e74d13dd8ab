/** A catalogue's rows as LanceDB's table with its indexes, going on where an earlier call was cut off. */
import type { Connection, Table } from "@lancedb/lancedb";
import type { Vector } from "apache-arrow";
import type { CatalogueRow } from "../../core/catalogue.ts";
import { RecommenderError, throwIfAborted } from "../../core/errors.ts";
import type { SentenceEncoder } from "../../encoders/encoder.ts";
import { normalizeText, toFtsOptions } from "./analysis.ts";
import { filterColumn, readFilterValues, type FilterType } from "./filter.ts";
import { loadNative, type Arrow } from "./native.ts";
import type { IndexProgress, Settings } from "./options.ts";
import { leastIndexedRows, toAnnIndex } from "./vector-index.ts";

export const tableName = "items";
export const vectorColumn = "vector";

/** Rows of one write; bounded by text, too, so that long documents don't fill the memory. */
const batchRows = 20_000;
const batchCharacters = 16_000_000;
/** Rows of one write with vectors: a minute's work or so, which is what an interruption can cost. */
const encodedBatchRows = 2048;

export interface FillPlan {
  settings: Settings;
  /** For settings that search by vectors. */
  encoder: SentenceEncoder | undefined;
  /** Checked rows, in the catalogue's order. */
  readRows: () => AsyncIterable<CatalogueRow>;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: Omit<IndexProgress, "total">) => void) | undefined;
  /** Called when a write is done, before the next. */
  onWrite?: () => Promise<void>;
}

function payloadOf(row: CatalogueRow, storedFields: readonly string[]): string {
  const stored: Record<string, unknown> = {};
  for (const field of storedFields) {
    if (Object.hasOwn(row.fields, field))
      Object.defineProperty(stored, field, { value: row.fields[field], enumerable: true });
  }
  return JSON.stringify(stored);
}

/** Rows by batches, the first `skip` left out. */
async function* toBatches(plan: FillPlan, skip: number): AsyncGenerator<CatalogueRow[]> {
  const most = plan.encoder ? encodedBatchRows : batchRows;
  let batch: CatalogueRow[] = [];
  let characters = 0;
  let seen = 0;
  for await (const row of plan.readRows()) {
    if (++seen <= skip) continue;
    batch.push(row);
    // Fields that are stored are about as long as those that are searched, or they are those.
    characters += 2 * row.texts.reduce((sum, text) => sum + text.length, 0);
    if (batch.length >= most || characters >= batchCharacters) {
      yield batch;
      batch = [];
      characters = 0;
    }
  }
  if (batch.length > 0) yield batch;
}

function filterVector(arrow: Arrow, values: unknown[], type: FilterType): Vector {
  if (type === "number") return arrow.vectorFromArray(values as number[], new arrow.Float64());
  if (type === "boolean") return arrow.vectorFromArray(values as boolean[], new arrow.Bool());
  if (type === "string") return arrow.vectorFromArray(values as string[], new arrow.Utf8());
  const list = new arrow.List(new arrow.Field("item", new arrow.Utf8(), true));
  return arrow.vectorFromArray(values as string[][], list);
}

/** `[rows, dimensions]` row-major as a column of lists of one size. */
function vectorsOf(arrow: Arrow, data: Float32Array, dimensions: number): Vector {
  const child = arrow.makeData({ type: new arrow.Float32(), data, length: data.length, nullCount: 0 });
  const type = new arrow.FixedSizeList(dimensions, new arrow.Field("item", new arrow.Float32(), true));
  return new arrow.Vector([arrow.makeData({ type, length: data.length / dimensions, nullCount: 0, child })]);
}

async function toTable(plan: FillPlan, rows: readonly CatalogueRow[], firstRow: number) {
  const { settings, encoder } = plan;
  const { arrow } = await loadNative();
  const utf8 = (values: string[]): Vector => arrow.vectorFromArray(values, new arrow.Utf8());
  const columns: Record<string, Vector> = {
    id: utf8(rows.map(({ id }) => id)),
    payload: utf8(rows.map((row) => payloadOf(row, settings.storedFields))),
  };
  const [first] = settings.textColumns;
  if (settings.textColumns.length === 1 && first?.name === "text") {
    columns.text = utf8(rows.map(({ texts }) => normalizeText(texts.join("\n"))));
  } else {
    settings.textColumns.forEach(({ name }, i) => {
      columns[name] = utf8(rows.map(({ texts }) => normalizeText(texts[i] ?? "")));
    });
  }
  const filters = rows.map(({ fields }, i) =>
    readFilterValues(fields, settings.filterFields, `row ${firstRow + i + 1}`),
  );
  Object.values(settings.filterFields).forEach((type, i) => {
    const values = filters.map((row) => row[i]);
    columns[filterColumn(i)] = filterVector(arrow, values, type);
  });
  if (encoder) {
    const texts = rows.map((row) => row.texts.filter((text) => text !== "").join("\n"));
    const vectors = await encoder.encode(texts, "document", {
      ...(plan.signal ? { signal: plan.signal } : {}),
      onProgress: (done) => plan.onProgress?.({ stage: "reading", rows: firstRow + done }),
    });
    columns[vectorColumn] = vectorsOf(arrow, vectors, encoder.dimensions);
  }
  return new arrow.Table(columns);
}

/** The table that an earlier call left; undefined where there is none, or none that can be read. */
async function openPartial(connection: Connection): Promise<Table | undefined> {
  if (!(await connection.tableNames()).includes(tableName)) return undefined;
  try {
    return await connection.openTable(tableName);
  } catch {
    await connection.dropTable(tableName);
    return undefined;
  }
}

/**
 * Stores the rows and makes the indexes. What an earlier call with the same plan stored stays.
 * @returns how many rows there are
 * @throws DataError, RecommenderError, AbortError
 */
export async function fillTable(connection: Connection, plan: FillPlan): Promise<number> {
  const { lance } = await loadNative();
  const { settings } = plan;
  let table = await openPartial(connection);
  let rows = table ? await table.countRows() : 0;
  if (rows > 0) plan.onProgress?.({ stage: "reading", rows });
  for await (const batch of toBatches(plan, rows)) {
    throwIfAborted(plan.signal);
    const data = await toTable(plan, batch, rows);
    if (table) await table.add(data);
    else table = await connection.createTable(tableName, data);
    await plan.onWrite?.();
    rows += batch.length;
    plan.onProgress?.({ stage: "reading", rows });
  }
  if (!table) throw new RecommenderError("RECOMMENDER_NO_ROWS", "lancedb: there are no rows to index.");
  throwIfAborted(plan.signal);
  plan.onProgress?.({ stage: "indexing", rows });
  if (settings.search !== "dense") {
    for (const { name } of settings.textColumns) {
      await table.createIndex(name, { config: lance.Index.fts(toFtsOptions(settings.analysis)), replace: true });
    }
  }
  if (plan.encoder && settings.vectors.index === "ann" && rows >= leastIndexedRows) {
    await table.createIndex(vectorColumn, { config: toAnnIndex(lance, settings.vectors, rows), replace: true });
  }
  table.close();
  return rows;
}
