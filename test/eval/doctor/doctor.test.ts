/** Each fault is planted in a healthy task or a healthy search engine, and the doctor must name it. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RecommenderError, TaskError } from "../../../src/core/errors.ts";
import type { Engine } from "../../../src/engines/engine.ts";
import { errorsOf, formatDiagnosis, requireSoundBaseline } from "../../../src/eval/doctor/diagnosis.ts";
import { examineTask } from "../../../src/eval/doctor/examine.ts";
import type { ExamineOptions } from "../../../src/eval/doctor/examine.ts";
import { ndcg } from "../../../src/ranking/index.ts";
import type { Hit } from "../../../src/recommenders/recommender.ts";
import { TabularEngine } from "../../support/tabular-engine.ts";
import { BagSearch, bagTask, items, makeExamples, vocabulary } from "../bag-search.ts";
import type { BagExample, Faults } from "../bag-search.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-doctor-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** `check status` of everything that isn't fine, and the whole text. */
async function examine(
  options: Partial<ExamineOptions<BagExample>> = {},
  faults: Faults = {},
): Promise<{ found: string[]; text: string }> {
  const recommender = options.recommender ?? new BagSearch(items, faults);
  const diagnosis = await examineTask({ task: bagTask(), ...options, recommender });
  const found = diagnosis.outcomes
    .filter(({ status }) => status === "error" || status === "warning")
    .map(({ check, status }) => `${check} ${status}`);
  expect(errorsOf(diagnosis).map(({ check }) => `${check} error`)).toEqual(
    found.filter((name) => name.endsWith("error")),
  );
  return { found, text: formatDiagnosis(diagnosis) };
}

const data = {
  train: makeExamples(0, 40, "train"),
  valid: makeExamples(40, 60, "valid"),
  test: makeExamples(60, 80, "test"),
};

/** The count of tokens is that of characters. */
const tokenizer = new TabularEngine(vocabulary).tokenizer;

describe("a healthy task", () => {
  it("has no findings, with or without a policy", async () => {
    const { found, text } = await examine({ tokenizer: { tokenizer, contextLength: 500 } });
    expect(found).toEqual([]);
    expect(text).toMatch(/ok {4}first-word-lost +Both words of a query count/);
    expect(text).toMatch(/ok {4}prompt-too-long/);
    expect(text).toMatch(/\n0 errors, 0 warnings, 1 not tried\n$/);
    const sampled = await examine({ engine: new TabularEngine(vocabulary), maxTokens: 3 });
    expect(sampled.text).toMatch(/policy-answers/);
  });

  it("has none where hits show no texts, and says what could not be tried", async () => {
    const { found, text } = await examine({}, { withoutPayload: true });
    expect(found).toEqual([]);
    expect(text).toMatch(/skip {2}first-word-lost/);
  });
});

describe("a catalogue that lacks every word that is asked alone", () => {
  it("is no fault of the engine: words of other queries find something alone", async () => {
    const texts = Object.values(data).flatMap((examples) => examples.map(({ query }) => query));
    const lacking = new Set(texts.filter((text) => !text.includes(" ")));
    expect(lacking.size).toBeGreaterThan(3);
    const words = (asked: string[]): string[] => asked.filter((word) => !lacking.has(word));
    const { found } = await examine({}, { words, withoutPayload: true });
    expect(found.filter((name) => name.startsWith("empty-results"))).toEqual(["empty-results warning"]);
  });
});

describe("a search engine with a planted fault", () => {
  it.each<[name: string, expected: string, faults: Faults]>([
    ["loses the first word", "first-word-lost error", { words: (words) => words.slice(1) }],
    ["finds nothing for one word", "words-dropped error", { words: (words) => words.slice(1) }],
    ["loses the last word", "words-dropped error", { words: (words) => words.slice(0, -1) }],
    [
      "loses the last of several words",
      "first-word-lost error",
      { words: (words) => (words.length > 1 ? words.slice(0, -1) : words) },
    ],
    [
      "lets one-word queries find nothing",
      "empty-results error",
      { words: (words) => (words.length > 1 ? words : []) },
    ],
    [
      "drops words that its analyzer takes for stop words",
      "words-dropped error",
      { words: (words) => words.filter((word) => !word.startsWith("bar")) },
    ],
    [
      "reads punctuation as syntax",
      "words-glued error",
      { words: (words, text) => (/["():*~[\]]/.test(text) ? [] : words) },
    ],
    ["takes letter case seriously", "letter-case error", { words: (_, text) => text.match(/\p{L}+/gu) ?? [] }],
    [
      "wants every word",
      "first-word-lost warning",
      { hits: (hits, query) => hits.filter(({ score }) => score >= query.split(" ").length) },
    ],
    ["answers in the wrong order of queries", "batch-order error", { answers: (answers) => answers.reverse() }],
    [
      "answers differently each time",
      "not-repeatable error",
      { hits: (hits, _, call) => (call % 2 === 0 ? [...hits].reverse().map((hit) => ({ ...hit, score: 1 })) : hits) },
    ],
    ["returns less than it is asked for", "cut-off error", { hits: (hits) => hits.slice(0, 1) }],
    ["returns worst first", "bad-answers error", { hits: (hits) => [...hits].reverse() }],
    ["returns an item twice", "search-fails error", { hits: (hits) => hits.flatMap((hit) => [hit, hit]) }],
    [
      "has other ids than the judgments",
      "relevant-never-found error",
      { hits: (hits) => hits.map((hit) => ({ ...hit, id: `x${hit.id}` })), withoutHas: true },
    ],
    [
      "fails on long queries",
      "odd-queries warning",
      {
        text: (text) => {
          if (text.length > 1000) throw new RecommenderError("TOO_LONG", "1,000 characters at most");
          return text;
        },
      },
    ],
    [
      "is down",
      "search-fails error",
      {
        text: () => {
          throw new RecommenderError("DOWN", "no connection");
        },
      },
    ],
  ])("that %s", async (_, expected, faults) => {
    const { found, text } = await examine({}, faults);
    expect(found, text).toContain(expected);
  });

  it("that loses single words only on the way to multi-word queries is told by its one-word queries", async () => {
    const { text } = await examine({}, { words: (words) => (words.length > 1 ? words : []) });
    expect(text).toMatch(/All \d+ one-word queries find nothing/);
  });
});

describe("a task with a planted fault", () => {
  const withTest = (test: BagExample[]): Partial<ExamineOptions<BagExample>> => ({
    task: bagTask({ data: { ...data, test } }),
  });

  it("whose test split was trained on", async () => {
    const { found, text } = await examine(withTest(data.train.slice(0, 20).map((e) => ({ ...e, id: `t-${e.id}` }))));
    expect(found).toEqual(["split-overlap error"]);
    expect(text).toMatch(/20 of 20 test examples \(100 %\) are in train/);
  });

  it("whose validation examples are among the training examples, by one in a thousand", async () => {
    const many = Array.from({ length: 1500 }, (_, i) => ({
      ...(data.valid[0] as BagExample),
      id: `v${i}`,
      query: `q${i}`,
    }));
    const task = bagTask({ data: { train: [...data.train, many[0] as BagExample], valid: many } });
    expect((await examine({ task })).found).toContain("split-overlap warning");
  });

  it("that lists relevant ids twice, in memory and in a file", async () => {
    const twice = data.test.map((example) => ({
      ...example,
      relevant: [...(example.relevant as string[]), "item-1", "item-1"],
    }));
    expect((await examine(withTest(twice))).found).toEqual(["duplicate-relevant warning"]);
    const path = join(folder, "test.jsonl");
    await writeFile(path, twice.map((example) => `${JSON.stringify(example)}\n`).join(""));
    const { found, text } = await examine({ task: bagTask({ data: { ...data, test: path } }) });
    expect(found).toEqual(["duplicate-relevant warning"]);
    expect(text).toMatch(/20 of 80 examples list a relevant id twice/);
  });

  it("whose metric counts repeated ids in its ideal", async () => {
    const ideal = (n: number): number =>
      Array.from({ length: n }, (_, i) => 1 / Math.log2(i + 2)).reduce((a, b) => a + b, 0);
    const metric = {
      name: "ndcg@10",
      score: ({ example, hits }: { example: BagExample; hits: readonly Hit[] }): number => {
        const relevant = example.relevant as string[];
        const got = hits.map(({ id }, rank) => (relevant.includes(id) ? 1 / Math.log2(rank + 2) : 0));
        return got.reduce((a, b) => a + b, 0) / ideal(relevant.length);
      },
    };
    const valid = data.valid.map((example) => ({
      ...example,
      relevant: [...(example.relevant as string[]), ...(example.relevant as string[])],
    }));
    const { found } = await examine({ task: bagTask({ data: { ...data, valid }, metrics: [metric] }) });
    expect(found).toEqual(["duplicate-relevant warning", "metric-ceiling error"]);
  });

  it("whose relevant items aren't in the index", async () => {
    const test = data.test.map((example, i) => (i < 2 ? { ...example, relevant: ["nowhere"] } : example));
    const { found, text } = await examine(withTest(test));
    expect(found).toEqual(["relevant-missing error"]);
    expect(text).toMatch(/2 of 80 relevant ids \(2.5 %\)[^]*"nowhere" of example "test-0"/);
    expect((await examine({ ...withTest(test), maxMissingShare: 0.1 })).found).toEqual(["relevant-missing warning"]);
  });

  it("with examples of which nothing is relevant, or that have no words", async () => {
    const nothing = data.test.map((example, i) => (i === 0 ? { ...example, relevant: { "item-1": 0 } } : example));
    expect((await examine(withTest(nothing))).found).toEqual(["relevant-empty error"]);
    const wordless = data.test.map((example, i) => (i === 0 ? { ...example, query: " " } : example));
    expect((await examine(withTest(wordless))).found).toEqual(["raw-words warning"]);
  });

  it("whose prompt names the answer", async () => {
    const task = bagTask({ prompt: ({ query, relevant }) => `Find ${query}. (${(relevant as string[])[0]})` });
    expect((await examine({ task })).found).toEqual(["prompt-leak warning"]);
  });

  it("whose rewards are all equal, upside down, or thrown", async () => {
    expect((await examine({ task: bagTask({ reward: () => 1 }) })).found).toEqual(["equal-rewards error"]);
    const upsideDown = bagTask({ reward: ({ hits, example }) => -ndcg(hits ?? [], example.relevant) });
    expect((await examine({ task: upsideDown })).text).toMatch(/lower for the best answer/);
    const throwing = bagTask({
      reward: () => {
        throw new TaskError("X", "no reward today");
      },
    });
    expect((await examine({ task: throwing })).text).toMatch(/can't be computed: no reward today/);
  });

  it("whose metric looks further than it asks for", async () => {
    const metric = {
      name: "ndcg@100",
      score: ({ example, hits }: { example: BagExample; hits: readonly Hit[] }) =>
        ndcg(hits, example.relevant, { k: 100 }),
    };
    expect((await examine({ task: bagTask({ metrics: [metric] }) })).found).toEqual(["cut-off error"]);
  });

  it("whose prompts are longer than the model's context, or fit when shortened", async () => {
    const short = { tokenizer: { tokenizer, contextLength: 60 }, maxTokens: 10 };
    const { found, text } = await examine(short);
    expect(found).toEqual(["prompt-too-long error"]);
    expect(text).toMatch(/80 of 80 prompts|\d+ of 80 prompts don't fit/);
    const task = bagTask({ shorten: (example) => (example.query.length > 1 ? { ...example, query: "x" } : null) });
    expect((await examine({ ...short, task })).text).toMatch(/fit .*, \d+ of them shortened/);
  });

  it("whose parser takes nothing, or whose policy can't answer", async () => {
    const deaf = bagTask({ parse: () => null });
    expect((await examine({ task: deaf })).found).toEqual(["parser warning"]);
    const engine: Engine = new TabularEngine(["x"]);
    expect((await examine({ task: deaf, engine, maxTokens: 2 })).found).toEqual([
      "parser warning",
      "policy-answers warning",
    ]);
  });

  it("that leaves nothing to gain", async () => {
    const valid = items.slice(40, 60).map(({ id, title }, i) => ({ id: `v${i}`, query: title, relevant: [id] }));
    expect((await examine({ task: bagTask({ data: { ...data, valid } }) })).found).toEqual(["nothing-to-gain warning"]);
  });
});

describe("requireSoundBaseline", () => {
  it("refuses errors, by name, and lets warnings pass", async () => {
    const broken = await examineTask({ task: bagTask({ reward: () => 0 }), recommender: new BagSearch() });
    expect(() => requireSoundBaseline(broken, "Go on with --no-doctor.")).toThrow(
      /equal-rewards: The reward is the same[^]*--no-doctor/,
    );
    const warned = await examineTask({ task: bagTask({ parse: () => null }), recommender: new BagSearch() });
    expect(() => requireSoundBaseline(warned, "")).not.toThrow();
  });
});
