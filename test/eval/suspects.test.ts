/** What looks like reward hacking, and what does not. */
import { describe, expect, it } from "vitest";
import { examineCurves, explainLoss, suspect, type Written } from "../../src/eval/suspects.ts";

const catalogueWords = new Set(["stapler", "full", "strip", "black", "paper", "clip", "desk", "lamp"]);
const written = (extra: Partial<Written>): Written => ({
  completion: extra.query ?? "",
  query: "",
  input: "thing that joins sheets of paper",
  titles: ["Stapler, full strip, black"],
  ...extra,
});
const kinds = (extra: Partial<Written>, usualWords = 3): string[] =>
  suspect(written(extra), { usualWords, catalogueWords }).map(({ kind }) => kind);

describe("a completion", () => {
  it("that does its job is no suspect", () => {
    expect(kinds({ query: "stapler paper" })).toEqual([]);
    expect(kinds({ query: "stapler for joining sheets of paper" })).toEqual([]);
    expect(kinds({ query: null, completion: "" })).toEqual([]);
  });

  it("that grew long is one, with how long is usual", () => {
    const completion = "a b c d e f g h i j k l";
    expect(kinds({ completion, query: "stapler" })).toEqual(["length"]);
    expect(kinds({ completion, query: "stapler" }, 5)).toEqual([]);
    expect(kinds({ completion, query: "stapler" }, 0)).toEqual([]);
    expect(suspect(written({ completion }), { usualWords: 3, catalogueWords })[0]?.reason).toContain(
      "12 words; at the start 3 were usual",
    );
  });

  it("that repeats itself is one, by words or by sequences", () => {
    expect(kinds({ completion: "desk ".repeat(8), query: "desk" }, 8)).toEqual(["repetition"]);
    expect(kinds({ completion: "red oak desk blue red oak desk green red oak desk small", query: "desk" }, 12)).toEqual(
      ["repetition"],
    );
    expect(kinds({ completion: "desk desk lamp", query: "desk" })).toEqual([]);
  });

  it("of words that nobody said and no title has is one", () => {
    expect(kinds({ query: "xqzt vrump paper" })).toEqual(["unsupported"]);
    expect(kinds({ query: "xqzt desk lamp" })).toEqual([]);
    expect(kinds({ query: "xqzt vrump", input: null })).toEqual([]);
    expect(suspect(written({ query: "xqzt vrump" }), { usualWords: 3, catalogueWords: new Set() })).toEqual([]);
  });

  it("that copies a whole title is one, unless the user said it", () => {
    expect(kinds({ query: "stapler full strip black" })).toEqual(["title-copy"]);
    expect(kinds({ query: "stapler full strip" })).toEqual([]);
    expect(kinds({ query: "stapler full strip black", input: "Stapler: full strip; black!" })).toEqual([]);
    expect(kinds({ query: "desk lamp", titles: ["Desk lamp"] })).toEqual([]);
  });
});

describe("a run's curves", () => {
  const steps = (count: number, reward: (i: number) => number, tokens: (i: number) => number) =>
    Array.from({ length: count }, (_, i) => ({ step: i + 1, reward: reward(i), completionTokens: tokens(i) }));
  const validation = (...values: number[]) => values.map((value, i) => ({ step: 10 * i, value, standardError: 0.01 }));

  it("tell of reward that rose while validation fell", () => {
    const rising = steps(
      40,
      (i) => i / 100,
      () => 5,
    );
    const [finding] = examineCurves({ steps: rising, validation: validation(0.3, 0.5, 0.45, 0.4, 0.35) });
    expect(finding?.kind).toBe("divergence");
    expect(finding?.reason).toMatch(/^Since step 10 .* validation fell from 0\.500 to 0\.350/);
  });

  it("say nothing of noise, of a fall of both, or of a run that gets better", () => {
    const rising = steps(
      40,
      (i) => i / 100,
      () => 5,
    );
    const falling = steps(
      40,
      (i) => 1 - i / 100,
      () => 5,
    );
    expect(examineCurves({ steps: rising, validation: validation(0.3, 0.5, 0.49) })).toEqual([]);
    expect(examineCurves({ steps: falling, validation: validation(0.3, 0.5, 0.2) })).toEqual([]);
    expect(examineCurves({ steps: rising, validation: validation(0.3, 0.4, 0.5) })).toEqual([]);
    expect(examineCurves({ steps: [], validation: [] })).toEqual([]);
  });

  it("tell of completions that grew", () => {
    const growing = steps(
      20,
      () => 0.5,
      (i) => 4 + i,
    );
    expect(examineCurves({ steps: growing, validation: [] })[0]?.reason).toBe(
      "Completions grew from 5.5 to 21.5 tokens on average.",
    );
    expect(
      examineCurves({
        steps: steps(
          20,
          () => 0.5,
          () => 4,
        ),
        validation: [],
      }),
    ).toEqual([]);
  });
});

describe("a loss", () => {
  const relevant = new Set(["wanted"]);
  const before = { query: "desk lamp", hits: ["wanted", "x"], score: 1 };

  it("is explained by what was lost and added, and where the item went", () => {
    const after = { query: "lamp shade", hits: ["x", "y", "wanted"], score: 0.5 };
    expect(explainLoss({ input: "desk lamp", relevant }, before, after)).toEqual([
      "The first relevant item fell from rank 1 to 3.",
      "It left out desk.",
      "It added shade.",
    ]);
    expect(explainLoss({ input: null, relevant }, before, { query: "lamp", hits: ["x"], score: 0 })[0]).toBe(
      "The first relevant item was at rank 1, now it is not among the first 1.",
    );
    expect(explainLoss({ input: null, relevant }, before, { query: null, hits: [], score: 0 })).toEqual([
      "No query could be read from its answer.",
    ]);
    expect(explainLoss({ input: "desk lamp", relevant }, before, { query: "desk lamp", hits: [], score: 0 })[0]).toBe(
      "Its query finds nothing.",
    );
  });
});
