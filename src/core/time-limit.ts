/** A time limit for work that can't be interrupted by asking: code and patterns that come with a file from elsewhere. */
import { Script } from "node:vm";

const workKey = Symbol.for("rec-r1.limited-work");
const script = new Script(`globalThis[Symbol.for("rec-r1.limited-work")]()`);

/** The work took longer than it may. */
export class TimeLimitError extends Error {}

/**
 * What `work` returns; after `limitMs` milliseconds it is broken off wherever it is, also in a regular expression that
 * tries all the ways there are. Costs a thread for each call: some 0.1 ms.
 * @throws TimeLimitError; whatever `work` throws
 */
export function withTimeLimit<T>(limitMs: number, work: () => T): T {
  const scope = globalThis as { [workKey]?: (() => unknown) | undefined };
  const before = scope[workKey];
  scope[workKey] = work;
  try {
    return script.runInThisContext({ timeout: Math.ceil(limitMs) }) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException | undefined)?.code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    throw new TimeLimitError(`It took longer than ${(limitMs / 1000).toFixed(0)} s.`);
  } finally {
    scope[workKey] = before;
  }
}
