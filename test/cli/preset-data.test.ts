/** What a preset reads in a folder of data: the published layouts in small, with the options that choose among their rows. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parquetWriteFile } from "hyparquet-writer";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openPreset } from "../../src/cli/preset-tasks.ts";
import { paperEsciDomains } from "../../src/datasets/esci.ts";
import { encodeExample } from "../../src/rl/prompt.ts";
import { loadSplit, type SplitName, type WarmupContext } from "../../src/rl/task.ts";
import { resolveTrainConfig } from "../../src/rl/train-config.ts";
import { paperPrompt, renderChatMl } from "../../src/tasks/paper-prompts.ts";
import { TabularEngine } from "../support/tabular-engine.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-preset-data-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function write(name: string, content: string | readonly object[]): Promise<void> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  const text = typeof content === "string" ? content : content.map((row) => `${JSON.stringify(row)}\n`).join("");
  await writeFile(path, text);
}

function writeParquet(name: string, rows: readonly Record<string, unknown>[]): void {
  const columnData = Object.keys(rows[0] as object).map((column) => ({
    name: column,
    data: rows.map((row) => row[column]),
  }));
  parquetWriteFile({ filename: join(folder, name), columnData });
}

/** Examples of a split of a preset on the folder. */
async function load(argument: string, split: SplitName): Promise<Record<string, unknown>[]> {
  const { task } = await openPreset(argument, folder);
  const examples = (await loadSplit(task, split)) ?? [];
  return examples.map(({ example }) => example as Record<string, unknown>);
}

const item = (id: string, category = "Toys") => ({ item_id: id, category, metadata: `text of ${id}` });

describe("ESCI", () => {
  const row = (n: number, label: string, more: object = {}) => ({
    query_id: n,
    query: `query ${n}`,
    product_id: `B${n}`,
    product_locale: "us",
    esci_label: label,
    small_version: 1,
    split: "train",
    ...more,
  });

  it("has the paper's training pool, validation and four test domains", async () => {
    const train = Array.from({ length: 104 }, (_, n) => row(n, "E"));
    const rest = [
      row(200, "S"),
      row(201, "E", { small_version: 0 }),
      row(202, "E", { product_locale: "es" }),
      row(203, "E"),
    ];
    const domains = [...paperEsciDomains, "Toys"];
    const test = domains.map((_, i) => row(300 + i, "E", { split: "test" }));
    writeParquet("examples.parquet", [...train, ...rest, ...test]);
    const pool = [
      ...train.map(({ product_id: id }) => item(id)),
      ...domains.map((name, i) => item(`B${300 + i}`, name)),
    ];
    await write("pool.jsonl", pool);
    const paper = "product-search:version=small,labels=E,pool=true";
    const valid = await load(paper, "valid");
    expect(valid).toHaveLength(100);
    expect(valid[0]).toEqual({ id: "0", query: "query 0", relevant: ["B0"], targets: ["B0"] });
    // The substitute, the larger version, Spanish and the product outside the pool are gone.
    expect((await load(paper, "train")).map(({ id }) => id)).toEqual(["100", "101", "102", "103"]);
    expect(await load(paper, "test")).toHaveLength(5);
    for (const [i, domain] of paperEsciDomains.entries()) {
      expect(await load(`${paper},domain=${domain}`, "test")).toMatchObject([{ id: String(300 + i), domain }]);
    }
    expect(await load("product-search:locale=es", "train").catch((error: unknown) => error)).toMatchObject({
      code: "DATA_EMPTY",
    });
    expect((await load("product-search", "train")).map(({ id }) => id)).toEqual(["100", "101", "102", "103", "200", "201", "203"]); // prettier-ignore
    await expect(load(`${paper},domain=Video_Game`, "test")).rejects.toThrow(/Did you mean "Video_Games"/);
    await expect(openPreset("product-search:labels=X", folder)).rejects.toMatchObject({ code: "BAD_OPTION" });
  });

  it("is read from a file for each split, too", async () => {
    const bare = (n: number) => ({ ...row(n, "Exact"), split: undefined });
    const files = { train: [bare(1), bare(2)], valid: [bare(3)], test: [bare(4)] };
    for (const [split, rows] of Object.entries(files)) await write(`esci-${split}.jsonl`, rows);
    await write("items.jsonl", [item("B1")]);
    expect((await load("product-search", "train")).map(({ id }) => id)).toEqual(["1", "2"]);
    expect((await load("product-search", "valid")).map(({ id }) => id)).toEqual(["3"]);
    expect((await load("product-search", "test")).map(({ id }) => id)).toEqual(["4"]);
  });
});

describe("Amazon-C4", () => {
  it("has queries by category of their item", async () => {
    const header = "qid,query,item_id,ori_rating,ori_review\n";
    await write("train.csv", `${header}1,"a pen, soft",B1,5,nice\n`);
    await write("test.csv", `${header}2,a game for two,B2,5,nice\n3,a thing for the cot,B3,5,nice\n`);
    await write("pool.jsonl", [item("B1", "Office"), item("B2", "Games"), item("B3", "Baby")]);
    expect(await load("product-search", "test")).toHaveLength(2);
    expect(await load("product-search:domain=Baby", "test")).toMatchObject([
      { id: "3", query: "a thing for the cot", domain: "Baby" },
    ]);
    await expect(load("product-search:domain=Sports", "test")).rejects.toThrow(/"Sports".*Office, Games, Baby/s);
  });
});

describe("queries with relevant ids", () => {
  it.each([
    [
      "JSON Lines",
      [
        { query: "a game", relevant: ["B2", "B3"] },
        { query: "a cot", relevant: { B3: 2 } },
      ],
    ],
    ["CSV", "query,relevant\na game,B2 B3\na cot,B3\n"],
  ] as const)("in %s have the category of their first item", async (_, rows) => {
    await write("train.jsonl", [{ query: "a pen", relevant: ["B1"] }]);
    await write("test.csv", rows);
    await write("pool.jsonl", [item("B1", "Office"), item("B2", "Games"), item("B3", "Baby")]);
    expect(await load("product-search:domain=Games", "test")).toMatchObject([{ query: "a game", domain: "Games" }]);
    expect(await load("product-search:domain=Baby", "test")).toMatchObject([{ query: "a cot", domain: "Baby" }]);
  });
});

describe("a cell of several ids", () => {
  it.each([
    ["a,1", ["a,1"]],
    ["a-1", ["a", "1"]],
  ])("is read by the catalogue's ids, such as %s", async (id, relevant) => {
    await write("train.csv", 'query,relevant\na pen,"a,1"\n');
    await write("pool.jsonl", [item(id)]);
    expect(await load("product-search", "train")).toMatchObject([{ relevant }]);
  });
});

describe("TREC", () => {
  it("has topics with their graded judgments, by split", async () => {
    for (const split of ["train", "test"]) {
      await write(`topics.${split}.txt`, "<top>\n<num> Number: 301\n<title> red\npens\n<desc> x\n</top>\n");
      await write(`qrels.${split}.txt`, "301 0 d1 2\n301 0 d2 0\n");
    }
    await write("corpus.jsonl", [{ id: "d1", title: "Red pen" }]);
    expect(await load("product-search", "test")).toEqual([
      { id: "301", query: "red pens", relevant: { d1: 2, d2: 0 } },
    ]);
  });
});

describe("the authors' files", () => {
  const prompted = (query: string, index: number, split: string) => ({
    data_source: `esci_${split}`,
    prompt: [{ role: "user", content: renderChatMl(paperPrompt(query, { kind: "expand" })) }],
    query,
    item_id: ["B1", "B1"],
    reward_model: { style: "rule", ground_truth: { target: ["B1", "B1"] } },
    extra_info: { split, index },
  });

  it("are asked in their own wording, and their conversations are the warm-up", async () => {
    writeParquet("train.parquet", [prompted("red pen", 0, "train")]);
    writeParquet("val.parquet", [prompted("ink", 0, "val")]);
    const answer = "<think>\nhm</think><answer>a</answer>";
    const text = `<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n${answer}<|im_end|>`;
    writeParquet("sft_train.parquet", [{ text }]);
    await write("pool.jsonl", [item("B1")]);
    const { task } = await openPreset("product-search", folder);
    const [train] = (await loadSplit(task, "train"))!;
    expect(train).toMatchObject({ id: "esci_train-0", example: { relevant: ["B1"], targets: ["B1", "B1"] } });
    expect(task.prompt(train!.example)).toEqual(paperPrompt("red pen", { kind: "expand" }));
    expect((await loadSplit(task, "valid"))![0]!.id).toBe("esci_val-0");
    const context = { task, train: [], recommender: {}, maxFailureShare: 0, signal: undefined, onProgress: () => {} };
    const warmup = await task.warmup!.examples(context as unknown as WarmupContext<object>);
    expect(warmup).toMatchObject([{ messages: [{ role: "user", content: "q" }], completion: answer }]);
  });

  it("keep to the recipe's lengths of prompts: 256 tokens, 512 for histories", async () => {
    writeParquet("train.parquet", [prompted("red pen", 0, "train")]);
    await write("next.train.jsonl", [{ user: "u", history: ["B1"], target: "B1" }]);
    await write("pool.jsonl", [item("B1")]);
    for (const [preset, maxPromptTokens] of [
      ["product-search", 256],
      ["next-item", 512],
    ] as const) {
      // prettier-ignore
      const { task } = await openPreset(preset, folder);
      const layers = [
        { source: "task", values: task.config },
        { source: "flags", values: { recipe: "rec-r1" } },
      ];
      expect(resolveTrainConfig(layers)).toMatchObject({ maxPromptTokens, maxTokens: 512, groupSize: 12 });
    }
  });
});

describe("purchases", () => {
  const inter = (...rows: string[]) => `user_id:token\titem_id_list:token_seq\titem_id:token\n${rows.join("\n")}\n`;
  const titled = ["a", "b", "c", "d", "e"].map((id) => ({ id, title: `title ${id}` }));

  it("as RecBole's sequences, by split", async () => {
    await write("Beauty.train.inter", inter("u\ta b\tc"));
    await write("Beauty.valid.inter", inter("u\ta b c\td"));
    await write("items.jsonl", titled);
    expect(await load("next-item:maxHistory=2", "valid")).toMatchObject([
      { history: ["b", "c"], bought: ["a", "b", "c"], titles: ["title b", "title c"], target: "d" },
    ]);
  });

  it("split by time, held-out examples transductive or inductive", async () => {
    const bought = (user: string, ids: string, from: number) =>
      [...ids].map((id, i) => ({ reviewerID: user, asin: id, unixReviewTime: from + i }));
    const late = [...bought("w", "d", 8), ...bought("w", "e", 9), ...bought("x", "a", 7), ...bought("x", "b", 9)];
    await write("reviews.json", [...bought("u", "abc", 0), ...bought("v", "bca", 3), ...late]);
    await write("items.jsonl", titled);
    const targets = async (options: string) =>
      (await load(`next-item:split=time${options}`, "test")).map(({ user, target }) => [user, target]);
    // What was bought from the 90th hundredth of all purchases on.
    expect(await targets("")).toEqual([["w", "e"], ["x", "b"]]); // prettier-ignore
    expect(await targets(",setting=inductive")).toEqual([["w", "e"]]);
    expect(await targets(",setting=transductive")).toEqual([["x", "b"]]);
    expect((await load("next-item:split=last-out", "test")).map(({ target }) => target)).toEqual(["c", "a", "e", "b"]);
    expect(await load("next-item:split=last-out", "valid")).toHaveLength(2);
  });

  it("are shown the newest when the prompt is too long, and that is told", async () => {
    await write("next.train.jsonl", [{ user: "u", history: ["a", "b", "c", "d"], target: "e" }]);
    await write("items.jsonl", titled);
    const { task } = await openPreset("next-item", folder);
    const [loaded] = (await loadSplit(task, "train"))!;
    const engine = new TabularEngine([]);
    const whole = encodeExample(engine, task, loaded!.example, { maxTokens: 2 });
    const limits = { maxTokens: 2, maxPromptTokens: whole.ids.length - "Item 1: title a".length };
    const { messages, isShortened } = encodeExample(engine, task, loaded!.example, limits);
    expect(isShortened).toBe(true);
    expect(messages[1]!.content).toContain("```Item 1: title b\nItem 2: title c\nItem 3: title d```");
    expect(() => encodeExample(engine, task, loaded!.example, { maxTokens: 2, maxPromptTokens: 20 })).toThrow(
      /more than maxPromptTokens = 20 allows/,
    );
  });
});
