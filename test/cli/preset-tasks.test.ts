/** Each preset, by name, on small files written for it: loaded, trained for two steps, evaluated. */
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openPreset, presetNames, presetOf } from "../../src/cli/preset-tasks.ts";
import { errorsOf } from "../../src/eval/doctor/diagnosis.ts";
import { examineTask } from "../../src/eval/doctor/examine.ts";
import { evaluateRaw } from "../../src/eval/evaluate.ts";
import { loadSplit } from "../../src/rl/task.ts";
import { train } from "../../src/rl/train.ts";
import { readMetrics } from "../../src/runs/run-folder.ts";
import { TabularEngine } from "../support/tabular-engine.ts";

const words = ["anchor", "beacon", "castle", "dragon", "ember", "forest", "glacier", "harbor"];
let folder: string;
let home: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-preset-"));
  home = process.cwd();
  // Indexes go to .rec-r1/ of the working folder.
  process.chdir(folder);
});
afterEach(async () => {
  process.chdir(home);
  await rm(folder, { recursive: true, force: true });
});

async function write(name: string, rows: readonly unknown[]): Promise<void> {
  await mkdir(join(folder, "data"), { recursive: true });
  await writeFile(join(folder, "data", name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

const catalogue = words.map((word, i) => ({ id: `i${i}`, title: `${word} lamp`, description: `made of ${word}` }));
const queries = words.map((word, i) => ({ query: `${word} thing`, relevant: [`i${i}`] }));
const histories = words.map((_, i) => ({ user: `u${i}`, history: [`i${(i + 1) % 8}`], target: `i${i}` }));

/** Two steps with a policy of words, on one core in seconds. */
async function runShort(
  argument: string,
  data = join(folder, "data"),
): Promise<{ metric: string; raw: number; steps: number }> {
  const { task, openRecommender } = await openPreset(argument, data);
  const recommender = await openRecommender();
  try {
    const engine = new TabularEngine([...words, "[1]", "[2]"]);
    const runDir = join(folder, "run");
    const options = { steps: 2, promptsPerStep: 4, groupSize: 4, maxTokens: 2, evalEvery: 2, maxPromptTokens: 0 };
    await train({ ...options, task, recommender, engine, runDir });
    const raw = await evaluateRaw({ task, recommender, split: "test" });
    const steps = (await readMetrics(runDir)).filter(({ kind }) => kind === "step");
    return { metric: raw.metric, raw: raw.means[raw.metric] as number, steps: steps.length };
  } finally {
    await recommender.close();
  }
}

describe("presets by name", () => {
  it("product-search on JSON Lines", async () => {
    await write("items.jsonl", catalogue);
    for (const split of ["train", "valid", "test"]) await write(`search.${split}.jsonl`, queries);
    const result = await runShort("product-search:wording=short,index=title");
    expect(result).toEqual({ metric: "ndcg@100", raw: 1, steps: 2 });
  });

  it("product-search on a BEIR folder", async () => {
    await write(
      "corpus.jsonl",
      catalogue.map(({ id, title }) => ({ _id: id, title, text: "" })),
    );
    await write(
      "queries.jsonl",
      words.map((word, i) => ({ _id: `q${i}`, text: word })),
    );
    await mkdir(join(folder, "data/qrels"));
    const qrels = `query-id\tcorpus-id\tscore\n${words.map((_, i) => `q${i}\ti${i}\t1\n`).join("")}`;
    for (const split of ["train", "dev", "test"]) await writeFile(join(folder, "data/qrels", `${split}.tsv`), qrels);
    expect(await runShort("product-search:wording=short")).toEqual({ metric: "ndcg@100", raw: 1, steps: 2 });
  });

  it("next-item on histories", async () => {
    await write("items.jsonl", catalogue);
    for (const split of ["train", "valid", "test"]) await write(`next-item.${split}.jsonl`, histories);
    const result = await runShort("next-item:wording=short,maskBought=true");
    expect(result).toMatchObject({ metric: "ndcg@10", steps: 2 });
  });

  it("next-item on purchases of Amazon Reviews 2023, split as told", async () => {
    await write(
      "meta.jsonl",
      catalogue.map(({ id, title }) => ({ parent_asin: id, title, features: [] })),
    );
    const reviews = words.flatMap((_, user) =>
      [0, 1, 2, 3].map((n) => ({ user_id: `u${user}`, parent_asin: `i${(user + n) % 8}`, timestamp: 1000 * n + user })),
    );
    await write("reviews.jsonl", reviews);
    const { task, openRecommender } = await openPreset("next-item:split=last-out", join(folder, "data"));
    const test = await loadSplit(task, "test");
    expect(test).toHaveLength(8);
    expect(test![0]!.example).toMatchObject({
      user: "u0",
      history: ["i0", "i1", "i2"],
      titles: ["anchor lamp", "beacon lamp", "castle lamp"],
      target: "i3",
    });
    expect((await loadSplit(task, "train"))!.length).toBe(8);
    expect(task.config).toEqual({ maxPromptTokens: 512 });
    await (await openRecommender()).close();
  });

  it("re-ranking on candidates, and on what a first stage finds", async () => {
    await write("items.jsonl", catalogue);
    for (const split of ["train", "valid", "test"]) await write(`search.${split}.jsonl`, queries);
    const found = await openPreset("re-ranking:candidates=3", join(folder, "data"));
    const examples = await loadSplit(found.task, "test");
    expect(examples![0]!.example).toMatchObject({
      query: "anchor thing",
      candidates: [{ id: "i0", title: "anchor lamp" }],
    });
    const rows = words.map((word, i) => ({
      query: word,
      candidates: [
        { id: "x", title: "other" },
        { id: `i${i}`, title: word },
      ],
      relevant: [`i${i}`],
    }));
    for (const split of ["train", "valid", "test"]) await write(`candidates.${split}.jsonl`, rows);
    const result = await runShort("re-ranking");
    expect(result).toMatchObject({ metric: "ndcg@10", steps: 2 });
    expect(result.raw).toBeCloseTo(1 / Math.log2(3), 9);
  });
});

describe("the commands of docs/tasks.md", () => {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const commands = readFileSync(join(root, "docs/tasks.md"), "utf8").matchAll(
    /^rec-r1 train (\S+) --data examples\/shop/gm,
  );
  const presets = [...new Set([...commands].map(([, argument]) => argument as string))];

  it("name each preset", () => {
    expect(new Set(presets.map(presetOf))).toEqual(new Set(presetNames));
  });

  it.each(presets)("%s passes the doctor on examples/shop", async (argument) => {
    const { task, openRecommender } = await openPreset(argument, join(root, "examples/shop"));
    const recommender = await openRecommender();
    try {
      expect(errorsOf(await examineTask({ task, recommender }))).toEqual([]);
    } finally {
      await recommender.close();
    }
  });

  it.each(presets)("%s trains on examples/shop", async (argument) => {
    const { raw, steps } = await runShort(argument, join(root, "examples/shop"));
    expect(steps).toBe(2);
    expect(raw).toBeGreaterThan(0);
  });
});

describe("presets and faults", () => {
  it("know their names", () => {
    expect(presetOf("next-item:maxHistory=5")).toBe("next-item");
    expect(presetOf("task.ts")).toBeUndefined();
  });

  it("say what is wrong with an option", async () => {
    await expect(openPreset("next-item:maxhistory=5", folder)).rejects.toThrow(/maxhistory.*Did you mean.*maxHistory/s);
    await expect(openPreset("next-item:maxHistory=x", folder)).rejects.toMatchObject({ code: "BAD_OPTION" });
    await expect(openPreset("next-item:maxHistory", folder)).rejects.toThrow(/option=value/);
    await expect(openPreset("next-item", undefined)).rejects.toThrow(/--data FOLDER/);
  });

  it("say what a folder lacks", async () => {
    await expect(openPreset("product-search", join(folder, "none"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await write("search.test.jsonl", queries);
    await expect(openPreset("product-search", join(folder, "data"))).rejects.toThrow(
      /"train" in its name. It has test/,
    );
    await write("search.train.jsonl", queries);
    await expect(openPreset("product-search", join(folder, "data"))).rejects.toMatchObject({
      code: "DATA_NO_CATALOGUE",
    });
    await write("more.train.jsonl", queries);
    await expect(openPreset("product-search", join(folder, "data"))).rejects.toMatchObject({ code: "DATA_AMBIGUOUS" });
  });
});
