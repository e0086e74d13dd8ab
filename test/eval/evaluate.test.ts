import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { answerWithModel } from "../../src/eval/comparison/system.ts";
import { evaluatePolicy, evaluateQueries, evaluateRaw, pairScores } from "../../src/eval/evaluate.ts";
import { askingOf, scoreFound, searchAnswers } from "../../src/rl/evaluation.ts";
import { loadSplit } from "../../src/rl/task.ts";
import { train } from "../../src/rl/train.ts";
import type { TrainConfig } from "../../src/rl/train-config.ts";
import { readManifest, readMetrics } from "../../src/runs/run-folder.ts";
import { examples, makeParts, makeTask, quick } from "../support/word-task.ts";

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

  it("asks another recommender without what the first one failed on", async () => {
    const [first, second] = [makeParts().recommender, makeParts().recommender];
    first.broken.add("anchor");
    const task = makeTask({ data: { train: examples, test: examples } });
    const [example] = (await loadSplit(task, "test")) ?? [];
    if (!example) throw new Error("no example");
    const answer = { example, sample: 0, completion: null, query: "anchor" };
    const failed = await searchAnswers([answer], { task, recommender: first });
    expect(failed[0]).toMatchObject({ hits: null, failure: 'DOWN: no answer to "anchor"' });
    const [moved] = await searchAnswers(failed, { task, recommender: second });
    expect(moved).not.toHaveProperty("failure");
    expect(moved?.hits?.length).toBeGreaterThan(0);
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

  it("asks as training does: the same limits on prompts, the same episodes", async () => {
    const runDir = join(await mkdtemp(join(tmpdir(), "rec-r1-evaluate-")), "run");
    try {
      const { engine, recommender } = makeParts();
      const task = makeTask({
        prompt: ({ query }) => `Please find ${query}`,
        shorten: (example) => (example.query.startsWith("thing ") ? { ...example, query: example.id } : null),
        episode: { maxSearches: 2, show: ({ hits }) => `found ${hits.length}` },
      });
      // One less than the prompts have: every one must be made shorter.
      const maxPromptTokens = engine.tokenizer.encodeChat(task.prompt(examples[0]!)).length - 1;
      await train({ task, recommender, engine, runDir, ...quick, steps: 10, maxPromptTokens });
      const trained = (await readMetrics(runDir)).findLast(({ kind }) => kind === "evaluation")!.values;
      const config = (await readManifest(runDir)).config as TrainConfig;
      const options = { task, recommender, engine, ...askingOf(config) };
      expect((await evaluatePolicy({ ...options, split: "valid" })).means).toEqual(trained);
      const valid = (await loadSplit(task, "valid"))!;
      const { found } = await answerWithModel(options, valid);
      expect(scoreFound(found, { task }).means).toEqual(trained);
      const unlimited = await evaluatePolicy({ ...options, split: valid, maxPromptTokens: 0 });
      expect(unlimited.means).not.toEqual(trained);
      const single = { ...task, episode: undefined };
      expect((await evaluatePolicy({ ...options, task: single, split: valid })).records).not.toEqual(
        (await evaluatePolicy({ ...options, split: valid })).records,
      );
    } finally {
      await rm(dirname(runDir), { recursive: true, force: true });
    }
  });
});
