/**
 * Checkpoints of a run: whole or absent, checked when loaded, the newest good one is used, old ones are removed. What
 * the engine and the trainer keep in one is theirs to know.
 */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { describeFileError, flushDirectory, flushTree, isTemporaryName, temporaryName } from "../core/atomic-write.ts";
import { sha256OfFile } from "../core/checksum.ts";
import { CheckpointError } from "../core/errors.ts";

/** Size and SHA-256 of every file of a checkpoint, by its path inside (`/` between folders). */
type Checksums = Record<string, { bytes: number; sha256: string }>;

const checksumFile = "checksums.json";
const trainerFile = "trainer.json";

export interface Checkpoint<State> {
  step: number;
  /** The checkpoint's folder. */
  dir: string;
  /** Where the engine's own files are. */
  engineDir: string;
  /** What the trainer stored. */
  state: State;
}

export interface PruneOptions {
  keepLast: number;
  keepSteps: readonly number[];
  dropEngine?: ((engineDir: string) => Promise<void>) | undefined;
}

/** Name of the checkpoint after `step` steps: `step-000010`. */
export function stepName(step: number): string {
  return `step-${String(step).padStart(6, "0")}`;
}

/** The step in a name made by {@link stepName}, or undefined for any other name. */
export function stepOfName(name: string): number | undefined {
  const match = /^step-(\d{6,})$/.exec(name);
  return match ? Number(match[1]) : undefined;
}

/** Steps that have a checkpoint in `checkpointsDir`, ascending. */
export async function listCheckpoints(checkpointsDir: string): Promise<number[]> {
  const names = await readdir(checkpointsDir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw describeFileError(error, "list", checkpointsDir);
  });
  return names
    .map(stepOfName)
    .filter((step) => step !== undefined)
    .sort((a, b) => a - b);
}

/**
 * Writes a checkpoint into a folder that exists: everything goes to a temporary folder that is flushed to disk and then renamed.
 * @param saveEngine writes the engine's files to the absent folder it is given
 * @throws RecR1Error `DISK_FULL` …; what was there before stays as it was
 */
export async function writeCheckpoint(
  checkpointsDir: string,
  step: number,
  state: unknown,
  saveEngine: (dir: string) => Promise<void>,
): Promise<void> {
  const target = join(checkpointsDir, stepName(step));
  const temporary = temporaryName(target);
  try {
    await mkdir(temporary);
    await saveEngine(join(temporary, "engine"));
    await writeFile(join(temporary, trainerFile), `${JSON.stringify(state, null, 2)}\n`);
    const checksums: Checksums = {};
    for (const file of await listFiles(temporary)) {
      const path = join(temporary, file);
      checksums[file] = { bytes: (await stat(path)).size, sha256: await sha256OfFile(path) };
    }
    await writeFile(join(temporary, checksumFile), `${JSON.stringify(checksums, null, 2)}\n`);
    await flushTree(temporary);
    await rm(target, { recursive: true, force: true });
    await rename(temporary, target);
    await flushDirectory(checkpointsDir);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    // What an engine says of a full disk is that its own files couldn't be written; the reason is below that.
    const reason = error instanceof CheckpointError && error.cause instanceof Error ? error.cause : error;
    const described = describeFileError(reason, "write the checkpoint", target);
    throw described === reason ? error : described;
  }
}

/**
 * Reads the checkpoint of `step` after comparing every file with its checksum.
 * @throws CheckpointError `CHECKPOINT_MISSING` or `CHECKPOINT_DAMAGED`
 */
export async function readCheckpoint<State>(checkpointsDir: string, step: number): Promise<Checkpoint<State>> {
  const dir = join(checkpointsDir, stepName(step));
  const damaged = (what: string, cause?: unknown): CheckpointError =>
    new CheckpointError("CHECKPOINT_DAMAGED", `The checkpoint ${dir} is damaged: ${what}.`, {
      cause,
      details: { dir, step },
    });
  if (!(await stat(dir).catch(() => undefined))) {
    throw new CheckpointError("CHECKPOINT_MISSING", `There is no checkpoint ${dir}.`, { details: { dir, step } });
  }
  let checksums: Checksums;
  try {
    checksums = JSON.parse(await readFile(join(dir, checksumFile), "utf8")) as Checksums;
  } catch (error) {
    throw damaged(`${checksumFile} can't be read`, error);
  }
  for (const [file, expected] of Object.entries(checksums)) {
    const path = join(dir, file);
    const info = await stat(path).catch(() => undefined);
    if (!info) throw damaged(`${file} is missing`);
    if (info.size !== expected.bytes) throw damaged(`${file} has ${info.size} bytes, expected ${expected.bytes}`);
    if ((await sha256OfFile(path)) !== expected.sha256) throw damaged(`the checksum of ${file} differs`);
  }
  try {
    const state = JSON.parse(await readFile(join(dir, trainerFile), "utf8")) as State;
    return { step, dir, engineDir: join(dir, "engine"), state };
  } catch (error) {
    throw damaged(`${trainerFile} can't be read`, error);
  }
}

/**
 * The newest checkpoint that is whole, or undefined where there is none.
 * @param onDamaged told of every newer one that was passed over
 */
export async function readNewestCheckpoint<State>(
  checkpointsDir: string,
  onDamaged: (error: CheckpointError) => void,
): Promise<Checkpoint<State> | undefined> {
  for (const step of (await listCheckpoints(checkpointsDir)).reverse()) {
    try {
      return await readCheckpoint<State>(checkpointsDir, step);
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      onDamaged(error);
    }
  }
  return undefined;
}

/**
 * Removes all checkpoints but the newest `keepLast` and those of `keepSteps`, and leftovers of broken writes.
 * @param dropEngine told of the engine's folder in each checkpoint before it goes
 */
export async function pruneCheckpoints(
  checkpointsDir: string,
  { keepLast, keepSteps, dropEngine }: PruneOptions,
): Promise<void> {
  const steps = await listCheckpoints(checkpointsDir);
  const kept = new Set([...steps.slice(-keepLast), ...keepSteps]);
  const removed = steps.filter((step) => !kept.has(step)).map(stepName);
  for (const name of removed) await dropEngine?.(join(checkpointsDir, name, "engine"));
  const leftovers = (await readdir(checkpointsDir).catch(() => [])).filter(isTemporaryName);
  for (const name of [...removed, ...leftovers]) {
    await rm(join(checkpointsDir, name), { recursive: true, force: true });
  }
}

async function listFiles(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
}
