/** One writer for a run folder. */
import { CheckpointError } from "../core/errors.ts";
import { type LockOwner, type ProcessLock, tryProcessLock } from "../core/process-lock.ts";

/** The lock, and the process that died with it before, if any. */
export interface RunLock extends ProcessLock {
  readonly dead: LockOwner | undefined;
}

/**
 * Takes the lock at `path`.
 * @throws CheckpointError `RUN_IN_USE` while another living process (or this one) holds it
 */
export async function acquireRunLock(path: string): Promise<RunLock> {
  const taken = await tryProcessLock(path);
  if (taken.lock) return { ...taken.lock, dead: taken.dead };
  throw inUse(path, taken.owner);
}

function inUse(path: string, owner: LockOwner | undefined): CheckpointError {
  const who = owner ? `process ${owner.pid} on ${owner.host}` : "another process";
  return new CheckpointError(
    "RUN_IN_USE",
    `The run folder is in use by ${who} (${path}). Wait for it or stop it; if it is certain that it is gone, delete the lock file.`,
    { details: { path, ...(owner ? { pid: owner.pid, host: owner.host } : {}) } },
  );
}
