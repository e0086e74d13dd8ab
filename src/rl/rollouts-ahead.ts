/**
 * Rollouts of coming steps, collected while earlier ones train: up to k steps ahead, so that those of a step come from
 * weights that are at most k steps old (the loss's ratios correct for that). With k = 0 a step's rollouts are collected
 * when it asks for them. Knows nothing of what rollouts are.
 */
import { withSignals } from "../core/abort.ts";

/** What a collection leaves behind. */
export interface Collected {
  /** Where the next step's prompts begin. */
  cursor: number;
}

export interface AheadOptions<R extends Collected> {
  collect: (options: { step: number; cursor: number; signal: AbortSignal }) => Promise<R>;
  /** Steps that collections may be ahead: k. */
  steps: number;
  /** Last step that there is. */
  lastStep: number;
  /** Where a collection from `cursor` will end, where that is certain before it has ended. */
  foresee: (cursor: number) => number | undefined;
  signal?: AbortSignal | undefined;
}

/** A step's rollouts. */
export interface Taken<R> {
  rollouts: R;
  /** Steps between the weights that sampled and those that are trained. */
  staleness: number;
  /** Seconds that the step waited. */
  waitSeconds: number;
}

interface Pending<R> {
  /** Steps that were done when it began; undefined until then. */
  begunAfter: number | undefined;
  rollouts: Promise<R>;
  /** Where the step after it begins. */
  next: Promise<number>;
}

export class RolloutsAhead<R extends Collected> {
  private readonly options: AheadOptions<R>;
  private readonly pending: Pending<R>[] = [];
  private readonly abort = new AbortController();
  private stepsDone = 0;

  constructor(options: AheadOptions<R>) {
    this.options = options;
  }

  /** The rollouts of `step`, whose prompts begin at `cursor`; those of the steps that may follow are begun, too. */
  async take(step: number, cursor: number): Promise<Taken<R>> {
    const { steps, lastStep } = this.options;
    this.stepsDone = step - 1;
    for (let ahead = step + this.pending.length; ahead <= Math.min(step + steps, lastStep); ahead++) {
      const last = this.pending.at(-1);
      this.pending.push(this.begin(ahead, last ? last.next : Promise.resolve(cursor)));
    }
    const own = this.pending.shift() as Pending<R>;
    const start = performance.now();
    const rollouts = await own.rollouts;
    const staleness = step - 1 - (own.begunAfter ?? step - 1);
    return { rollouts, staleness, waitSeconds: (performance.now() - start) / 1000 };
  }

  /** Stops what is still being collected, and waits until nobody works on it any more. */
  async close(): Promise<void> {
    this.abort.abort();
    await Promise.allSettled(this.pending.splice(0).map(({ rollouts }) => rollouts));
  }

  private begin(step: number, cursor: Promise<number>): Pending<R> {
    const { collect, foresee, signal } = this.options;
    const rollouts = cursor.then((from) => {
      pending.begunAfter = this.stepsDone;
      return withSignals([signal, this.abort.signal], (own) => collect({ step, cursor: from, signal: own }));
    });
    const next = cursor.then(async (from) => foresee(from) ?? (await rollouts).cursor);
    const pending: Pending<R> = { begunAfter: undefined, rollouts, next };
    // Whoever takes the step gets the error; until then it is nobody's.
    rollouts.catch(() => undefined);
    next.catch(() => undefined);
    return pending;
  }
}
