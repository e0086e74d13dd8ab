/** Repeats an operation that may succeed later, waiting longer each time. */
import { sleep } from "./abort.ts";
import { throwIfAborted } from "./errors.ts";

export interface RetryOptions {
  /** Calls at most, the first one included. Default 4. */
  attempts?: number;
  /** Longest wait before the second call, in milliseconds; it doubles with every further call. Default 250. */
  baseDelayMs?: number;
  /** Longest wait before any call, in milliseconds. Default 10,000. */
  maxDelayMs?: number;
  /** Whether the same call may succeed later. Default: errors that carry `retryable: true`. */
  isRetryable?: (error: unknown) => boolean;
  /** A wait that the other side asked for, in milliseconds (`Retry-After`); undefined: none. */
  delayAsked?: (error: unknown) => number | undefined;
  /** Longest wait that is granted when asked for, in milliseconds; where more is asked, the error is thrown at once. Default 60,000. */
  maxAskedDelayMs?: number;
  /** Uniform numbers in [0, 1) for the jitter. Default `Math.random`. */
  random?: () => number;
  /** Told before each wait. */
  onRetry?: (failure: { error: unknown; attempt: number; delayMs: number }) => void;
  signal?: AbortSignal;
}

/** Whether `error` says of itself that the same call may succeed later. */
export function saysRetryable(error: unknown): boolean {
  return typeof error === "object" && error !== null && (error as { retryable?: unknown }).retryable === true;
}

/**
 * Calls `operation` until it succeeds, fails for good, or `attempts` are used up; waits between calls are drawn
 * uniformly below an exponentially growing bound ("full jitter", so that many clients do not come back at once).
 * @throws the operation's last error, or `AbortError`.
 */
export async function retry<T>(
  operation: (attempt: number) => Promise<T>,
  { attempts = 4, baseDelayMs = 250, maxDelayMs = 10_000, maxAskedDelayMs = 60_000, ...options }: RetryOptions = {},
): Promise<T> {
  const { isRetryable = saysRetryable, delayAsked, random = Math.random, onRetry, signal } = options;
  for (let attempt = 1; ; attempt++) {
    throwIfAborted(signal);
    try {
      return await operation(attempt);
    } catch (error) {
      throwIfAborted(signal);
      if (attempt >= attempts || !isRetryable(error)) throw error;
      const askedMs = delayAsked?.(error) ?? 0;
      // Coming back before the other side wants to be asked again would only add to its load.
      if (askedMs > maxAskedDelayMs) throw error;
      const delayMs = Math.max(random() * Math.min(maxDelayMs, baseDelayMs * 2 ** (attempt - 1)), askedMs);
      onRetry?.({ error, attempt, delayMs });
      await sleep(delayMs, signal);
    }
  }
}
