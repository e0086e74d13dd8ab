import { existsSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareCodePoints, evaluateRun, orderAsTrecEval } from "../../src/ranking/index.ts";

const references = [
  ["reference/trec-eval.json", new URL("reference/trec-eval.json", import.meta.url)],
  ["the shared fixtures", new URL("../../../shared/fixtures/trec-eval.json", import.meta.url)],
] as const;

interface TrecFixture {
  qrels: Record<string, Record<string, number>>;
  run: Record<string, Record<string, number>>;
  perQuery: Record<string, Record<string, number>>;
}

describe.each(references)("evaluateRun", (name, file) => {
  it.skipIf(!existsSync(file))(`equals trec_eval on every measure and query of ${name}`, () => {
    const { qrels, run, perQuery } = JSON.parse(readFileSync(file, "utf8")) as TrecFixture;
    const measures = Object.keys(Object.values(perQuery)[0] as object);
    expect(measures.length).toBeGreaterThan(30);
    const got = evaluateRun(
      new Map(Object.entries(qrels).map(([query, gains]) => [query, new Map(Object.entries(gains))])),
      new Map(
        Object.entries(run).map(([query, scores]) => [
          query,
          Object.entries(scores).map(([id, score]) => ({ id, score })),
        ]),
      ),
      measures,
    );
    expect([...got.perQuery.keys()].sort()).toEqual(Object.keys(perQuery).sort());
    for (const [query, expected] of Object.entries(perQuery)) {
      for (const measure of measures) {
        const difference = Math.abs((got.perQuery.get(query)?.[measure] as number) - (expected[measure] as number));
        expect(difference, `${query} ${measure}`).toBeLessThanOrEqual(1e-9);
      }
    }
    for (const measure of measures) {
      const values = Object.values(perQuery).map((query) => query[measure] as number);
      expect(got.means[measure]).toBeCloseTo(values.reduce((a, b) => a + b, 0) / values.length, 12);
    }
  });
});

describe("evaluateRun", () => {
  const qrels = new Map([
    ["1", new Map([["a", 1]])],
    ["2", new Map([["b", 1]])],
  ]);
  const run = new Map([
    ["1", [{ id: "a", score: 1 }]],
    ["unjudged", [{ id: "a", score: 1 }]],
  ]);

  it("leaves unanswered queries out, or counts them as 0 when asked to", () => {
    expect(evaluateRun(qrels, run, ["ndcg_cut_10"])).toEqual({
      perQuery: new Map([["1", { ndcg_cut_10: 1 }]]),
      means: { ndcg_cut_10: 1 },
    });
    const zero = evaluateRun(qrels, run, ["map", "P_5"], { unanswered: "zero" });
    expect(zero.means).toEqual({ map: 0.5, P_5: 0.1 });
    expect(zero.perQuery.get("2")).toEqual({ map: 0, P_5: 0 });
    expect(evaluateRun(new Map(), run, ["map"]).means).toEqual({ map: 0 });
  });

  it("knows exponential gains by name and refuses unknown measures", () => {
    const graded = new Map([["1", new Map([["a", 1], ["b", 3]])]]); // prettier-ignore
    const value = evaluateRun(graded, run, ["ndcg_exp_cut_1", "ndcg_exp"]).means;
    expect(value["ndcg_exp_cut_1"]).toBeCloseTo(1 / 7, 12);
    expect(value["ndcg_exp"]).toBeCloseTo(1 / (7 + 1 / Math.log2(3)), 12);
    for (const name of ["ndgc", "P", "P_0", "ndcg_cut_", "constructor", "toString_5", "recall_1.5"]) {
      expect(() => evaluateRun(qrels, run, [name])).toThrowError(/Unknown measure .*Expected one of map, /);
    }
  });
});

describe("orderAsTrecEval", () => {
  it("orders by score, then by id, both descending, and compares scores as 32-bit floats", () => {
    const scored = [
      { id: "a", score: 1 },
      { id: "b", score: 1 + 1e-12 },
      { id: "c", score: 0.5 },
      { id: "d", score: 2 },
    ];
    expect(orderAsTrecEval(scored).map(({ id }) => id)).toEqual(["d", "b", "a", "c"]);
    expect(orderAsTrecEval([{ id: "a", score: 1 + 1e-12 }, { id: "b", score: 1 }]).map(({ id }) => id)).toEqual(["b", "a"]); // prettier-ignore
  });

  it("compares ids by the bytes of their UTF-8, as strcmp does", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" }), (a, b) => {
        expect(Math.sign(compareCodePoints(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
    );
    expect(compareCodePoints("\u{1F600}", "\uFFFD")).toBeGreaterThan(0);
    expect(compareCodePoints("\u{1F600}", "\u{1F601}")).toBeLessThan(0);
  });
});
