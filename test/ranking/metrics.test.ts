import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { gainsOf, map, mrr, ndcg, precision, recall, success, type Relevance } from "../../src/ranking/index.ts";

const list = (...ids: string[]) => ids.map((id, i) => ({ id, score: -i }));

describe("one-query metrics", () => {
  it("agree with values worked out by hand", () => {
    const hits = list("a", "x", "b", "y");
    const relevant = { a: 1, b: 3, c: 2, x: 0, z: -1 };
    const best = 3 + 2 / Math.log2(3) + 1 / 2;
    expect(ndcg(hits, relevant)).toBeCloseTo((1 + 3 / 2) / best, 12);
    expect(ndcg(hits, relevant, { k: 2 })).toBeCloseTo(1 / (3 + 2 / Math.log2(3)), 12);
    expect(ndcg(hits, relevant, { gain: "exponential" })).toBeCloseTo((1 + 7 / 2) / (7 + 3 / Math.log2(3) + 1 / 2), 12);
    expect(recall(hits, relevant)).toBeCloseTo(2 / 3, 12);
    expect(recall(hits, relevant, { k: 2 })).toBeCloseTo(1 / 3, 12);
    expect(precision(hits, relevant, { k: 10 })).toBe(0.2);
    expect(precision(hits, relevant)).toBe(0.5);
    expect(mrr(list("x", "b"), relevant)).toBe(0.5);
    expect(mrr(list("x", "b"), relevant, { k: 1 })).toBe(0);
    expect(map(hits, relevant)).toBeCloseTo((1 + 2 / 3) / 3, 12);
    expect(success(list("x", "b"), relevant, { k: 1 })).toBe(0);
    expect(success(list("x", "b"), relevant, { k: 2 })).toBe(1);
  });

  it("are 0 without hits and without anything relevant", () => {
    for (const metric of [ndcg, recall, precision, mrr, map, success]) {
      expect(metric([], ["a"], { k: 5 })).toBe(0);
      expect(metric([], ["a"])).toBe(0);
      expect(metric(list("a"), [], { k: 5 })).toBe(0);
      expect(metric(list("a"), { a: 0 }, { k: 5 })).toBe(0);
    }
  });

  it("count an id once, in the list of relevant ids and in the hits", () => {
    expect(recall(list("a"), ["a", "a", "b"])).toBe(0.5);
    expect(recall(list("a", "a"), ["a", "b"])).toBe(0.5);
    expect(ndcg(list("a", "a", "a"), ["a"])).toBe(1);
    expect(ndcg(list("a", "a", "b"), ["a", "b"])).toBeCloseTo((1 + 1 / 2) / (1 + 1 / Math.log2(3)), 12);
    expect(precision(list("a", "a"), ["a"], { k: 2 })).toBe(0.5);
  });

  it("take ids that are names of object properties for ids", () => {
    expect(ndcg(list("constructor", "__proto__"), ["a"])).toBe(0);
    expect(ndcg(list("constructor", "toString"), { a: 1 })).toBe(0);
    expect(ndcg(list("__proto__"), JSON.parse('{"__proto__": 2}') as Relevance)).toBe(1);
  });

  it("refuse a cut or a gain that is no number", () => {
    for (const k of [0, -1, 1.5, NaN, Infinity, "3" as never]) {
      expect(() => ndcg(list("a"), ["a"], { k })).toThrowError(/ndcg: k is .*expected a whole number/);
    }
    expect(() => ndcg(list("a"), { a: NaN })).toThrowError(/gain of "a"/);
    expect(() => recall(list("a"), { a: "high" as never })).toThrowError(/gain of "a" is "high"/);
  });

  const ids = fc.uniqueArray(fc.constantFrom(..."abcdefghij"), { maxLength: 10 });
  const gains = fc.dictionary(fc.constantFrom(..."abcdefghij"), fc.integer({ min: -1, max: 4 }));

  it("stay in [0, 1]; the best order scores 1", () => {
    fc.assert(
      fc.property(ids, gains, fc.integer({ min: 1, max: 12 }), (hitIds, relevant, k) => {
        for (const metric of [ndcg, recall, precision, mrr, map, success]) {
          const value = metric(list(...hitIds), relevant, { k });
          expect(value).toBeGreaterThanOrEqual(0);
          expect(value).toBeLessThanOrEqual(1 + 1e-12);
        }
        const best = [...gainsOf(relevant)].sort((a, b) => b[1] - a[1]).map(([id]) => id);
        const somethingRelevant = Object.values(relevant).some((gain) => gain > 0);
        for (const gain of ["linear", "exponential"] as const) {
          expect(ndcg(list(...best), relevant, { k, gain })).toBeCloseTo(somethingRelevant ? 1 : 0, 12);
        }
      }),
    );
  });

  it("never fall when a relevant hit moves up one place", () => {
    fc.assert(
      fc.property(ids, gains, fc.integer({ min: 1, max: 10 }), fc.nat(), (hitIds, relevant, k, at) => {
        if (hitIds.length < 2) return;
        const i = 1 + (at % (hitIds.length - 1));
        const [upper, lower] = [hitIds[i - 1] as string, hitIds[i] as string];
        if (Math.max(0, relevant[lower] ?? 0) <= Math.max(0, relevant[upper] ?? 0)) return;
        const swapped = hitIds.slice();
        [swapped[i - 1], swapped[i]] = [lower, upper];
        expect(ndcg(list(...swapped), relevant, { k })).toBeGreaterThanOrEqual(ndcg(list(...hitIds), relevant, { k }));
      }),
    );
  });
});
