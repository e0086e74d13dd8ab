import { describe, expect, it } from "vitest";
import { compareSystems } from "../../src/eval/compare.ts";
import { findSubstitutions } from "../../src/eval/substitutions.ts";

describe("compareSystems", () => {
  const raw = { id: "raw", name: "Raw", scores: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, null] };
  const tuned = { id: "tuned", name: "Tuned", phrase: "the tuned one", scores: [0.2, 0.4, 0.6, 0.8, null, 0.6, 1] };

  it("compares on the queries that neither system failed on", () => {
    const { systems, comparisons } = compareSystems([raw, tuned], [["tuned", "raw"]]);
    expect(systems.map(({ id, queries, failed }) => [id, queries, failed])).toEqual([
      ["raw", 6, 1],
      ["tuned", 6, 1],
    ]);
    expect(systems[0]).not.toHaveProperty("phrase");
    expect(systems[1]?.phrase).toBe("the tuned one");
    const [pair] = comparisons;
    expect(pair).toMatchObject({ system: "tuned", baseline: "raw", wins: 4, ties: 1, losses: 0 });
    expect(pair?.difference).toBeCloseTo(0.2, 12);
    // Four differing pairs, all of one sign: 2 of 16 assignments are as extreme.
    expect(pair?.p).toBe(0.125);
    expect(pair?.low).toBeLessThan(0.2);
    expect(pair?.high).toBeGreaterThan(0.2);
  });

  it("corrects p-values for the number of pairs", () => {
    const { comparisons } = compareSystems(
      [raw, tuned],
      [
        ["tuned", "raw"],
        ["raw", "tuned"],
      ],
    );
    expect(comparisons.map(({ p }) => p)).toEqual([0.25, 0.25]);
  });

  it("says what can't be compared", () => {
    expect(() => compareSystems([raw], [["tuned", "raw"]])).toThrow(/no system "tuned" to compare; there are: raw/);
    expect(() => compareSystems([raw, { ...tuned, scores: [1] }], [["tuned", "raw"]])).toThrow(
      /7 and 1 scores|1 and 7 scores/,
    );
    expect(() => compareSystems([{ ...raw, scores: [null, null] }], [])).toThrow(/failed on all of 2 queries/);
    expect(() =>
      compareSystems(
        [
          { ...raw, scores: [null, 1] },
          { ...tuned, scores: [1, null] },
        ],
        [["tuned", "raw"]],
      ),
    ).toThrow(/no query in common/);
  });
});

describe("findSubstitutions", () => {
  it("finds what is written for a word again and again, and not what is added to everything", () => {
    const rewrites = [
      { query: "red lorry", written: "red truck icon" },
      { query: "lorry fast", written: "fast truck icon" },
      { query: "add user", written: "plus user icon" },
      { query: "add", written: "plus icon" },
      { query: "add page", written: "plus page icon" },
      { query: "lonely", written: null },
    ];
    const found = findSubstitutions(rewrites).map(({ from, to, count, example }) => ({ from, to, count, example }));
    expect(found).toEqual([
      { from: "add", to: "plus", count: 3, example: "add user" },
      { from: "lorry", to: "truck", count: 2, example: "red lorry" },
    ]);
  });

  it("finds words that are said once more, and not those that the user said twice", () => {
    const rewrites = [
      { query: "star outline", written: "star outline outline" },
      { query: "Outline of a house", written: "Outline of a house outline" },
      { query: "star star", written: "star star" },
      { query: "star star", written: "star star" },
    ];
    expect(findSubstitutions(rewrites)).toEqual([
      { from: "outline", to: "outline", count: 2, example: "star outline" },
    ]);
  });

  it("does not count forms of a word, nor what occurs once", () => {
    expect(
      findSubstitutions([
        { query: "star", written: "stars" },
        { query: "star", written: "stars" },
        { query: "one", written: "two" },
      ]),
    ).toEqual([]);
  });

  it("reads words of every script", () => {
    const same = { query: "ГРУЗОВИК", written: "машина" };
    expect(findSubstitutions([same, same])).toEqual([
      { from: "грузовик", to: "машина", count: 2, example: "ГРУЗОВИК" },
    ]);
  });
});
