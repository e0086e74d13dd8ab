/** Many texts asked in several calls at once. */
import { setMaxListeners } from "node:events";
import type { Hit } from "./recommender.ts";
import { raceAbort } from "./race-abort.ts";
import type { RunningCalls } from "./running-calls.ts";

export interface AskOptions {
  /** Texts in one call. */
  batchSize: number;
  /** Remembers the calls, for closing. */
  running: RunningCalls;
  signal: AbortSignal | undefined;
}

/**
 * Hits by text; equal texts are asked once. When a call fails, the others are stopped.
 * @throws the first call's error to fail; AbortError
 */
export async function askInBatches(
  texts: Iterable<string>,
  ask: (batch: readonly string[], signal: AbortSignal) => Promise<readonly Hit[][]>,
  { batchSize, running, signal }: AskOptions,
): Promise<Map<string, Hit[]>> {
  const unique = [...new Set(texts)];
  const controller = new AbortController();
  // Every call listens to it.
  setMaxListeners(0, controller.signal);
  const stop = (): void => controller.abort();
  signal?.addEventListener("abort", stop, { once: true });
  const answers = new Map<string, Hit[]>();
  try {
    const calls: Promise<void>[] = [];
    for (let start = 0; start < unique.length; start += batchSize) {
      const batch = unique.slice(start, start + batchSize);
      const call = ask(batch, controller.signal).then((lists) => {
        batch.forEach((text, i) => answers.set(text, lists[i] as Hit[]));
      });
      calls.push(running.track(call));
    }
    await raceAbort(Promise.all(calls), signal);
    return answers;
  } catch (error) {
    controller.abort();
    throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}
