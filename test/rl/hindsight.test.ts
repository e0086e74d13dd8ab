import { describe, expect, it } from "vitest";
import { RecommenderError, TaskError } from "../../src/core/errors.ts";
import type { Example } from "../../src/datasets/examples.ts";
import { ndcg } from "../../src/ranking/index.ts";
import { hindsightWarmup } from "../../src/rl/hindsight.ts";
import type { HindsightOptions } from "../../src/rl/hindsight.ts";
import { defineTask } from "../../src/rl/task.ts";
import type { LoadedExample, Task, TaskDefinition, WarmupExample } from "../../src/rl/task.ts";
import { WordSearch } from "../support/word-search.ts";

const items = {
  "trash-can": "trash can",
  "trash-can-outline": "trash can outline",
  car: "car",
  "car-sports": "car sports",
  "account-box": "account box",
};
const probes = (): string[] => Object.values(items).flatMap((title) => title.split(" "));

const makeTask = (definition: Partial<TaskDefinition> = {}): Task =>
  defineTask({
    name: "names",
    data: { train: [] },
    prompt: ({ query }) => query,
    parse: (completion, { query }) => `${query} ${completion}`.trim(),
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : -1),
    topK: 10,
    ...definition,
  });

async function find(
  examples: readonly Example[],
  {
    options = {},
    task = makeTask(),
    recommender = new WordSearch(items),
  }: { options?: Partial<HindsightOptions<Example>>; task?: Task; recommender?: WordSearch } = {},
): Promise<readonly WarmupExample[]> {
  const train = examples.map((example): LoadedExample<Example> => ({ id: example.id, example }));
  const warmup = hindsightWarmup<Example>({ probes, minExamples: 1, ...options });
  return warmup.examples({ task, train, recommender, maxFailureShare: 0.2, signal: undefined, onProgress: () => {} });
}

const rubbish: Example = { id: "rubbish", query: "rubbish", relevant: ["trash-can-outline"] };

describe("hindsightWarmup", () => {
  it("finds the words that bring the right item, the most useful first, and stops when no more helps", async () => {
    const found = await find([
      rubbish,
      { id: "bin", query: "bin", relevant: ["trash-can"] },
      { id: "fast car", query: "fast car", relevant: ["car-sports"] },
      { id: "user", query: "user", relevant: ["account-box"] },
    ]);
    expect(found.map(({ completion }) => completion)).toEqual(["outline", "can", "sports", "account"]);
    expect(found[0]?.messages).toEqual([{ role: "user", content: "rubbish" }]);
  });

  it("teaches to write nothing where nothing is missing, or nothing helps", async () => {
    const found = await find([
      { id: "car", query: "car", relevant: ["car"] },
      { id: "lost", query: "rubbish", relevant: ["not-in-the-catalogue"] },
    ]);
    expect(found.map(({ completion }) => completion)).toEqual(["", ""]);
  });

  it("tries no word that helps too few examples", async () => {
    const second = { ...rubbish, id: "waste", query: "waste" };
    const third = { id: "bin", query: "bin", relevant: ["trash-can"] };
    const options = { minExamples: 3 };
    const found = await find([rubbish, second, third], { options });
    expect(found.map(({ completion }) => completion)).toEqual(["can", "can", "can"]);
    const unfound = await find([rubbish, third], { options });
    expect(unfound.map(({ completion }) => completion)).toEqual(["", ""]);
  });

  it("goes by the task's own reward", async () => {
    const task = makeTask({
      reward: ({ hits, query, example }) =>
        ndcg(hits ?? [], example.relevant, { k: 10 }) - (query?.includes("outline") ? 1 : 0),
    });
    const [found] = await find([rubbish], { task });
    expect(found?.completion).toBe("can");
  });

  it("writes completions in the task's form, and adds no word that gains too little", async () => {
    const task = makeTask({ parse: (completion) => /^\{(.*)\}$/.exec(completion)?.[1] ?? null });
    const write = (words: readonly string[]): string => `{${words.join(" ")}}`;
    const [found] = await find([{ ...rubbish, relevant: ["trash-can"] }], { task, options: { write } });
    expect(found?.completion).toBe("{can}");
    const [bare] = await find([{ ...rubbish, relevant: ["trash-can"] }], { task, options: { write, minGain: 5 } });
    expect(bare?.completion).toBe("{}");
  });

  it("begins with the example's own words that find the item, in their order, and adds others", async () => {
    const own = ({ query }: Example): string[] => query.split(" ");
    const options = { own, probes: () => ["outline", "account"] };
    const [found] = await find([{ ...rubbish, query: "a can of trash" }], { options });
    expect(found?.completion).toBe("can trash outline");
    const [few] = await find([{ ...rubbish, query: "a can of trash" }], { options: { ...options, maxOwn: 1 } });
    expect(few?.completion).toBe("can outline");
  });

  it("leaves the example's own words out where the reward is higher without", async () => {
    const task = makeTask({ reward: ({ query }) => (query === "a can of trash" ? 1 : 0) });
    const options = { own: ({ query }: Example): string[] => query.split(" ") };
    const [found] = await find([{ ...rubbish, query: "a can of trash" }], { task, options });
    expect(found?.completion).toBe("");
  });

  it("tries own words however few examples they help, and other words only where they help enough", async () => {
    const example = { ...rubbish, query: "trash", relevant: ["trash-can-outline"] };
    const options = { own: ({ query }: Example): string[] => [query], minExamples: 2 };
    const [found] = await find([example], { options });
    expect(found?.completion).toBe("trash");
  });

  it("tries words that it is told of besides, which no probe found, each alone", async () => {
    const options = { probes: () => ["account"] };
    const [none] = await find([rubbish], { options });
    expect(none?.completion).toBe("");
    const [found] = await find([rubbish], { options: { ...options, alsoTry: () => ["car", "outline", "account"] } });
    expect(found?.completion).toBe("outline");
  });

  it("searches for each probe once, and for equal queries once", async () => {
    const recommender = new WordSearch(items);
    await find([rubbish, { ...rubbish, id: "again" }], { recommender });
    const asked = recommender.calls.flat();
    expect(new Set(asked).size).toBe(asked.length);
  });

  it("passes over a probe that fails, and stops when too many do", async () => {
    const recommender = new WordSearch(items);
    recommender.broken.add("outline");
    const [found] = await find([rubbish], { recommender });
    expect(found?.completion).toBe("can");
    recommender.broken.add("*");
    await expect(find([rubbish], { recommender })).rejects.toThrow(RecommenderError);
  });

  it("teaches nothing of an example whose first search failed: silence would be no finding", async () => {
    const recommender = new WordSearch(items);
    recommender.broken.add("rubbish");
    const others = ["bin", "waste", "junk", "dirt", "litter"].map((query) => ({ ...rubbish, id: query, query }));
    const found = await find([rubbish, ...others], { recommender });
    expect(found.map(({ messages }) => messages[0]?.content)).toEqual(["bin", "waste", "junk", "dirt", "litter"]);
    expect(found.map(({ completion }) => completion)).toEqual(["outline", "outline", "outline", "outline", "outline"]);
  });

  it("asks for examples that say what is relevant", async () => {
    const example = { id: "x", query: "x" } as unknown as Example;
    await expect(find([example])).rejects.toThrow(TaskError);
  });
});
