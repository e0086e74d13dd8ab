/** Files that are either whole or absent, whatever happens to the process in the meantime. */
import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { RecR1Error } from "./errors.ts";

const reasons: Record<string, { code: string; what: string; advice: string }> = {
  ENOSPC: { code: "DISK_FULL", what: "the disk is full", advice: "Free some space and try again." },
  EDQUOT: { code: "DISK_FULL", what: "the disk quota is used up", advice: "Free some space and try again." },
  EACCES: { code: "NO_PERMISSION", what: "permission denied", advice: "Check the owner and mode of the path." },
  EPERM: { code: "NO_PERMISSION", what: "operation not permitted", advice: "Check the owner and mode of the path." },
  EROFS: { code: "READ_ONLY", what: "the file system is read-only", advice: "Choose a folder that can be written." },
  ENOENT: { code: "NOT_FOUND", what: "no such file or folder", advice: "Check the path." },
  ENOTDIR: { code: "NOT_A_FOLDER", what: "a part of the path is a file", advice: "Check the path." },
  EEXIST: { code: "NOT_A_FOLDER", what: "a file of that name is in the way", advice: "Check the path." },
  EISDIR: { code: "IS_A_FOLDER", what: "the path is a folder", advice: "Give the path of a file." },
  ENOMEM: { code: "OUT_OF_MEMORY", what: "there is not enough memory", advice: "Free some and try again." },
  EMFILE: { code: "TOO_MANY_FILES", what: "too many open files", advice: "Raise the limit (ulimit -n)." },
  ENFILE: { code: "TOO_MANY_FILES", what: "too many open files", advice: "Raise the system's limit." },
};

/** Names what failed and what to do for a file-system error; any other error comes back as it is. */
export function describeFileError(error: unknown, action: string, path: string): unknown {
  if (error instanceof RecR1Error || !(error instanceof Error)) return error;
  const reason = reasons[(error as NodeJS.ErrnoException).code ?? ""];
  if (!reason) return error;
  return new RecR1Error(reason.code, `Could not ${action} ${path}: ${reason.what}. ${reason.advice}`, {
    cause: error,
    details: { path },
  });
}

/**
 * Makes a folder and those above it.
 * @throws RecR1Error `READ_ONLY`, `NO_PERMISSION` … with the path
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await makeWithParents(resolve(path));
  } catch (error) {
    throw describeFileError(error, "make the folder", path);
  }
}

/**
 * Makes a folder and those above it, with errors as Node has them: for callers that say themselves what failed. Node's own
 * `recursive` never ends where a folder that exists refuses with ENOENT, as those of /proc do.
 */
export async function makeWithParents(path: string): Promise<void> {
  const tryOnce = async (): Promise<NodeJS.ErrnoException | undefined> => {
    try {
      await mkdir(path);
      return undefined;
    } catch (error) {
      const isThere = await stat(path).then(
        (entry) => entry.isDirectory(),
        () => false,
      );
      return isThere ? undefined : (error as NodeJS.ErrnoException);
    }
  };
  let failure = await tryOnce();
  if (failure?.code === "ENOENT" && dirname(path) !== path) {
    await makeWithParents(dirname(path));
    failure = await tryOnce();
  }
  if (failure) throw failure;
}

/** Asks the system to put a folder's entries on disk; file systems that can't are left alone. */
export async function flushDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } catch (error) {
    // Windows and some network file systems refuse fsync on folders; the rename itself is still atomic there.
    if (!["EPERM", "EINVAL", "EISDIR", "ENOTSUP"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  } finally {
    await handle.close();
  }
}

/** Puts every file and folder below `path` on disk. */
export async function flushTree(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) await flushTree(child);
    else if (entry.isFile()) {
      const handle = await open(child, "r+");
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
  }
  await flushDirectory(path);
}

/** A name beside `path` that nobody else uses; recognised by {@link isTemporaryName}. */
export function temporaryName(path: string): string {
  return `${path}.tmp-${process.pid}-${randomBytes(4).toString("hex")}`;
}

/**
 * Gives a finished folder its name. What has that name already is moved out of the way first, whole, so that no reader
 * sees a part, and then removed.
 * @throws Error as Node has it
 */
export async function replaceFolder(finished: string, folder: string): Promise<void> {
  const discarded = temporaryName(folder);
  await rename(folder, discarded).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  await rename(finished, folder);
  await rm(discarded, { recursive: true, force: true });
}

/** Whether a file was left behind by an interrupted write. */
export function isTemporaryName(path: string): boolean {
  return /\.tmp-\d+-[0-9a-f]{8}$/.test(path);
}

/** Removes what interrupted writes left in the folder `path`, but for those of processes that live. */
export async function removeLeftovers(path: string): Promise<void> {
  for (const name of await readdir(path)) {
    const pid = Number(/\.tmp-(\d+)-[0-9a-f]{8}$/.exec(name)?.[1]);
    if (pid > 0 && pid !== process.pid && !isRunning(pid)) await rm(join(path, name), { recursive: true, force: true });
  }
}

/**
 * Makes a folder, or takes one that is empty. The folder above must be there: a run whose folder was removed doesn't
 * bring it back.
 * @throws Error as Node has it, or saying that the folder is not empty
 */
export async function makeEmptyFolder(path: string): Promise<void> {
  await mkdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  if ((await readdir(path)).length > 0) {
    throw new Error("the folder is not empty; a state goes to a folder of its own");
  }
}

/** Whether this machine has a process of that number. */
export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/**
 * Writes a file so that readers see the old or the new content and never a part: temporary name, flush, rename.
 * @param options.makeFolders whether missing folders are made; default true
 * @throws RecR1Error `DISK_FULL`, `NO_PERMISSION` … with the path
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  { makeFolders = true }: { makeFolders?: boolean } = {},
): Promise<void> {
  const temporary = temporaryName(path);
  try {
    if (makeFolders) await makeFolder(dirname(path));
    const handle = await open(temporary, "wx");
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
    await flushDirectory(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw describeFileError(error, "write", path);
  }
}
