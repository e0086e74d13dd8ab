/**
 * The index of one catalogue: built into a folder named after its contents and settings, whole or not at all, and
 * opened again as long as they are the same. While it is built it lies beside, as `.part`, and what is there is kept
 * when building is cut off: the next time goes on from there. One process builds an index; others that want it wait.
 */
import type { Connection, Table } from "@lancedb/lancedb";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { isAbort, sleep } from "../../core/abort.ts";
import {
  describeFileError,
  flushTree,
  isTemporaryName,
  makeWithParents,
  replaceFolder,
} from "../../core/atomic-write.ts";
import { DataError, ModelError, RecommenderError, throwIfAborted } from "../../core/errors.ts";
import { tryProcessLock, type ProcessLock } from "../../core/process-lock.ts";
import { ExactVectors } from "./exact-vectors.ts";
import { fillTable, tableName, vectorColumn, type FillPlan } from "./fill-table.ts";
import { ItemStore } from "./item-store.ts";
import { loadNative } from "./native.ts";
import { inMemory } from "./options.ts";
import { raceAbort } from "../race-abort.ts";
import { leastIndexedRows } from "./vector-index.ts";

const manifestName = "index.json";
const partSuffix = ".part";
/** Builds that were cut off are swept away after this time. */
const staleBuildMs = 7 * 24 * 3600 * 1000;
/** How often a process looks whether the one that builds is done. */
const pollMs = 200;

export interface IndexPlan extends FillPlan {
  /** SHA-256 of contents and settings, in hexadecimal. */
  key: string;
  /** Folder of indexes, or {@link inMemory}. */
  indexDir: string;
}

export interface OpenIndex {
  connection: Connection;
  table: Table;
  items: ItemStore;
  /** Where vectors are compared exactly. */
  exact: ExactVectors | undefined;
}

interface Manifest {
  key: string;
  rows: number;
  /** Size in bytes of every file, by path: a cut-off copy is found out before it answers. */
  sizes: Record<string, number>;
}

async function open(connection: Connection, expectedRows: number, plan: FillPlan): Promise<OpenIndex> {
  const table = await connection.openTable(tableName);
  const items = new ItemStore();
  const { encoder, settings } = plan;
  const isExact = encoder && (settings.vectors.index === "exact" || expectedRows < leastIndexedRows);
  const matrix = isExact ? ExactVectors.allocate(expectedRows, encoder.dimensions) : undefined;
  const columns = ["id", "payload", ...(matrix ? [vectorColumn] : [])];
  for await (const batch of table.query().select(columns).withRowId()) {
    throwIfAborted(plan.signal);
    const ids = batch.getChild("id");
    const payloads = batch.getChild("payload");
    const rowIds = batch.getChild("_rowid");
    const start = items.size;
    for (let i = 0; i < batch.numRows; i++) {
      items.add(Number(rowIds?.get(i)), String(ids?.get(i)), String(payloads?.get(i)));
    }
    if (matrix && encoder && items.size <= expectedRows) {
      const numbers: unknown = batch.getChild(vectorColumn)?.getChildAt(0)?.toArray();
      if (!(numbers instanceof Float32Array) || numbers.length !== batch.numRows * encoder.dimensions) {
        throw new RecommenderError("RECOMMENDER_INDEX_DAMAGED", "lancedb: the index lacks vectors.");
      }
      matrix.set(numbers, start * encoder.dimensions);
    }
  }
  if (items.size !== expectedRows) {
    throw new RecommenderError(
      "RECOMMENDER_INDEX_DAMAGED",
      `lancedb: the index has ${items.size} rows; expected ${expectedRows}.`,
    );
  }
  const exact = matrix && encoder ? await ExactVectors.create(matrix, encoder.dimensions, items) : undefined;
  return { connection, table, items, exact };
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
    return await open(await lance.connect(folder), manifest.rows, plan);
  } catch {
    // Whatever is wrong with it, it holds nothing that can't be built again.
    throwIfAborted(plan.signal);
    return undefined;
  }
}

/** Removes what interrupted builds left long ago. */
async function sweepStaleBuilds(indexDir: string): Promise<void> {
  for (const name of await readdir(indexDir)) {
    if (!isTemporaryName(name) && !name.endsWith(partSuffix)) continue;
    const path = join(indexDir, name);
    const age = await stat(path).then(
      ({ mtimeMs }) => Date.now() - mtimeMs,
      () => 0,
    );
    if (age > staleBuildMs) await rm(path, { recursive: true, force: true });
  }
}

/** Builds the index in `build`, of which a part may be there already, and moves it to `folder`. */
async function buildFolder(build: string, folder: string, plan: IndexPlan): Promise<void> {
  const { lance } = await loadNative();
  await mkdir(build, { recursive: true });
  try {
    const connection = await lance.connect(build);
    try {
      // What a power failure could take back must not count as stored.
      const rows = await fillTable(connection, { ...plan, onWrite: () => flushTree(build) });
      throwIfAborted(plan.signal);
      const manifest: Manifest = { key: plan.key, rows, sizes: await sizesOfFiles(build) };
      await writeFile(join(build, manifestName), JSON.stringify(manifest));
      await flushTree(build);
    } finally {
      connection.close();
    }
    // What has the name already can't be used, or there would be no build.
    await replaceFolder(build, folder);
  } catch (error) {
    // Rows that were read and encoded well are worth keeping when the disk is full or somebody stopped it; a catalogue
    // that can't be indexed, or a part that LanceDB stumbles over, is not.
    const keeps = isAbort(error) || error instanceof ModelError || isFileSystemError(error);
    if (!keeps) await rm(build, { recursive: true, force: true });
    throw error;
  }
}

const isFileSystemError = (error: unknown): boolean =>
  !(error instanceof DataError) && (error as NodeJS.ErrnoException | undefined)?.syscall !== undefined;

/** Waits until the index is there or can be built by this process, and builds it then. */
async function waitOrBuild(folder: string, plan: IndexPlan): Promise<OpenIndex | undefined> {
  await makeWithParents(plan.indexDir);
  await sweepStaleBuilds(plan.indexDir);
  for (;;) {
    throwIfAborted(plan.signal);
    const taken = await tryProcessLock(`${folder}.lock`);
    if (taken.lock) {
      // The lock is held until the work has really ended, also where the caller has stopped waiting for it.
      return raceAbort(buildUnderLock(folder, plan, taken.lock), plan.signal);
    }
    await sleep(pollMs, plan.signal);
  }
}

async function buildUnderLock(folder: string, plan: IndexPlan, lock: ProcessLock): Promise<OpenIndex | undefined> {
  try {
    const builtMeanwhile = await openFolder(folder, plan);
    if (builtMeanwhile) return builtMeanwhile;
    await buildFolder(`${folder}${partSuffix}`, folder, plan);
  } finally {
    await lock.release();
  }
  return openFolder(folder, plan);
}

/** Removes the lock of a process that was killed between the last step of its build and the lock's release. */
async function clearDeadLock(folder: string): Promise<void> {
  const path = `${folder}.lock`;
  if (!(await stat(path).catch(() => undefined))) return;
  // Where this process may only read, the file is no matter.
  const taken = await tryProcessLock(path).catch(() => undefined);
  await taken?.lock?.release();
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
      index = await open(connection, await raceAbort(fillTable(connection, plan), plan.signal), plan);
    } else {
      const folder = join(plan.indexDir, plan.key.slice(0, 32));
      index = await openFolder(folder, plan);
      if (index) await clearDeadLock(folder);
      else index = await waitOrBuild(folder, plan);
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

export async function closeIndex({ table, connection, exact }: OpenIndex): Promise<void> {
  await exact?.close();
  table.close();
  connection.close();
}
