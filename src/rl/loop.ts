/** What the steps of a run share, and what one leaves behind. */
import type { Datum, Engine } from "../engines/engine.ts";
import type { CachedRecommender } from "../recommenders/cached.ts";
import type { CacheRecord } from "../runs/records.ts";
import type { BestRewrite, OnTrainEvent } from "./events.ts";
import type { PromptOrder } from "./prompt-order.ts";
import type { Session } from "./run-session.ts";
import type { ShownLog } from "./shown.ts";
import type { LoadedExample, Task } from "./task.ts";
import type { TrainConfig } from "./train-config.ts";

/** Everything a step needs. */
export interface Loop<E extends object> extends Session<E> {
  task: Task<E>;
  recommender: CachedRecommender;
  engine: Engine;
  config: TrainConfig;
  signal: AbortSignal | undefined;
  onEvent: OnTrainEvent;
  order: PromptOrder<LoadedExample<E>>;
  warmupOrder: PromptOrder<Datum> | undefined;
  /** Titles and texts for readers of the run. */
  shown: ShownLog<E>;
  /** What this process has spent so far, for the time that is left. */
  spent: { startedAt: number; steps: number; stepSeconds: number; evaluationSeconds: number };
  /** Whether the weights have changed since the last whole step. */
  weightsInMidStep: boolean;
}

/** What a step leaves behind. */
export interface StepOutcome {
  values: Record<string, number>;
  seconds: Record<string, number>;
  /** Where the next step's prompts begin. */
  cursor: number;
  /** Whether an optimizer step was skipped for gradients that aren't finite. */
  skipped: boolean;
  /** What its searches came to. */
  cache?: CacheRecord;
  /** The query that beat its group by most. */
  rewrite?: BestRewrite;
}
