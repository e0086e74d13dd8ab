/** Lines of charts: smoothing, intervals, and what comes while a run trains. */
import { describe, expect, it } from "vitest";
import type { RunCurves } from "../../src/server/dashboard/wire.ts";
import { evaluationLine, lineOf, smooth, withUpdate } from "../../web/src/series.ts";

const curves: RunCurves = {
  id: "run",
  revision: 0,
  sequence: 1,
  steps: 2,
  rows: [
    { step: 1, minutes: 0.5, values: { reward: 0.1 } },
    { step: 2, minutes: 1, values: { reward: 0.2, entropy: 2 } },
  ],
  evaluations: [
    { step: 0, split: "valid", values: { m: 0.4 }, standardErrors: { m: 0.1 }, queries: 9, failed: 0 },
    { step: 2, split: "valid", values: { m: 0.5 }, standardErrors: {}, queries: 9, failed: 0 },
    { step: 2, split: "test", values: { m: 0.9 }, standardErrors: {}, queries: 9, failed: 0 },
  ],
  metric: "m",
  status: "training",
  totalSteps: 10,
  etaSeconds: null,
};

describe("smoothing", () => {
  it("starts unbiased and follows the values", () => {
    expect(smooth([3, 3, 3], 0.9)).toEqual([3, 3, 3].map((value) => expect.closeTo(value, 12)));
    expect(smooth([1, 2], 0.5)).toEqual([1, expect.closeTo((0.25 * 1 + 0.5 * 2) / 0.75, 12)]);
    expect(smooth([1, 5, 2], 0)).toEqual([1, 5, 2]);
  });

  it("passes over gaps", () => {
    expect(smooth([1, null, 1], 0.5)).toEqual([1, null, 1]);
  });
});

describe("lines", () => {
  it("have the steps that have the value, over steps or minutes", () => {
    expect(lineOf(curves.rows, "entropy", "step")).toEqual({ x: [2], y: [2] });
    expect(lineOf(curves.rows, "reward", "minutes")).toEqual({ x: [0.5, 1], y: [0.1, 0.2] });
  });

  it("of evaluations have an interval, where its errors are known", () => {
    const line = evaluationLine(curves, { split: "valid", metric: "m", axis: "minutes" });
    expect(line.x).toEqual([0, 1]);
    expect(line.low).toEqual([expect.closeTo(0.4 - 0.196, 12), 0.5]);
    expect(line.high).toEqual([expect.closeTo(0.4 + 0.196, 12), 0.5]);
  });
});

describe("what comes while a run trains", () => {
  it("is added, or takes the place of the same step", () => {
    const next = withUpdate(curves, {
      ...curves,
      sequence: 2,
      rows: [
        { step: 2, minutes: 1, values: { reward: 0.25, stepSeconds: 30 } },
        { step: 3, minutes: 1.5, values: { reward: 0.3 } },
      ],
      evaluations: [],
    });
    expect(next).toMatchObject({ steps: 3, sequence: 2 });
    expect(next.rows.map(({ step, values }) => [step, values.reward])).toEqual([
      [1, 0.1],
      [2, 0.25],
      [3, 0.3],
    ]);
    expect(next.evaluations).toHaveLength(3);
    expect(curves.rows).toHaveLength(2);
  });
});
