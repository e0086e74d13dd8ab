/**
 * Wire types of a run folder: what the files hold, apart from who writes them. Additions are compatible; a change of
 * meaning raises {@link runFormat}.
 *
 * | path | content |
 * |---|---|
 * | `config.json` | {@link RunManifest} |
 * | `metrics.jsonl` | {@link MetricsRecord}, one a line; the same for equal seeds |
 * | `timings.jsonl` | {@link TimingRecord}, one a step; wall-clock, differs from run to run |
 * | `rollouts/step-000001.jsonl` | {@link RolloutRecord}, one a line |
 * | `evaluations/NAME.json` | {@link EvaluationFile} |
 * | `shown/run.jsonl`, `shown/eval-SPLIT.jsonl` | {@link ShownRecord}, one a line: titles of the items in records, texts of the examples |
 * | `checkpoints/step-000010/` | the engine's state, `trainer.json`, `checksums.json` |
 * | `best.json` | {@link BestRecord} |
 * | `run.lock` | who is writing to the folder now |
 */

/** Version of the folder's layout. */
export const runFormat = 1;

/** What was run: written once, when the run starts. */
export interface RunManifest {
  format: typeof runFormat;
  /** ISO 8601, UTC. */
  createdAt: string;
  task: string;
  /** Every training option with its resolved value. */
  config: Record<string, unknown>;
  engine: Record<string, unknown>;
  recommender: { name: string; fingerprint: string };
  /** Examples of each split and the SHA-256 of their content. */
  data: Record<string, { examples: number; sha256: string }>;
  versions: { "rec-r1": string; node: string };
  /** How to build task, recommender and engine again: task file, model … as the caller gave it. */
  launch: Record<string, unknown>;
}

/** One training step's figures. */
export interface StepRecord {
  kind: "step";
  /** 1 is the first step, warm-up included. */
  step: number;
  phase: "warmup" | "rl";
  values: Record<string, number>;
}

/** One evaluation's figures. */
export interface EvaluationSummary {
  kind: "evaluation";
  /** Steps done before it; 0 is the untrained policy. */
  step: number;
  split: string;
  /** Mean of every metric over the queries that were answered. */
  values: Record<string, number>;
  /** Standard error of each mean, over those queries. */
  standardErrors?: Record<string, number>;
  counts: EvaluationCounts;
}

export type MetricsRecord = StepRecord | EvaluationSummary;

export interface TimingRecord {
  step: number;
  /** ISO 8601, UTC. */
  endedAt: string;
  /** Seconds by part: `sample`, `search`, `backward` …, and `total`. */
  seconds: Record<string, number>;
  /** Absent in a warm-up step, which searches for nothing. */
  cache?: CacheRecord;
  /** How the recommender answered since the step before, evaluations included; absent where it was not asked. */
  recommender?: CallRecord;
}

/** Calls of the recommender itself, each for one query or many; what the memory knew is no call. */
export interface CallRecord {
  calls: number;
  queries: number;
  /** Calls that failed, in part because single queries are tried again alone. */
  errors: number;
  /** Milliseconds of a call: the median, and what 95 % of them stay below. */
  p50Ms: number;
  p95Ms: number;
}

/** What a step's searches cost. Depends on what this process has asked before, so it is no part of the metrics. */
export interface CacheRecord {
  /** Queries in the step's completions. */
  queries: number;
  /** Queries that the recommender was asked; the others were known. */
  asked: number;
  /** Share of the queries that it was not asked. */
  hitRate: number;
}

/** One completion with everything that led to its advantage. */
export interface RolloutRecord {
  step: number;
  /** Id of the example whose prompt it answers. */
  example: string;
  /** Index in its group. */
  sample: number;
  completion: string;
  /** What was searched for; null where no answer could be parsed. */
  query: string | null;
  /** Ids of the first hits, best first; null where nothing was searched. */
  hits: string[] | null;
  /** Every turn of an episode of several searches, in order. */
  turns?: { completion: string; query: string | null; hits: string[] | null }[];
  /** Null where the rollout was dropped. */
  reward: number | null;
  /** Parts of the reward that the task reports. */
  parts?: Record<string, number>;
  /** Null where the rollout was dropped. */
  advantage: number | null;
  /** Completion length. */
  tokens: number;
  /** Sum of the completion's log-probs when sampled. */
  logprob: number;
  stop: "stop" | "length";
  /** Why the rollout was dropped. */
  failure?: string;
  /** The tokens of `completion` as text; their sum is the text. Recorded every `recordTokensEvery` steps. */
  tokenTexts?: string[];
  /** Log-prob of each of them when it was sampled. */
  tokenLogprobs?: number[];
}

/** What a reader is shown in place of an id. */
export type ShownRecord = ShownItem | ShownExample;

export interface ShownItem {
  kind: "item";
  id: string;
  title?: string;
  picture?: ItemPicture;
}

/** A picture: path data of an SVG, or an address (https or data). */
export type ItemPicture = { path: string; viewBox?: string } | { url: string };

export interface ShownExample {
  kind: "example";
  id: string;
  /** The user's words, or the prompt where the task has none. */
  text: string;
  /** Ids that should be found, best first, where the task says. */
  relevant?: string[];
}

export interface EvaluationCounts {
  queries: number;
  /** The recommender failed; left out of the means. */
  failed: number;
  /** No answer could be parsed; scored with 0. */
  unparsed: number;
  /** Nothing was found; scored with 0. */
  empty: number;
}

/** One query of an evaluation. */
export interface EvaluationRecord {
  example: string;
  sample: number;
  completion: string | null;
  query: string | null;
  hits: string[] | null;
  /** By metric; null where the recommender failed. */
  scores: Record<string, number> | null;
  failure?: string;
}

export interface EvaluationFile {
  /** What was evaluated: `raw`, `untrained`, `step-000010` … */
  policy: string;
  split: string;
  /** Steps that the policy was trained for, 0: untrained; absent where no policy was asked or nobody wrote it down. */
  step?: number;
  /** Only the first so many examples of the split; absent: all. */
  limit?: number;
  /** Completions sampled for each example; absent: one greedy completion. */
  samples?: number;
  /** The metric that decides, one of `means`. */
  metric: string;
  means: Record<string, number>;
  counts: EvaluationCounts;
  records: EvaluationRecord[];
}

export interface BestRecord {
  step: number;
  metric: string;
  value: number;
  /** Folder in `checkpoints/`; null: the policy as it was before training. */
  checkpoint: string | null;
}
