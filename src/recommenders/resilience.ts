/**
 * Calls to a service over a network: so many at a time, each with a time limit, repeated with growing waits while that
 * may help, and none at all for a while when the service is down. What can't be had in the end is a `RecommenderError`.
 */
import { ConfigError, RecommenderError, throwIfAborted } from "../core/errors.ts";
import { isAbort } from "../core/abort.ts";
import { retry, saysRetryable } from "../core/retry.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import type { CircuitBreakerOptions } from "./circuit-breaker.ts";
import { Gate } from "./gate.ts";
import { raceAbort } from "./race-abort.ts";

export interface ResilienceOptions extends CircuitBreakerOptions {
  /** Calls at a time. Default 8. */
  concurrency?: number;
  /** How long one attempt may take, in milliseconds. Default 10,000. */
  timeoutMs?: number;
  /** Attempts at most, the first one included, where failures are retryable (429, 500, 502, 503, 504, lost connections, timeouts, replies that broke on their way). Default 4. */
  attempts?: number;
  /** Longest wait before the second attempt, in milliseconds; it doubles from attempt to attempt. Default 250. */
  baseDelayMs?: number;
  /** Longest wait that we choose, in milliseconds. Default 10,000. */
  maxDelayMs?: number;
  /** Longest wait that the service may ask for (`Retry-After`), in milliseconds; the call fails where it asks for more. Default 60,000. */
  maxRetryAfterMs?: number;
  /** Uniform numbers in [0, 1) for the jitter. Default `Math.random`. */
  random?: () => number;
}

/** Names of the options with whole numbers from 1 on, for those who pass them along. */
export const resilienceKeys = [
  "concurrency",
  "timeoutMs",
  "attempts",
  "baseDelayMs",
  "maxDelayMs",
  "maxRetryAfterMs",
  "breakerFailures",
  "breakerCoolDownMs",
] as const satisfies readonly (keyof ResilienceOptions)[];

function waitAsked(error: unknown): number | undefined {
  if (!(error instanceof RecommenderError)) return undefined;
  const { retryAfterMs } = error.details;
  return typeof retryAfterMs === "number" ? retryAfterMs : undefined;
}

/** One service's calls. */
export class Resilience {
  readonly #name: string;
  readonly #options: ResilienceOptions;
  readonly #timeoutMs: number;
  readonly #gate: Gate;
  readonly #breaker: CircuitBreaker;

  /**
   * @param name The service's, for messages.
   * @throws ConfigError `CONFIG_BAD_NUMBER`
   */
  constructor(name: string, options: ResilienceOptions = {}) {
    for (const key of resilienceKeys) {
      const value: unknown = options[key];
      if (value === undefined || (typeof value === "number" && Number.isInteger(value) && value >= 1)) continue;
      throw new ConfigError(
        "CONFIG_BAD_NUMBER",
        `${name}: ${key} is ${String(value)}; expected a whole number, 1 or more.`,
      );
    }
    this.#name = name;
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#gate = new Gate(options.concurrency ?? 8);
    this.#breaker = new CircuitBreaker(name, options);
  }

  /**
   * What `operation` comes to; its signal fires when the attempt's time is up or the caller gives up.
   * @throws RecommenderError `RECOMMENDER_TIMEOUT`, `RECOMMENDER_CIRCUIT_OPEN`; whatever `operation` throws last;
   * AbortError
   */
  run<T>(operation: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#gate.run(async () => {
      const leave = this.#breaker.enter();
      try {
        const result = await retry(() => this.#attempt(operation, signal), {
          ...pick(this.#options, ["attempts", "baseDelayMs", "maxDelayMs", "random"]),
          ...(this.#options.maxRetryAfterMs === undefined ? {} : { maxAskedDelayMs: this.#options.maxRetryAfterMs }),
          delayAsked: waitAsked,
          ...(signal ? { signal } : {}),
        });
        leave("answered");
        return result;
      } catch (error) {
        // What may not be retried is an answer, if only a refusal: the service is there.
        const answered = !saysRetryable(error) || (error instanceof RecommenderError && error.answered);
        leave(isAbort(error) ? "stopped" : answered ? "answered" : "failed", error);
        throw error;
      }
    }, signal);
  }

  async #attempt<T>(operation: (signal: AbortSignal) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const controller = new AbortController();
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      controller.abort();
    }, this.#timeoutMs);
    const stop = (): void => controller.abort();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      return await raceAbort(operation(controller.signal), controller.signal);
    } catch (error) {
      throwIfAborted(signal);
      if (!isLate) throw error;
      throw new RecommenderError(
        "RECOMMENDER_TIMEOUT",
        `${this.#name}: gave no answer within ${this.#timeoutMs} ms. Is it overloaded? Raise timeoutMs or lower concurrency.`,
        { retryable: true, cause: error },
      );
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    }
  }
}

function pick<T extends object, K extends keyof T>(object: T, keys: readonly K[]): Pick<T, K> {
  return Object.fromEntries(keys.filter((key) => object[key] !== undefined).map((key) => [key, object[key]])) as Pick<
    T,
    K
  >;
}
