/**
 * Where pulled models are kept: a folder for each, whole or absent, with a list of its files, sizes and hashes. One process
 * at a time pulls a model; others wait for it.
 */
import { open, readFile, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { isAbsolute, join, normalize } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { AbortError, throwIfAborted } from "../core/errors.ts";
import { tryProcessLock } from "../core/process-lock.ts";
import { hashFile } from "./http-download.ts";

const manifestName = "rec-r1-model.json";

export interface CachedModel {
  name: string;
  /** What it was fetched from. */
  source: string;
  /** A folder in Hugging Face layout, or a .gguf file. */
  path: string;
  byteLength: number;
}

interface Manifest {
  name: string;
  source: string;
  files: { name: string; byteLength: number; sha256: string; modifiedMs: number }[];
}

/**
 * The folder of pulled models: `REC_R1_HOME`/models; otherwise in the system's cache folder (`XDG_CACHE_HOME`, `~/.cache`;
 * `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows), rec-r1/models.
 */
export function modelCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.REC_R1_HOME) return join(env.REC_R1_HOME, "models");
  const home = homedir();
  const systemDir =
    process.platform === "win32"
      ? env.LOCALAPPDATA || join(home, "AppData", "Local")
      : process.platform === "darwin"
        ? join(home, "Library", "Caches")
        : join(home, ".cache");
  return join(env.XDG_CACHE_HOME || systemDir, "rec-r1", "models");
}

/**
 * The model of this name in `cacheDir`; null where it isn't there, or a file has another size or other contents than when
 * it was pulled. Files that nobody has touched since are not read again.
 */
export async function findCachedModel(cacheDir: string, name: string): Promise<CachedModel | null> {
  const folder = join(cacheDir, name);
  let manifest: Manifest;
  try {
    manifest = JSON.parse(await readFile(join(folder, manifestName), "utf8")) as Manifest;
    if (manifest.files.length === 0) return null;
    for (const file of manifest.files) {
      if (!isInside(file.name) || !(await isIntact(join(folder, file.name), file))) return null;
    }
  } catch {
    // Absent, unreadable or malformed: all mean that the model has to be pulled, which says what is wrong.
    return null;
  }
  const gguf = manifest.files.find((file) => file.name.endsWith(".gguf"));
  return {
    name,
    source: manifest.source,
    path: gguf ? join(folder, gguf.name) : folder,
    byteLength: manifest.files.reduce((sum, file) => sum + file.byteLength, 0),
  };
}

/** Whether a file's name keeps to the model's folder. */
const isInside = (name: string): boolean => !isAbsolute(name) && !normalize(name).startsWith("..");

async function isIntact(path: string, file: Manifest["files"][number]): Promise<boolean> {
  const stats = await stat(path);
  if (stats.size !== file.byteLength) return false;
  return stats.mtimeMs === file.modifiedMs || (await hashFile(path, stats.size)).sha256 === file.sha256;
}

/**
 * Makes the files of `staging` the cached model `name`, in one step.
 * @param hashes SHA-256 by file name
 */
export async function commitModel(
  cacheDir: string,
  name: string,
  source: string,
  staging: string,
  hashes: ReadonlyMap<string, string>,
): Promise<void> {
  const files: Manifest["files"] = [];
  for (const [file, sha256] of hashes) {
    const stats = await stat(join(staging, file));
    files.push({ name: file, byteLength: stats.size, sha256, modifiedMs: stats.mtimeMs });
  }
  const manifest: Manifest = { name, source, files };
  const handle = await open(join(staging, manifestName), "w");
  try {
    await handle.writeFile(`${JSON.stringify(manifest, null, 2)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  const folder = join(cacheDir, name);
  // What is there now failed its checks, or it would have been used.
  await rm(folder, { recursive: true, force: true });
  await rename(staging, folder);
}

/**
 * Runs `work` while no other process of this machine pulls the same model.
 * @param onWait called once where another process is at it
 */
export async function withModelLock<T>(
  cacheDir: string,
  name: string,
  signal: AbortSignal | undefined,
  onWait: () => void,
  work: () => Promise<T>,
): Promise<T> {
  const path = join(cacheDir, `${name}.lock`);
  let { lock } = await tryProcessLock(path);
  for (let waits = 0; !lock; waits++) {
    if (waits === 0) onWait();
    try {
      await sleep(200, undefined, signal ? { signal } : {});
    } catch {
      throw new AbortError();
    }
    ({ lock } = await tryProcessLock(path));
  }
  try {
    throwIfAborted(signal);
    return await work();
  } finally {
    await lock.release();
  }
}
