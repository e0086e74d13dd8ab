import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { RecommenderError, TaskError } from "../../src/core/errors.ts";
import { collectRollouts, encodePrompt } from "../../src/rl/rollout.ts";
import { searchAll } from "../../src/rl/search.ts";
import { defineTask, isTask, loadSplit } from "../../src/rl/task.ts";
import type { TaskDefinition } from "../../src/rl/task.ts";
import { examples, makeParts, makeTask } from "../support/word-task.ts";
import { WordSearch } from "../support/word-search.ts";

const define = (change: object) => () => defineTask({ ...minimal, ...change } as unknown as TaskDefinition);
const minimal: TaskDefinition = {
  name: "t",
  data: { train: examples },
  prompt: ({ query }) => query,
  reward: () => 1,
};
const example = examples[0]!;

describe("defineTask", () => {
  it("fills in defaults", () => {
    const task = defineTask(minimal);
    expect(isTask(task)).toBe(true);
    expect(task.topK).toBe(100);
    expect(task.prompt(example)).toEqual([{ role: "user", content: "thing 0" }]);
    expect(task.parse("anchor\n", example)).toBe("anchor");
    expect(task.raw(example)).toBe("thing 0");
    expect(task.metrics[0]?.name).toBe("ndcg@10");
    expect(
      task.metrics[0]?.score({
        example,
        hits: [
          { id: "x", score: 2 },
          { id: "anchor", score: 1 },
        ],
      }),
    ).toBeCloseTo(0.6309, 4);
  });

  it.each([
    [{ name: "" }, /`name` must be/],
    [{ data: {} }, /`data.train` must be/],
    [{ data: { train: examples, test: 7 } }, /`data.test` must be/],
    [{ prompt: "x" }, /`prompt` must be/],
    [{ reward: undefined }, /`reward` must be/],
    [{ topK: 0 }, /`topK` must be/],
    [{ metrics: [] }, /`metrics` must be/],
  ])("refuses %j", (change, message) => expect(define(change)).toThrow(message));

  it.each([
    [
      "prompt",
      {
        prompt: () => {
          throw new Error("boom");
        },
      },
      /`prompt` threw Error: boom, for the example .*thing 0/,
    ],
    ["prompt's value", { prompt: () => [{ role: "robot", content: "x" }] }, /`prompt` returned .*robot/],
    ["parse", { parse: () => 7 }, /`parse` returned 7/],
  ])("reports a fault in %s with the example", (_, change, message) => {
    const task = define(change)();
    expect(() => [task.prompt(example), task.parse("x", example)]).toThrow(message);
  });

  it.each([
    [() => Number.NaN, /returned NaN/],
    [() => "high", /returned "high"/],
    [() => ({ reward: 1, parts: { a: Number.POSITIVE_INFINITY } }), /returned/],
    [() => Promise.reject(new Error("boom")), /`reward` threw Error: boom/],
  ])("refuses a reward that is no number", async (reward, message) => {
    const task = define({ reward })();
    const scored = { example, hits: [], query: "q", completion: "q" };
    await expect(task.reward(scored)).rejects.toThrow(message);
    await expect(task.reward(scored)).rejects.toBeInstanceOf(TaskError);
  });

  it("keeps the parts of a reward", async () => {
    const task = define({ reward: () => ({ reward: 1, parts: { found: 0.5 } }) })();
    const scored = { example, hits: [], query: "q", completion: "q" };
    expect(await task.reward(scored)).toEqual({ reward: 1, parts: { found: 0.5 } });
  });
});

describe("loadSplit", () => {
  it("takes files, lists and functions, and numbers what has no id", async () => {
    const root = await mkdtemp(join(tmpdir(), "rec-r1-split-"));
    const path = join(root, "train.jsonl");
    await writeFile(path, '{"query": "a", "relevant": ["1"]}\n{"id": "b", "query": "b", "relevant": {"2": 1}}\n');
    const ids = async (train: unknown) =>
      (await loadSplit(define({ data: { train } })(), "train"))?.map(({ id }) => id);
    expect(await ids(path)).toEqual(["line-1", "b"]);
    expect(await ids([{ query: "a" }, { id: 7 }])).toEqual(["train-0", "7"]);
    expect(await ids(async () => Promise.resolve([{ id: "x" }]))).toEqual(["x"]);
    await expect(ids([])).rejects.toMatchObject({ code: "DATA_EMPTY" });
    await expect(ids([{ id: "x" }, { id: "x" }])).rejects.toThrow(/two examples have the id "x"/);
    await expect(
      ids(() => {
        throw new Error("boom");
      }),
    ).rejects.toThrow(/`data.train` threw Error: boom/);
    await expect(ids(join(root, "none.jsonl"))).rejects.toThrow(/none.jsonl/);
    expect(await loadSplit(defineTask(minimal), "test")).toBeUndefined();
    await rm(root, { recursive: true });
  });
});

describe("searchAll", () => {
  it("asks each different query once, in one call", async () => {
    const search = new WordSearch({ a: "red", b: "blue" });
    const outcomes = await searchAll(search, ["red", "blue", "red", "grey"], { topK: 5 });
    expect(search.calls).toEqual([["red", "blue", "grey"]]);
    expect(outcomes.get("red")).toEqual({ hits: [{ id: "a", score: 1 }] });
    expect(outcomes.get("grey")).toEqual({ hits: [] });
  });

  it("lets a bad query cost only itself, and stops asking an engine that is down", async () => {
    const search = new WordSearch({ a: "red", b: "blue" });
    search.broken.add("red");
    const outcomes = await searchAll(search, ["red", "blue"], { topK: 5 });
    expect(outcomes.get("red")).toEqual({ failure: 'DOWN: no answer to "red"' });
    expect(outcomes.get("blue")).toHaveProperty("hits");
    search.broken.add("*");
    search.calls.length = 0;
    const many = Array.from({ length: 50 }, (_, i) => `q${i}`);
    const down = await searchAll(search, many, { topK: 5, maxFailures: 3 });
    // 50, 25, 13, 7, 4, 2, 1, 1, 2, 1, 1: four queries failed on their own, and the rest is given up.
    expect(search.calls.map((call) => call.length)).toEqual([50, 25, 13, 7, 4, 2, 1, 1, 2, 1, 1]);
    expect([...down.values()].every((outcome) => "failure" in outcome)).toBe(true);
  });

  it.each([
    ["too few answers", [], /gave 0 answers to 1 queries/],
    ["no list", [null], /gave null; expected a list/],
    [
      "an id twice",
      [
        [
          { id: "a", score: 2 },
          { id: "a", score: 1 },
        ],
      ],
      /hits 1 and 2 are both "a"/,
    ],
    ["no id", [[{ score: 1 }]], /hit 1 has the id undefined/],
    ["a score that is no number", [[{ id: "a", score: NaN }]], /hit 1 \("a"\) has the score NaN/],
    [
      "hits out of order",
      [
        [
          { id: "a", score: 1 },
          { id: "b", score: 2 },
        ],
      ],
      /expected best first/,
    ],
  ])("takes %s for a failure, not an answer", async (_, answers, message) => {
    const search = new WordSearch({});
    search.search = async () => Promise.resolve(answers as never);
    const outcome = (await searchAll(search, ["q"], { topK: 5 })).get("q");
    expect((outcome as { failure: string }).failure).toMatch(message);
  });

  it("finds the bad query among many in few calls", async () => {
    const search = new WordSearch({ a: "red" });
    search.broken.add("q77");
    const many = Array.from({ length: 128 }, (_, i) => `q${i}`);
    const outcomes = await searchAll(search, many, { topK: 5 });
    expect([...outcomes].filter(([, outcome]) => "failure" in outcome).map(([query]) => query)).toEqual(["q77"]);
    expect([...outcomes.keys()].sort()).toEqual(many.sort());
    // 15 to find it, and two more for it alone: what it failed of may pass.
    expect(search.calls).toHaveLength(17);
  });

  it("leaves a recommender alone that is known to be down, and leaves out hits beyond topK", async () => {
    const search = new WordSearch({ a: "red", b: "red", c: "red" });
    const ask = search.search.bind(search);
    search.search = async () =>
      Promise.reject(new RecommenderError("RECOMMENDER_CIRCUIT_OPEN", "is down", { retryable: true }));
    const outcomes = await searchAll(search, ["red", "blue", "grey"], { topK: 2 });
    expect([...outcomes.values()]).toEqual(
      Array.from({ length: 3 }, () => ({ failure: "RECOMMENDER_CIRCUIT_OPEN: is down" })),
    );
    search.search = async (queries) => ask(queries, { topK: 100 });
    expect((await searchAll(search, ["red"], { topK: 2 })).get("red")).toMatchObject({
      hits: [{ id: "a" }, { id: "b" }],
    });
  });

  it("passes on what is no failure of the recommender", async () => {
    const search = new WordSearch({});
    search.search = async () => Promise.reject(new TypeError("bug"));
    await expect(searchAll(search, ["q"], { topK: 5 })).rejects.toThrow("bug");
  });
});

describe("rollouts", () => {
  const sampling = { n: 4, maxTokens: 2, temperature: 1, seed: 1 };

  it("score what was found, and what could not be parsed without searching", async () => {
    const { engine, recommender } = makeParts();
    const task = makeTask({ parse: (text) => (text.startsWith("a") ? null : text) });
    const loaded = examples.map((item) => ({ id: item.id, example: item }));
    const { groups } = await collectRollouts(loaded, { engine, recommender, task, sampling: { ...sampling, n: 16 } });
    const rollouts = groups.flatMap((group) => group.rollouts);
    const unparsed = rollouts.filter(({ query }) => query === null);
    expect(unparsed.length).toBeGreaterThan(0);
    for (const rollout of unparsed) expect(rollout).toMatchObject({ hits: null, reward: -0.5 });
    expect(recommender.calls).toHaveLength(1);
    expect(recommender.calls[0]).toHaveLength(new Set(rollouts.map(({ query }) => query).filter(Boolean)).size);
  });

  it("shorten a long prompt as the task says, or refuse it", () => {
    const { engine } = makeParts();
    const long = { ...example, query: "x".repeat(12_000) };
    expect(() => encodePrompt(engine, makeTask(), long, 2)).toThrow(/has 12\d+ tokens.*context of 10000.*shorten/);
    const shortening = makeTask({
      shorten: (e) => (e.query.length > 100 ? { ...e, query: e.query.slice(4_000) } : null),
    });
    const length = encodePrompt(engine, shortening, long, 2).length;
    expect(length).toBeGreaterThan(7_900);
    expect(length).toBeLessThan(8_200);
  });
});
