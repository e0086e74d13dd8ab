/**
 * Leaves a service alone that doesn't answer: after some calls in a row that failed for good, further ones fail at once
 * for a while; then a single call finds out whether it is back. Knows nothing of what is called.
 */
import { RecommenderError } from "../core/errors.ts";

export interface CircuitBreakerOptions {
  /** Calls in a row that must fail before the others are spared. Default 3. */
  breakerFailures?: number;
  /** How long they are spared, in milliseconds. Default 15,000. */
  breakerCoolDownMs?: number;
  /** Milliseconds from any fixed point. Default `performance.now`. */
  now?: () => number;
}

/** What came of a call: an answer (a refusal is one), no answer, or it was stopped before there was either. */
export type CallOutcome = "answered" | "failed" | "stopped";

export class CircuitBreaker {
  readonly #name: string;
  readonly #failures: number;
  readonly #coolDownMs: number;
  readonly #now: () => number;
  #inRow = 0;
  #openUntil = -Infinity;
  #isProbing = false;
  #lastFailure = "";

  /** @param name The service's, for messages. */
  constructor(name: string, options: CircuitBreakerOptions = {}) {
    this.#name = name;
    this.#failures = options.breakerFailures ?? 3;
    this.#coolDownMs = options.breakerCoolDownMs ?? 15_000;
    this.#now = options.now ?? (() => performance.now());
  }

  /**
   * Lets a call through; the function that comes back has to be told what came of it.
   * @throws RecommenderError `RECOMMENDER_CIRCUIT_OPEN` while the service is left alone
   */
  enter(): (outcome: CallOutcome, error?: unknown) => void {
    const isOpen = this.#inRow >= this.#failures;
    if (isOpen && (this.#isProbing || this.#now() < this.#openUntil)) {
      const seconds = Math.max(0, this.#openUntil - this.#now()) / 1000;
      throw new RecommenderError(
        "RECOMMENDER_CIRCUIT_OPEN",
        `${this.#name}: ${this.#inRow} calls in a row failed, so it is not asked for another ${seconds.toFixed(1)} s. The last failure: ${this.#lastFailure}`,
        { retryable: true },
      );
    }
    if (isOpen) this.#isProbing = true;
    return (outcome, error) => {
      if (isOpen) this.#isProbing = false;
      if (outcome === "answered") this.#inRow = 0;
      if (outcome !== "failed") return;
      this.#inRow++;
      this.#lastFailure = error instanceof Error ? error.message : String(error);
      if (this.#inRow >= this.#failures) this.#openUntil = this.#now() + this.#coolDownMs;
    };
  }
}
