import { describe, expect, it } from "vitest";
import { fused, fuseRankings } from "../../src/recommenders/fused.ts";
import { parseQueries } from "../../src/rl/answer.ts";
import {
  combineObjectives,
  latencyCost,
  ndcgObjective,
  recallObjective,
  ruleObjective,
  tokenCost,
  wordCost,
} from "../../src/rl/objectives.ts";
import { WordSearch } from "../support/word-search.ts";

const example = { id: "q", query: "x", relevant: ["a"] };
const hits = [
  { id: "b", score: 2, payload: { inStock: false } },
  { id: "a", score: 1, payload: { inStock: true } },
];
const costs = { tokens: 12, searches: 1, searchMs: 5 };

describe("combineObjectives", () => {
  it("adds metrics, costs and rules by their weights, and keeps each", async () => {
    const reward = combineObjectives<typeof example>({
      ndcg: ndcgObjective(10),
      recall: recallObjective(1, 2),
      tokens: tokenCost(-0.01),
      words: wordCost(-0.1),
      latency: latencyCost(-0.001),
      stock: ruleObjective((hit) => hit.payload?.inStock === true, { k: 10, weight: 0.2 }),
    });
    const scored = await reward({ example, query: "red  pen", hits, completion: "red pen", costs });
    expect(scored.parts).toEqual({ ndcg: 1 / Math.log2(3), recall: 0, tokens: 12, words: 2, latency: 5, stock: 0.5 });
    expect(scored.reward).toBeCloseTo(1 / Math.log2(3) - 0.12 - 0.2 - 0.005 + 0.1, 12);
    expect(await reward({ example, query: null, hits: null, completion: "" })).toEqual({ reward: -0.5, parts: {} });
  });

  it("names the objective that is no number", async () => {
    const reward = combineObjectives({ odd: { weight: 1, value: () => Number.NaN } });
    await expect(reward({ example, query: "a", hits, completion: "a" })).rejects.toThrow(/objective "odd" is NaN/);
  });
});

describe("fused queries", () => {
  it("fuses rankings by reciprocal rank", () => {
    const ranking = (...ids: string[]) => ids.map((id) => ({ id, score: 1 }));
    const all = fuseRankings([ranking("a", "b"), ranking("b", "c")]);
    expect(all.map(({ id }) => id)).toEqual(["b", "a", "c"]);
    expect(all[0]!.score).toBeCloseTo(1 / 62 + 1 / 61, 12);
  });

  it("asks each line once, and leaves one line as it is", async () => {
    const inner = new WordSearch({ a: "red pen", b: "blue pen", c: "ink" });
    const recommender = fused(inner, { maxQueries: 2 });
    const [several, one, none] = await recommender.search(
      [{ text: "red\nink\nblue" }, { text: "pen" }, { text: " " }],
      {
        topK: 5,
      },
    );
    expect(several!.map(({ id }) => id)).toEqual(["a", "c"]);
    expect(one).toEqual(await inner.search([{ text: "pen" }], { topK: 5 }).then(([hits]) => hits));
    expect(none).toEqual([]);
    expect(inner.calls[0]).toEqual(["red", "ink", "pen"]);
    expect(() => fused(inner, { maxQueries: 0 })).toThrow(/maxQueries is 0/);
  });

  it.each([
    ['<answer>{"queries": ["red pen", "ink", "ink"]}</answer>', "red pen\nink"],
    ['<answer>{"query": "red pen"}</answer>', "red pen"],
    ["<answer>red pen\nink</answer>", "red pen\nink"],
    ["- red pen\n- ink\n", "red pen\nink"],
    ["a\nb\nc\nd\ne", "a\nb\nc\nd"],
    ['<answer>{"queries": 5}</answer>', null],
    ["<answer>{broken}</answer>", null],
    ["", null],
  ])("reads several queries of %j", (text, queries) => expect(parseQueries(text)).toBe(queries));
});
