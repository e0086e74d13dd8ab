import { constants } from "node:buffer";
import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  gradeAll,
  judgeClicks,
  readOpenSearchJudgments,
  readQuepid,
  readUbiEvents,
  writeExamples,
  writeOpenSearchJudgments,
  writeQuepid,
} from "../../../src/datasets/judgments/index.ts";
import type { JudgedQuery } from "../../../src/datasets/judgments/index.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-formats-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function file(name: string, content: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

const judged: JudgedQuery[] = [
  {
    id: "q1",
    query: 'nib, "fine"\nor not',
    gains: new Map([
      ["a,1", 3],
      ["b", 0],
    ]),
  },
  { id: "q2", query: "=SUM(1)", gains: new Map([["c", 0.5]]) },
];
const plain = (queries: readonly JudgedQuery[]) =>
  queries.map(({ query, gains }) => [query, Object.fromEntries(gains)]);

describe("Quepid", () => {
  it("comes back as it was written, whatever is in it", async () => {
    const path = join(folder, "quepid.csv");
    await writeQuepid(path, judged);
    const text = await readFile(path, "utf8");
    expect(text.split("\n")[0]).toBe("query,docid,rating");
    expect(text).toContain(" =SUM(1),c,0.5");
    expect(plain(await readQuepid(path))).toEqual(plain(judged));
  });

  it("averages the judges of a book and passes over what nobody rated", async () => {
    const book = await file("book.csv", "query,docid,Ann,Bob\npen,1,3,1\npen,2,,2\npen,3,,\nink,,,\n");
    expect(plain(await readQuepid(book))).toEqual([["pen", { 1: 2, 2: 2 }]]);
  });

  it.each([
    ["no-docid.csv", "query,rating\na,1\n", /no column "docid"; it has "query", "rating"/],
    ["no-rating.csv", "query,docid\na,1\n", /no column "rating"/],
    ["text.csv", "query,docid,rating\na,1,good\n", /line 2: the rating is "good"/],
    ["twice.csv", "query,docid,rating\na,1,1\na,1,2\n", /line 3: "1" is judged 2 for "a", and 1 before/],
    ["unrated.csv", "query,docid,rating\na,,\n", /holds no judgment/],
    ["short.csv", "query,docid,rating\na,1\n", /2 fields; expected 3/],
  ])("refuses %s", async (name, content, message) => {
    await expect(readQuepid(await file(name, content))).rejects.toThrow(message);
  });
});

describe("OpenSearch judgment lists", () => {
  it("are written as the plugin imports them and read back", async () => {
    const path = join(folder, "list.json");
    await writeOpenSearchJudgments(path, judged, { name: "mine" });
    const list = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
    expect(list).toMatchObject({ name: "mine", type: "IMPORT_JUDGMENT" });
    // The plugin takes ratings as texts only.
    expect(list.judgmentRatings).toMatchObject([
      { ratings: [{ docId: "a,1", rating: "3.0" }, { rating: "0.0" }] },
      { query: "=SUM(1)", ratings: [{ docId: "c", rating: "0.5" }] },
    ]);
    expect(plain(await readOpenSearchJudgments(path))).toEqual(plain(judged));
  });

  it("are read from what the plugin gives back, and from its early form", async () => {
    const judgmentRatings = [{ query: "pen", ratings: [{ docId: "1", rating: "1.0" }] }];
    const reply = { hits: { hits: [{ _source: { judgmentRatings } }] } };
    const early = { judgmentRatings: { pen: [{ docId: "1", rating: "1.000" }] } };
    for (const [name, content] of Object.entries({ reply, early })) {
      expect(plain(await readOpenSearchJudgments(await file(`${name}.json`, JSON.stringify(content))))).toEqual([
        ["pen", { 1: 1 }],
      ]);
    }
  });

  it.each([
    ["{", /not JSON/],
    ["[]", /has no judgmentRatings/],
    ['{"judgmentRatings": 7}', /neither a list nor an object/],
    ['{"judgmentRatings": []}', /holds no judgment/],
    ['{"judgmentRatings": [{"ratings": []}]}', /judgmentRatings 1 has no query/],
    ['{"judgmentRatings": [{"query": "a", "ratings": {}}]}', /has no list of ratings/],
    ['{"judgmentRatings": [{"query": "a", "ratings": [{"rating": "1"}]}]}', /has no docId/],
    [
      '{"judgmentRatings": [{"query": "a", "ratings": [{"docId": "1", "rating": ""}]}]}',
      /the rating of "1" for "a" is ""/,
    ],
  ])("refuse %s", async (content, message) => {
    await expect(readOpenSearchJudgments(await file("bad.json", content))).rejects.toThrow(message);
  });
});

describe("UBI events", () => {
  it("are read as lines where they don't fit into a string", async () => {
    const path = await file("large.jsonl", `${JSON.stringify({ action_name: "click" })}\n`);
    // The rest is a hole, which takes no room on the disk and is one long line.
    await truncate(path, constants.MAX_STRING_LENGTH + 1);
    await expect(readUbiEvents(path, { maxLineBytes: 1000 })).rejects.toMatchObject({
      code: "DATA_LINE_TOO_LONG",
      message: expect.stringContaining("line 2") as string,
    });
  });

  const event = (action: string, item: string, ordinal: number | null, more: object = {}) => ({
    action_name: action,
    query_id: "id-1",
    user_query: "pen",
    timestamp: "2026-01-01T00:00:00Z",
    event_attributes: { object: { object_id: item }, position: ordinal === null ? {} : { ordinal } },
    ...more,
  });
  const lines = (events: readonly object[]): string => events.map((value) => `${JSON.stringify(value)}\n`).join("");

  it("become a log of clicks and impressions by position", async () => {
    const events = [
      ...Array.from({ length: 5 }, () => event("impression", "a", 1)),
      ...Array.from({ length: 3 }, () => event("click", "a", 1)),
      event("impression", "b", 2),
      event("page_exit", "b", 2),
    ];
    const { log, used, passedOver } = await readUbiEvents(await file("events.jsonl", lines(events)));
    expect(used).toBe(9);
    expect(passedOver).toEqual({ "another action": 1 });
    expect(log.queries[0]?.items.get("a")).toEqual([{ position: 1, clicks: 3, impressions: 5 }]);
    expect(plain(judgeClicks(log).queries)).toEqual([["pen", { a: 3, b: 0 }]]);
  });

  it("keep their positions where a few of them have none, and where they are text", async () => {
    const placed = (action: string) =>
      Array.from({ length: 19 }, (_, i) => {
        const position = { ordinal: i % 2 === 0 ? 2 : "2" };
        return { ...event(action, "a", 2), event_attributes: { object: { object_id: "a" }, position } };
      });
    const few = [...placed("click"), event("click", "a", null), ...placed("impression")];
    const { log, used, passedOver } = await readUbiEvents(await file("few.jsonl", lines(few)));
    expect(log.hasPositions).toBe(true);
    expect(log.queries[0]?.items.get("a")).toEqual([{ position: 2, clicks: 19, impressions: 19 }]);
    expect([used, passedOver]).toEqual([38, { "no ordinal": 1 }]);
  });

  it("have no positions where many clicks or many impressions have none", async () => {
    const of = (action: string, count: number, ordinal: number | null) =>
      Array.from({ length: count }, () => event(action, "a", ordinal));
    for (const [clicks, impressions] of [
      [of("click", 2, null), of("impression", 98, 1)],
      [[...of("click", 18, 1), ...of("click", 1, null)], of("impression", 81, 1)],
      [of("click", 98, 1), of("impression", 2, null)],
    ] as const) {
      const path = await file("many.jsonl", lines([...clicks, ...impressions]));
      const { log, used, passedOver } = await readUbiEvents(path);
      expect(log.hasPositions).toBe(false);
      expect([used, passedOver]).toEqual([100, {}]);
    }
  });

  it("find their query by its id, in whatever wrapping an index exports them", async () => {
    const bare = [event("click", "a", 1), event("click", "a", 1)].map(({ user_query: _, ...rest }) => rest);
    const queries = await file("queries.jsonl", lines([{ query_id: "id-1", user_query: "ball pen" }]));
    const wrapped = bare.map((_source) => ({ _index: "ubi_events", _source }));
    const forms = {
      "wrapped.jsonl": lines(wrapped),
      "array.json": JSON.stringify(wrapped),
      "reply.json": JSON.stringify({ took: 1, hits: { hits: wrapped } }, null, 2),
    };
    for (const [name, content] of Object.entries(forms)) {
      const { log } = await readUbiEvents(await file(name, content), { queries });
      expect(log.queries.map(({ query }) => query)).toEqual(["ball pen"]);
      expect(log.hasImpressions).toBe(false);
    }
    await expect(readUbiEvents(join(folder, "wrapped.jsonl"))).rejects.toThrow(/passed over: 2 with no user_query/);
  });

  it("count other actions where they are asked for, and positions from 0 where that is said", async () => {
    const path = await file("carts.jsonl", lines([event("add_to_cart", "a", 0), event("click", "b", 1)]));
    await expect(readUbiEvents(path, { actions: ["add_to_cart"] })).rejects.toThrow(/ordinal 0.*--first-position 0/);
    const { log } = await readUbiEvents(path, { actions: ["add_to_cart"], firstPosition: 0 });
    expect(log.queries[0]?.items.get("a")?.[0]?.position).toBe(1);
    expect(log.queries[0]?.items.has("b")).toBe(false);
  });

  it.each([
    ["none.jsonl", '{"action_name": "login"}\n', /no event is a click \(click\).*1 with another action/],
    ["object.jsonl", '{"action_name": "click", "user_query": "a"}\n', /1 with no object_id/],
    ["torn.jsonl", '{"action_name": "click"\n', /not JSON/],
    ["nothing.jsonl", "", /is empty/],
  ])("refuse %s", async (name, content, message) => {
    await expect(readUbiEvents(await file(name, content))).rejects.toThrow(message);
  });
});

describe("grades and examples", () => {
  it("are whole numbers relative to the highest gain", () => {
    expect(gradeAll(judged, 2).map(({ gains }) => [...gains.values()])).toEqual([[2, 0], [0]]);
    expect(gradeAll([{ id: "q", query: "q", gains: new Map([["a", 0]]) }], 2)[0]?.gains.get("a")).toBe(0);
  });

  it("leave out queries without anything relevant, and refuse to write none", async () => {
    const path = join(folder, "examples.jsonl");
    const none = { id: "q3", query: "nothing", gains: new Map([["a", 0]]) };
    expect(await writeExamples(path, [...judged, none])).toBe(2);
    expect((await readFile(path, "utf8")).split("\n")[1]).toBe('{"id":"q2","query":"=SUM(1)","relevant":{"c":0.5}}');
    await expect(writeExamples(path, [none])).rejects.toThrow(/no query has anything relevant/);
  });
});
