import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { prepareClassical } from "../../../src/eval/baselines/classical.ts";
import { Collection } from "../../../src/eval/baselines/collection.ts";
import { expandByRm3, expandByRocchio } from "../../../src/eval/baselines/feedback.ts";
import { fuseRankings } from "../../../src/eval/baselines/fusion.ts";
import { editDistance, SpellingRepair } from "../../../src/eval/baselines/spelling.ts";
import { scoreFound } from "../../../src/rl/evaluation.ts";
import { loadSplit } from "../../../src/rl/task.ts";
import type { LoadedExample } from "../../../src/rl/task.ts";
import { BagSearch, bagTask, items } from "../bag-search.ts";
import type { BagExample } from "../bag-search.ts";

const texts: [string, string][] = [
  ["d1", "red office stapler"],
  ["d2", "red stapler staples"],
  ["d3", "blue pen"],
];
const hits = [
  { id: "d1", score: 3 },
  { id: "d2", score: 1 },
];
const counts = (text: string): Record<string, number> => {
  const found: Record<string, number> = {};
  for (const word of text.split(" ")) found[word] = (found[word] ?? 0) + 1;
  return found;
};

describe("feedback", () => {
  const parameters = { feedbackItems: 2, feedbackWords: 2, ownWeight: 0.5 };

  it("weights words as RM3 does", () => {
    // P(red) = P(stapler) = 3/4 · 1/3 + 1/4 · 1/3 = 1/3, the heaviest two, half each: of 40 words, 20 are the query's
    // own (10 each), 20 the feedback's (10 each).
    expect(counts(expandByRm3("red pen", hits, new Collection(texts), parameters))).toEqual({
      red: 20,
      pen: 10,
      stapler: 10,
    });
  });

  it("takes the words of the mean tf-idf vector as Rocchio does, so rare words first", () => {
    const words = Object.keys(counts(expandByRocchio("red", hits, new Collection(texts), parameters)));
    expect(words).toEqual(["red", "office", "staples"]);
  });

  it("leaves a query alone where nothing is known of the items", () => {
    expect(expandByRm3("Red Pen!", hits, new Collection(), parameters)).toBe("Red Pen!");
    expect(expandByRocchio("Red Pen!", [], new Collection(texts), parameters)).toBe("Red Pen!");
  });

  it("learns from hits that show their texts", () => {
    const collection = new Collection();
    collection.learn([{ id: "a", score: 1, payload: { title: "red stapler", tags: ["office"], price: 3 } }]);
    expect(collection.isWhole).toBe(false);
    expect([...collection.vocabulary.keys()]).toEqual(["red", "stapler", "office"]);
  });
});

describe("spelling repair", () => {
  const repair = new SpellingRepair(new Collection([...texts, ["d4", "stapler stables notebook"]]));

  it("repairs words that the catalogue lacks, by the nearest and most frequent", () => {
    expect(repair.repair("Rde stapelr, notebok!", { maxEdits: 1, mode: "replace" })).toBe("Rde stapler, notebook!");
    expect(repair.repair("stapelr", { maxEdits: 1, mode: "add" })).toBe("stapelr stapler");
    // One letter away from both; `staples` and `stables` are in one item each, so code units decide.
    expect(repair.nearest("stapbles", 1)).toBe("stables");
    expect(repair.repair("xyzzy red", { maxEdits: 2, mode: "replace" })).toBe("xyzzy red");
    expect(repair.nearest("ntebok", 2)).toBeUndefined();
    expect(repair.nearest("nteboook", 2)).toBe("notebook");
  });

  it("measures distances that are metrics of edits", () => {
    expect(editDistance("kitten", "sitting")).toBe(3);
    expect(editDistance("ab", "ba")).toBe(1);
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b)).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
        expect(editDistance(a, b) === 0).toBe(a === b);
      }),
    );
  });

  it("finds every word within reach, whatever the edit", () => {
    const word = fc.stringMatching(/^[a-d]{4,7}$/);
    fc.assert(
      fc.property(word, word, (known, written) => {
        const found = new SpellingRepair(new Collection([["d", known]])).nearest(written, 1);
        expect(found).toBe(known !== written && editDistance(known, written) === 1 ? known : undefined);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("fusion", () => {
  it("sums reciprocal ranks", () => {
    const list = (...ids: string[]): { id: string; score: number }[] => ids.map((id) => ({ id, score: 1 }));
    const fused = fuseRankings([list("a", "b"), list("b", "c")], { k: 60, topK: 2 });
    expect(fused.map(({ id }) => id)).toEqual(["b", "a"]);
    expect(fused[0]?.score).toBeCloseTo(1 / 62 + 1 / 61, 12);
  });
});

describe("prepareClassical", () => {
  const wrong = (text: string): string => text.replace(/^(.)(.)(.)/, "$1$3$2");
  /** Queries whose only word is misspelt: only spelling repair finds anything. */
  const misspelt = (from: number, to: number): BagExample[] =>
    items
      .slice(from, to)
      .map(({ id, title }, i) => ({ id: `m${from + i}`, query: wrong(title.split(" ")[0] as string), relevant: [id] }));
  const task = bagTask({ data: { train: misspelt(0, 20), valid: misspelt(20, 40), test: misspelt(40, 80) } });
  const load = async (name: "valid" | "test"): Promise<LoadedExample<BagExample>[]> =>
    (await loadSplit(task, name)) ?? [];

  it("chooses settings on validation, and repairs what only it can", async () => {
    const collection = new Collection(items.map(({ id, title }) => [id, title]));
    const recommender = new BagSearch();
    const asked: string[] = [];
    const prepared = await prepareClassical({
      ...{ task, recommender, collection, valid: await load("valid") },
      variants: [
        { name: "deaf", open: () => new BagSearch(items, { words: () => [] }) },
        { name: "same", open: () => new BagSearch() },
      ],
      onProgress: (text) => asked.push(text),
    });
    expect(prepared.systems.map(({ id }) => id)).toEqual(["variants", "rm3", "rocchio", "spelling", "fusion"]);
    const test = await load("test");
    const means: Record<string, number> = {};
    for (const system of prepared.systems) {
      const { found, usage } = await system.answer(test);
      means[system.id] = scoreFound(found, { task }).means["ndcg@10"] as number;
      expect(usage).toMatchObject({ promptTokens: 0, dollars: null });
      expect(system.validation).toBeGreaterThanOrEqual(0);
      expect(Object.keys(system.settings ?? {}).length).toBeGreaterThan(0);
    }
    expect(means.spelling).toBeGreaterThan(0.5);
    expect(means.fusion).toBeGreaterThan(0.5);
    expect(means.rm3).toBe(0);
    expect(asked.length).toBeGreaterThanOrEqual(5);
    await prepared.close();
  });

  it("says what it leaves out, and why", async () => {
    const blind = new BagSearch(items, { withoutPayload: true });
    const { systems, notes } = await prepareClassical({
      task,
      recommender: blind,
      collection: new Collection(),
      valid: await load("valid"),
    });
    expect(systems).toEqual([]);
    expect(notes.join("\n")).toMatch(/variants: bag offers no other settings[^]*show no texts[^]*only one ranking/);
  });
});
