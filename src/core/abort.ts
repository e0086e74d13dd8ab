/** Stopping on request: interruptible waits, and Ctrl-C as an abort signal. */
import { setMaxListeners } from "node:events";
import { AbortError, throwIfAborted } from "./errors.ts";

/** Waits `delayMs` milliseconds. @throws AbortError as soon as `signal` fires. */
export async function sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
  throwIfAborted(signal);
  await new Promise<void>((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(new AbortError());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, delayMs);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * Does `work` with a signal that fires when one of `sources` does. For sources that outlive the work: what AbortSignal.any
 * gives leaves something behind in each of them in Node 20, and a service that runs for weeks fills its memory with that.
 */
export async function withSignals<T>(
  sources: readonly (AbortSignal | undefined)[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = ({ target }: Event): void => controller.abort((target as AbortSignal).reason);
  for (const source of sources) {
    if (source?.aborted) controller.abort(source.reason);
    if (!source || source.aborted) continue;
    // One for each piece of work under way is no leak, of which Node would warn.
    setMaxListeners(0, source);
    source.addEventListener("abort", stop, { once: true });
  }
  try {
    return await work(controller.signal);
  } finally {
    for (const source of sources) source?.removeEventListener("abort", stop);
  }
}

/**
 * The results of all the work that `begin` begins; the first failure stops the rest, and is thrown when that has ended.
 * @param begin is given a signal that fires with `signal`, too
 */
export async function allOrStopped<T>(
  signal: AbortSignal | undefined,
  begin: (signal: AbortSignal) => readonly Promise<T>[],
): Promise<T[]> {
  const cancel = new AbortController();
  return withSignals([signal, cancel.signal], async (own) => {
    const begun = begin(own);
    try {
      return await Promise.all(begun);
    } catch (error) {
      cancel.abort();
      await Promise.allSettled(begun);
      throw error;
    }
  });
}

/** Whether `error` means that somebody asked to stop (ours, or the platform's `AbortError`). */
export function isAbort(error: unknown): boolean {
  return error instanceof AbortError || (error instanceof Error && error.name === "AbortError");
}

export interface Interrupt {
  /** Fires at the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** Gives the signals back to the process's default handling. */
  dispose(): void;
}

/**
 * Turns SIGINT and SIGTERM into an abort signal: the first one asks for a clean stop, the second ends the process at
 * once with exit code 130 (128 + SIGINT, as shells have it).
 */
export function listenForInterrupt(onFirst: (signalName: string) => void): Interrupt {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(130);
    onFirst(name);
    controller.abort(new AbortError());
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return {
    signal: controller.signal,
    dispose: () => {
      process.off("SIGINT", onSignal);
      process.off("SIGTERM", onSignal);
    },
  };
}
