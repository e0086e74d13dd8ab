/** How data become batches: nothing is lost or doubled, budgets hold, and small pieces of a completion's way to a token. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Datum } from "../../../src/engines/engine.ts";
import { groupData } from "../../../src/engines/local/batches.ts";
import { argmax, drawFromCut, keepTokens } from "../../../src/engines/local/draw-from-cut.ts";
import type { Group } from "../../../src/engines/local/packing.ts";
import { measureBatch, planBatches } from "../../../src/engines/local/plan-batches.ts";

const ids = (maxLength: number) => fc.array(fc.nat(5), { minLength: 1, maxLength });
const group = fc.record({ prompt: ids(12), completions: fc.array(ids(9), { minLength: 1, maxLength: 6 }) });

describe("planBatches", () => {
  it("puts every completion into one batch, with its own prompt, within the budget of rows", () => {
    fc.assert(
      fc.property(fc.array(group, { maxLength: 8 }), fc.integer({ min: 1, max: 60 }), (groups: Group[], maxRows) => {
        const batches = planBatches(groups, { maxRows });
        const seen = new Set<string>();
        for (const batch of batches) {
          // What a run computes: what the batch's prompts begin with in common once, and a row of padding besides.
          const rows = measureBatch(batch).rows - 1;
          const isSingle = batch.length === 1 && batch[0]!.completions.length === 1;
          expect(rows <= maxRows || isSingle).toBe(true);
          for (const piece of batch) {
            expect(piece.prompt).toBe(groups[piece.index]!.prompt);
            piece.members.forEach((member, i) => {
              expect(piece.completions[i]).toBe(groups[piece.index]!.completions[member]);
              expect(seen).not.toContain(`${piece.index}/${member}`);
              seen.add(`${piece.index}/${member}`);
            });
          }
        }
        expect(seen.size).toBe(groups.reduce((sum, { completions }) => sum + completions.length, 0));
      }),
      { numRuns: 1000 },
    );
  });
});

describe("groupData", () => {
  it("keeps every datum once, with those of its prompt, merged only with its equals", () => {
    const datum: fc.Arbitrary<Datum> = fc.record({ prompt: ids(2), completion: ids(2), advantage: fc.nat(1) });
    fc.assert(
      fc.property(fc.array(datum, { maxLength: 20 }), (data) => {
        const groups = groupData(data);
        expect(new Set(groups.map(({ prompt }) => prompt.join())).size).toBe(groups.length);
        const members = groups.flatMap(({ prompt, completions, data: sets }) =>
          sets.flatMap((set, i) => {
            for (const one of set) {
              expect([one.prompt, one.completion]).toEqual([prompt, completions[i]]);
              expect(one.advantage).toBe(set[0]!.advantage);
            }
            return set;
          }),
        );
        expect(members).toHaveLength(data.length);
        expect(new Set(members)).toEqual(new Set(data));
        const different = new Set(data.map((one) => JSON.stringify([one.prompt, one.completion, one.advantage])));
        expect(groups.reduce((sum, { data: sets }) => sum + sets.length, 0)).toBe(different.size);
      }),
    );
  });
});

describe("drawFromCut", () => {
  const distribution = fc
    .array(fc.float({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 30 })
    .filter((weights) => weights.some((w) => w > 1e-3))
    .map((weights) => {
      const total = weights.reduce((a, b) => a + b, 0);
      return Float32Array.from(weights, (w) => w / total);
    });
  const uniform = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  const cut = fc.record({
    topP: fc.double({ min: 0.01, max: 1, noNaN: true }),
    topK: fc.nat(10),
    minP: fc.double({ min: 0, max: 1, noNaN: true }),
  });

  it("never takes a token of probability 0, and only those that the cuts leave", () => {
    fc.assert(
      fc.property(distribution, uniform, cut, (probabilities, u, { topP, topK, minP }) => {
        const { id } = drawFromCut(probabilities, { topP, topK, minP }, u);
        expect(probabilities[id]).toBeGreaterThan(0);
        const kept = keepTokens(probabilities, { topP, topK, minP });
        if (topP < 1 || topK > 0 || minP > 0) expect(kept).toContain(id);
        expect(kept).toContain(argmax(probabilities));
        if (topK > 0) expect(kept.length).toBeLessThanOrEqual(topK);
      }),
    );
  });

  it("goes through what the cuts leave from the likeliest on, the lower id first on ties", () => {
    const probabilities = Float32Array.of(0.125, 0.375, 0, 0.375, 0.125);
    // 0.375, 0.375 and 0.125 are left.
    const cut = { topP: 1, topK: 3, minP: 0 };
    expect([0, 0.42, 0.43, 0.85, 0.86, 0.999].map((u) => drawFromCut(probabilities, cut, u).id)).toEqual([
      1, 1, 3, 3, 0, 0,
    ]);
    expect(drawFromCut(probabilities, cut, 0.5).keptMass).toBe(0.875);
  });
});
