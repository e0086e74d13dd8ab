/** What training tells its caller while it runs. Nothing here changes what it does. */
import type { BestRecord, EvaluationSummary, StepRecord } from "../runs/records.ts";
import type { TrainConfig } from "./train-config.ts";

/** Why training ended: all steps done, no new best for `earlyStop` evaluations, or `maxMinutes` used up. */
export type EndReason = "steps" | "early_stop" | "time";

/** The query of a step that beat its group by most. */
export interface BestRewrite {
  /** The user's own words; null where the example has none. */
  raw: string | null;
  query: string;
  reward: number;
}

export type TrainEvent =
  | { kind: "start"; runDir: string; config: TrainConfig; totalSteps: number; resumedAt: number | null }
  | { kind: "progress"; activity: string; step: number; done: number; total: number }
  | {
      kind: "step";
      record: StepRecord;
      totalSteps: number;
      seconds: number;
      etaSeconds: number;
      /** Absent in a warm-up step, and where no query was better than its group. */
      rewrite?: BestRewrite;
    }
  | { kind: "evaluation"; summary: EvaluationSummary; metric: string; best: BestRecord }
  | { kind: "checkpoint"; step: number }
  | { kind: "warning"; message: string }
  | { kind: "end"; reason: EndReason; step: number; best: BestRecord | null };

export type OnTrainEvent = (event: TrainEvent) => void;
