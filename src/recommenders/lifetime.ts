/** A recommender between its opening and its closing: what every search has to pass, and what closing waits for. */
import { RecommenderError, throwIfAborted } from "../core/errors.ts";
import type { SearchOptions } from "./recommender.ts";
import { RunningCalls } from "./running-calls.ts";
import { checkTopK } from "./validate.ts";

export class Lifetime extends RunningCalls {
  readonly #name: string;
  readonly #within: Lifetime | undefined;
  #isOver = false;

  /**
   * @param name The recommender's.
   * @param within The lifetime of what this one uses and can't outlive.
   */
  constructor(name: string, within?: Lifetime) {
    super();
    this.#name = name;
    this.#within = within;
  }

  /**
   * Lets a search in.
   * @throws RecommenderError `RECOMMENDER_CLOSED`, or `RECOMMENDER_BAD_TOP_K`; AbortError
   */
  admit({ topK, signal }: SearchOptions): void {
    this.checkOpen();
    checkTopK(this.#name, topK);
    throwIfAborted(signal);
  }

  /** @throws RecommenderError `RECOMMENDER_CLOSED` */
  checkOpen(): void {
    if (this.#isOver) {
      throw new RecommenderError("RECOMMENDER_CLOSED", `${this.#name}: was closed; it can't be asked any more.`);
    }
    this.#within?.checkOpen();
  }

  /** Ends it: waits for the calls under way, then frees what is held. A second call does nothing. */
  async end(release?: () => unknown): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    await this.settled();
    await release?.();
  }
}
