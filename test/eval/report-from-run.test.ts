import { describe, expect, it } from "vitest";
import { collectCurve, collectExamples } from "../../src/eval/report/from-run.ts";
import type { EvaluationRecord, MetricsRecord } from "../../src/runs/records.ts";

const show = (id: string): { id: string; title: string } => ({ id, title: id.toUpperCase() });
const record = (example: string, score: number | null, sample = 0): EvaluationRecord => ({
  example,
  sample,
  completion: "c",
  query: `${example} asked`,
  hits: score === null ? null : ["x", "y"],
  scores: score === null ? null : { "ndcg@10": score },
});
const questions = [
  { id: "a", query: "one", relevant: ["x"] },
  { id: "b", query: "two", relevant: ["y", "z"] },
];

describe("collectExamples", () => {
  it("brings together what the systems answered, without those that failed", () => {
    const examples = collectExamples(
      questions,
      [
        { system: "raw", records: [record("b", 0.5), record("a", 0.25)] },
        { system: "tuned", records: [record("a", 1), record("a", 0, 1), record("b", null)] },
      ],
      "ndcg@10",
      show,
    );
    const hits = [show("x"), show("y")];
    expect(examples).toEqual([
      {
        query: "one",
        relevant: [show("x")],
        answers: {
          raw: { query: "a asked", hits, metric: 0.25 },
          tuned: { query: "a asked", hits, metric: 1 },
        },
      },
      {
        query: "two",
        relevant: [show("y"), show("z")],
        answers: { raw: { query: "b asked", hits, metric: 0.5 } },
      },
    ]);
  });

  it("says which metric is missing and which there are", () => {
    expect(() => collectExamples(questions, [{ system: "raw", records: [record("a", 1)] }], "mrr", show)).toThrow(
      /"raw" has no mrr for example "a"; it has: ndcg@10/,
    );
  });
});

describe("collectCurve", () => {
  it("joins steps, evaluations and times", () => {
    const counts = { queries: 1, failed: 0, unparsed: 0, empty: 0 };
    const metrics: MetricsRecord[] = [
      { kind: "evaluation", step: 0, split: "valid", values: { "ndcg@10": 0.2 }, counts },
      { kind: "step", step: 1, phase: "warmup", values: { loss: 2 } },
      { kind: "step", step: 2, phase: "rl", values: { reward: 0.3 } },
      { kind: "evaluation", step: 2, split: "valid", values: { "ndcg@10": 0.4 }, counts },
      { kind: "evaluation", step: 2, split: "test", values: { "ndcg@10": 0.9 }, counts },
    ];
    const timings = [1, 2].map((step) => ({ step, endedAt: "2026-01-01T00:00:00Z", seconds: { total: 30 } }));
    expect(collectCurve(metrics, timings, { metric: "ndcg@10", reward: "reward" })).toEqual([
      { step: 0, minutes: 0, validMetric: 0.2 },
      { step: 1, minutes: 0.5 },
      { step: 2, minutes: 1, trainReward: 0.3, validMetric: 0.4 },
    ]);
  });
});
