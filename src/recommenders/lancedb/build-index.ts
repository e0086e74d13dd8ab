/**
 * The index of one catalogue: built into a folder named after its contents and settings, whole or not at all, and
 * opened again as long as they are the same. Two processes may build the same index at once: each builds its own
 * folder, the first to finish gives it its name and the other's is discarded.
 */
import type { Connection, Table } from "@lancedb/lancedb";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { describeFileError, flushTree, isTemporaryName, temporaryName } from "../../core/atomic-write.ts";
import type { CatalogueRow } from "../../core/catalogue.ts";
import { RecommenderError, throwIfAborted } from "../../core/errors.ts";
import { normalizeText, toFtsOptions, type Analysis } from "./analysis.ts";
import { ItemStore } from "./item-store.ts";
import { loadNative } from "./native.ts";
import { raceAbort } from "../race-abort.ts";

/** `indexDir` of an index that is kept in memory and gone when it is closed. */
export const inMemory = "memory://";

export const textColumn = "text";
const tableName = "items";
const manifestName = "index.json";
/** Rows of one write; bounded by text, too, so that long documents don't fill the memory. */
const batchRows = 20_000;
const batchCharacters = 16_000_000;
/** Folders of builds that were cut off are swept away after this time. */
const staleBuildMs = 24 * 3600 * 1000;

export interface IndexProgress {
  /** `reading`: rows are stored; `indexing`: all rows are, the full-text index is made; `ready`: it can be asked. */
  stage: "reading" | "indexing" | "ready";
  /** Rows so far. */
  rows: number;
}

export interface IndexPlan {
  /** SHA-256 of contents and settings, in hexadecimal. */
  key: string;
  /** Checked rows, in the catalogue's order. Called only when there is no such index yet. */
  readRows: () => AsyncIterable<CatalogueRow>;
  /** Fields kept for display. */
  storedFields: readonly string[];
  analysis: Analysis;
  /** Folder of indexes, or {@link inMemory}. */
  indexDir: string;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: IndexProgress) => void) | undefined;
}

export interface OpenIndex {
  connection: Connection;
  table: Table;
  items: ItemStore;
}

interface Manifest {
  key: string;
  rows: number;
  /** Size in bytes of every file, by path: a cut-off copy is found out before it answers. */
  sizes: Record<string, number>;
}

interface Batch {
  ids: string[];
  texts: string[];
  payloads: string[];
  characters: number;
}

function payloadOf(row: CatalogueRow, storedFields: readonly string[]): string {
  const stored: Record<string, unknown> = {};
  for (const field of storedFields) {
    if (Object.hasOwn(row.fields, field))
      Object.defineProperty(stored, field, { value: row.fields[field], enumerable: true });
  }
  return JSON.stringify(stored);
}

async function* toBatches(rows: AsyncIterable<CatalogueRow>, storedFields: readonly string[]): AsyncGenerator<Batch> {
  const empty = (): Batch => ({ ids: [], texts: [], payloads: [], characters: 0 });
  let batch = empty();
  for await (const row of rows) {
    const text = normalizeText(row.texts.join("\n"));
    const payload = payloadOf(row, storedFields);
    batch.ids.push(row.id);
    batch.texts.push(text);
    batch.payloads.push(payload);
    batch.characters += text.length + payload.length;
    if (batch.ids.length >= batchRows || batch.characters >= batchCharacters) {
      yield batch;
      batch = empty();
    }
  }
  if (batch.ids.length > 0) yield batch;
}

/** Stores the rows and makes the full-text index. @returns how many rows there are */
async function fill(connection: Connection, plan: IndexPlan): Promise<number> {
  const { lance, arrow } = await loadNative();
  let table: Table | undefined;
  let rows = 0;
  for await (const batch of toBatches(plan.readRows(), plan.storedFields)) {
    throwIfAborted(plan.signal);
    const utf8 = (values: string[]) => arrow.vectorFromArray(values, new arrow.Utf8());
    const data = new arrow.Table({
      id: utf8(batch.ids),
      [textColumn]: utf8(batch.texts),
      payload: utf8(batch.payloads),
    });
    if (table) await table.add(data);
    else table = await connection.createTable(tableName, data);
    rows += batch.ids.length;
    plan.onProgress?.({ stage: "reading", rows });
  }
  if (!table) throw new RecommenderError("RECOMMENDER_NO_ROWS", "lancedb: there are no rows to index.");
  plan.onProgress?.({ stage: "indexing", rows });
  await table.createIndex(textColumn, { config: lance.Index.fts(toFtsOptions(plan.analysis)) });
  table.close();
  return rows;
}

async function open(connection: Connection, expectedRows: number, signal: AbortSignal | undefined): Promise<OpenIndex> {
  const table = await connection.openTable(tableName);
  const items = new ItemStore();
  for await (const batch of table.query().select(["id", "payload"]).withRowId()) {
    throwIfAborted(signal);
    const ids = batch.getChild("id");
    const payloads = batch.getChild("payload");
    const rowIds = batch.getChild("_rowid");
    for (let i = 0; i < batch.numRows; i++) {
      items.add(Number(rowIds?.get(i)), String(ids?.get(i)), String(payloads?.get(i)));
    }
  }
  if (items.size !== expectedRows) {
    throw new RecommenderError(
      "RECOMMENDER_INDEX_DAMAGED",
      `lancedb: the index has ${items.size} rows; expected ${expectedRows}.`,
    );
  }
  return { connection, table, items };
}

async function sizesOfFiles(folder: string): Promise<Record<string, number>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && entry.name !== manifestName);
  const sizes: Record<string, number> = {};
  for (const { parentPath, name } of files) {
    const path = join(parentPath, name);
    sizes[relative(folder, path).replaceAll(sep, "/")] = (await stat(path)).size;
  }
  return Object.fromEntries(Object.entries(sizes).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The manifest of a whole index; undefined where there is none, or where files are missing or cut off. */
async function readManifest(folder: string, key: string): Promise<Manifest | undefined> {
  let text: string;
  try {
    text = await readFile(join(folder, manifestName), "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw describeFileError(error, "read", folder);
  }
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text) as Manifest;
  } catch {
    return undefined;
  }
  const isWhole = manifest.key === key && JSON.stringify(manifest.sizes) === JSON.stringify(await sizesOfFiles(folder));
  return isWhole && Number.isInteger(manifest.rows) ? manifest : undefined;
}

/** The index in `folder`; undefined where there is none, or none that can be used. */
async function openFolder(folder: string, plan: IndexPlan): Promise<OpenIndex | undefined> {
  const manifest = await readManifest(folder, plan.key);
  if (!manifest) return undefined;
  const { lance } = await loadNative();
  try {
    return await open(await lance.connect(folder), manifest.rows, plan.signal);
  } catch {
    // Whatever is wrong with it, it holds nothing that can't be built again.
    throwIfAborted(plan.signal);
    return undefined;
  }
}

async function sweepStaleBuilds(indexDir: string): Promise<void> {
  for (const name of await readdir(indexDir)) {
    if (!isTemporaryName(name)) continue;
    const path = join(indexDir, name);
    const age = await stat(path).then(
      ({ mtimeMs }) => Date.now() - mtimeMs,
      () => 0,
    );
    if (age > staleBuildMs) await rm(path, { recursive: true, force: true });
  }
}

/** Gives a finished build its name. @returns false where another process was first */
async function publish(build: string, folder: string, plan: IndexPlan): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      await rename(build, folder);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (!["ENOTEMPTY", "EEXIST", "EPERM", "ENOTDIR"].includes(code ?? "")) throw error;
      if (await readManifest(folder, plan.key)) {
        const other = await openFolder(folder, plan);
        if (other) {
          closeIndex(other);
          return false;
        }
      }
      // What is there can't be used: out of the way with it, whole, so that no reader sees a part.
      const discarded = temporaryName(folder);
      await rename(folder, discarded).catch(() => undefined);
      await rm(discarded, { recursive: true, force: true });
    }
  }
  throw new RecommenderError("RECOMMENDER_INDEX_BUSY", `lancedb: ${folder} is used by another program. Try again.`, {
    retryable: true,
  });
}

async function buildFolder(folder: string, plan: IndexPlan): Promise<void> {
  const build = temporaryName(folder);
  const { lance } = await loadNative();
  const work = async (): Promise<void> => {
    try {
      await mkdir(build, { recursive: true });
      await sweepStaleBuilds(plan.indexDir);
      const connection = await lance.connect(build);
      const rows = await fill(connection, plan);
      connection.close();
      throwIfAborted(plan.signal);
      const manifest: Manifest = { key: plan.key, rows, sizes: await sizesOfFiles(build) };
      await writeFile(join(build, manifestName), JSON.stringify(manifest));
      await flushTree(build);
      await publish(build, folder, plan);
    } finally {
      await rm(build, { recursive: true, force: true });
    }
  };
  await raceAbort(work(), plan.signal);
}

/** Errors of LanceDB and of the disk, in our words; our own come back as they are. */
function describeBuildError(error: unknown, indexDir: string): unknown {
  const described = describeFileError(error, "write the index to", indexDir);
  if (described !== error || (error as { code?: unknown } | undefined)?.code !== "GenericFailure") return described;
  const { message } = error as Error;
  const advice = /No space left|os error 28/.test(message) ? " The disk is full: free some space." : "";
  return new RecommenderError(
    "RECOMMENDER_INDEX_FAILED",
    `lancedb: could not build the index in ${indexDir}.${advice}\n${message}`,
    {
      cause: error,
    },
  );
}

/**
 * The plan's index, opened where it exists and built where not.
 * @throws DataError where rows are unusable, RecR1Error where the folder can't be written, RecommenderError where
 * LanceDB fails, AbortError
 */
export async function openOrBuildIndex(plan: IndexPlan): Promise<OpenIndex> {
  throwIfAborted(plan.signal);
  const { lance } = await loadNative();
  try {
    let index: OpenIndex | undefined;
    if (plan.indexDir === inMemory) {
      const connection = await lance.connect(inMemory);
      index = await open(connection, await raceAbort(fill(connection, plan), plan.signal), plan.signal);
    } else {
      const folder = join(plan.indexDir, plan.key.slice(0, 32));
      index = await openFolder(folder, plan);
      if (!index) {
        await buildFolder(folder, plan);
        index = await openFolder(folder, plan);
      }
      if (!index) {
        throw new RecommenderError(
          "RECOMMENDER_INDEX_DAMAGED",
          `lancedb: the index in ${folder} can't be opened right after it was built. Is another program changing it?`,
        );
      }
    }
    plan.onProgress?.({ stage: "ready", rows: index.items.size });
    return index;
  } catch (error) {
    throw describeBuildError(error, plan.indexDir);
  }
}

export function closeIndex({ table, connection }: OpenIndex): void {
  table.close();
  connection.close();
}
