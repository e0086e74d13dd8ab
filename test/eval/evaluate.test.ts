import { describe, expect, it } from "vitest";
import { evaluatePolicy, evaluateQueries, evaluateRaw, pairScores } from "../../src/eval/evaluate.ts";
import { examples, makeParts, makeTask } from "../support/word-task.ts";

describe("evaluation", () => {
  it("compares the raw words, true names and the policy", async () => {
    const { engine, recommender } = makeParts();
    const task = makeTask({ data: { train: examples, test: examples } });
    const raw = await evaluateRaw({ task, recommender });
    expect(raw).toMatchObject({
      metric: "ndcg@10",
      means: { "ndcg@10": 0 },
      counts: { queries: 8, empty: 8, failed: 0 },
    });
    const names = await evaluateQueries({
      task,
      recommender,
      queryOf: ({ relevant }) => (relevant as string[])[0] ?? null,
    });
    expect(names.means["ndcg@10"]).toBe(1);
    const greedy = await evaluatePolicy({ engine, task, recommender, maxTokens: 2 });
    expect(greedy.counts.unparsed).toBe(8);
    const sampled = await evaluatePolicy({ engine, task, recommender, maxTokens: 2, samples: 5, limit: 3 });
    expect(sampled.records).toHaveLength(15);
    expect(pairScores(names, sampled).ids).toEqual(["q0", "q1", "q2"]);
  });

  it("leaves failed queries out of the mean and counts them", async () => {
    const { recommender } = makeParts();
    recommender.broken.add("anchor");
    const task = makeTask({ data: { train: examples, test: examples } });
    const names = await evaluateQueries({
      task,
      recommender,
      queryOf: ({ relevant }) => (relevant as string[])[0] ?? null,
    });
    expect(names.means["ndcg@10"]).toBe(1);
    expect(names.counts).toEqual({ queries: 8, failed: 1, unparsed: 0, empty: 0 });
    expect(names.records[0]).toMatchObject({ scores: null, failure: 'DOWN: no answer to "anchor"' });
  });

  it("refuses a relevant id that the catalogue lacks, and a split that is missing", async () => {
    const { recommender } = makeParts();
    const wrong = [{ id: "q", query: "x", relevant: ["nowhere"] }];
    const task = makeTask({ data: { train: examples, test: wrong } });
    await expect(evaluateRaw({ task, recommender })).rejects.toThrow(/"nowhere"/);
    await expect(evaluateRaw({ task, recommender, maxMissingShare: 1 })).resolves.toBeDefined();
    await expect(evaluateRaw({ task, recommender, split: "train" })).resolves.toBeDefined();
    const none = makeTask({ data: { train: examples } });
    await expect(evaluateRaw({ task: none, recommender })).rejects.toThrow(/no "test" split/);
  });
});
