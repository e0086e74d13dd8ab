import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SequentialRecommender, SuccessorModel } from "../../../src/recommenders/sequential/index.ts";

const items = ["pen", "ink", "paper", "lamp"];

describe("SuccessorModel", () => {
  it("counts what came after, the further behind the less", async () => {
    const model = SuccessorModel.count(items, [{ history: ["pen", "ink"], target: "paper" }]);
    const [afterPen, afterInk, afterPaper] = await model.score([["pen"], ["ink"], ["paper"]]);
    expect([...(afterPen as Float32Array)]).toEqual([0, 1, 0.5, 0]);
    expect([...(afterInk as Float32Array)]).toEqual([0, 0, 1, 0]);
    expect([...(afterPaper as Float32Array)]).toEqual([0, 0, 0, 0]);
  });

  it("adds up what the last items say, the latest most", async () => {
    const rows = [
      { history: ["pen"], target: "lamp" },
      { history: ["ink"], target: "paper" },
    ];
    const model = SuccessorModel.count(items, rows, { decay: 0.5 });
    const hits = await model.next([["pen", "ink"], ["ink", "pen"]], { topK: 4 }); // prettier-ignore
    expect(hits[0]).toEqual([
      { id: "paper", score: 1 },
      { id: "lamp", score: 0.5 },
    ]);
    expect(hits[1]?.map(({ id }) => id)).toEqual(["lamp", "paper"]);
    const short = SuccessorModel.count(items, rows, { lookback: 1 });
    expect((await short.next([["pen", "ink"]], { topK: 4 }))[0]?.map(({ id }) => id)).toEqual(["paper"]);
  });

  it("counts a user's pair once, however many rows repeat it", async () => {
    const grown = [
      { user: "a", history: ["pen"], target: "ink" },
      { user: "a", history: ["pen", "ink"], target: "paper" },
      { user: "b", history: ["pen"], target: "ink" },
    ];
    const [scores] = await SuccessorModel.count(items, grown).score([["pen"]]);
    expect([...(scores as Float32Array)]).toEqual([0, 2, 0.5, 0]);
  });

  it("has nothing to say of histories that it doesn't know", async () => {
    const model = SuccessorModel.count(items, [{ history: ["pen"], target: "ink" }]);
    expect(await model.next([[], ["unheard of"], ["lamp"]], { topK: 3 })).toEqual([[], [], []]);
  });

  it("refuses unknown items, unusable numbers and questions after closing", async () => {
    expect(() => SuccessorModel.count(items, [{ history: ["pen"], target: "desk" }])).toThrowError(
      /interaction 1 has the item "desk"/,
    );
    expect(() => SuccessorModel.count(items, [], { reach: 0 })).toThrowError(/reach is 0/);
    expect(() => SuccessorModel.count(items, [], { decay: 1.5 })).toThrowError(/decay is 1.5/);
    const model = SuccessorModel.count(items, []);
    await model.close();
    await expect(model.score([["pen"]])).rejects.toThrowError(/was closed/);
  });

  it("is another one when the counts are others", () => {
    const one = SuccessorModel.count(items, [{ history: ["pen"], target: "ink" }]);
    const same = SuccessorModel.count(items, [{ history: ["pen"], target: "ink" }]);
    const other = SuccessorModel.count(items, [{ history: ["pen"], target: "lamp" }]);
    expect(same.fingerprint).toBe(one.fingerprint);
    expect(other.fingerprint).not.toBe(one.fingerprint);
  });
});

describe("a recommender that counts in a file of histories", () => {
  let folder: string;
  let recommender: SequentialRecommender;
  const ask = async (text: string): Promise<string[]> =>
    ((await recommender.search([{ text }], { topK: 4 }))[0] ?? []).map(({ id }) => id);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rec-r1-successors-"));
    const lines = (rows: readonly object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
    const titles = { pen: "Blue pen", ink: "Blue ink", paper: "White paper", lamp: "Desk lamp" };
    const catalogue = join(folder, "items.jsonl");
    const histories = join(folder, "histories.jsonl");
    await writeFile(catalogue, lines(Object.entries(titles).map(([id, title]) => ({ id, title }))));
    await writeFile(histories, lines([{ history: ["pen"], target: "ink" }]));
    recommender = await SequentialRecommender.fromHistories(histories, catalogue, { wordWeight: 0.5, wordsLast: true });
  });
  afterAll(async () => {
    await recommender.close();
    await rm(folder, { recursive: true, force: true });
  });

  it("takes the last line for words and the others for the history", async () => {
    expect(await ask("Blue pen\nlamp")).toEqual(["ink", "lamp"]);
    expect(await ask("White paper\nlamp paper")).toEqual(expect.arrayContaining(["lamp", "paper"]));
  });

  it("answers by words alone where there is no history, and finds nothing in nothing", async () => {
    expect(await ask("lamp")).toEqual(["lamp"]);
    expect(await ask(" \n ")).toEqual([]);
    expect(await ask("zebra")).toEqual([]);
  });
});
