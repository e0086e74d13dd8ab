/** What tries a run's policy: the dashboard's server asks it, the command line builds it from the run's own settings. */
import { withSignals } from "../../core/abort.ts";
import { HttpError } from "../http/http-error.ts";
import type { RunFiles } from "./run-files.ts";
import type { TermCredit, TryEvent } from "./wire.ts";

export interface Playground {
  /** What each policy writes for a text, and what the recommender finds for that, as it comes. */
  ask(text: string, signal: AbortSignal): AsyncIterable<TryEvent>;
  /** What each word of a query brings for an example of a split. */
  credit(wanted: { split: string; example: string; query: string }, signal: AbortSignal): Promise<TermCredit>;
  /** Frees the model and the recommender. */
  close(): Promise<void>;
}

export type OpenPlayground = (run: RunFiles, signal: AbortSignal) => Promise<Playground>;

/** How long one is kept that nobody asks, in milliseconds. */
const idleMs = 15 * 60_000;
/** Requests that may wait for the one that is being answered. */
const maxWaiting = 8;

/** Keeps the playground of the run that was asked last; asks it one thing at a time. */
export class Playgrounds {
  private readonly open: OpenPlayground;
  private readonly stopped = new AbortController();
  private current: { id: string; playground: Playground } | undefined;
  private queue: Promise<unknown> = Promise.resolve();
  private waiting = 0;
  private idle: NodeJS.Timeout | undefined;

  constructor(open: OpenPlayground) {
    this.open = open;
  }

  /**
   * Does `work` with a run's playground, when those before are done.
   * @throws HttpError 503 where too many wait; what opening and the work throw
   */
  async use<T>(
    run: RunFiles,
    signal: AbortSignal,
    work: (playground: Playground, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if (this.waiting >= maxWaiting) {
      throw new HttpError(503, "BUSY", "Too many are trying things at once; try again in a moment.", {
        "retry-after": "5",
      });
    }
    this.waiting++;
    const turn = this.queue.then(() =>
      withSignals([signal, this.stopped.signal], async (either) => {
        either.throwIfAborted();
        clearTimeout(this.idle);
        try {
          return await work(await this.get(run), either);
        } finally {
          this.idle = setTimeout(() => void this.forget(), idleMs).unref();
        }
      }),
    );
    this.queue = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      this.waiting--;
    }
  }

  async close(): Promise<void> {
    this.stopped.abort();
    await this.queue;
    clearTimeout(this.idle);
    await this.forget();
  }

  private async get(run: RunFiles): Promise<Playground> {
    if (this.current?.id === run.id) return this.current.playground;
    await this.forget();
    // Opened for whoever comes next, too: only the server's end stops it.
    const playground = await this.open(run, this.stopped.signal);
    this.current = { id: run.id, playground };
    return playground;
  }

  private async forget(): Promise<void> {
    const { current } = this;
    this.current = undefined;
    await current?.playground.close();
  }
}
