import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ndcg } from "../../src/ranking/metrics.ts";
import { ndcgAsPublished, taskInMode } from "../../src/rl/modes.ts";
import { defineTask, type Task, type WarmupContext } from "../../src/rl/task.ts";
import { nextItem } from "../../src/tasks/next-item.ts";
import { paperStyles } from "../../src/tasks/paper-prompts.ts";
import { paperReward, parsePaperAnswer, readPaperAnswer, writePaperAnswer } from "../../src/tasks/paper-reward.ts";
import { authorsCut } from "../../src/tasks/preset.ts";
import { productSearch } from "../../src/tasks/product-search.ts";
import { reRanking } from "../../src/tasks/re-ranking.ts";

const style = { kind: "terms" } as const;
const hitsOf = (...ids: string[]) => ids.map((id) => ({ id }));
const example = { relevant: ["a"], targets: ["a"] };
const rewardOf = (completion: string, hits: { id: string }[] | null = hitsOf("x", "a")) =>
  paperReward({ completion, hits, example }, style, 100).reward;
const found = 0.1 + 1 / Math.log2(3);

describe("paperReward", () => {
  it.each([
    ["the right form", ' hm </think>\n<answer>\n{"query": "a AND b"}\n</answer>', found],
    ["text around the blocks", ' hm </think> so: <answer>{"query": "a"}</answer> that is all', found],
    ["further keys", '</think><answer>{"query": "a", "why": {"query": 1}}</answer>', found],
    ["a number, which is searched for", '</think><answer>{"query": 5}</answer>', found],
    ["no end of thinking", ' hm <answer>{"query": "a"}</answer>', -2],
    ["a second start of thinking", '<think> hm </think><answer>{"query": "a"}</answer>', -2],
    ["two answers", '</think><answer>{"query": "a"}</answer><answer>{"query": "b"}</answer>', -2],
    ["blocks out of order", '<answer>{"query": "a"}</answer></think>', -2],
    ["an unclosed answer", '</think><answer>{"query": "a"}', -2],
    ["an empty answer", "</think><answer> \n </answer>", -2],
    ["no answer", " hm", -2],
    ["nothing at all", "", -2],
    ["broken JSON", '</think><answer>{"query": "a",}</answer>', -2],
    ["a line break in the text", '</think><answer>{"query": "a\nb"}</answer>', -2],
    ["a code fence", '</think><answer>```json\n{"query": "a"}\n```</answer>', -2],
    ["markup", "</think><answer><b>a</b></answer>", -2],
    ["another key", '</think><answer>{"q": "a"}</answer>', -2],
    ["a nested query alone", '</think><answer>{"a": {"query": "n"}}</answer>', -2],
    ["a bare number", "</think><answer>5</answer>", -2],
    ["null", "</think><answer>null</answer>", -2],
  ])("%s", (_, completion, reward) => expect(rewardOf(completion)).toBeCloseTo(reward, 12));

  it.each([
    ["a list", '{"query": ["a"]}'],
    ["an object", '{"query": {"query": "a"}}'],
    ["null", '{"query": null}'],
    ["blank", '{"query": "  "}'],
  ])("is 0 for the right form whose query is %s: nothing is searched", (_, json) => {
    const completion = `</think><answer>${json}</answer>`;
    expect(readPaperAnswer(completion, style)).toEqual({ isFormRight: true, query: null });
    expect(rewardOf(completion, null)).toBe(0);
  });

  it("is 0 when nothing relevant was found within the cut", () => {
    const completion = '</think><answer>{"query": "a"}</answer>';
    expect(rewardOf(completion, [])).toBe(0);
    expect(paperReward({ completion, hits: hitsOf("x", "a"), example }, style, 1).reward).toBe(0);
  });

  it("needs no thinking in a style without it, and no JSON in a plain one", () => {
    const direct = { kind: "terms", reasoning: false } as const;
    expect(readPaperAnswer('<answer>{"query": "a"}</answer>', direct).isFormRight).toBe(true);
    expect(readPaperAnswer("<answer>a OR b</answer>", { ...direct, json: false })).toEqual({
      isFormRight: true,
      query: "a OR b",
    });
  });

  it("finds a query for the search in an answer whose form is wrong", () => {
    expect(parsePaperAnswer('I say <answer>{"query": "a"}</answer>', style)).toBe("a");
    expect(parsePaperAnswer("no tags at all", style)).toBeNull();
  });

  it("finds right what writePaperAnswer writes, in every style", () => {
    for (const one of paperStyles) {
      for (const query of ["red pen", 'a "b" OR {c}', "x AND y"]) {
        expect(readPaperAnswer(writePaperAnswer(query, one), one)).toEqual({ isFormRight: true, query });
      }
    }
  });

  it("never throws, whatever the text", () => {
    const piece = fc.constantFrom("<think>", "</think>", "<answer>", "</answer>", '{"query": "a"}', "{", "Assistant:");
    const text = fc.array(fc.oneof(piece, fc.string({ unit: "binary" })), { maxLength: 12 });
    fc.assert(
      fc.property(text, (parts) => {
        const reward = rewardOf(parts.join(""));
        expect([-2, 0, found].some((value) => Math.abs(value - reward) < 1e-12)).toBe(true);
      }),
      { numRuns: 300 },
    );
    expect(rewardOf("{".repeat(10_000))).toBe(-2);
    expect(rewardOf(`</think><answer>{"query": "${"a ".repeat(5_000)}"}</answer>`)).toBeCloseTo(found, 12);
  });
});

describe("judgments listed twice", () => {
  it("lower the reward, as in the authors' code, and a metric in compatible mode only", async () => {
    const hits = hitsOf("x", "a", "b", "y", "c");
    expect(ndcgAsPublished(hits, ["a", "b", "c"], { k: 4 })).toBeCloseTo(ndcg(hits, ["a", "b", "c"], { k: 4 }), 12);
    expect(ndcgAsPublished(hits, [], { k: 10 })).toBe(0);
    const discount = (rank: number): number => 1 / Math.log2(rank + 1);
    const row = { id: "1", query: "q", relevant: ["a", "b"], targets: ["a", "a", "b"] };
    const task = defineTask(productSearch({ data: { train: [row] } }));
    const scored = { example: row, query: "q", hits: [{ id: "a", score: 2 }, { id: "b", score: 1 }] }; // prettier-ignore
    const lowered = (1 + discount(2)) / (1 + discount(2) + discount(3));
    const completion = '</think><answer>{"query": "q"}</answer>';
    expect((await task.reward({ ...scored, completion })).reward).toBeCloseTo(0.1 + lowered, 12);
    expect(task.metrics[0]).toMatchObject({ name: "ndcg@100" });
    expect(task.metrics[0]!.score(scored)).toBe(1);
    expect(taskInMode(task, "compatible").metrics[0]!.score(scored)).toBeCloseTo(lowered, 12);
  });
});

describe("the presets' rewards on the authors' files", () => {
  it("cut as their code does: by data source", () => {
    expect(["esci_train", "esci_val", "esci_dense_Baby_Products_test", "amazon_c4_test_200"].map(authorsCut)).toEqual([
      1000, 100, 100, 100,
    ]);
    expect(authorsCut("amazon_review_All_Beauty_transductive_train")).toBe(5000);
    expect(authorsCut("amazon_review_All_Beauty_inductive_test")).toBe(50);
    expect(authorsCut(undefined)).toBeUndefined();
  });

  it("cut at 1000 where no file says otherwise", async () => {
    const completion = '</think><answer>{"query": "a"}</answer>';
    const ids = Array.from({ length: 1200 }, (_, i) => ({ id: `i${i}`, score: -i }));
    const search = defineTask(productSearch({ data: { train: [] } }));
    const rewardAt = async (id: string, dataSource?: string) => {
      const row = { id: "1", query: "q", relevant: [id], targets: [id], ...(dataSource ? { dataSource } : {}) };
      return (await search.reward({ example: row, query: "a", hits: ids, completion })).reward;
    };
    expect(await rewardAt("i999")).toBeCloseTo(0.1 + 1 / Math.log2(1001), 12);
    expect(await rewardAt("i1000")).toBe(0);
    expect(await rewardAt("i100", "esci_Video_Games_test")).toBe(0);
    expect(await rewardAt("i100", "esci_train")).toBeGreaterThan(0.1);
  });

  it("need as many hits as the metrics look at, however few the reward does", () => {
    const data = { train: [] };
    const wanted = (rewardTopK?: number) => {
      const option = rewardTopK === undefined ? {} : { rewardTopK };
      return [productSearch({ data, ...option }), nextItem({ data, ...option }), reRanking({ data, ...option })];
    };
    expect(wanted().map(({ topK }) => topK)).toEqual([1000, 5000, 100]);
    expect(wanted(10).map(({ topK }) => topK)).toEqual([100, 100, 100]);
    expect(wanted(300).map(({ topK }) => topK)).toEqual([300, 300, 300]);
  });

  it("leave out what was bought where masking is on", async () => {
    const row = { id: "1", user: "u", history: ["x"], titles: ["X"], target: "a", relevant: ["a"] };
    const scored = {
      example: row,
      query: "a",
      hits: [
        { id: "x", score: 2 },
        { id: "a", score: 1 },
      ],
      completion: '</think><answer>{"query": "a"}</answer>',
    };
    const [plain, masked] = [false, true].map((maskBought) =>
      defineTask(nextItem({ data: { train: [row] }, maskBought })),
    );
    expect((await plain!.reward(scored)).reward).toBeCloseTo(found, 12);
    expect((await masked!.reward(scored)).reward).toBeCloseTo(1.1, 12);
    expect(masked!.metrics.map(({ name }) => name)).toEqual([
      "ndcg@10",
      "ndcg@50",
      "recall@10",
      "recall@50",
      "ndcg@100",
    ]);
    expect(masked!.metrics[0]!.score(scored)).toBe(1);
    expect(plain!.metrics[0]!.score(scored)).toBeCloseTo(1 / Math.log2(3), 12);
  });
});

describe("a warm-up on the form", () => {
  const context = { recommender: {}, maxFailureShare: 0, signal: undefined, onProgress: () => {} };
  const textsOf = (task: Task<never>, example: object) =>
    task.warmup!.examples({ ...context, task, train: [{ id: "1", example }] } as unknown as WarmupContext<never>);

  it("answers each prompt with the first of the user's own words", async () => {
    const row = { id: "1", query: "a b c d e f g h i j k l m n", relevant: ["a"] };
    const task = defineTask(productSearch({ data: { train: [row] }, teachForm: true }));
    const [text] = await textsOf(task as unknown as Task<never>, row);
    expect(text!.messages).toEqual(task.prompt(row));
    expect(readPaperAnswer(text!.completion, style)).toEqual({ isFormRight: true, query: "a b c d e f g h i j k l" });
  });

  it("of a history is its last title; without one there is no text", async () => {
    const row = { id: "1", user: "u", history: ["x", "y"], titles: ["X", "Y pen"], target: "a", relevant: ["a"] };
    const task = defineTask(nextItem({ data: { train: [row] }, teachForm: true, wording: "short" }));
    expect(await textsOf(task as unknown as Task<never>, row)).toMatchObject([{ completion: "Y pen" }]);
    expect(await textsOf(task as unknown as Task<never>, { ...row, titles: ["", ""] })).toEqual([]);
    expect(defineTask(nextItem({ data: { train: [row] } })).warmup).toBeUndefined();
  });
});
