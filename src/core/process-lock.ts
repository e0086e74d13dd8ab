/** One process at a time: a lock file that names its owner, taken over when that process is gone. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { link, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { describeFileError, isRunning, isTemporaryName, temporaryName } from "./atomic-write.ts";

export interface LockOwner {
  pid: number;
  host: string;
  /** When the process started, in the kernel's own unit; tells a reused pid apart. Null where unknown. */
  startedAt: string | null;
  token: string;
}

export interface ProcessLock {
  release(): Promise<void>;
}

/** A takeover that names nobody and lasts longer than this belongs to a process that died in it. */
const takeoverTimeoutMs = 10_000;

/** Nobody takes longer to write a few bytes: a temporary file that names nobody after this was cut off. */
const cutOffAfterMs = 1000;

/**
 * Takes the lock at `path`, unless a living process (or this one) holds it.
 * @returns the lock, and who died with it, if anybody; or who has it (undefined where that can't be read)
 * @throws RecR1Error where the file can't be written
 */
export async function tryProcessLock(
  path: string,
): Promise<{ lock: ProcessLock; dead: LockOwner | undefined } | { lock: null; owner: LockOwner | undefined }> {
  const mine: LockOwner = {
    pid: process.pid,
    host: hostname(),
    startedAt: processStart(process.pid),
    token: randomBytes(8).toString("hex"),
  };
  const content = JSON.stringify(mine);
  let dead: LockOwner | undefined;
  if (!(await createExclusively(path, content))) {
    const owner = await readOwner(path);
    if (owner && isAlive(owner)) return { lock: null, owner };
    dead = owner;
    const other = await takeOver(path, content);
    if (other) return { lock: null, owner: other.owner };
  }
  await removeTemporaries(path);
  return {
    lock: {
      release: async () => {
        if ((await readOwner(path))?.token === mine.token) await rm(path, { force: true });
      },
    },
    dead,
  };
}

/** Creates a file with its content in one go, so that nobody sees it empty; false where it exists. */
async function createExclusively(path: string, content: string): Promise<boolean> {
  const temporary = temporaryName(path);
  try {
    await writeFile(temporary, content);
    await link(temporary, path).catch(async (error: NodeJS.ErrnoException) => {
      if (!["EPERM", "ENOSYS", "ENOTSUP"].includes(error.code ?? "")) throw error;
      // A file system without hard links: exclusive creation is the next best thing.
      await writeFile(path, content, { flag: "wx" });
    });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw describeFileError(error, "create the lock", path);
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Replaces a dead owner's lock; only one process at a time may do so, and it looks again before it does.
 * @returns who was faster; undefined where the lock was taken over
 */
async function takeOver(path: string, content: string): Promise<{ owner: LockOwner | undefined } | undefined> {
  const gate = `${path}.takeover`;
  if (!(await createExclusively(gate, content))) {
    const holder = await readOwner(gate);
    const isHeld = holder ? isAlive(holder) : (await ageOf(gate)) < takeoverTimeoutMs;
    if (isHeld) return { owner: holder };
    await clearGate(gate, holder);
    if (!(await createExclusively(gate, content))) return { owner: await readOwner(gate) };
  }
  try {
    const owner = await readOwner(path);
    if (owner && isAlive(owner)) return { owner };
    if (!owner) {
      // Given back in the meantime: whoever creates it first has it. What exists and names nobody was cut off.
      if (await createExclusively(path, content)) return undefined;
      const newOwner = await readOwner(path);
      if (newOwner) return { owner: newOwner };
    }
    const temporary = temporaryName(path);
    await writeFile(temporary, content);
    await rename(temporary, path);
    return undefined;
  } finally {
    await rm(gate, { force: true });
  }
}

/** Removes the gate of a process that died in it; one that a living process has made since is put back. */
async function clearGate(gate: string, dead: LockOwner | undefined): Promise<void> {
  const aside = temporaryName(gate);
  try {
    await rename(gate, aside);
    if ((await readOwner(aside))?.token !== dead?.token) await link(aside, gate).catch(() => undefined);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  } finally {
    await rm(aside, { force: true });
  }
}

/** Removes what processes that were killed while they took the lock left beside it. */
async function removeTemporaries(path: string): Promise<void> {
  const folder = dirname(path);
  const names = await readdir(folder).catch((): string[] => []);
  for (const name of names.filter((name) => name.startsWith(`${basename(path)}.`) && isTemporaryName(name))) {
    const temporary = join(folder, name);
    const owner = await readOwner(temporary);
    const isDead = owner ? !isAlive(owner) : (await ageOf(temporary)) > cutOffAfterMs;
    if (isDead) await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** Milliseconds since a file was written; 0 where there is none. */
function ageOf(path: string): Promise<number> {
  return stat(path).then(
    (info) => Date.now() - info.mtimeMs,
    () => 0,
  );
}

async function readOwner(path: string): Promise<LockOwner | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as LockOwner;
  } catch {
    // Absent, or cut off in the middle of a write: its owner is dead either way.
    return undefined;
  }
}

/** Who holds the lock at `path` now; undefined where nobody does, or its owner is gone. */
export async function readLivingOwner(path: string): Promise<LockOwner | undefined> {
  const owner = await readOwner(path);
  return owner && isAlive(owner) ? owner : undefined;
}

function isAlive(owner: LockOwner): boolean {
  // Another machine's processes can't be seen from here (network file systems): better to ask than to break its work.
  if (owner.host !== hostname()) return true;
  if (!isRunning(owner.pid)) return false;
  const startedAt = processStart(owner.pid);
  return startedAt === null || owner.startedAt === null || startedAt === owner.startedAt;
}

/** A process's start in clock ticks since boot (field 22 of Linux's /proc/PID/stat); null elsewhere. */
function processStart(pid: number): string | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}
