/** From a run's own records to the report's data: evaluations become examples, metrics and timings the curve. */
import { DataError } from "../../core/errors.ts";
import type { EvaluationRecord, MetricsRecord, TimingRecord } from "../../runs/records.ts";
import type { ReportAnswer, ReportCurvePoint, ReportExample, ReportItem } from "./report-data.ts";

/** An example as the report names it. */
export interface ReportQuestion {
  /** The example's id in the evaluations. */
  id: string;
  /** The user's words, or what stands for them. */
  query: string;
  /** Ids of the items that should have been found. */
  relevant: readonly string[];
}

/** One system's evaluation. */
export interface ReportEvaluation {
  /** The system's id in the report. */
  system: string;
  records: readonly EvaluationRecord[];
}

/**
 * The questions with every system's answer to them. Where an example has several completions, the first is shown; an
 * answer on which the recommender failed is left out.
 *
 * @param metric name of the score in the records, such as `ndcg@10`
 * @param show what to draw for an item's id
 * @throws DataError when an answer has no score of that name.
 */
export function collectExamples(
  questions: readonly ReportQuestion[],
  evaluations: readonly ReportEvaluation[],
  metric: string,
  show: (id: string) => ReportItem,
): ReportExample[] {
  const bySystem = evaluations.map(({ system, records }) => {
    const first = new Map<string, EvaluationRecord>();
    for (const record of records) if (!first.has(record.example)) first.set(record.example, record);
    return { system, records: first };
  });
  return questions.map(({ id, query, relevant }) => {
    const answers: Record<string, ReportAnswer> = {};
    for (const { system, records } of bySystem) {
      const record = records.get(id);
      if (!record?.scores) continue;
      const score = record.scores[metric];
      if (score === undefined) {
        const known = Object.keys(record.scores).join(", ");
        throw new DataError(
          "REPORT_METRIC",
          `The evaluation of "${system}" has no ${metric} for example "${id}"; it has: ${known || "nothing"}.`,
        );
      }
      answers[system] = { query: record.query, hits: (record.hits ?? []).map(show), metric: score };
    }
    return { query, relevant: relevant.map(show), answers };
  });
}

/**
 * The curve's points: the mean reward of each step, and the metric where the validation split was evaluated. Minutes
 * are those that steps took, evaluations and pauses between them left out.
 *
 * @param metric name of the validation metric, such as `ndcg@10`
 * @param reward name of the reward among a step's values
 * @param split the split whose evaluations count. Default `valid`.
 */
export function collectCurve(
  metrics: readonly MetricsRecord[],
  timings: readonly TimingRecord[],
  { metric, reward, split = "valid" }: { metric: string; reward: string; split?: string },
): ReportCurvePoint[] {
  const seconds = new Map(timings.map((timing) => [timing.step, timing.seconds["total"] ?? 0]));
  const points = new Map<number, ReportCurvePoint>();
  const extend = (step: number, values: Partial<ReportCurvePoint>): void => {
    points.set(step, { ...(points.get(step) ?? { step, minutes: 0 }), ...values });
  };
  for (const record of metrics) {
    if (record.kind === "step") {
      const value = record.values[reward];
      extend(record.step, value === undefined ? {} : { trainReward: value });
    } else if (record.split === split) {
      const value = record.values[metric];
      if (value !== undefined) extend(record.step, { validMetric: value });
    }
  }
  let total = 0;
  return [...points.values()]
    .sort((a, b) => a.step - b.step)
    .map((point) => ({ ...point, minutes: (total += seconds.get(point.step) ?? 0) / 60 }));
}
