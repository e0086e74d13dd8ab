/** Lets only so many run at a time; the others wait in order. */
import { AbortError, throwIfAborted } from "../core/errors.ts";

export class Gate {
  readonly #limit: number;
  readonly #waiting = new Set<() => void>();
  #running = 0;

  /** @param limit How many run at a time, 1 or more. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * Runs `work` as soon as it is its turn.
   * @throws AbortError when `signal` fires before that; whatever `work` throws
   */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    throwIfAborted(signal);
    if (this.#running < this.#limit) this.#running++;
    else await this.#turn(signal);
    try {
      return await work();
    } finally {
      // Whoever waits longest takes over the place, so the count stays as it is.
      const [next] = this.#waiting;
      if (next) next();
      else this.#running--;
    }
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const enter = (): void => {
        this.#waiting.delete(enter);
        signal?.removeEventListener("abort", leave);
        resolve();
      };
      const leave = (): void => {
        this.#waiting.delete(enter);
        reject(new AbortError());
      };
      this.#waiting.add(enter);
      signal?.addEventListener("abort", leave, { once: true });
    });
  }
}
