/** Not waiting longer than somebody wants to wait. */
import { AbortError, throwIfAborted } from "../core/errors.ts";

/**
 * What `work` comes to, or {@link AbortError} as soon as `signal` fires; the work itself then ends in the background
 * and its outcome is dropped.
 */
export async function raceAbort<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  // Keeps a failure of dropped work from ending the process.
  work.catch(() => undefined);
  throwIfAborted(signal);
  let stop: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(new AbortError());
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
