import { constants } from "node:buffer";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parquetWriteFile } from "hyparquet-writer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  placeOf,
  readAmazonC4,
  readBeir,
  readCsv,
  readEsci,
  readExamples,
  readHistoryFile,
  readItems,
  readPaperConversations,
  readParquet,
  readPurchases,
  readRows,
  readSearchFile,
  readTopics,
  readTrecCollection,
  recogniseFile,
  reportOf,
  selectSetting,
  splitPurchases,
} from "../../src/datasets/index.ts";
import { parsePythonDict } from "../../src/datasets/python-dict.ts";
import { checkDataFile } from "../../src/tasks/check-data.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-loaders-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function textFile(name: string, text: string): Promise<string> {
  await writeFile(join(folder, name), text);
  return join(folder, name);
}

function parquetFile(name: string, columns: Record<string, unknown[]>): string {
  const columnData = Object.entries(columns).map(([column, data]) => ({ name: column, data }));
  parquetWriteFile({ filename: join(folder, name), columnData, rowGroupSize: 2 });
  return join(folder, name);
}

async function collect<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const row of rows) all.push(row);
  return all;
}

const esci = {
  query: ["red pen", "red pen", "red pen", "ink", "stift"],
  query_id: [1n, 1n, 1n, 2n, 3n],
  product_id: ["a", "b", "c", "d", "e"],
  product_locale: ["us", "us", "us", "us", "es"],
  esci_label: ["E", "S", "I", "Exact", "E"],
  small_version: [1n, 1n, 1n, 0n, 1n],
  split: ["train", "train", "train", "test", "train"],
};

/** A page's header that was moved by six bytes. */
const greedyFile = [
  "UEFSMRUGFUwVRlwVDBUAFQwVABUEFQAAAKjc5v2rDAM/JBgCAAAAaTACAQYAMQUGADIFBjAzAgAAAGk0AgAAAGk1FQYVZBVKXBUM",
  "FQAVDBUAFQQVAAAAAz8wAAANAQBVBQEE1T8FBwhV5T8JFwDwDRAk9T+rqqqqqqr6PxUGFTQVOFwVDBUAFQwVABUEFQAAAAM/GFwA",
  "AAAAAQAAAAIAAAADAAAABAAAAAUAAAAVBBUcFSBMFQIVAAAADjQKAAAAWyJhIiwiw6kiXRUGFQgVDFwVDBUAFQwVEBUEFQAAAAM/",
  "AgQAAxUEGVxIBHJvb3QVCAAVDCUCGAJpZCUAABUKJQIYBXByaWNlABUCJQIYBWNvdW50ABUMJQIYBHRhZ3MlJgAWDBkcGUwmCBwV",
  "DBkVABkYAmlkFQIWDBZ2FnAmCDw2ACgCaTUYAmkwABkcFQYVABUCAAAAJngcFQoZFQAZGAVwcmljZRUCFgwWjgEWdCZ4PDYAKAir",
  "qqqqqqr6PxgIAAAAAAAAAIA2AAAZHBUGFQAVAgAAACbsARwVAhkVABkYBWNvdW50FQIWDBZeFmIm7AE8NgAoBAUAAAAYBAAAAAAA",
  "GRwVBhUAFQIAAAAmzgIcFQwZJQAQGRgEdGFncxUCFgwWaBZwJogDJs4CHDYAKApbImEiLCLDqSJdGApbImEiLCLDqSJdABksFQQV",
  "ABUCABUGFRAVAgAAABbKAxYMNrYDACgJaHlwYXJxdWV0GUwcAAAcAAAcAAAcAAAAWAEAAFBBUjE=",
].join("");

describe("parquet", () => {
  it("is read row by row over row groups, with numbers and times as JSON has them", async () => {
    const path = parquetFile("plain.parquet", { id: [1n, 2n, 3n], at: [new Date(0), new Date(1000), new Date(2000)] });
    expect(await collect(readParquet(path))).toEqual([
      { line: 1, value: { id: 1, at: "1970-01-01T00:00:00.000Z" } },
      { line: 2, value: { id: 2, at: "1970-01-01T00:00:01.000Z" } },
      { line: 3, value: { id: 3, at: "1970-01-01T00:00:02.000Z" } },
    ]);
    await expect(collect(readParquet(path, { columns: ["id", "name"] }))).rejects.toThrow(
      /no column "name"; it has "id", "at"/,
    );
  });

  it("is refused by the row where a value is none", async () => {
    const filename = join(folder, "times.parquet");
    const columnData = [{ name: "at", data: [new Date(0), new Date(8.64e15)] }];
    parquetWriteFile({ filename, columnData, codec: "UNCOMPRESSED", statistics: false });
    const bytes = readFileSync(filename);
    const latest = Buffer.alloc(8);
    latest.writeBigInt64LE(8_640_000_000_000_000n);
    expect(bytes.indexOf(latest)).toBeGreaterThan(0);
    bytes.writeBigInt64LE(8_640_000_000_000_001n, bytes.indexOf(latest));
    writeFileSync(filename, bytes);
    await expect(collect(readParquet(filename))).rejects.toThrow(/times\.parquet row 2: .*\(Invalid time value\)/);
  });

  it("is refused when it is cut off, missing or no parquet", async () => {
    const cut = await textFile("cut.parquet", "PAR1 and then nothing");
    await expect(collect(readParquet(cut))).rejects.toMatchObject({ code: "DATA_BAD_PARQUET" });
    await expect(collect(readParquet(join(folder, "none.parquet")))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(collect(readParquet(folder))).rejects.toMatchObject({ name: "DataError" });
  });

  describe("that a fuzzer made, whose reader asks for more memory at once than Node lets even a thread survive", () => {
    const bytes = Buffer.from(greedyFile, "base64");

    it("is refused, and the next file is read", { timeout: 60_000 }, async () => {
      const path = join(folder, "greedy.parquet");
      writeFileSync(path, bytes);
      await expect(collect(readParquet(path))).rejects.toMatchObject({
        code: "DATA_BAD_PARQUET",
        message: expect.stringMatching(/greedy\.parquet.*more memory than it may have/) as string,
      });
      expect(await collect(readParquet(parquetFile("good.parquet", { id: [1n] })))).toHaveLength(1);
    });

    it("is left in the middle where that is asked for", { timeout: 60_000 }, async () => {
      const path = join(folder, "left.parquet");
      writeFileSync(path, bytes);
      const stop = new AbortController();
      setTimeout(() => stop.abort(), 300);
      await expect(collect(readParquet(path, { signal: stop.signal }))).rejects.toMatchObject({ code: "ABORTED" });
    });
  });
});

describe("readCsv", () => {
  it("reads quoted delimiters, quotes and line breaks, and a header that is given", async () => {
    const path = await textFile("a.csv", '\ufeffid,text\r\n1,"a, ""b""\nc"\r\n\r\n2,plain\r\n');
    expect((await collect(readCsv(path))).map(({ line, value }) => [line, value])).toEqual([
      [2, { id: "1", text: 'a, "b"\nc' }],
      [5, { id: "2", text: "plain" }],
    ]);
    const european = await textFile("european.csv", 'sku;name;"a, b; c"\n1;"pen; blue, 0,7 mm";x\n');
    expect(await collect(readCsv(european))).toEqual([
      { line: 2, value: { sku: "1", name: "pen; blue, 0,7 mm", "a, b; c": "x" } },
    ]);
    expect(await collect(readRows(european))).toHaveLength(1);
    const bare = await textFile("b.csv", "u,i\n");
    expect(await collect(readCsv(bare, { header: ["user", "item"] }))).toEqual([
      { line: 1, value: { user: "u", item: "i" } },
    ]);
  });

  it.each([
    ["a field too many", "a,b\n1,2,3\n", /line 2: 3 fields; expected 2: a, b/],
    ["an open quote", 'a,b\n1,"2\n', /line 2: a quote that opens here is never closed/],
    ["a name twice", "a,a\n", /names "a" twice/],
  ])("refuses %s", async (_, text, message) => {
    await expect(collect(readCsv(await textFile("bad.csv", text)))).rejects.toThrow(message);
  });
});

describe("readEsci", () => {
  it("takes labels as graded gains, one locale, by query", async () => {
    const path = parquetFile("esci.parquet", esci);
    const examples = await readEsci(path);
    expect(examples).toEqual([
      { id: "1", query: "red pen", relevant: { a: 1, b: 0.1, c: 0 } },
      { id: "2", query: "ink", relevant: ["d"], targets: ["d"] },
    ]);
    expect(reportOf(examples)).toMatchObject({ rows: 5, filtered: { "of another locale": 1 }, dropped: [] });
    const paper = await readEsci(path, { version: "small", labels: ["E"], split: "train" });
    expect(paper).toEqual([{ id: "1", query: "red pen", relevant: ["a"], targets: ["a"] }]);
    const categories = new Map([["d", "Office_Products"]]);
    expect(await readEsci(path, { categories, domain: "Office_Products" })).toMatchObject([{ id: "2" }]);
    await expect(readEsci(path, { categories, domain: "Toys" })).rejects.toThrow(/no query of the domain "Toys"/);
  });

  it("counts labels that don't parse, and refuses too many of them", async () => {
    const path = parquetFile("labels.parquet", { ...esci, esci_label: ["E", "S", "Z", "E", "E"] });
    await expect(readEsci(path)).rejects.toThrow(
      /1 of 5 rows can't be used.*label "Z" is none of E, S, C, I \(row 3\)/s,
    );
    const examples = await readEsci(path, { maxDroppedShare: 0.5 });
    expect(reportOf(examples)!.dropped).toEqual([
      { reason: 'the label "Z" is none of E, S, C, I', count: 1, rows: [3] },
    ]);
  });

  it("names a column that is missing", async () => {
    const rest = Object.fromEntries(Object.entries(esci).filter(([column]) => column !== "product_locale"));
    await expect(readEsci(parquetFile("columns.parquet", rest))).rejects.toThrow(/no column "product_locale"/);
  });
});

describe("Amazon Reviews", () => {
  const bought = (user: string, ...items: string[]): string[] =>
    items.map((item, i) => `{"reviewerID": "${user}", "asin": "${item}", "unixReviewTime": ${i + 1}}`);

  it("reads reviews of 2014 and 2018, and splits leave-last-out", async () => {
    const lines = [...bought("u", "a", "b", "a", "c", "d"), ...bought("v", "a")];
    const purchases = await readPurchases(await textFile("reviews.json", `${lines.join("\n")}\n`));
    expect(purchases[0]).toEqual({ user: "u", item: "a", timeMs: 1000 });
    const { train, valid, test } = splitPurchases(purchases, { titles: new Map([["a", "Apple"]]) });
    // The second purchase of `a` doesn't count, and `v` has no history.
    expect(train.map(({ target }) => target)).toEqual(["b"]);
    expect(valid).toMatchObject([{ history: ["a", "b"], titles: ["Apple", ""], target: "c" }]);
    expect(test).toMatchObject([{ history: ["a", "b", "c"], target: "d", relevant: ["d"] }]);
  });

  it.each([
    ["2014", "A1USER,B000000001,5.0,1400000000\nA2USER,B000000002,4.0,1400000001\n"],
    ["2018", "B000000001,A1USER,5.0,1400000000\nB000000002,A2USER,4.0,1400000001\n"],
  ])("tells user and item apart in ratings of %s", async (year, text) => {
    const [first] = await readPurchases(await textFile(`ratings-${year}.csv`, text));
    expect(first).toEqual({ user: "A1USER", item: "B000000001", timeMs: 1400000000000 });
  });

  it("splits by time, and tells seen items from new ones", () => {
    const purchases = ["a", "b", "a", "c", "d"].map((item, i) => ({ user: `u${i % 2}`, item, timeMs: i }));
    const parts = splitPurchases(purchases, { split: "time", validFromMs: 3, testFromMs: 4, dropRepeats: false });
    expect(parts.train.map(({ id }) => id)).toEqual(["u0-1"]);
    expect(parts.valid).toMatchObject([{ history: ["b"], target: "c" }]);
    expect(parts.test).toMatchObject([{ history: ["a", "a"], target: "d" }]);
    expect(selectSetting(parts.test, parts.train, "transductive")).toEqual([]);
    expect(selectSetting(parts.valid, parts.train, "inductive")).toHaveLength(1);
    expect(selectSetting(parts.test, parts.train, "inductive")).toEqual([]);
  });

  it("reads sequences of 2023: first purchases have no history, which is no fault", async () => {
    const header = "user_id,parent_asin,rating,timestamp,history\n";
    const path = await textFile("w_his.csv", `${header}u,a,5.0,1,\nu,b,5.0,2,a\nu,c,5.0,3,a b\n`);
    const examples = await readHistoryFile(path, { maxHistory: 1 });
    expect(examples).toMatchObject([
      { history: ["a"], target: "b" },
      { history: ["b"], bought: ["a", "b"], target: "c" },
    ]);
    expect(reportOf(examples)!.filtered).toEqual({ "first purchases, without a history": 1 });
  });

  it("keeps the titles that a file brings, or the newest of them where that is asked for", async () => {
    const row = { user_id: "u", history_list: ["a", "b"], target: "c", history_text: "Item 1: A\nItem 2: B" };
    const path = await textFile("titled.jsonl", JSON.stringify(row));
    expect(await readHistoryFile(path)).toMatchObject([{ history: ["a", "b"], titles: ["A", "B"] }]);
    const options = { maxHistory: 1 };
    expect(await readHistoryFile(path, options)).toMatchObject([{ history: ["b"], titles: ["B"] }]);
  });

  it("counts empty histories", async () => {
    const rows = [
      { user: "u", history: [], target: "a" },
      { user: "v", history: ["b"], target: "a" },
    ];
    const path = await textFile("next.jsonl", rows.map((row) => JSON.stringify(row)).join("\n"));
    await expect(readHistoryFile(path)).rejects.toThrow(/1 of 2 rows can't be used.*the history is empty/s);
    expect(await readHistoryFile(path, { maxDroppedShare: 0.5 })).toHaveLength(1);
    expect(await checkDataFile(path)).toMatchObject({ kind: "histories", preset: "next-item", rows: 2, usable: 1 });
  });

  it("reads metadata as Python printed it", async () => {
    const path = await textFile("meta.json", `{'asin': 'a', 'title': "Men's pen", 'price': 1.5, 'related': None}\n`);
    expect(await readItems(path)).toEqual([{ id: "a", title: "Men's pen", text: "Men's pen", category: "" }]);
    expect(parsePythonDict(`{'a': [u'\\u00e9\\n', True, (1, -2)], 'b': {}}`, "x")).toEqual({
      a: ["é\n", true, [1, -2]],
      b: {},
    });
    expect(() => parsePythonDict("{'a': __import__('os')}", "x line 1")).toThrow(/x line 1: expected/);
    expect(() => parsePythonDict(`{'a': ${"[".repeat(100)}`, "x")).toThrow(/less nesting/);
  });
});

describe("the rest", () => {
  it("reads Amazon-C4 as CSV", async () => {
    const path = await textFile("c4.csv", 'qid,query,item_id,ori_review\n3,"I need, soon, a pen",B1,fine\n');
    expect(await readAmazonC4(path)).toEqual([
      { id: "3", query: "I need, soon, a pen", relevant: ["B1"], targets: ["B1"] },
    ]);
    expect((await recogniseFile(path)).kind).toBe("amazon-c4");
  });

  it("reads examples as CSV", async () => {
    const path = await textFile("examples.csv", 'query,relevant\npen,1 2\nink,"{""3"": 2}"\n');
    expect(await readSearchFile(path)).toMatchObject([
      { query: "pen", relevant: ["1", "2"] },
      { query: "ink", relevant: { "3": 2 } },
    ]);
  });

  it.each([
    ["12,15", ["12", "15"], ["12,15"]],
    ["12, 15 ,16", ["12", "15", "16"], ["12,", "15", ",16"]],
    ["a,1 b,2", ["a,1", "b,2"], ["a,1", "b,2"]],
    ["a,1|b,2", ["a,1", "b,2"], ["a,1", "b,2"]],
    [" 12;15|16 ", ["12", "15", "16"], ["12", "15", "16"]],
  ])("parts the ids of a cell %j", async (cell, apart, withCommas) => {
    const path = await textFile("cell.csv", `query,relevant\npen,"${cell}"\n`);
    expect(await readSearchFile(path)).toMatchObject([{ relevant: apart }]);
    expect(await readSearchFile(path, { commasInIds: true })).toMatchObject([{ relevant: withCommas }]);
  });

  it("counts lines of examples that can't be used, and knows where the others stand", async () => {
    const row = (id: string, relevant: unknown) => `${JSON.stringify({ id, query: "pen", relevant })}\n`;
    const path = await textFile("examples.jsonl", row("a", ["1"]) + row("b", []) + row("a", ["2"]));
    const examples = await readSearchFile(path, { maxDroppedShare: 0.5 });
    expect(examples.map(({ id }) => id)).toEqual(["a", "a#3"]);
    expect(reportOf(examples)).toMatchObject({ rows: 3, dropped: [{ count: 1, rows: [2] }] });
    expect(examples.map(placeOf)).toEqual([1, 3].map((line) => ({ path, line })));
    expect(await checkDataFile(path)).toMatchObject({ kind: "examples", rows: 3, usable: 2, dropped: [{ count: 1 }] });
    await expect(readSearchFile(path)).rejects.toThrow(/1 of 3 rows can't be used.*"relevant" is empty.*row 2/s);
    await expect(readExamples(path)).rejects.toMatchObject({ code: "DATA_BAD_RELEVANT" });
    await expect(readSearchFile(await textFile("text.jsonl", row("a", "1 2")))).rejects.toThrow(/"relevant" is "1 2"/);
  });

  it("reads conversations with their completion", async () => {
    const text =
      "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<answer>a</answer><|im_end|>";
    const [conversation] = await readPaperConversations(parquetFile("sft.parquet", { text: [text] }));
    expect(conversation).toMatchObject({
      messages: [
        { role: "system", content: "s" },
        { role: "user", content: "q" },
      ],
      completion: "<answer>a</answer>",
    });
  });

  it("counts judged queries of a collection whose text is absent or blank", async () => {
    await mkdir(join(folder, "beir/qrels"), { recursive: true });
    const judged = ["a", "b", "c", "d"].map((id) => `${id}\titem-${id}\t1\n`).join("");
    await textFile("beir/qrels/test.tsv", `query-id\tcorpus-id\tscore\n${judged}`);
    const texts = { a: "red pen", b: " ", c: "" };
    const queries = Object.entries(texts).map(([_id, text]) => `${JSON.stringify({ _id, text })}\n`);
    await textFile("beir/queries.jsonl", queries.join(""));
    const examples = await readBeir(join(folder, "beir"), "test", { maxDroppedShare: 0.8 });
    expect(examples).toEqual([{ id: "a", query: "red pen", relevant: { "item-a": 1 } }]);
    expect(reportOf(examples)?.dropped).toEqual([{ reason: "a judged query has no text", count: 3, rows: [2, 3, 4] }]);
    await expect(readBeir(join(folder, "beir"), "test")).rejects.toMatchObject({ code: "DATA_TOO_MANY_DROPPED" });
    const [topics, qrels] = [await textFile("t.tsv", "1\tink\n2\t\n"), await textFile("t.qrels", "1 0 x 1\n2 0 y 1\n")];
    expect(await readTrecCollection(topics, qrels, { maxDroppedShare: 0.5 })).toHaveLength(1);
  });

  it("reads topics in both forms", async () => {
    const sgml = "<top>\n<num> Number: 301\n<title> International\nCrime\n<desc> x\n</top>\n";
    expect(await readTopics(await textFile("topics.txt", sgml))).toEqual(new Map([["301", "International Crime"]]));
    expect(await readTopics(await textFile("topics.tsv", "7\tred pen\n"))).toEqual(new Map([["7", "red pen"]]));
  });

  it("refuses a JSON document that doesn't fit into a string", async () => {
    const path = await textFile("large.json", "[");
    await truncate(path, constants.MAX_STRING_LENGTH + 1);
    await expect(collect(readRows(path))).rejects.toMatchObject({
      code: "DATA_TOO_LARGE",
      message: expect.stringContaining(`a string holds ${constants.MAX_STRING_LENGTH} at most`) as string,
    });
  });

  it("says what an unknown file has", async () => {
    const path = await textFile("odd.jsonl", '{"foo": 1}\n');
    await expect(recogniseFile(path)).rejects.toThrow(/not a layout that is known; it has the fields foo/);
    await expect(recogniseFile(await textFile("empty.jsonl", ""))).rejects.toMatchObject({ code: "DATA_EMPTY" });
    await expect(readSearchFile(await textFile("items.jsonl", '{"id": "1", "title": "t"}\n'))).rejects.toThrow(
      /is a catalogue; expected queries/,
    );
  });
});
