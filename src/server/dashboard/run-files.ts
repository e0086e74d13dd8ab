/**
 * The runs folder as far as the dashboard may see it: runs are found by looking, never by a path that somebody sent, and
 * no file is opened through a link.
 */
import { constants } from "node:fs";
import { open, readdir, realpath, type FileHandle } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { ConfigError } from "../../core/errors.ts";
import { HttpError } from "../http/http-error.ts";

/** Folders below the runs folder in which runs are looked for. */
const maxDepth = 3;
/** Runs listed. */
const maxRuns = 2_000;
/** How long a listing is believed, in milliseconds. */
const listingMs = 2_000;
/** Largest file that is read whole, in bytes. */
const maxWholeFile = 256 * 1024 * 1024;

/** Opens files of one run. */
export interface RunFiles {
  readonly id: string;
  /** Absolute, without links. */
  readonly dir: string;
}

/** The folder that holds runs, or is one. */
export class RunsFolder {
  readonly root: string;
  private listing: { at: number; runs: Promise<Map<string, RunFiles>> } | undefined;

  private constructor(root: string) {
    this.root = root;
  }

  /** @throws ConfigError `NO_RUNS_FOLDER` */
  static async open(path: string): Promise<RunsFolder> {
    try {
      const root = await realpath(path);
      await readdir(root);
      return new RunsFolder(root);
    } catch (cause) {
      throw new ConfigError(
        "NO_RUNS_FOLDER",
        `There is no folder ${path} to show runs of. Start one with: rec-r1 train TASK --run ${path}/NAME, or give the folder that has them.`,
        { cause },
      );
    }
  }

  /** Runs by id. */
  async list(): Promise<Map<string, RunFiles>> {
    const now = performance.now();
    if (!this.listing || now - this.listing.at > listingMs) this.listing = { at: now, runs: this.look() };
    return this.listing.runs;
  }

  /** @throws HttpError 404 for anything that isn't in the list */
  async find(id: string): Promise<RunFiles> {
    const run = (await this.list()).get(id) ?? (await this.look()).get(id);
    if (run) return run;
    throw new HttpError(404, "NO_RUN", "There is no such run here.");
  }

  private async look(): Promise<Map<string, RunFiles>> {
    const found = new Map<string, RunFiles>();
    const visit = async (dir: string, depth: number): Promise<void> => {
      const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
      if (entries.some((entry) => entry.name === "config.json" && entry.isFile())) {
        const id = relative(this.root, dir).split(sep).join("/") || ".";
        if (found.size < maxRuns) found.set(id, { id, dir });
        return;
      }
      if (depth === maxDepth) return;
      // Links are no directories here, so that none is followed.
      for (const entry of entries) {
        if (entry.isDirectory() && !entry.name.startsWith(".")) await visit(join(dir, entry.name), depth + 1);
      }
    };
    await visit(this.root, 0);
    return found;
  }
}

/**
 * Opens a file of a run for reading; undefined where it has none.
 * @param path names of the program's own choosing, or checked ones
 * @throws HttpError 403 `OUTSIDE` where the file, or a folder on the way, is a link
 */
export async function openRunFile({ dir }: RunFiles, ...path: string[]): Promise<FileHandle | undefined> {
  const full = join(dir, ...path);
  try {
    if ((await realpath(full)) !== full) {
      throw new HttpError(403, "OUTSIDE", "Files behind links are not shown.");
    }
    const file = await open(full, constants.O_RDONLY | constants.O_NOFOLLOW);
    if ((await file.stat()).isFile()) return file;
    await file.close();
    return undefined;
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}

/** Names in a folder of a run, sorted; empty where it has no such folder, or it is a link. */
export async function listRunFolder({ dir }: RunFiles, ...path: string[]): Promise<string[]> {
  const full = join(dir, ...path);
  const real = await realpath(full).catch(() => undefined);
  if (real !== full) return [];
  return (await readdir(full).catch(() => [])).sort();
}

/** A JSON file of a run; undefined where it has none, or it is being written. */
export async function readRunJson<T>(run: RunFiles, ...path: string[]): Promise<T | undefined> {
  const file = await openRunFile(run, ...path);
  if (!file) return undefined;
  try {
    if ((await file.stat()).size > maxWholeFile) {
      throw new HttpError(413, "FILE_TOO_LARGE", `${path.join("/")} is too large to be shown.`);
    }
    return JSON.parse(await file.readFile("utf8")) as T;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  } finally {
    await file.close();
  }
}

/** The last whole lines of a file, at most `maxBytes` of them. */
export async function readLastLines(run: RunFiles, name: string, maxBytes = 64 * 1024): Promise<string[]> {
  const file = await openRunFile(run, name);
  if (!file) return [];
  try {
    const { size } = await file.stat();
    const length = Math.min(size, maxBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    const lines = buffer.toString("utf8", 0, bytesRead).split("\n");
    return lines.slice(size > length ? 1 : 0, -1);
  } finally {
    await file.close();
  }
}
