import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { existsSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ndcg } from "../../src/ranking/index.ts";
import { withLengthCost } from "../../src/rl/length-cost.ts";
import { cached, isCached } from "../../src/recommenders/cached.ts";
import { loseFirstWord, ndcgAsPublished, recommenderInMode, taskInMode } from "../../src/rl/modes.ts";
import { train } from "../../src/rl/train.ts";
import { evaluateRaw } from "../../src/eval/evaluate.ts";
import { readMetrics, readRollouts } from "../../src/runs/run-folder.ts";
import { WordSearch } from "../support/word-search.ts";
import { makeParts, makeTask, quick } from "../support/word-task.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-modes-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("compatible mode", () => {
  it.each([
    ["oculus rift s", " rift s"],
    ["xbox", ""],
    ["spider-man ps4", "-man ps4"],
    ["nintendo's switch", " switch"],
    ["3ds games", "3ds games"],
    ['"xbox" one', '"xbox" one'],
    [" xbox", " xbox"],
    ["", ""],
  ])("makes %j into %j", (query, sent) => {
    expect(loseFirstWord(query)).toBe(sent);
  });

  it("leaves a recommender its memory, which can be cleared and says what it did", async () => {
    const inner = new WordSearch({ anchor: "anchor", beacon: "beacon" });
    const compatible = recommenderInMode(cached(inner), "compatible");
    if (!isCached(compatible)) throw new Error("no memory");
    const ask = () => compatible.search([{ text: "anchor beacon" }], { topK: 5 });
    await ask();
    await ask();
    expect(compatible.stats).toMatchObject({ hits: 1, misses: 1 });
    compatible.clear();
    await ask();
    expect(compatible.stats).toMatchObject({ hits: 1, misses: 2 });
    expect(inner.calls.flat()).toEqual([" beacon", " beacon"]);
  });

  it("loses the first word of every query, and all of a one-word query", async () => {
    const inner = new WordSearch({ anchor: "anchor", beacon: "beacon" });
    const compatible = recommenderInMode(inner, "compatible");
    const [both, one] = await compatible.search([{ text: "anchor beacon" }, { text: "anchor" }], { topK: 5 });
    expect(both?.map(({ id }) => id)).toEqual(["beacon"]);
    expect(one).toEqual([]);
    expect(inner.calls).toEqual([[" beacon"]]);
    expect(await compatible.fingerprint()).toBe(`compatible:${await inner.fingerprint()}`);
    expect(recommenderInMode(inner, "sound")).toBe(inner);
  });

  it("refuses fewer answers than queries, in place of answers without hits", async () => {
    const inner = new WordSearch({ anchor: "anchor", beacon: "beacon" });
    inner.search = () => Promise.resolve([[]]);
    const asked = [{ text: "an anchor" }, { text: "a beacon" }];
    await expect(recommenderInMode(inner, "compatible").search(asked, { topK: 5 })).rejects.toMatchObject({
      code: "RECOMMENDER_BAD_ANSWER",
      message: expect.stringContaining("gave 1 lists to 2 queries") as string,
    });
  });

  it("counts repeated targets in the ideal, so that no ranking reaches 1", () => {
    const hits = [{ id: "a" }, { id: "b" }];
    expect(ndcg(hits, ["a", "a", "b"], { k: 10 })).toBe(1);
    // (1 + 1/log2 3) / (1 + 1/log2 3 + 1/2)
    expect(ndcgAsPublished(hits, ["a", "a", "b"], { k: 10 })).toBeCloseTo(1.63092975 / 2.13092975, 7);
    expect(ndcgAsPublished(hits, ["a", "b"], { k: 10 })).toBe(1);
    expect(ndcgAsPublished(hits, { a: 2, b: 1, c: 0 }, { k: 10 })).toBe(1);
    expect(ndcgAsPublished([], ["a"], { k: 10 })).toBe(0);
  });

  it("reads repetitions from a file, which sound mode leaves out", async () => {
    const path = join(folder, "test.jsonl");
    await writeFile(path, `${JSON.stringify({ query: "beacon", relevant: ["anchor", "anchor"] })}\n`);
    const recommender = new WordSearch({ anchor: "beacon" });
    const task = makeTask({ data: { train: path, test: path } });
    expect((await evaluateRaw({ task, recommender })).means).toEqual({ "ndcg@10": 1 });
    const { means } = await evaluateRaw({ task: taskInMode(task, "compatible"), recommender });
    expect(means["ndcg@10"]).toBeCloseTo(1 / 1.63092975, 7);
  });

  const published = join(
    import.meta.dirname,
    "../../../shared/fixtures/rec-r1-files/esci_test_subset_Video_Games.json",
  );
  it.skipIf(!existsSync(published))("finds the published file's repeated targets (skipped where it is absent)", () => {
    const rows = JSON.parse(readFileSync(published, "utf8")) as { query: string; item_id: string[] }[];
    const ideal = ({ item_id: ids }: (typeof rows)[number], score: typeof ndcg | typeof ndcgAsPublished): number =>
      score(
        [...new Set(ids)].map((id) => ({ id })),
        ids,
        { k: 100 },
      );
    expect(rows.filter((row) => ideal(row, ndcgAsPublished) < 1)).toHaveLength(18);
    expect(rows.every((row) => ideal(row, ndcg) === 1)).toBe(true);
    expect(rows.filter(({ query }) => loseFirstWord(query).trim() === "")).toHaveLength(4);
  });
});

describe("length cost", () => {
  it("costs each word beyond the free ones, and nothing without a query", async () => {
    const task = withLengthCost(makeTask({ reward: () => ({ reward: 1, parts: { own: 2 } }) }), {
      perWord: 0.1,
      freeWords: 2,
    });
    const scored = { example: { id: "q", query: "x", relevant: ["a"] }, hits: [], completion: "" };
    const long = await task.reward({ ...scored, query: "a b c, d" });
    expect(long.reward).toBeCloseTo(0.8, 12);
    expect(long.parts).toEqual({ own: 2, queryWords: 4, lengthCost: 0.2 });
    expect((await task.reward({ ...scored, query: "a" })).reward).toBe(1);
    expect((await task.reward({ ...scored, query: null })).reward).toBe(1);
    const plain = makeTask();
    expect(withLengthCost(plain, { perWord: 0, freeWords: 0 })).toBe(plain);
  });

  it("is part of training, with a curve of its own; a policy that pays for words writes fewer", async () => {
    const run = async (name: string, lengthCost: number): Promise<number> => {
      const { engine, recommender } = makeParts();
      const runDir = join(folder, name);
      const data = { train: makeTask().data.train };
      await train({
        ...quick,
        maxTokens: 3,
        task: makeTask({ data }),
        engine,
        recommender,
        runDir,
        evalEvery: 0,
        lengthCost,
      });
      const last = (await readMetrics(runDir)).filter(({ kind }) => kind === "step").at(-1);
      expect(Object.keys(last?.values ?? {}).some((key) => key.includes("lengthCost"))).toBe(lengthCost > 0);
      const rollouts = await readRollouts(runDir, quick.steps);
      return rollouts.reduce((sum, { query }) => sum + (query?.split(" ").length ?? 0), 0) / rollouts.length;
    };
    expect(await run("costly", 0.2)).toBeLessThan((await run("free", 0)) - 0.5);
  });
});
