/**
 * Work that is done one piece after the other, and its results until somebody fetched them. The processor is one, so a
 * second piece of work at the same time would only slow the first.
 */

/** What became of a piece of work. */
export type Outcome =
  { kind: "done"; value: unknown } | { kind: "failed"; message: string; category: "user" | "server" };

/** The caller asked for something that can't be; says so in the result. */
export class RequestError extends Error {
  /** HTTP status, where it is refused before it becomes work. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

interface Future {
  outcome: Promise<Outcome>;
  /** When its result was last handed out; undefined: never. */
  fetchedAt: number | undefined;
  settledAt: number | undefined;
}

/** Work that can be done together with others of the same key. */
interface Job {
  key: string | undefined;
  /** What `run` of the first of several gets. */
  item: unknown;
  run: (items: unknown[]) => Promise<unknown[]>;
  settle: (outcome: Outcome) => void;
}

export interface FutureOptions {
  /** How long a fetched result is kept, in case that its answer was lost. Default 60,000. */
  keepFetchedMs?: number;
  /** How long a result is kept that nobody fetches. Default 30 minutes. */
  keepMs?: number;
  /** How long work that may be done together waits for company, in milliseconds. Default 15. */
  gatherMs?: number;
  /** Told of failures that aren't the caller's. */
  onError?: (error: unknown) => void;
}

export class Futures {
  private readonly options: Required<FutureOptions>;
  private readonly futures = new Map<string, Future>();
  private readonly queue: Job[] = [];
  private counter = 0;
  private lastArrival = 0;
  private working: Promise<void> | undefined;

  constructor({ keepFetchedMs = 60_000, keepMs = 30 * 60_000, gatherMs = 15, onError = () => {} }: FutureOptions = {}) {
    this.options = { keepFetchedMs, keepMs, gatherMs, onError };
  }

  /** Pieces of work that wait. */
  get waiting(): number {
    return this.queue.length;
  }

  /** Queues work, and gives the id of its result. */
  add(run: () => Promise<unknown>): string {
    return this.enqueue({ key: undefined, item: undefined, run: async () => [await run()] });
  }

  /** Queues work that is done in one call with what else waits under the same key right then. */
  addTogether<T>(key: string, item: T, run: (items: T[]) => Promise<unknown[]>): string {
    return this.enqueue({ key, item, run: run as (items: unknown[]) => Promise<unknown[]> });
  }

  /**
   * The outcome, waited for at most `waitMs` milliseconds; `pending` after that, undefined where nothing has that id.
   */
  async fetch(id: string, waitMs: number): Promise<Outcome | "pending" | undefined> {
    const future = this.futures.get(id);
    if (!future) return undefined;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<"pending">((resolve) => (timer = setTimeout(() => resolve("pending"), waitMs)));
    const outcome = await Promise.race([future.outcome, timeout]);
    clearTimeout(timer);
    if (outcome !== "pending") future.fetchedAt = performance.now();
    return outcome;
  }

  /** Waits until nothing is being done; what waits is dropped. */
  async close(): Promise<void> {
    for (const { settle } of this.queue.splice(0)) {
      settle({ kind: "failed", message: "The server is closing.", category: "server" });
    }
    await this.working;
  }

  private enqueue(job: Omit<Job, "settle">): string {
    this.dropOld();
    const id = String(++this.counter);
    let settle: (outcome: Outcome) => void = () => {};
    const outcome = new Promise<Outcome>((resolve) => (settle = resolve));
    const future: Future = { outcome, fetchedAt: undefined, settledAt: undefined };
    this.futures.set(id, future);
    void outcome.then(() => (future.settledAt = performance.now()));
    this.queue.push({ ...job, settle });
    this.lastArrival = performance.now();
    this.working ??= this.work().finally(() => (this.working = undefined));
    return id;
  }

  private async work(): Promise<void> {
    for (;;) {
      await this.gather();
      const job = this.queue.shift();
      if (!job) return;
      const together = [job];
      while (job.key !== undefined && this.queue[0]?.key === job.key) together.push(this.queue.shift() as Job);
      try {
        const values = await job.run(together.map(({ item }) => item));
        together.forEach(({ settle }, i) => settle({ kind: "done", value: values[i] }));
      } catch (error) {
        const isCallers = error instanceof RequestError;
        if (!isCallers) this.options.onError(error);
        const message = error instanceof Error ? error.message : String(error);
        for (const { settle } of together) settle({ kind: "failed", message, category: isCallers ? "user" : "server" });
      }
    }
  }

  /** Lets requests that were sent together arrive together. */
  private async gather(): Promise<void> {
    const { gatherMs } = this.options;
    for (let waits = 0; waits < 10 && this.queue[0]?.key !== undefined; waits++) {
      const left = gatherMs - (performance.now() - this.lastArrival);
      if (left <= 0) return;
      await new Promise((resolve) => setTimeout(resolve, left));
    }
  }

  private dropOld(): void {
    const now = performance.now();
    for (const [id, { fetchedAt, settledAt }] of this.futures) {
      const isOver =
        (fetchedAt !== undefined && now - fetchedAt > this.options.keepFetchedMs) ||
        (settledAt !== undefined && now - settledAt > this.options.keepMs);
      if (isOver) this.futures.delete(id);
    }
  }
}
