import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataError } from "../../src/core/errors.ts";
import { nextGaussian, randomStream } from "../../src/core/random.ts";
import {
  bootstrapDifference,
  bootstrapInterval,
  countOutcomes,
  holmCorrection,
  pairedRandomizationTest,
} from "../../src/eval/significance.ts";

/*
 * Reference values by SciPy 1.17.1 (NumPy generators seeded, so anyone can compute them again):
 * - p: scipy.stats.permutation_test((a, b), mean of x − y, permutation_type="samples", alternative="two-sided"), all
 *   assignments for `small`, 2,000,000 drawn for `large`;
 * - intervals: scipy.stats.bootstrap((values,), numpy.mean, method="percentile", n_resamples=1_000_000);
 * - Holm: statsmodels.stats.multitest.multipletests(ps, method="holm").
 */
const small = {
  a: [0.78, 0.0, 0.43, 0.26, 0.42, 0.46, 0.94, 0.02, 0.52, 0.63],
  b: [0.76, 0.0, 0.17, 0.47, 0.16, 0.39, 1.0, 0.0, 0.43, 0.6],
  p: 0.28515625,
};
const large = {
  a: [
    0.06, 0.29, 0.05, 0.62, 0.82, 0.6, 0.79, 0.68, 0.06, 0.79, 0.74, 0.57, 0.58, 0.01, 0.4, 0.21, 0.02, 0.07, 0.38,
    0.32, 0.07, 0.0, 0.87, 0.0, 0.77, 0.23, 0.22, 0.48, 0.05, 0.15, 0.37, 0.74, 0.9, 0.52, 0.36, 0.77, 0.05, 0.88, 0.96,
    0.34, 0.4, 0.15, 0.02, 0.11, 0.01, 0.76, 0.94, 0.96, 0.43, 0.07, 0.72, 0.07, 0.87, 0.23, 0.81, 0.75, 0.54, 0.34,
    0.1, 0.08,
  ],
  b: [
    0.29, 0.22, 0.0, 0.39, 0.27, 0.0, 0.6, 0.95, 0.01, 0.44, 0.44, 0.79, 0.56, 0.0, 0.33, 0.16, 0.16, 0.15, 0.37, 0.0,
    0.14, 0.0, 1.0, 0.0, 0.68, 0.17, 0.0, 0.85, 0.36, 0.0, 0.5, 0.77, 0.19, 0.52, 0.28, 0.73, 0.0, 0.75, 0.86, 0.58,
    0.42, 0.09, 0.34, 0.0, 0.0, 0.25, 1.0, 1.0, 0.6, 0.18, 0.69, 0.06, 0.75, 0.12, 0.76, 1.0, 0.62, 0.27, 0.0, 0.0,
  ],
  p: 0.13902,
};

describe("pairedRandomizationTest", () => {
  it("counts every assignment of a small sample, as SciPy does", () => {
    const result = pairedRandomizationTest(small.a, small.b);
    expect(result.exact).toBe(true);
    // One of the ten pairs is equal and needs no swapping.
    expect(result.iterations).toBe(2 ** 9);
    expect(result.p).toBe(small.p);
    expect(result.difference).toBeCloseTo(0.048, 12);
  });

  it("draws assignments of a larger sample and agrees with SciPy within sampling error", () => {
    const result = pairedRandomizationTest(large.a, large.b, { seed: 3 });
    expect(result.exact).toBe(false);
    expect(result.iterations).toBe(100_000);
    // Four standard errors of a share of 0.139 among 100,000.
    expect(Math.abs(result.p - large.p)).toBeLessThan(0.0044);
    expect(result.difference).toBeCloseTo(0.0415, 12);
  });

  it("gives by drawing what it gives by counting", () => {
    const exact = pairedRandomizationTest(large.a.slice(0, 18), large.b.slice(0, 18), { iterations: 2 ** 18 });
    const drawn = pairedRandomizationTest(large.a.slice(0, 18), large.b.slice(0, 18), { iterations: 100_000 });
    expect([exact.exact, drawn.exact]).toEqual([true, false]);
    expect(Math.abs(exact.p - drawn.p)).toBeLessThan(4 * Math.sqrt((exact.p * (1 - exact.p)) / 100_000));
  });

  it("depends on the seed alone", () => {
    const run = (seed: number): number => pairedRandomizationTest(large.a, large.b, { seed, iterations: 5000 }).p;
    expect(run(1)).toBe(run(1));
    expect(run(1)).not.toBe(run(2));
  });

  it("never reports a p-value of 0", () => {
    const better = large.b.map((score, i) => score + 0.2 + i / 1000);
    expect(pairedRandomizationTest(better, large.b, { iterations: 999 }).p).toBe(1 / 1000);
  });

  it("says 1 when nothing differs", () => {
    expect(pairedRandomizationTest([0.5, 0.1], [0.5, 0.1])).toEqual({
      difference: 0,
      p: 1,
      exact: true,
      iterations: 1,
    });
  });

  it("is symmetric and keeps to (0, 1]", () => {
    const scores = fc.array(
      fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })),
      {
        minLength: 1,
        maxLength: 30,
      },
    );
    fc.assert(
      fc.property(scores, (pairs) => {
        const a = pairs.map(([x]) => x);
        const b = pairs.map(([, y]) => y);
        const forward = pairedRandomizationTest(a, b, { iterations: 500 });
        expect(forward.p).toBeGreaterThan(0);
        expect(forward.p).toBeLessThanOrEqual(1);
        expect(pairedRandomizationTest(b, a, { iterations: 500 }).p).toBeCloseTo(forward.p, 12);
      }),
    );
  });

  it("rejects at its own level when there is no difference", () => {
    const random = randomStream("null hypothesis");
    let rejected = 0;
    for (let trial = 0; trial < 400; trial++) {
      const a = Array.from({ length: 40 }, () => nextGaussian(random));
      const b = Array.from({ length: 40 }, () => nextGaussian(random));
      if (pairedRandomizationTest(a, b, { iterations: 400, seed: trial }).p <= 0.05) rejected++;
    }
    // 20 expected, standard deviation 4.4.
    expect(rejected).toBeGreaterThan(4);
    expect(rejected).toBeLessThan(38);
  });

  it("tests 700 queries within seconds", () => {
    const random = randomStream("speed");
    const a = Array.from({ length: 700 }, () => random.next());
    const b = Array.from({ length: 700 }, () => random.next());
    const start = performance.now();
    pairedRandomizationTest(a, b);
    expect(performance.now() - start).toBeLessThan(5000);
  });

  it.each([
    ["no scores", [], [], "STATISTICS_EMPTY"],
    ["unpaired scores", [1, 2], [1], "STATISTICS_UNPAIRED"],
    ["NaN", [1, NaN], [1, 2], "STATISTICS_SCORE"],
    ["infinity", [1, 2], [1, Infinity], "STATISTICS_SCORE"],
  ])("refuses %s", (_name, a, b, code) => {
    expect(() => pairedRandomizationTest(a, b)).toThrow(expect.objectContaining({ code }));
    expect(() => bootstrapDifference(a, b)).toThrow(DataError);
  });

  it.each([0, -1, 1.5, NaN])("refuses %s iterations", (iterations) => {
    expect(() => pairedRandomizationTest([1], [2], { iterations })).toThrow(/iterations must be a whole number/);
  });
});

describe("bootstrapInterval", () => {
  it.each([
    ["small, 95 %", small.a, 0.95, 0.27, 0.621],
    ["small, 90 %", small.a, 0.9, 0.297, 0.594],
    ["large, 95 %", large.a, 0.95, 0.33917, 0.5005],
    ["large, 90 %", large.a, 0.9, 0.35183, 0.48733],
  ])("agrees with SciPy: %s", (_name, values, level, low, high) => {
    const interval = bootstrapInterval(values, { level, iterations: 100_000, seed: 5 });
    // Sampling error of a tail quantile among 100,000 means, four times over.
    expect(Math.abs(interval.low - low)).toBeLessThan(0.003);
    expect(Math.abs(interval.high - high)).toBeLessThan(0.003);
    expect(interval.mean).toBeCloseTo(values.reduce((sum, v) => sum + v, 0) / values.length, 12);
  });

  it("agrees with SciPy on a paired difference", () => {
    const interval = bootstrapDifference(large.a, large.b, { iterations: 100_000 });
    expect(Math.abs(interval.low - -0.0105)).toBeLessThan(0.002);
    expect(Math.abs(interval.high - 0.09667)).toBeLessThan(0.002);
  });

  it("is a point for equal values", () => {
    expect(bootstrapInterval([0.25, 0.25, 0.25])).toEqual({ mean: 0.25, low: 0.25, high: 0.25, level: 0.95 });
  });

  it.each([0, 1, -0.5, NaN])("refuses a level of %s", (level) => {
    expect(() => bootstrapInterval([1], { level })).toThrow(/level must be above 0 and below 1/);
  });
});

describe("holmCorrection", () => {
  it("agrees with statsmodels", () => {
    const expected = [0.05, 0.12, 0.12, 0.03, 0.5, 0.12];
    holmCorrection([0.01, 0.04, 0.03, 0.005, 0.5, 0.04]).forEach((p, i) =>
      expect(p).toBeCloseTo(expected[i] ?? NaN, 12),
    );
  });

  it("leaves one p-value alone, and none", () => {
    expect(holmCorrection([0.03])).toEqual([0.03]);
    expect(holmCorrection([])).toEqual([]);
  });

  it("refuses what is no probability", () => {
    expect(() => holmCorrection([0.1, 1.2])).toThrow(/p-value 1 must be between 0 and 1, got 1.2/);
  });
});

describe("countOutcomes", () => {
  it("counts wins, ties and losses, rounding error being a tie", () => {
    expect(countOutcomes([0.5, 0.1 + 0.2, 0, 1], [0.4, 0.3, 0.2, 0])).toEqual({ wins: 2, ties: 1, losses: 1 });
  });
});
