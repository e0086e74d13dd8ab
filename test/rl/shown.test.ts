/** What readers of a run are shown: tokens as text, items by title and picture, examples by their words. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { RecommenderError } from "../../src/core/errors.ts";
import { cached } from "../../src/recommenders/cached.ts";
import { CallFigures } from "../../src/recommenders/call-figures.ts";
import { standardErrorsOf } from "../../src/rl/evaluation.ts";
import { collectShown, showExample, showItem, ShownLog } from "../../src/rl/shown.ts";
import { tokenTexts } from "../../src/rl/token-texts.ts";
import { train } from "../../src/rl/train.ts";
import type { EvaluationRecord, ShownRecord, TimingRecord } from "../../src/runs/records.ts";
import { readMetrics, readRollouts, readShown, readTimings } from "../../src/runs/run-folder.ts";
import { makeParts, makeTask, quick } from "../support/word-task.ts";

describe("texts of tokens", () => {
  // Bytes are tokens here, as in a byte-level vocabulary; 0 is left out of texts.
  const tokenizer = {
    decode: (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids.filter((id) => id > 0))),
  };

  it("are what each token adds, characters of several tokens with the last", () => {
    const ids = [...Buffer.from("aé 🙂b"), 0];
    const texts = tokenTexts(ids, tokenizer);
    expect(texts).toEqual(["a", "", "é", " ", "", "", "", "🙂", "b", ""]);
    expect(texts.join("")).toBe("aé 🙂b");
  });

  it("keep the space that a decoder drops at the beginning of a text", () => {
    const words = ["", "▁red", "▁chair", "s"];
    const sentence = {
      decode: (ids: readonly number[]) =>
        ids
          .map((id) => words[id])
          .join("")
          .replaceAll("▁", " ")
          .trimStart(),
    };
    expect(tokenTexts([1, 2, 3], sentence)).toEqual(["red", " chair", "s"]);
  });

  it("show a character that was cut off as such", () => {
    expect(tokenTexts([0x61, 0xc3], tokenizer)).toEqual(["a", "\uFFFD"]);
  });
});

describe("what is shown of an item", () => {
  const hit = (payload: Record<string, unknown>) => ({ id: "a", score: 1, payload });
  const none = { show: undefined };

  it("is its title and its picture, by the usual names", async () => {
    expect(await showItem(none, hit({ brand: "b", title: "Chair", image: "https://img.example/a.png" }))).toEqual({
      kind: "item",
      id: "a",
      title: "Chair",
      picture: { url: "https://img.example/a.png" },
    });
    expect(await showItem(none, hit({ description: "first text", picture: "M0 0L5 5Z" }))).toMatchObject({
      title: "first text",
      picture: { path: "M0 0L5 5Z" },
    });
    expect(await showItem(none, { id: "a", score: 1 })).toEqual({ kind: "item", id: "a" });
  });

  it.each([
    "http://img.example/a.png",
    "javascript:alert(1)",
    "data:image/svg+xml;base64,AAAA",
    "file:///etc/passwd",
    '"><img>',
  ])("has no picture at %s", async (picture) => {
    expect(await showItem(none, hit({ title: "x", picture }))).toEqual({ kind: "item", id: "a", title: "x" });
  });

  it("is what the task says", async () => {
    const task = { show: () => ({ title: "T".repeat(1000), picture: { path: "M0 0" } }) };
    const shown = await showItem(task, hit({ title: "not this" }));
    expect(shown.title).toHaveLength(300);
    expect(shown.picture).toEqual({ path: "M0 0" });
  });
});

describe("the log of what is shown", () => {
  it("has each example and item once, and only the hits that are recorded", async () => {
    const written: ShownRecord[][] = [];
    const task = makeTask();
    const log = new ShownLog(task, {
      recordHits: 2,
      write: async (records) => void written.push([...records]),
      known: [{ kind: "item", id: "old" }],
    });
    const example = { id: "q", example: { id: "q", query: "thing", relevant: ["anchor"] } };
    const hits = ["old", "new", "third"].map((id) => ({ id, score: 1 }));
    await log.add([
      { example, hits },
      { example, hits: null },
    ]);
    await log.add([{ example, hits }]);
    expect(written).toEqual([
      [
        { kind: "example", id: "q", text: "thing", relevant: ["anchor"] },
        { kind: "item", id: "new" },
      ],
    ]);
    const { onFound, records } = collectShown(task);
    onFound([{ example, sample: 0, completion: null, query: "x", hits }]);
    expect((await records()).map(({ id }) => id)).toEqual(["q", "old", "new", "third"]);
  });

  it("are collected of more answers than a call has room for", async () => {
    const { onFound, records } = collectShown(makeTask());
    const example = { id: "q", example: { id: "q", query: "thing", relevant: [] } };
    const answer = { example, completion: null, query: "x", hits: [] };
    onFound(Array.from({ length: 150_000 }, (_, i) => ({ ...answer, sample: 0, hits: [{ id: String(i), score: 1 }] })));
    expect(await records()).toHaveLength(150_001);
  });

  it("orders relevant ids by gain and falls back to the prompt", () => {
    const task = makeTask({ raw: () => null });
    const example = { query: "x", relevant: { low: 1, none: 0, high: 3 } };
    expect(showExample(task, { id: "q", example: example as never })).toEqual({
      kind: "example",
      id: "q",
      text: "Find x",
      relevant: ["high", "low"],
    });
  });
});

describe("a run's records", () => {
  it("tell what readers need: tokens, titles, latencies, standard errors", async () => {
    const runDir = await mkdtemp(join(tmpdir(), "rec-r1-shown-"));
    onTestFinished(() => rm(runDir, { recursive: true, force: true }));
    const options = { ...quick, steps: 4, evalEvery: 2, recordTokensEvery: 3 };
    await train({ task: makeTask(), ...makeParts(), runDir: join(runDir, "run"), ...options });
    const dir = join(runDir, "run");
    for (const [step, isRecorded] of [
      [1, true],
      [2, false],
      [3, true],
      [4, false],
    ] as const) {
      for (const { completion, tokenTexts: texts, tokenLogprobs, logprob } of await readRollouts(dir, step)) {
        expect(texts !== undefined).toBe(isRecorded);
        if (!texts || !tokenLogprobs) continue;
        expect(texts.join("").trim()).toBe(completion);
        expect(texts).toHaveLength(tokenLogprobs.length);
        expect(tokenLogprobs.reduce((a, b) => a + b, 0)).toBeCloseTo(logprob, 2);
      }
    }
    const shown = await readShown(dir);
    expect(shown.filter(({ kind }) => kind === "example")).toHaveLength(8);
    expect(shown).toContainEqual({ kind: "example", id: "q0", text: "thing 0", relevant: ["anchor"] });
    const timings: TimingRecord[] = await readTimings(dir);
    expect(timings.some(({ recommender }) => (recommender?.calls ?? 0) > 0)).toBe(true);
    for (const { recommender } of timings) {
      if (recommender) expect(recommender.p95Ms).toBeGreaterThanOrEqual(recommender.p50Ms);
    }
    const evaluations = (await readMetrics(dir)).filter((record) => record.kind === "evaluation");
    expect(evaluations.map(({ standardErrors }) => Object.keys(standardErrors ?? {}))).toEqual([
      ["ndcg@10"],
      ["ndcg@10"],
      ["ndcg@10"],
    ]);
    // A run that is resumed when it is done writes nothing twice.
    const before = await readFile(join(dir, "shown/run.jsonl"), "utf8");
    await train({ task: makeTask(), ...makeParts(), runDir: dir, ...options, resume: true });
    expect(await readFile(join(dir, "shown/run.jsonl"), "utf8")).toBe(before);
  });

  it("have the standard error of the mean, n − 1 in the variance", () => {
    const record = (score: number | null): EvaluationRecord => ({
      example: "q",
      sample: 0,
      completion: null,
      query: null,
      hits: null,
      scores: score === null ? null : { m: score },
    });
    // Variance of 1, 2, 3, 4 about 2.5 with n − 1: 5/3; over n = 4.
    const records = [1, 2, 3, 4, null].map(record);
    expect(standardErrorsOf({ means: { m: 2.5 }, records }).m).toBeCloseTo(Math.sqrt(5 / 12), 12);
    expect(standardErrorsOf({ means: { m: 1 }, records: [record(1)] })).toEqual({});
  });
});

describe("figures of a recommender's calls", () => {
  it("count calls, queries and errors since they were last taken", async () => {
    const calls = new CallFigures();
    expect(calls.take()).toBeUndefined();
    await calls.time(5, async () => 1);
    await expect(calls.time(2, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(calls.take()).toMatchObject({ calls: 2, queries: 7, errors: 1 });
    expect(calls.take()).toBeUndefined();
  });

  it("are of the recommender itself, not of what its memory knew", async () => {
    let isDown = false;
    const recommender = cached({
      name: "x",
      fingerprint: async () => "1",
      close: async () => {},
      search: async (queries) => {
        if (isDown) throw new RecommenderError("DOWN", "down");
        return queries.map(() => [{ id: "a", score: 1 }]);
      },
    });
    const ask = (...texts: string[]) =>
      recommender.search(
        texts.map((text) => ({ text })),
        { topK: 1 },
      );
    await ask("a", "b");
    await ask("a");
    isDown = true;
    await expect(ask("c")).rejects.toThrow("down");
    expect(recommender.calls.take()).toMatchObject({ calls: 2, queries: 3, errors: 1 });
  });
});
