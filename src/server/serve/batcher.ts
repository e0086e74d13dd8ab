/**
 * Work for an engine that does one thing at a time: what waits under the same key is done in one call. The queue has an
 * end, so that a caller learns at once when there is no hope, and work that nobody waits for any more isn't begun.
 */
import { AbortError, EngineError } from "../../core/errors.ts";

export interface BatcherOptions {
  /** Pieces of work that may wait, those under way aside. Default 64. */
  maxQueue?: number;
  /** Pieces done in one call. Default 16. */
  maxBatch?: number;
  /** How long the first of an idle engine's work waits for company, in milliseconds. Default 2. */
  gatherMs?: number;
  /** Told of every call: how many pieces, and how long it took in milliseconds. */
  onBatch?: (size: number, milliseconds: number) => void;
}

/** Does pieces of work of one kind together, a result for each. */
export type RunBatch<Item, Result> = (items: Item[], signal: AbortSignal) => Promise<Result[]>;

interface Job {
  key: string;
  item: unknown;
  run: RunBatch<unknown, unknown>;
  signal: AbortSignal | undefined;
  resolve: (result: unknown) => void;
  reject: (error: unknown) => void;
}

export class Batcher {
  private readonly options: Required<BatcherOptions>;
  private readonly queue: Job[] = [];
  private readonly closing = new AbortController();
  private working: Promise<void> | undefined;

  constructor({ maxQueue = 64, maxBatch = 16, gatherMs = 2, onBatch = () => {} }: BatcherOptions = {}) {
    this.options = { maxQueue, maxBatch, gatherMs, onBatch };
  }

  /** Pieces of work that wait. */
  get waiting(): number {
    return this.queue.length;
  }

  /**
   * Queues a piece of work; pieces of one key must come with the same `run`.
   * @param signal once it has fired, the piece is left out unless it was begun
   * @throws EngineError `ENGINE_BUSY` where the queue is full; AbortError; what `run` throws for this piece alone
   */
  add<Item, Result>(key: string, item: Item, run: RunBatch<Item, Result>, signal?: AbortSignal): Promise<Result> {
    if (this.closing.signal.aborted) return Promise.reject(new AbortError("The service is stopping."));
    if (this.queue.length >= this.options.maxQueue) {
      return Promise.reject(
        new EngineError("ENGINE_BUSY", `${this.queue.length} requests wait for the model already. Try again later.`),
      );
    }
    return new Promise<Result>((resolve, reject) => {
      this.queue.push({
        key,
        item,
        run: run as RunBatch<unknown, unknown>,
        signal,
        resolve: resolve as (result: unknown) => void,
        reject,
      });
      this.working ??= this.work().finally(() => (this.working = undefined));
    });
  }

  /** Ends the call under way and drops what waits. */
  async close(): Promise<void> {
    this.closing.abort();
    for (const { reject } of this.queue.splice(0)) reject(new AbortError("The service is stopping."));
    await this.working;
  }

  private async work(): Promise<void> {
    if (this.options.gatherMs > 0) await new Promise((resolve) => setTimeout(resolve, this.options.gatherMs));
    for (let batch = this.takeBatch(); batch.length > 0; batch = this.takeBatch()) {
      const start = performance.now();
      await this.runBatch(batch);
      this.options.onBatch(batch.length, performance.now() - start);
    }
  }

  /** The oldest piece that somebody waits for, and others of its key. */
  private takeBatch(): Job[] {
    for (const job of this.queue.filter(({ signal }) => signal?.aborted)) {
      this.queue.splice(this.queue.indexOf(job), 1);
      job.reject(new AbortError());
    }
    const key = this.queue[0]?.key;
    const batch = this.queue.filter((job) => job.key === key).slice(0, this.options.maxBatch);
    for (const job of batch) this.queue.splice(this.queue.indexOf(job), 1);
    return batch;
  }

  private async runBatch(batch: readonly Job[]): Promise<void> {
    const [first] = batch as [Job];
    try {
      const results = await first.run(
        batch.map(({ item }) => item),
        this.closing.signal,
      );
      batch.forEach(({ resolve }, i) => resolve(results[i]));
    } catch (error) {
      if (batch.length === 1 || this.closing.signal.aborted) for (const { reject } of batch) reject(error);
      // One piece may have spoilt it for all: each gets a call of its own.
      else for (const job of batch) await this.runBatch([job]);
    }
  }
}
