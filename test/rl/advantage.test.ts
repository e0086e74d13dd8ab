import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { computeAdvantages, hasVariance, standardDeviation } from "../../src/rl/advantage.ts";
import { learningRateAt } from "../../src/rl/learning-rate.ts";
import { PromptOrder } from "../../src/rl/prompt-order.ts";

describe("computeAdvantages", () => {
  it("divides by the group's standard deviation (n − 1) plus 1e-4", () => {
    const [advantages] = computeAdvantages([[1, 0, 0, 0]]);
    const std = Math.sqrt((0.75 ** 2 + 3 * 0.25 ** 2) / 3);
    expect(advantages?.[0]).toBeCloseTo(0.75 / (std + 1e-4), 12);
    expect(advantages?.[1]).toBeCloseTo(-0.25 / (std + 1e-4), 12);
  });

  it("knows batch, none and leave-one-out", () => {
    const rewards = [
      [1, 0],
      [4, 0],
    ];
    expect(computeAdvantages(rewards, { norm: "none" })).toEqual([
      [0.5, -0.5],
      [2, -2],
    ]);
    const std = standardDeviation([0.5, -0.5, 2, -2]);
    expect(computeAdvantages(rewards, { norm: "batch" })[1]?.[0]).toBeCloseTo(2 / (std + 1e-4), 12);
    const loo = computeAdvantages([[3, 0, 0]], { norm: "none", baseline: "leave_one_out" });
    expect(loo[0]).toEqual([3, -1.5, -1.5]);
  });

  it("gives zeros to groups that can't be compared", () => {
    for (const norm of ["group", "batch", "none"] as const) {
      expect(computeAdvantages([[0.3, 0.3, 0.3], [1], []], { norm })).toEqual([[0, 0, 0], [0], []]);
    }
  });

  it("sums to zero in every group and keeps the order of rewards", () => {
    const groups = fc.array(fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: 2, maxLength: 8 }));
    fc.assert(
      fc.property(groups, fc.constantFrom("group", "batch", "none" as const), (rewards, norm) => {
        computeAdvantages(rewards, { norm: norm as "group" }).forEach((advantages, p) => {
          expect(advantages.reduce((sum, a) => sum + a, 0)).toBeCloseTo(0, 6);
          const group = rewards[p] as number[];
          if (!hasVariance(group)) return;
          const best = group.indexOf(Math.max(...group));
          expect(advantages[best]).toBe(Math.max(...advantages));
        });
      }),
    );
  });
});

describe("learningRateAt", () => {
  const base = { learningRate: 1, rampSteps: 2, steps: 10 };
  it("rises, then follows its schedule", () => {
    const rates = (schedule: "constant" | "linear" | "cosine") =>
      [1, 2, 3, 7, 10].map((step) => learningRateAt(step, { ...base, schedule }));
    expect(rates("constant")).toEqual([0.5, 1, 1, 1, 1]);
    expect(rates("linear")).toEqual([0.5, 1, 1, 0.5, 0.125]);
    const cosine = rates("cosine");
    expect(cosine[2]).toBe(1);
    expect(cosine[3]).toBeCloseTo(0.5, 12);
    expect(cosine[4]).toBeGreaterThan(0);
  });
});

describe("PromptOrder", () => {
  const items = ["a", "b", "c", "d", "e"];

  it("goes through every item once an epoch, and on from any position", () => {
    const order = new PromptOrder(items, 1, "prompts");
    const first = order.draw(0, 5);
    expect([...first.items].sort()).toEqual(items);
    const fromStart = order.draw(5, 3);
    expect(new PromptOrder(items, 1, "prompts").draw(5, 3)).toEqual(fromStart);
    expect(new PromptOrder(items, 2, "prompts").draw(0, 5).items).not.toEqual(first.items);
  });

  it("never draws an item twice in a step, nor one that is excluded", () => {
    const order = new PromptOrder(items, 1, "prompts");
    for (let cursor = 0; cursor < 50; cursor++) {
      const { items: drawn } = order.draw(cursor, 3, new Set(["b"]));
      expect(new Set([...drawn, "b"]).size).toBe(4);
    }
  });

  it("says when there are too few", () => {
    expect(() => new PromptOrder(items, 1).draw(0, 6)).toThrow(/6 different examples, there are 5.*promptsPerStep/);
  });
});
