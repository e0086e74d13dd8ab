/** What the dashboard's server and its pages say to each other: types alone, the only part of `src/` that `web/` sees. */
import type { ItemPicture } from "../../runs/records.ts";

export type { ItemPicture } from "../../runs/records.ts";
export type { ErrorReply } from "../http/http-error.ts";

/** A run in the list. */
export interface RunSummary {
  /** Its folder in the runs folder, `/` between parts; `.` where the runs folder is the run. */
  id: string;
  task: string;
  /** ISO 8601, UTC. */
  createdAt: string;
  /** `training`: a process writes to it now; `done`: all steps are; `stopped`: neither. */
  status: "training" | "done" | "stopped";
  step: number;
  totalSteps: number;
  /** Mean reward of the last step. */
  reward: number | null;
  best: { step: number; metric: string; value: number } | null;
  /** When its files last changed, ISO 8601, UTC. */
  updatedAt: string | null;
}

/** A point of a run's curves: one step, or one evaluation after it. */
export interface StepRow {
  step: number;
  /** Since the first step began: what steps took, pauses left out. */
  minutes: number;
  values: Record<string, number>;
}

export interface EvaluationRow {
  /** Steps done before it. */
  step: number;
  split: string;
  values: Record<string, number>;
  standardErrors: Record<string, number>;
  queries: number;
  failed: number;
}

/** A run's curves. */
export interface RunCurves {
  id: string;
  /** Goes up when what was read before no longer holds, because the run was taken up from an earlier step. */
  revision: number;
  /** Goes up with every change; what is sent later begins where it was. */
  sequence: number;
  /** Steps recorded; `rows` may be fewer, each the mean of neighbours. */
  steps: number;
  rows: StepRow[];
  evaluations: EvaluationRow[];
  /** The metric that picks the best checkpoint. */
  metric: string | null;
  status: RunSummary["status"];
  totalSteps: number;
  /** Seconds until the last step, where the run is in training and has done steps enough to tell. */
  etaSeconds: number | null;
}

/** What the server sends of a run that goes on: new rows, to be added or put in place of those of the same step. */
export type LiveUpdate = Omit<RunCurves, "steps">;

/** Settings of runs side by side. */
export interface ConfigTable {
  runs: string[];
  rows: { key: string; values: (string | null)[]; differs: boolean }[];
}

/** What is shown of an item. */
export interface ShownHit {
  id: string;
  title: string | null;
  picture: ItemPicture | null;
  /** Whether the example says that it should be found. */
  isRelevant: boolean;
}

export interface RolloutSteps {
  /** Steps whose rollouts were recorded, ascending. */
  steps: number[];
}

/** One example's completions in a step, in short. */
export interface GroupSummary {
  example: string;
  text: string | null;
  rollouts: number;
  /** Of the rollouts that were not dropped; null where all were. */
  mean: number | null;
  best: number | null;
  worst: number | null;
  failed: number;
}

export interface GroupPage {
  step: number;
  total: number;
  /** The place of the first of them among all. */
  offset: number;
  /** The example that was asked for, on this page or another; null where the step doesn't have it. */
  asked: string | null;
  groups: GroupSummary[];
}

export interface RolloutView {
  step: number;
  example: string;
  sample: number;
  completion: string;
  query: string | null;
  hits: ShownHit[] | null;
  turns: { completion: string; query: string | null }[];
  reward: number | null;
  parts: Record<string, number>;
  advantage: number | null;
  tokens: number;
  logprob: number;
  stop: "stop" | "length";
  failure: string | null;
  /** Null where the step was not recorded token by token. */
  tokenTexts: string[] | null;
  tokenLogprobs: number[] | null;
}

/** A group with all of its completions, best reward first. */
export interface GroupDetail {
  step: number;
  example: string;
  text: string | null;
  relevant: ShownHit[];
  rollouts: RolloutView[];
  /** The nearest steps before and after in which this step's examples were recorded token by token. */
  tokensEvery: number;
}

/** A page of a search over all rollouts; a search goes on at `next` until it is null. */
export interface SearchPage {
  matches: RolloutView[];
  next: string | null;
  /** Steps looked through so far, of `steps`. */
  searched: number;
  steps: number;
}

/** What a policy did with a query of an evaluation. */
export interface PolicyAnswer {
  query: string | null;
  completion: string | null;
  hits: ShownHit[];
  score: number | null;
}

export const policyNames = ["raw", "untrained", "tuned"] as const;
export type PolicyName = (typeof policyNames)[number];

/** One query before and after. */
export interface ComparedQuery {
  example: string;
  text: string | null;
  relevant: ShownHit[];
  answers: Partial<Record<PolicyName, PolicyAnswer>>;
  /** tuned − baseline; null where either failed. */
  gain: number | null;
  /** What may have made it worse, in words. */
  reasons: string[];
}

export interface ComparisonPage {
  split: string;
  /** Splits that can be compared. */
  splits: string[];
  baseline: PolicyName;
  baselines: PolicyName[];
  metric: string;
  means: Partial<Record<PolicyName, number>>;
  /** Of tuned − baseline: the mean, and the middle 95 % of bootstrapped ones. */
  difference: { mean: number; low: number; high: number } | null;
  better: number;
  worse: number;
  equal: number;
  /** Queries that match the filter; `queries` is one page of them. */
  total: number;
  queries: ComparedQuery[];
}

/** In place of a comparison, where there is nothing to compare. */
export interface NotEvaluated {
  /** What to do. */
  missing: string;
}

/** A completion that looks as if it were after the reward and not the user's good. */
export interface Suspect {
  kind: "length" | "repetition" | "unsupported" | "title-copy";
  reason: string;
  where:
    | { kind: "rollout"; step: number; example: string; sample: number }
    | { kind: "evaluation"; name: string; example: string };
  text: string | null;
  completion: string;
  query: string | null;
  reward: number | null;
}

export interface SuspectReport {
  /** Findings on the run as a whole, each with its reason. */
  findings: { kind: "length" | "divergence"; reason: string }[];
  suspects: Suspect[];
  /** How many of each kind there are in what was looked at. */
  counts: Record<Suspect["kind"], number>;
  /** Completions that were looked at. */
  examined: number;
  /** Words of titles that were known; 0: words are not compared with the catalogue. */
  catalogueWords: number;
}

/** A line of the answer to `try`. */
export type TryEvent =
  | { kind: "status"; message: string }
  | {
      kind: "answer";
      policy: PolicyName;
      step: number | null;
      completion: string | null;
      query: string | null;
      hits: ShownHit[] | null;
      seconds: number;
    }
  | { kind: "error"; code: string; message: string }
  | { kind: "end" };

/** What each word of a query brings. */
export interface TermCredit {
  query: string;
  metric: string;
  score: number;
  /** In the query's order: its score without the word, and what the word brings (score − without). */
  terms: { term: string; start: number; end: number; without: number; credit: number }[];
}
