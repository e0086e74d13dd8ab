import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  formatComparisonLatex,
  formatComparisonMarkdown,
  formatComparisonText,
  formatP,
} from "../../../src/eval/comparison/format.ts";
import {
  keepComparison,
  readComparison,
  readKeptComparison,
  recomputeMeasures,
} from "../../../src/eval/comparison/kept-answers.ts";
import { bestClassical, measureComparison } from "../../../src/eval/comparison/measure.ts";
import type { AnsweredSystem } from "../../../src/eval/comparison/measure.ts";
import { makeSlices } from "../../../src/eval/comparison/slices.ts";
import {
  addUsage,
  answerWithModel,
  answerWithQueries,
  noUsage,
  rawSystem,
} from "../../../src/eval/comparison/system.ts";
import { RankingStore, recordRankings } from "../../../src/eval/rankings.ts";
import { scoreFound } from "../../../src/rl/evaluation.ts";
import { loadSplit } from "../../../src/rl/task.ts";
import type { LoadedExample } from "../../../src/rl/task.ts";
import { makeParts, makeTask } from "../../support/word-task.ts";
import { BagSearch, bagTask, items, makeExamples } from "../bag-search.ts";
import type { BagExample } from "../bag-search.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-comparison-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const task = bagTask();
const recommender = new BagSearch();
const described = { name: "bag", fingerprint: "bag:80" };

async function answered(): Promise<{ systems: AnsweredSystem<BagExample>[]; examples: LoadedExample<BagExample>[] }> {
  const examples = (await loadSplit(task, "test")) ?? [];
  const titleOf = ({ relevant }: BagExample): string =>
    items.find(({ id }) => id === (relevant as string[])[0])?.title ?? "";
  const raw = await rawSystem({ task, recommender }).answer(examples);
  const named = await answerWithQueries({ task, recommender }, examples, titleOf);
  const none = await answerWithQueries({ task, recommender }, examples, () => null);
  return {
    examples,
    systems: [
      { id: "raw", name: "raw words", family: "raw", ...raw },
      { id: "rm3", name: "RM3", family: "classical", validation: 0.9, settings: { k: 1 }, ...raw },
      { id: "tuned", name: "tuned & <best>", family: "policy", preparation: { ...noUsage, seconds: 3600 }, ...named },
      { id: "mute", name: "mute", family: "prompting", ...none },
    ],
  };
}

describe("measureComparison", () => {
  it("has means, tests, slices, lengths, unjudged shares, costs and the front", async () => {
    const { systems, examples } = await answered();
    const train = (await loadSplit(task, "train")) ?? [];
    const slices = makeSlices({
      task,
      examples,
      train,
      raw: systems[0]?.found ?? [],
      own: { first: ({ id }) => id === "test-0" },
    });
    const comparison = measureComparison({ task, split: "test", examples, slices, systems, recommender: described });
    expect(comparison.slices.map(({ name, examples: members }) => [name, members.length])).toEqual([
      ["one-word", 4],
      ["first", 1],
    ]);
    const [raw, rm3, tuned, mute] = comparison.systems;
    expect(tuned?.metrics["ndcg@10"]).toEqual({ mean: 1, low: 1, high: 1, queries: 20 });
    expect(raw?.metrics["ndcg@10"]?.mean).toBeLessThan(1);
    expect(raw?.slices["one-word"]?.queries).toBe(4);
    expect(raw?.queryWords).toBeCloseTo(1.8, 12);
    expect(raw?.scores).toEqual(rm3?.scores);
    expect(mute).toMatchObject({ queryWords: 0, unjudged: null, counts: { unparsed: 20 } });
    expect(raw?.unjudged).toBeGreaterThan(0.4);
    expect([raw, tuned, mute].map((system) => system?.onFront)).toEqual([true, true, true]);
    const pairs = comparison.comparisons.map(({ system, baseline }) => `${system} ${baseline}`);
    expect(pairs).toEqual(["tuned raw", "tuned rm3", "tuned mute", "rm3 raw", "mute raw"]);
    const first = comparison.comparisons[0];
    expect(first?.p).toBeGreaterThanOrEqual(first?.uncorrectedP as number);
    expect(bestClassical(comparison)?.id).toBe("rm3");
  });

  it("takes the mean over an example's samples, and leaves failures out", async () => {
    const { systems, examples } = await answered();
    const [one, two] = (systems[2] as AnsweredSystem<BagExample>).found;
    const found = [
      { ...(one as NonNullable<typeof one>) },
      { ...(one as NonNullable<typeof one>), sample: 1, hits: [] },
      { ...(two as NonNullable<typeof two>), hits: null, failure: "down" },
    ];
    const system = { id: "s", name: "s", family: "policy" as const, found, usage: noUsage };
    const { systems: rows } = measureComparison({
      task,
      split: "test",
      examples: examples.slice(0, 2),
      slices: [],
      systems: [system],
      recommender: described,
    });
    expect(rows[0]?.scores["ndcg@10"]).toEqual([0.5, null]);
    expect(rows[0]?.counts).toMatchObject({ queries: 3, failed: 1, empty: 1 });
    expect(rows[0]?.metrics["ndcg@10"]).toMatchObject({ mean: 0.5, queries: 1 });
  });

  it("gives the same figures for the same seed", async () => {
    const { systems, examples } = await answered();
    const run = (seed: number): string => {
      const { createdAt: _, ...rest } = measureComparison({
        task,
        split: "test",
        examples,
        slices: [],
        systems,
        recommender: described,
        seed,
      });
      return JSON.stringify(rest);
    };
    expect(run(1)).toBe(run(1));
    expect(run(1)).not.toBe(run(2));
  });
});

describe("slices", () => {
  it("tell head from tail by how often items are relevant in training, and zero hits by the raw answers", async () => {
    const popular = makeExamples(0, 4, "x").map((example, i) => ({
      ...example,
      relevant: i < 3 ? ["item-1"] : ["item-2"],
    }));
    const sliced = bagTask({
      data: {
        train: popular,
        test: [...popular, { id: "none", query: "unheard of words here and there and so on", relevant: ["item-2"] }],
      },
    });
    const examples = (await loadSplit(sliced, "test")) ?? [];
    const raw = (await rawSystem({ task: sliced, recommender }).answer(examples)).found;
    const slices = makeSlices({ task: sliced, examples, raw, train: (await loadSplit(sliced, "train")) ?? [] });
    expect(Object.fromEntries(slices.map(({ name, examples: members }) => [name, members]))).toEqual({
      "one-word": ["x-0"],
      long: ["none"],
      "zero-hit": ["none"],
      head: ["x-0", "x-1", "x-2"],
      tail: ["x-3", "none"],
    });
  });
});

describe("formats", () => {
  it("write every table as text, Markdown and LaTeX, with what is special to each escaped", async () => {
    const { systems, examples } = await answered();
    const comparison = measureComparison({
      task,
      split: "test",
      examples,
      slices: makeSlices({ task, examples }),
      systems,
      recommender: described,
      notes: ["50 % of x_y | z"],
    });
    const text = formatComparisonText(comparison);
    expect(text).toMatch(/^ndcg@10 on test, 20 examples, mode sound\n {2}system +ndcg@10/);
    expect(text).toMatch(/tuned & <best> +1\.0000 +\[1\.0000, 1\.0000\]/);
    expect(text).toMatch(/tuned & <best> +RM3 \(best classical on validation\)/);
    expect(text).toMatch(/raw words +0\.0 s +–|one-word \(4\)/);
    const lines = text
      .split("\n")
      .slice(1, 6)
      .map((line) => line.length);
    expect(Math.max(...lines)).toBeLessThan(140);
    const markdown = formatComparisonMarkdown(comparison);
    expect(markdown).toContain("| tuned & \\<best\\> | 1.0000 |");
    expect(markdown).toContain("- 50 % of x\\_y \\| z");
    const latex = formatComparisonLatex(comparison);
    expect(latex).toContain("tuned \\& $<$best$>$ & 1.0000 &");
    expect(latex.match(/\\begin\{tabular\}/g)?.length).toBe(latex.match(/\\end\{tabular\}/g)?.length);
    for (const line of latex.split("\n").filter((one) => one.endsWith("\\\\")))
      expect(line.replace(/\\[%&]/g, "")).not.toMatch(/%/);
  });

  it("show small p-values by their power of ten", () => {
    expect([1, 0.0456, 0.001, 0.00099, 1e-5, 1.1e-5].map(formatP)).toEqual([
      "1.000",
      "0.046",
      "0.001",
      "<0.001",
      "<0.0001",
      "<0.0001",
    ]);
  });
});

describe("kept answers", () => {
  it("give the task's figures again, and any other measure, without a search", async () => {
    const { systems, examples } = await answered();
    const comparison = measureComparison({
      task,
      split: "test",
      examples,
      slices: [],
      systems,
      recommender: described,
    });
    const dir = join(folder, "kept");
    await keepComparison(dir, comparison, systems, examples);
    const kept = await readKeptComparison(dir);
    expect(kept.comparison).toEqual(JSON.parse(JSON.stringify(comparison)));
    const means = recomputeMeasures(kept, ["ndcg_cut_10", "recall_1", "recip_rank"]);
    expect(means.map(({ means: own }) => own.ndcg_cut_10)).toEqual(
      comparison.systems.map(({ metrics }) => expect.closeTo(metrics["ndcg@10"]?.mean ?? 0, 12)),
    );
    expect(means[2]).toMatchObject({ system: "tuned", examples: 20, means: { recall_1: 1, recip_rank: 1 } });
    expect(() => recomputeMeasures(kept, ["ndgc_10"])).toThrow(/Unknown measure "ndgc_10"/);
    expect(() => recomputeMeasures(kept, ["ndgc_50"])).toThrow(/Unknown measure "ndgc_50"/);
  });

  it("refuse a measure that looks further than was asked for", async () => {
    const { systems, examples } = await answered();
    const options = { split: "test", examples, slices: [], systems, recommender: described };
    const comparison = measureComparison({ task, ...options });
    expect(comparison.topK).toBe(10);
    const dir = join(folder, "deep");
    await keepComparison(dir, comparison, systems, examples);
    const kept = await readKeptComparison(dir);
    expect(() => recomputeMeasures(kept, ["ndcg_cut_10", "recall_50"])).toThrow(
      /recall_50 looks at 50 hits, and 10 were asked for \(the task's topK\).*Take a cut of 10 at most/,
    );
    // Without topK in the file, no ranking is known to go further than the longest.
    const { topK: _, ...older } = kept.comparison;
    const longest = Math.max(...kept.answers.map(({ ids }) => ids?.length ?? 0));
    expect(() => recomputeMeasures({ ...kept, comparison: older }, [`P_${longest + 1}`])).toThrow(/were asked for/);
    expect(recomputeMeasures({ ...kept, comparison: older }, [`P_${longest}`])).toHaveLength(4);
  });

  it("refuse files that are something else", async () => {
    await expect(readComparison(join(folder, "nowhere.json"))).rejects.toThrow(/no such file/);
    const path = join(folder, "other.json");
    await writeFile(path, '{"format": 99}');
    await expect(readComparison(path)).rejects.toThrow(/format 99; expected a comparison of format 1/);
    await writeFile(path, "{");
    await expect(readComparison(path)).rejects.toThrow(/not JSON/);
  });
});

describe("kept rankings", () => {
  it("are answered from, by fingerprint, query and depth, and survive on disk", async () => {
    const dir = join(folder, "rankings");
    const inner = new BagSearch(items, { withoutPayload: true });
    const recorded = recordRankings(inner, await RankingStore.open(dir));
    const word = items[0]?.title ?? "";
    const queries = [{ text: word }, { text: "nothing at all" }, { text: word }];
    const first = await recorded.search(queries, { topK: 5 });
    expect(recorded.counts).toEqual({ asked: 3, known: 0 });
    const again = recordRankings(inner, await RankingStore.open(dir));
    const second = await again.search(queries, { topK: 5 });
    expect(again.counts).toEqual({ asked: 0, known: 3 });
    expect(second.map((hits) => hits.map(({ id, score }) => [id, score]))).toEqual(
      first.map((hits) => hits.map(({ id, score }) => [id, score])),
    );
    expect((await again.search([{ text: word }], { topK: 2 }))[0]).toHaveLength(2);
    const before = inner.asked.length;
    // Three hits of five asked for are all there are, so that asking for more asks nobody.
    await again.search([{ text: word }], { topK: 50 });
    expect(inner.asked.length - before).toBe((first[0]?.length ?? 0) < 5 ? 0 : 1);
    const [name] = await readdir(dir);
    expect((await readFile(join(dir, name as string), "utf8")).split("\n")[0]).toContain('"fingerprint":"bag:80"');
    const smaller = recordRankings(new BagSearch(items.slice(0, 10)), await RankingStore.open(dir));
    await smaller.search([{ text: word }], { topK: 5 });
    expect(smaller.counts.asked).toBe(1);
    expect(await readdir(dir)).toHaveLength(2);
  });

  it("are not answered from where hits had payloads, which they don't hold", async () => {
    const dir = join(folder, "payloads");
    const queries = [{ text: items[0]?.title ?? "" }];
    const inner = new BagSearch();
    const first = await recordRankings(inner, await RankingStore.open(dir)).search(queries, { topK: 5 });
    const again = recordRankings(inner, await RankingStore.open(dir));
    expect(await again.search(queries, { topK: 5 })).toEqual(first);
    expect(first[0]?.[0]?.payload).toBeDefined();
    expect(again.counts).toEqual({ asked: 1, known: 0 });
    const [name] = await readdir(dir);
    // The header and one ranking: what is there already isn't written again.
    expect((await readFile(join(dir, name as string), "utf8")).trimEnd().split("\n")).toHaveLength(2);
  });

  it("hold nothing of a call that gave too few answers", async () => {
    const dir = join(folder, "too-few");
    const inner = new BagSearch(items, { answers: (answers) => answers.slice(1) });
    const recorded = recordRankings(inner, await RankingStore.open(dir));
    await expect(recorded.search([{ text: "bar" }, { text: "cor" }], { topK: 5 })).rejects.toMatchObject({
      code: "RECOMMENDER_BAD_ANSWER",
    });
    expect(existsSync(dir)).toBe(false);
  });

  it("hold no faulty answer, which the caller gets to see", async () => {
    const dir = join(folder, "faulty");
    const [good, bad] = [{ text: items[0]?.title ?? "" }, { text: items[1]?.title ?? "" }];
    const inner = new BagSearch(items, {
      hits: (hits, query) => (query === bad.text ? hits.map((hit) => ({ ...hit, score: Number.NaN })) : hits),
    });
    const answers = await recordRankings(inner, await RankingStore.open(dir)).search([good, bad], { topK: 5 });
    expect(answers[1]?.[0]?.score).toBeNaN();
    const store = await RankingStore.open(dir);
    expect(store.get("bag:80", good.text, 5)?.ids).toEqual(answers[0]?.map(({ id }) => id));
    expect(store.get("bag:80", bad.text, 5)).toBeUndefined();
  });

  it("are cut to what was asked for, where more came back", async () => {
    const dir = join(folder, "too-many");
    const inner = new BagSearch(items, { hits: (hits) => [...hits, { id: "more", score: 0 }] });
    const text = items[0]?.title ?? "";
    const [hits = []] = await recordRankings(inner, await RankingStore.open(dir)).search([{ text }], { topK: 2 });
    expect(hits).toHaveLength(3);
    expect((await RankingStore.open(dir)).get("bag:80", text, 2)?.ids).toEqual(hits.slice(0, 2).map(({ id }) => id));
  });

  it.each([
    ["of a ranking", (text: string) => text.slice(0, -5)],
    ["that names what answered", () => '{"kind":"rank'],
  ])("are added to behind a torn line %s", async (_, tear) => {
    const dir = await mkdtemp(join(folder, "torn-"));
    const [first, second] = items.map(({ title }) => title) as [string, string];
    const ask = async (text: string): Promise<void> => {
      await recordRankings(new BagSearch(), await RankingStore.open(dir)).search([{ text }], { topK: 5 });
    };
    await ask(first);
    const path = join(dir, (await readdir(dir))[0] as string);
    await writeFile(path, tear(await readFile(path, "utf8")));
    await ask(second);
    await ask(first);
    const store = await RankingStore.open(dir);
    for (const text of [first, second]) expect(store.get("bag:80", text, 5)?.ids.length).toBeGreaterThan(0);
  });

  it("are not taken from a file that is no such file", async () => {
    const dir = await mkdtemp(join(folder, "bad-"));
    await writeFile(join(dir, "x.jsonl"), '{"a": 1}\n{"b": 2}\n');
    await expect(RankingStore.open(dir)).rejects.toThrow(/not a file of rankings/);
  });
});

describe("models as systems", () => {
  it("count tokens and money", async () => {
    const { engine, recommender: words } = makeParts();
    const own = makeTask();
    const examples = (await loadSplit(own, "train")) ?? [];
    const { found, usage } = await answerWithModel(
      { task: own, recommender: words, engine, maxTokens: 3, samples: 2, prices: { prompt: 1, completion: 1000 } },
      examples,
    );
    expect(found).toHaveLength(16);
    expect(scoreFound(found, { task: own }).counts.queries).toBe(16);
    expect(usage.promptTokens).toBe(
      examples.reduce((sum, { example }) => sum + engine.tokenizer.encodeChat(own.prompt(example)).length, 0),
    );
    expect(usage.dollars).toBeCloseTo((usage.promptTokens + 1000 * usage.completionTokens) / 1e6, 12);
    expect(addUsage(usage, noUsage)).toEqual(usage);
  });
});
