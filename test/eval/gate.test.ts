import { describe, expect, it } from "vitest";
import type { Comparison } from "../../src/eval/comparison/measure.ts";
import { findSystem, formatVerdict, judgeAbility, judgeRegression, mergeVerdicts } from "../../src/eval/gate.ts";

/** A comparison of one policy with these scores. */
function comparisonOf(scores: (number | null)[], slice: number[] = []): Comparison {
  const system = { id: "tuned", name: "tuned", family: "policy", scores: { "ndcg@10": scores } };
  return {
    metric: "ndcg@10",
    metrics: ["ndcg@10"],
    examples: scores.map((_, i) => ({ id: `q${i}`, raw: null })),
    slices: [{ name: "one-word", description: "", examples: slice }],
    systems: [system],
  } as unknown as Comparison;
}
const of = (comparison: Comparison): { comparison: Comparison; system: string } => ({ comparison, system: "tuned" });
const before = Array.from({ length: 100 }, (_, i) => (i % 10) / 10);

describe("judgeRegression", () => {
  it("passes what is the same or better, and fails what is worse", () => {
    const same = judgeRegression(of(comparisonOf(before)), of(comparisonOf(before)));
    expect(same.passed).toBe(true);
    expect(formatVerdict(same)).toMatch(
      /ok {4}all +ndcg@10 \+0\.0000 \[\+0\.0000, \+0\.0000\] on 100 examples\npassed/,
    );
    const worse = before.map((score) => score - 0.05);
    const verdict = judgeRegression(of(comparisonOf(worse)), of(comparisonOf(before)));
    expect(verdict.passed).toBe(false);
    expect(formatVerdict(verdict)).toMatch(/FAIL {2}all[^]*regression/);
    expect(judgeRegression(of(comparisonOf(worse)), of(comparisonOf(before)), { maxDrop: 0.06 }).passed).toBe(true);
  });

  it("fails on a slice that lost while the whole gained, unless the slice is small", () => {
    const slice = Array.from({ length: 25 }, (_, i) => i * 4);
    const mixed = before.map((score, i) => (slice.includes(i) ? score - 0.1 : score + 0.2));
    const verdict = judgeRegression(of(comparisonOf(mixed, slice)), of(comparisonOf(before)));
    expect(verdict.checks.map(({ name, passed }) => [name, passed])).toEqual([
      ["all", true],
      ["slice one-word", false],
    ]);
    expect(verdict.passed).toBe(false);
    const small = judgeRegression(of(comparisonOf(mixed, slice)), of(comparisonOf(before)), { minSlice: 30 });
    expect(small.passed).toBe(true);
    expect(formatVerdict(small)).toMatch(/warn {2}slice one-word.*does not decide/);
  });

  it("fails below a floor, and where examples went missing", () => {
    expect(judgeRegression(of(comparisonOf(before)), of(comparisonOf(before)), { floor: 0.5 }).passed).toBe(false);
    const gone = before.map((score, i) => (i < 10 ? null : score));
    expect(
      judgeRegression(of(comparisonOf(gone)), of(comparisonOf(before))).checks.find(({ name }) => name === "coverage"),
    ).toMatchObject({ passed: false });
  });

  it("pairs examples of the same words only, and tells the others from those that failed", () => {
    // A line that was added moves every later example's number on by one.
    const withWords = (from: number): Comparison => ({
      ...comparisonOf(before),
      examples: before.map((_, i) => ({ id: `q${i}`, raw: i < 50 ? `word ${i}` : `word ${i + from}` })),
    });
    const verdict = judgeRegression(of(withWords(1)), of(withWords(0)));
    expect(verdict.checks.find(({ name }) => name === "all")?.message).toMatch(/on 50 examples/);
    expect(verdict.checks.find(({ name }) => name === "coverage")).toMatchObject({
      passed: false,
      message: expect.stringMatching(/50 of 100 .*50 with other words under the same id/) as string,
    });
    expect(verdict.passed).toBe(false);
  });

  it.each(["task", "split", "mode"] as const)("refuses a reference of another %s", (key) => {
    const [one, other] = ["a", "b"].map((value) => ({ ...comparisonOf(before), [key]: value }) as Comparison);
    expect(() => judgeRegression(of(one as Comparison), of(other as Comparison))).toThrow(
      new RegExp(`The comparison is of ${key} a, the reference of ${key} b`),
    );
  });

  it("says what can't be compared", () => {
    const other = { ...comparisonOf(before), examples: before.map((_, i) => ({ id: `other${i}`, raw: null })) };
    expect(() => judgeRegression(of(comparisonOf(before)), of(other))).toThrow(
      /share no example, of the same id and the same words/,
    );
    expect(() => judgeRegression(of(comparisonOf(before)), of(comparisonOf(before)), { metric: "map" })).toThrow(
      /no metric "map"/,
    );
    expect(() => findSystem(comparisonOf(before), "rm3")).toThrow(/no system "rm3"; it has: tuned/);
    expect(findSystem(comparisonOf(before), undefined).id).toBe("tuned");
  });
});

describe("judgeAbility", () => {
  const report = (value: number, perplexity: number): Parameters<typeof judgeAbility>[0] => ({
    format: 1,
    createdAt: "",
    seed: 0,
    notes: [],
    policies: [
      { name: "base", measures: { accuracy: { value: 0.5, base: null, better: "more", count: 9 } } },
      {
        name: "tuned",
        measures: {
          accuracy: { value, base: 0.5, better: "more", count: 9 },
          perplexity: { value: perplexity, base: 20, better: "less", count: 9 },
          divergence: { value: 3, base: null, better: "none", count: 9 },
        },
      },
    ],
  });

  it("wants a share of each ability kept", () => {
    expect(judgeAbility(report(0.49, 20.5)).passed).toBe(true);
    expect(judgeAbility(report(0.4, 20)).passed).toBe(false);
    expect(judgeAbility(report(0.5, 30)).checks.map(({ name, passed }) => [name, passed])).toEqual([
      ["tuned accuracy", true],
      ["tuned perplexity", false],
    ]);
    expect(mergeVerdicts([judgeAbility(report(0.5, 20)), judgeAbility(report(0, 20))]).passed).toBe(false);
  });
});
