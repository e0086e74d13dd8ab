/**
 * What a report shows, as plain data: whoever evaluates fills it in, and the page is drawn from nothing else. All
 * strings are plain text; those that a model or a catalogue wrote need no cleaning.
 */

/** A drawing in one colour: the `d` of an SVG path and the box that it is drawn in. */
export interface ReportPicture {
  /** SVG path data. A picture whose path holds anything else is left out, and the title is shown instead. */
  path: string;
  /** Four numbers: left, top, width, height. Default `0 0 24 24`. */
  viewBox?: string;
}

export interface ReportItem {
  id: string;
  /** What a person calls the item. */
  title: string;
  picture?: ReportPicture;
}

/** What one system made of one query. */
export interface ReportAnswer {
  /** The query that the recommender was asked; null where the model's answer held none. */
  query: string | null;
  /** Best first. The page draws ten at most (five where there are no pictures). */
  hits: readonly ReportItem[];
  /** The metric of `ReportData.metric` on this query. */
  metric: number;
}

export interface ReportExample {
  /** The user's words, or what stands for them. */
  query: string;
  /** The items that should have been found. */
  relevant: readonly ReportItem[];
  /** By system id. A system that failed on this query is left out. */
  answers: Readonly<Record<string, ReportAnswer>>;
}

export interface ReportSystem {
  id: string;
  /** As the page calls it: `Raw words`, `Untrained model`, `Tuned model`. */
  name: string;
  /** The same within a sentence: `the raw words`, `the tuned model`. Default: `name`. */
  phrase?: string;
  /** Mean of the metric over the queries. */
  mean: number;
  /** Ends of the 95 % interval of the mean. */
  low: number;
  high: number;
  /** Queries that the metric was computed on. */
  queries: number;
  /** Queries left out because the system failed on them. Default 0. */
  failed?: number;
}

/** Two systems on the same queries. */
export interface ReportComparison {
  /** System ids. */
  system: string;
  baseline: string;
  /** Mean difference of the metric, system − baseline, with the ends of its 95 % interval. */
  difference: number;
  low: number;
  high: number;
  /** Queries on which the system was better, equal and worse. */
  wins: number;
  ties: number;
  losses: number;
  /** Two-sided p-value; corrected for several comparisons where there are several. */
  p: number;
  /** The same before it was corrected. */
  uncorrectedP?: number;
}

export interface ReportCurvePoint {
  step: number;
  /** Since training began. */
  minutes: number;
  /** Mean reward of the step's rollouts. */
  trainReward?: number;
  /** Metric on the validation split, at the steps where it was measured. */
  validMetric?: number;
}

export interface ReportCurve {
  /** What `validMetric` is, such as `NDCG@10 on 200 validation queries`. */
  metricLabel: string;
  /** What `trainReward` is, such as `Mean reward of sampled queries`. */
  rewardLabel: string;
  points: readonly ReportCurvePoint[];
  /** Horizontal lines in the metric's panel: what it is without training. */
  references: readonly { label: string; value: number }[];
}

/** A replacement that the tuned model makes again and again. */
export interface ReportSubstitution {
  /** Words of the user. */
  from: string;
  /** Words that the model wrote for them; the same where it said them once more. */
  to: string;
  /** Queries in which it did. */
  count: number;
  /** One whole query in which it did. */
  example: string;
}

export interface ReportData {
  title: string;
  when: Date;
  /** What was done, in plain sentences, one a line. */
  subtitle: readonly string[];
  /** What a reader must know before the figures: that they are of validation, say. */
  notice?: string;
  /** Name of the metric, such as `NDCG@10`. */
  metric: string;
  /** One sentence that tells a newcomer how to read the metric. */
  metricHelp?: string;
  /** In the order of the story: raw, untrained, tuned. Empty where nothing was evaluated yet. */
  systems: readonly ReportSystem[];
  comparisons: readonly ReportComparison[];
  /** System ids: whose examples are sorted into better and worse, and than what; empty where there are no systems. */
  focus: string;
  baseline: string;
  curve?: ReportCurve;
  examples: readonly ReportExample[];
  learned: readonly ReportSubstitution[];
  /** The resolved configuration; nested objects become dotted names. */
  settings: Readonly<Record<string, unknown>>;
  /** Commands, in order. */
  reproduce: readonly string[];
  timings: readonly { name: string; seconds: number }[];
  /** What was used, as text for people: tokens, searches. Default: not shown. */
  costs?: readonly { name: string; value: string }[];
}
