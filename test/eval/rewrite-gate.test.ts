import { describe, expect, it } from "vitest";
import { randomStream } from "../../src/core/random.ts";
import { calibrateGate, gateFeatureNames, opensFor, overlapOf, predictGain } from "../../src/eval/rewrite-gate.ts";
import type { GateExample } from "../../src/eval/rewrite-gate.ts";

const hitsOf = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => ({ id: `i${from + i}`, score: 10 - i }));

/** Rewriting helps exactly where the raw words find little; how much is left to chance. */
function makeExamples(count: number, { informative }: { informative: boolean }): GateExample[] {
  const random = randomStream(7, "gate-test", String(informative));
  return Array.from({ length: count }, (_, i) => {
    const isPoor = random.next() < 0.5;
    const helps = informative ? isPoor : random.next() < 0.5;
    const gain = (helps ? 1 : -1) * (0.2 + 0.2 * random.next());
    const rawHits = hitsOf(isPoor ? 1 : 9);
    return {
      rawQuery: `word ${i}`,
      query: `word ${i} more`,
      rawHits,
      hits: hitsOf(10, 5),
      meanLogprob: -random.next(),
      rawScore: 0.5,
      score: 0.5 + gain,
    };
  });
}

describe("the rewrite gate", () => {
  it("opens where rewriting helps, and says what it does on examples that it was not fitted to", () => {
    const examples = makeExamples(200, { informative: true });
    const gate = calibrateGate(examples, { metric: "ndcg@10" });
    const { raw, always, gated } = gate.measured;
    expect(raw).toBeCloseTo(0.5, 10);
    expect(always.harmed).toBeGreaterThan(0.3);
    expect(always.rewritten).toBe(1);
    expect(gated.harmed).toBe(0);
    expect(gated.helped).toBe(always.helped);
    expect(gated.mean).toBeGreaterThan(always.mean + 0.1);
    const [poor, rich] = [true, false].map((isPoor) =>
      examples.find(({ rawHits }) => (rawHits.length === 1) === isPoor),
    ) as [GateExample, GateExample];
    expect(opensFor(gate, poor)).toBe(true);
    expect(opensFor(gate, rich)).toBe(false);
    expect(predictGain(gate, poor)).toBeCloseTo(0.3, 1);
    expect(predictGain(gate, rich)).toBeCloseTo(-0.3, 1);
  });

  it("doesn't claim a gain where nothing tells good from bad", () => {
    const { measured } = calibrateGate(makeExamples(200, { informative: false }), { metric: "ndcg@10" });
    expect(Math.abs(measured.gated.mean - 0.5)).toBeLessThan(0.05);
  });

  it("stays shut where rewriting only harms, and open where it only helps", () => {
    const examples = makeExamples(60, { informative: true });
    const worse = examples.map((example) => ({ ...example, score: 0.1 }));
    const shut = calibrateGate(worse, { metric: "m" });
    expect(shut.threshold).toBeNull();
    expect(shut.measured.gated).toEqual({ mean: 0.5, rewritten: 0, harmed: 0, helped: 0 });
    const open = calibrateGate(
      examples.map((example) => ({ ...example, score: 0.9 })),
      { metric: "m" },
    );
    expect(open.measured.gated).toMatchObject({ rewritten: 1, helped: 1, harmed: 0 });
  });

  it("stays open where few examples, of which most are helped, let it learn what isn't so", () => {
    for (let seed = 0; seed < 20; seed++) {
      const random = randomStream(seed, "few");
      const few = makeExamples(25, { informative: false }).map((example) => ({
        ...example,
        score: random.next() < 0.15 ? 0.3 : 0.9,
      }));
      const { measured, threshold } = calibrateGate(few, { metric: "m", seed });
      expect(measured.gated.mean).toBeGreaterThanOrEqual(measured.always.mean);
      if (threshold === -Number.MAX_VALUE) expect(measured.gated).toEqual(measured.always);
    }
  });

  it("survives JSON, and is the same for the same examples", () => {
    const examples = makeExamples(40, { informative: true });
    const gate = calibrateGate(examples, { metric: "m", seed: 3 });
    expect(calibrateGate(examples, { metric: "m", seed: 3 })).toEqual(gate);
    const read = JSON.parse(JSON.stringify(gate)) as typeof gate;
    expect(examples.map((example) => opensFor(read, example))).toEqual(
      examples.map((example) => opensFor(gate, example)),
    );
    expect(gate.weights).toHaveLength(gateFeatureNames.length);
  });

  it("refuses too few examples", () => {
    expect(() => calibrateGate(makeExamples(24, { informative: true }), { metric: "m" })).toThrowError(
      /25 validation examples or more, got 24/,
    );
  });

  it("compares answers by their first ten", () => {
    expect(overlapOf([], [])).toBe(1);
    expect(overlapOf(hitsOf(3), [])).toBe(0);
    expect(overlapOf(hitsOf(20), hitsOf(20, 5))).toBe(0.5);
    expect(overlapOf(hitsOf(2), hitsOf(4))).toBe(0.5);
  });
});
