/** Searches under way, so that closing can wait for them. */
export class RunningCalls {
  readonly #calls = new Set<Promise<unknown>>();

  /** Gives `call` back, and remembers it until it ends. */
  track<T>(call: Promise<T>): Promise<T> {
    const forget = (): void => {
      this.#calls.delete(call);
    };
    this.#calls.add(call);
    call.then(forget, forget);
    return call;
  }

  /** Resolves when all that are under way have ended, well or not. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#calls);
  }
}
