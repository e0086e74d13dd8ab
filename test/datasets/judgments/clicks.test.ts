import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { randomStream } from "../../../src/core/random.ts";
import { ClickLogBuilder, estimateEta, judgeClicks, readClickLog } from "../../../src/datasets/judgments/index.ts";
import type { ClickLog } from "../../../src/datasets/judgments/index.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-clicks-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function file(name: string, content: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

/**
 * A log of people who look at position k with probability k^-eta and click what is relevant. Item `i` has the relevance
 * `relevances[i]`; the engine's order differs from day to day where `shuffled`.
 */
function simulate(
  eta: number,
  {
    shuffled,
    seed = 1,
    relevances = [0.2, 0.5, 0.9, 0.4],
  }: { shuffled: boolean; seed?: number; relevances?: number[] },
): ClickLog {
  const random = randomStream("clicks", seed);
  const builder = new ClickLogBuilder("simulated");
  for (let query = 0; query < 20; query++) {
    for (let day = 0; day < 5; day++) {
      relevances.forEach((relevance, item) => {
        const position = ((item + (shuffled ? day : 0)) % relevances.length) + 1;
        const impressions = 100;
        let clicks = 0;
        for (let i = 0; i < impressions; i++) if (random.next() < relevance * position ** -eta) clicks++;
        builder.add({ query: `query ${query}`, item: `item ${item}`, clicks, position, impressions });
      });
    }
  }
  return builder.finish();
}

describe("estimateEta", () => {
  it.each([0, 0.5, 1, 1.7])("finds the eta of %d that clicks were made with", (eta) => {
    const estimate = estimateEta(simulate(eta, { shuffled: true }));
    expect(estimate?.clicks).toBeGreaterThan(1000);
    expect(estimate?.standardError).toBeLessThan(0.05);
    expect(Math.abs((estimate?.eta ?? NaN) - eta)).toBeLessThan(4 * (estimate?.standardError ?? 0) + 1e-9);
  });

  it("has intervals that cover the truth as often as they say", () => {
    let covered = 0;
    for (let seed = 0; seed < 40; seed++) {
      const { eta, standardError } = estimateEta(simulate(0.8, { shuffled: true, seed })) ?? {
        eta: 0,
        standardError: 0,
      };
      if (Math.abs(eta - 0.8) < 1.96 * standardError) covered++;
    }
    expect(covered).toBeGreaterThanOrEqual(34);
  });

  it("says nothing where no item changed its place, or the log is too small", () => {
    expect(estimateEta(simulate(1, { shuffled: false }))).toBeUndefined();
    const builder = new ClickLogBuilder("small");
    for (const position of [1, 2]) builder.add({ query: "q", item: "a", clicks: 4, position, impressions: 9 });
    expect(estimateEta(builder.finish())).toBeUndefined();
  });
});

describe("judgeClicks", () => {
  const gainsOf = (log: ClickLog, options = {}) =>
    Object.fromEntries(judgeClicks(log, options).queries[0]?.gains ?? []);

  it("finds the best item although it stood low, which counting clicks does not", () => {
    const log = simulate(1, { shuffled: false, relevances: [0.5, 0.3, 0.9] });
    const order = (eta: number): string[] =>
      Object.entries(gainsOf(log, { eta, grades: 100 }))
        .sort(([, a], [, b]) => (b as number) - (a as number))
        .map(([item]) => item);
    expect(order(0)).toEqual(["item 0", "item 2", "item 1"]);
    expect(order(1)).toEqual(["item 2", "item 0", "item 1"]);
  });

  it("weighs clicks where there are no impressions, and bounds the weight", () => {
    const builder = new ClickLogBuilder("clicks alone");
    builder.add({ query: "q", item: "top", clicks: 10, position: 1, impressions: null });
    builder.add({ query: "q", item: "fifth", clicks: 4, position: 5, impressions: null });
    builder.add({ query: "q", item: "far", clicks: 2, position: 400, impressions: null });
    const log = builder.finish();
    expect(judgeClicks(log).correction).toMatch(/eta 1, a usual value: the log has no impressions/);
    expect(gainsOf(log)).toEqual({ top: 2, fifth: 3, far: 3 });
    expect(gainsOf(log, { maxWeight: 1 })).toEqual({ top: 3, fifth: 1, far: 1 });
  });

  it("keeps what was shown and never clicked as not relevant, and leaves stray clicks out", () => {
    const builder = new ClickLogBuilder("seen");
    builder.add({ query: "Q ", item: "good", clicks: 30, position: 1, impressions: 100 });
    builder.add({ query: "q", item: "ignored", clicks: 0, position: 2, impressions: 100 });
    builder.add({ query: "q", item: "stray", clicks: 1, position: 3, impressions: 1 });
    builder.add({ query: "rare", item: "x", clicks: 1, position: 1, impressions: 1 });
    const { queries, read, leftOut } = judgeClicks(builder.finish());
    expect(queries.map(({ query, gains }) => [query, Object.fromEntries(gains)])).toEqual([
      ["Q", { good: 3, ignored: 0 }],
    ]);
    expect([read, leftOut]).toEqual([2, 1]);
  });

  it("says that nothing was corrected where positions are unknown", () => {
    const builder = new ClickLogBuilder("bare");
    builder.add({ query: "q", item: "a", clicks: 5, position: null, impressions: null });
    expect(judgeClicks(builder.finish())).toMatchObject({
      eta: 0,
      correction: expect.stringMatching(/judged too well/) as string,
    });
  });

  it.each([
    [{ eta: -1 }, /eta is -1/],
    [{ eta: Number.NaN }, /eta is NaN/],
    [{ minClicks: 0 }, /minClicks is 0/],
    [{ grades: 1.5 }, /grades is 1.5/],
    [{ maxWeight: 0 }, /maxWeight is 0/],
    [{ minClicks: 1e6 }, /no item of 20 queries has 1000000 clicks/],
  ])("refuses %j", (options, message) => {
    expect(() => judgeClicks(simulate(1, { shuffled: false }), options)).toThrow(message);
  });
});

describe("readClickLog", () => {
  it("takes columns by what they are called, in any format, and adds rows up", async () => {
    const csv = await file(
      "log.csv",
      'Search Term,Product ID,Clicks,Rank\n"red, pen",7,3,1\nRED  PEN,7,2,1\nred pen,8,1,2\n',
    );
    const log = await readClickLog(csv);
    expect(log).toMatchObject({ hasPositions: true, hasImpressions: false });
    expect(log.queries.map(({ query }) => query)).toEqual(["red, pen", "RED PEN"]);
    expect(log.queries[1]?.items.get("7")).toEqual([{ position: 1, clicks: 2, impressions: null }]);
    const jsonl = await file("log.jsonl", '{"q": "pen", "sku": 12}\n{"q": "pen", "sku": 12}\n');
    expect((await readClickLog(jsonl)).queries[0]?.items.get("12")).toEqual([
      { position: null, clicks: 2, impressions: null },
    ]);
    const odd = await file("odd.csv", "a,b\nx,1\n");
    const named = await readClickLog(odd, { columns: { query: "a", item: "b" } });
    expect(named.queries).toHaveLength(1);
  });

  it.each([
    ["clicked", "0", "1"],
    ["is_clicked", "false", "true"],
    ["wasClicked", "False", "True"],
    ["Is Click", "0", "1"],
    ["click", "FALSE", "TRUE"],
  ])("takes a column %s of %s and %s as clicks", async (name, no, yes) => {
    const path = await file("flag.csv", `query,id,count,${name}\npen,a,7,${yes}\npen,a,7,${no}\npen,b,7,${no}\n`);
    const log = await readClickLog(path);
    expect(log.columns).toEqual({ query: "query", item: "id", clicks: name });
    const clicks = [...(log.queries[0]?.items ?? [])].map(([item, [place]]) => [item, place?.clicks]);
    expect(clicks).toEqual([["a", 1], ["b", 0]]); // prettier-ignore
  });

  it("takes true and false of JSON as clicks, and a column once", async () => {
    const path = await file(
      "flag.jsonl",
      '{"q": "pen", "id": 1, "click": true}\n{"q": "pen", "id": 1, "click": false}\n',
    );
    expect((await readClickLog(path)).queries[0]?.items.get("1")?.[0]?.clicks).toBe(1);
    const named = await readClickLog(await file("item.csv", "query,clicked\npen,a\n"), {
      columns: { item: "clicked" },
    });
    expect(named.columns).toEqual({ query: "query", item: "clicked" });
    expect(named.queries[0]?.items.get("a")?.[0]?.clicks).toBe(1);
  });

  it.each([
    ["empty.csv", "", /is empty/],
    ["header.csv", "query,clicked_id\n", /no examples in 0 rows/],
    ["columns.csv", "words,thing\na,b\n", /no column looks like the query; it has words, thing/],
    ["negative.csv", "query,id,count\na,b,-1\n", /"count" is below 0/],
    ["text.csv", "query,id,count\na,b,many\n", /"count" is text; expected a number/],
    ["position.csv", "query,id,position\na,b,0\n", /"position" is no whole number from 1 on/],
    ["shown.csv", "query,id,clicks,impressions\na,b,3,2\n", /more clicks than impressions/],
    ["blank.csv", "query,id\n ,b\n", /"query" is blank/],
    ["torn.csv", 'query,id\n"a,b\n', /a quote that opens here is never closed/],
  ])("refuses %s", async (name, content, message) => {
    await expect(readClickLog(await file(name, content))).rejects.toThrow(message);
  });

  it("drops a few bad rows of many and counts them", async () => {
    const rows = Array.from({ length: 100 }, (_, i) => `pen,${i},2,1`);
    const path = await file("some.csv", `query,id,clicks,rank\n${rows.join("\n")}\npen,x,2,zero\n`);
    expect((await readClickLog(path)).queries[0]?.items.size).toBe(100);
    await expect(readClickLog(path, { maxDroppedShare: 0.001 })).rejects.toThrow(/1 of 101 rows can't be used/);
    await expect(readClickLog(path, { columns: { clicks: "nothing" } })).rejects.toThrow(/no column "nothing"/);
  });

  it("reads 300,000 rows in one pass", async () => {
    const rows = Array.from({ length: 300_000 }, (_, i) => `query ${i % 5000},item ${i % 700},1,${(i % 10) + 1},2`);
    const path = await file("large.csv", `query,item_id,clicks,position,impressions\n${rows.join("\n")}\n`);
    const log = await readClickLog(path);
    expect(log.queries).toHaveLength(5000);
    const clicks = log.queries.reduce(
      (sum, { items }) => sum + [...items.values()].flat().reduce((inner, place) => inner + place.clicks, 0),
      0,
    );
    expect(clicks).toBe(300_000);
  });
});
