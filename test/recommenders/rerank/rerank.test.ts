import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromFunction } from "../../../src/recommenders/function/index.ts";
import type { Hit, Recommender } from "../../../src/recommenders/recommender.ts";
import { addCandidates, listCandidates, parseOrder, rerank, toRerankQuery } from "../../../src/recommenders/rerank/index.ts"; // prettier-ignore

/** Finds `a1 a2 … a9` for "a", and notes what it is asked. */
function makeSource(): { source: Recommender; asked: string[][] } {
  const asked: string[][] = [];
  const source = fromFunction(
    (queries, { topK }) => {
      asked.push(queries.map(({ text }) => text));
      return queries.map(({ text }) =>
        Array.from({ length: Math.min(topK, 9) }, (_, i) => ({
          id: `${text}${i + 1}`,
          score: 9 - i,
          payload: { n: i },
        })),
      );
    },
    { fingerprint: "1", has: (id) => id.startsWith("a") },
  );
  return { source, asked };
}

const idsOf = (hits: readonly Hit[] | undefined): string => (hits ?? []).map(({ id }) => id).join(" ");

describe("parseOrder", () => {
  it("reads the ways in which models write orders", () => {
    const cases: [string, number[] | null][] = [
      ["[3] > [1] > [2]", [2, 0, 1]],
      ["3, 1, 2", [2, 0, 1]],
      ["3\n1\n2\n", [2, 0, 1]],
      ["Best: 2. Then 1.", [1, 0]],
      ["1. [3]\n2. [1]", [0, 2, 1]],
      ["[2] > [2] > [2]", [1]],
      ["[0] > [4] > [99999999999999999999]", null],
      ["", null],
      ["no idea", null],
      ["the 4K one, version 1.5, item2 or -1", null],
      ["[3][1]", [2, 0]],
    ];
    for (const [text, order] of cases) expect(parseOrder(text, 3), text).toEqual(order);
  });

  it("gives different places that exist, whatever the text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.integer({ min: 0, max: 30 }), (text, count) => {
        const order = parseOrder(text, count) ?? [];
        expect(new Set(order).size).toBe(order.length);
        expect(order.every((place) => place >= 0 && place < count)).toBe(true);
      }),
    );
  });
});

describe("rerank by order", () => {
  it("puts the named candidates first and leaves the others in their order", async () => {
    const { source, asked } = makeSource();
    const reranker = rerank({ candidates: source, by: "order", topCandidates: 4 });
    const texts = ["[3] > [1]", "no idea", "[9] > [2]"].map((answer) => toRerankQuery("a", answer));
    const answers = await reranker.search([...texts.map((text) => ({ text })), { text: "a" }], { topK: 6 });
    expect(answers.map(idsOf)).toEqual([
      "a3 a1 a2 a4 a5 a6",
      "a1 a2 a3 a4 a5 a6",
      "a2 a1 a3 a4 a5 a6",
      "a1 a2 a3 a4 a5 a6",
    ]);
    expect(answers[0]?.[0]).toEqual({ id: "a3", score: 6, payload: { n: 2 } });
    // One search for all completions of a prompt: they differ in the order only.
    expect(asked).toEqual([["a"]]);
    expect((await reranker.search([{ text: texts[0] as string }], { topK: 2 })).map(idsOf)).toEqual(["a3 a1"]);
  });

  it("never loses, doubles or invents a candidate, whatever is written", async () => {
    const reranker = rerank({ candidates: makeSource().source, by: "order" });
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: "binary" }),
        fc.string({ unit: "binary", minLength: 1 }),
        async (answer, words) => {
          const [hits] = await reranker.search([{ text: toRerankQuery(words, answer) }], { topK: 9 });
          const plain = Array.from({ length: 9 }, (_, i) => `${words}${i + 1}`);
          expect(hits?.map(({ id }) => id).sort()).toEqual(plain.sort());
        },
      ),
      {
        examples: [
          ['"], "x"]', "a"],
          ["1", 'rec-r1:rerank:["a","2"]'],
          ["2", "rec-r1:rerank:nonsense"],
        ],
      },
    );
  });
});

describe("rerank by description", () => {
  it("orders candidates as another recommender finds them by the description", async () => {
    const { source, asked } = makeSource();
    const finder = fromFunction(
      (queries) =>
      queries.map(({ text }) => text.split(" ").filter(Boolean).map((id, i) => ({ id, score: -i }))), // prettier-ignore
    );
    const reranker = rerank({ candidates: source, by: "description", describedBy: finder, topCandidates: 4 });
    const texts = ["x9 a4 a2 a7", "", "zz"].map((answer) => toRerankQuery("a", answer));
    const answers = await reranker.search(texts.map((text) => ({ text })), { topK: 5 }); // prettier-ignore
    expect(answers.map(idsOf)).toEqual(["a4 a2 a1 a3 a5", "a1 a2 a3 a4 a5", "a1 a2 a3 a4 a5"]);
    expect(asked).toEqual([["a"]]);
  });
});

describe("rerank", () => {
  it("has a fingerprint of its parts and settings, and the catalogue of its candidates", async () => {
    const make = (options: object) => rerank({ candidates: makeSource().source, by: "order", ...options });
    const first = await make({}).fingerprint();
    expect(await make({}).fingerprint()).toBe(first);
    expect(await make({ topCandidates: 5 }).fingerprint()).not.toBe(first);
    expect(await make({ by: "description" }).fingerprint()).not.toBe(first);
    expect([await make({}).has?.("a1"), await make({}).has?.("b1")]).toEqual([true, false]);
  });

  it("refuses settings that make no sense", () => {
    const { source } = makeSource();
    for (const bad of [
      { by: "magic" },
      { topCandidates: 0 },
      { by: "description", depth: 1.5 },
      { describedBy: source },
    ]) {
      expect(() => rerank({ candidates: source, by: "order", ...(bad as object) })).toThrowError(/rerank: /);
    }
  });
});

describe("candidates in the data", () => {
  it("are added to examples and listed in prompts", async () => {
    const { source, asked } = makeSource();
    const examples = Array.from({ length: 300 }, (_, i) => ({ id: `q${i}`, query: `a${i}` }));
    const filled = await addCandidates(examples, source, { topCandidates: 3 });
    expect(filled[299]).toMatchObject({ id: "q299", candidates: [{ id: "a2991" }, { id: "a2992" }, { id: "a2993" }] });
    expect(asked.map((texts) => texts.length)).toEqual([256, 44]);
    const hits = [
      { id: "x", score: 2, payload: { title: "  red\npen  with a long name" } },
      { id: "y", score: 1 },
    ];
    expect(listCandidates(hits, "title", 12)).toBe("[1] red pen with\n[2] y");
    expect(listCandidates(hits)).toBe("[1] x\n[2] y");
  });
});
