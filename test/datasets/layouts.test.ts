/** Every layout that a data file may have, in small: what it is recognised as, and what comes of it. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parquetWriteFile } from "hyparquet-writer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readHistoryFile, readItems, readPurchases, readSearchFile } from "../../src/datasets/index.ts";
import { checkDataFile } from "../../src/tasks/check-data.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-layouts-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

type Rows = readonly Record<string, unknown>[];
type Content = string | { parquet: Record<string, unknown[]> };

const lines = (...rows: unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const pretty = (value: unknown): string => JSON.stringify(value, null, 4);
const columns = (rows: Rows): { parquet: Record<string, unknown[]> } => ({
  parquet: Object.fromEntries(Object.keys(rows[0] as object).map((name) => [name, rows.map((row) => row[name])])),
});

async function file(name: string, content: Content): Promise<string> {
  const path = join(folder, name);
  if (typeof content === "string") await writeFile(path, content);
  else {
    const columnData = Object.entries(content.parquet).map(([column, data]) => ({ name: column, data }));
    parquetWriteFile({ filename: path, columnData });
  }
  return path;
}

const review = (item: string, seconds: number) => ({ user_id: "u", parent_asin: item, asin: "x", timestamp: seconds });
const c4 = { qid: 1, query: "a pen that writes well", item_id: "B1", ori_rating: 5, ori_review: "good" };
const judged = [
  { example_id: 1, query: "pen", query_id: 1, product_id: "B1", product_locale: "us", esci_label: "Exact", small_version: 1 },
  { example_id: 2, query: "pen", query_id: 1, product_id: "B2", product_locale: "us", esci_label: "S", small_version: 1 },
]; // prettier-ignore
const prompted = {
  query: "pen",
  item_id: ["B1"],
  data_source: "esci_train",
  prompt: [{ role: "user", content: "x" }],
  reward_model: { style: "rule", ground_truth: { target: ["B1"] } },
};
const history = { user_id: "u", history_list: ["a", "b"], target: "c" };

/** Name, content, kind, preset, rows read, what came of them. */
const layouts: [string, Content, string, string | null, number, number][] = [
  ["train.jsonl", lines({ query: "pen", relevant: ["1"] }), "examples", "product-search", 1, 1],
  ["train.csv", "query,relevant\npen,1 2\n", "examples", "product-search", 1, 1],
  ["train.parquet", columns([{ query: "pen", relevant: ["1"] }]), "examples", "product-search", 1, 1],
  ["prompts.jsonl", lines(prompted), "rec-r1-search", "product-search", 1, 1],
  ["subset.json", pretty([{ query: "pen", item_id: ["B1", "B1"] }]), "query-items", "product-search", 1, 1],
  ["pairs.csv", "qid,query,item_id\n0,pen,B1\n1,pen,B2\n2,ink,B3\n", "query-items", "product-search", 3, 2],
  ["c4.csv", "qid,query,item_id,ori_rating,ori_review\n1,pens,B1,5,good\n", "amazon-c4", "product-search", 1, 1],
  ["c4.json", pretty([c4]), "amazon-c4", "product-search", 1, 1],
  ["c4.parquet", columns([c4]), "amazon-c4", "product-search", 1, 1],
  ["esci.parquet", columns(judged), "esci-examples", "product-search", 2, 1],
  ["esci.csv", `${Object.keys(judged[0]!).join(",")}\n${judged.map((row) => Object.values(row).join(",")).join("\n")}\n`, "esci-examples", "product-search", 2, 1],
  ["sft.jsonl", lines({ text: "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>" }), "rec-r1-conversations", "product-search", 1, 1],
  ["list.json", pretty([history]), "history-lists", "next-item", 1, 1],
  ["prompts-next.jsonl", lines({ ...history, data_source: "amazon_review_train", prompt: prompted.prompt, history_text: "Item 1: A\nItem 2: B", reward_model: { ground_truth: { target: "c" } } }), "rec-r1-histories", "next-item", 1, 1],
  ["whole.jsonl", lines({ user_id: "u", history: [review("a", 1)], target: review("b", 2) }), "review-histories", "next-item", 1, 1],
  ["next.jsonl", lines({ user: "u", history: ["a"], target: "b" }), "histories", "next-item", 1, 1],
  ["w_his.csv", "user_id,parent_asin,rating,timestamp,history\nu,a,5.0,1,\nu,b,5.0,2,a\n", "amazon-2023-sequences", "next-item", 2, 1],
  ["beauty.train.inter", "user_id:token\titem_id_list:token_seq\titem_id:token\nu\ta b\tc\n", "recbole", "next-item", 1, 1],
  ["2023.jsonl", lines(review("a", 1), review("b", 2)), "amazon-2023", "next-item", 2, 2],
  ["2023.csv", "user_id,parent_asin,rating,timestamp\nu,a,5.0,1\n", "amazon-2023", "next-item", 1, 1],
  ["2018.json", lines({ reviewerID: "u", asin: "a", overall: 5, unixReviewTime: 1 }), "amazon-2018", "next-item", 1, 1],
  ["2014.json", "{'reviewerID': 'u', 'asin': 'a', 'overall': 5.0, 'unixReviewTime': 1}\n", "amazon-2018", "next-item", 1, 1],
  ["ratings-2014.csv", "A1USER,B000000001,5.0,1400000000\n", "ratings", "next-item", 1, 1],
  ["candidates.jsonl", lines({ query: "pen", candidates: [{ id: "1", title: "Pen" }], relevant: ["1"] }), "candidates", "re-ranking", 1, 1],
  ["items.jsonl", lines({ id: "1", title: "Pen" }), "catalogue", null, 1, 1],
  ["items.csv", "id,title\n1,Pen\n1,again\n", "catalogue", null, 2, 1],
  ["items.parquet", columns([{ id: "1", title: "Pen" }]), "catalogue", null, 1, 1],
  ["pool.jsonl", lines({ item_id: "B1", category: "Office", metadata: "Pen." }), "item-pool", null, 1, 1],
  ["documents.jsonl", lines({ id: "B1", contents: "Pen." }), "documents", null, 1, 1],
  ["esci-products.parquet", columns([{ product_id: "B1", product_title: "Pen", product_locale: "us" }, { product_id: "B2", product_title: "Stift", product_locale: "es" }]), "esci-products", null, 2, 1],
  ["meta-2014.json", "{'asin': 'a', 'title': 'Pen', 'categories': [['Office', 'Pens']]}\n", "amazon-2018-items", null, 1, 1],
  ["meta-2018.json", lines({ asin: "a", title: "Pen", feature: ["blue"], main_cat: "Office" }), "amazon-2018-items", null, 1, 1],
  ["meta-2023.jsonl", lines({ parent_asin: "a", title: "Pen", features: ["blue"], main_category: "Office" }), "amazon-2023-items", null, 1, 1],
  ["corpus.jsonl", lines({ _id: "1", title: "Pen", text: "" }), "beir-corpus", null, 1, 1],
  ["queries.jsonl", lines({ _id: "1", text: "pen" }), "beir-queries", null, 1, 1],
  ["qrels.tsv", "query-id\tcorpus-id\tscore\nq\td\t1\nq\te\t0\n", "beir-qrels", null, 2, 1],
  ["qrels.test.txt", "301 0 d1 1\n301 0 d2 0\n", "trec-qrels", null, 2, 1],
  ["run.txt", "301 Q0 d1 1 2.5 tag\n", "trec-run", null, 1, 1],
  ["topics.txt", "<top>\n<num> Number: 301\n<title> pens\n</top>\n", "trec-topics", null, 1, 1],
  ["topics.tsv", "301\tpens\n302\tink\n", "trec-topics", null, 2, 2],
  ["answers.json", pretty({ 0: { generated_text: "pen OR ink", target: "['B1']" }, 1: { generated_text: ["no", "text"], target: "['B2']" } }), "rec-r1-answers", null, 2, 1],
  ["rankings.json", pretty({ "0_pen": { id: 0, retrieved: "['B1']", target: "['B1']", "ndcg@100": 1 } }), "rec-r1-rankings", null, 1, 1],
]; // prettier-ignore

describe("data files", () => {
  it.each(layouts)("%s", async (name, content, kind, preset, rows, usable) => {
    expect(await checkDataFile(await file(name, content))).toMatchObject({ kind, preset, rows, usable });
  });

  it("of pairs become one example a query, with every target", async () => {
    const path = await file("pairs.tsv", "query\titem_id\npen\tB1\nink\tB3\npen\tB1\npen\tB2\n");
    expect(await readSearchFile(path)).toMatchObject([
      { query: "pen", relevant: ["B1", "B2"], targets: ["B1", "B1", "B2"] },
      { query: "ink", relevant: ["B3"] },
    ]);
  });

  it("of whole reviews get their titles from a catalogue", async () => {
    const target = review("b", 2);
    const path = await file("reviews.val.jsonl", lines({ user_id: "u", history: [review("a", 1)], target }));
    expect(await readHistoryFile(path, { titles: new Map([["a", "Apple"]]) })).toMatchObject([
      { user: "u", history: ["a"], titles: ["Apple"], target: "b", relevant: ["b"] },
    ]);
  });

  it("of three years give the same purchases and items", async () => {
    const purchase = { user: "u", item: "B000000001", timeMs: 1_500_000_000_000 };
    const reviews = [
      lines({ reviewerID: "u", asin: "B000000001", unixReviewTime: 1_500_000_000 }),
      lines({ user_id: "u", parent_asin: "B000000001", asin: "B9", timestamp: 1_500_000_000_000 }),
      "u,B000000001,5.0,1500000000\n",
      "user_id,parent_asin,rating,timestamp\nu,B000000001,5.0,1500000000000\n",
    ];
    for (const [i, text] of reviews.entries()) {
      expect(await readPurchases(await file(`purchases-${i}`, text))).toEqual([purchase]);
    }
    const item = { id: "a", title: "Pen", category: "Office" };
    const metadata = [
      "{'asin': 'a', 'title': 'Pen', 'main_cat': 'Office'}\n",
      lines({ asin: "a", title: "Pen", main_cat: "Office" }),
      lines({ parent_asin: "a", title: "Pen", main_category: "Office" }),
    ];
    for (const [i, text] of metadata.entries()) {
      expect(await readItems(await file(`metadata-${i}`, text))).toMatchObject([item]);
    }
  });
});

describe("data files that are wrong", () => {
  it.each([
    ["nothing", "", "DATA_EMPTY"],
    ["blank lines", "\n \n", "DATA_EMPTY"],
    ["an empty list", "[]", "DATA_EMPTY"],
    ["an empty object over two lines", "{\n}", "DATA_UNKNOWN_LAYOUT"],
    ["a list of numbers", "[1, 2]", "DATA_NOT_OBJECT"],
    ["a list cut off", '[{"query": "a"', "DATA_NOT_JSON"],
    ["an object cut off", '{\n  "a": {\n', "DATA_NOT_JSON"],
    ["JSON Lines cut off", '{"query": "a", "relev', "DATA_NOT_JSON"],
    ["prose", "Dear reader,\nthis is no data.\n", "DATA_BAD_CSV"],
    ["a table of something else", "height,width\n1,2\n", "DATA_UNKNOWN_LAYOUT"],
    ["parquet cut off", "PAR1abc", "DATA_BAD_PARQUET"],
    ["gzip", "\u001f\u008b", "DATA_NOT_UTF8"],
  ])("%s: an error with a reason", async (_, text, code) => {
    const path = join(folder, "wrong");
    await writeFile(path, text, "latin1");
    await expect(checkDataFile(path)).rejects.toMatchObject({ code, message: expect.stringContaining(path) as string });
  });

  it("a folder, and a file that isn't there", async () => {
    await expect(checkDataFile(folder)).rejects.toMatchObject({ name: "DataError" });
    await expect(checkDataFile(join(folder, "none"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("rows that can't be used are counted by reason, whatever their share", async () => {
    const path = await file(
      "bad-rows.jsonl",
      lines({ ...prompted, item_id: [] }, { ...prompted, query: 5 }, { ...prompted, reward_model: { ground_truth: { target: [null] } } }, prompted), // prettier-ignore
    );
    expect(await checkDataFile(path)).toMatchObject({
      rows: 4,
      usable: 2,
      dropped: [
        { reason: '"query" is a number; expected text', rows: [2] },
        { reason: '"target" is a list of something else; expected a list of ids', rows: [3] },
      ],
    });
  });
});
