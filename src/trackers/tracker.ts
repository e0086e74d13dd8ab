/** Experiment trackers: what a run tells, handed on to programs that people watch runs in. They only listen. */

/** What is known of a run when it starts. */
export interface TrackedRun {
  runDir: string;
  /** Every training option with its resolved value. */
  config: Readonly<Record<string, unknown>>;
  /** Steps that were done when the run was taken up again; null: a new run. */
  resumedAt: number | null;
}

/** How a run ended. */
export type TrackedEnd = "done" | "stopped" | "failed";

/** One place that figures go to. What it throws never reaches the run (see {@link TrackerGroup}). */
export interface Tracker {
  /** As warnings call it. */
  readonly name: string;
  start(run: TrackedRun): Promise<void>;
  /** @param values figures by name, such as `train/reward`; may hold NaN. */
  log(step: number, values: Readonly<Record<string, number>>): Promise<void>;
  close(end: TrackedEnd): Promise<void>;
}
