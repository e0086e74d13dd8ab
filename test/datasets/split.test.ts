import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { groupByKeys, splitItems } from "../../src/datasets/index.ts";

describe("splitItems", () => {
  const items = Array.from({ length: 100 }, (_, i) => i);

  it("gives counts, shares and the rest, by seed", () => {
    const parts = { test: 30, valid: 0.1, train: "rest" } as const;
    const split = splitItems(items, parts, { seed: 1 });
    expect([split.test.length, split.valid.length, split.train.length]).toEqual([30, 10, 60]);
    expect(splitItems(items, parts, { seed: 1 })).toEqual(split);
    expect(splitItems(items, parts, { seed: 2 }).test).not.toEqual(split.test);
    expect([...split.test, ...split.valid, ...split.train].sort((a, b) => a - b)).toEqual(items);
  });

  it("divides more items than a call has room for, alone and in one group", () => {
    const many = Array.from({ length: 300_000 }, (_, i) => i);
    expect(splitItems(many, { test: 1000, train: "rest" }, { seed: 1 }).train).toHaveLength(299_000);
    const options = { seed: 1, keysOf: () => ["same"] };
    expect(splitItems(many, { train: 300_000 }, options).train).toHaveLength(300_000);
    expect(splitItems(many, { train: "rest" }, options).train).toHaveLength(300_000);
  });

  it("refuses sizes that can't be", () => {
    expect(() => splitItems(items, { a: 60, b: 0.5 }, { seed: 1 })).toThrowError(/ask for 110 items \(a 60, b 50\)/);
    expect(() => splitItems(items, { a: "rest", b: "rest" }, { seed: 1 })).toThrowError(/a, b are all "rest"/);
    for (const size of [-1, 1.5, NaN, Infinity]) {
      expect(() => splitItems(items, { a: size }, { seed: 1 })).toThrowError(/size of part "a"/);
    }
  });

  it("never divides a group, never exceeds a size, loses nothing", () => {
    const keysOf = (item: { keys: string[] }): string[] => item.keys;
    const item = fc.record({ keys: fc.uniqueArray(fc.constantFrom(..."abcdefghijklmnop"), { maxLength: 3 }) });
    fc.assert(
      fc.property(fc.array(item, { maxLength: 40 }), fc.integer(), (list, seed) => {
        const size = Math.floor(list.length / 3);
        const split = splitItems(list, { test: size, valid: size, train: "rest" }, { seed, keysOf });
        expect(split.test.length).toBeLessThanOrEqual(size);
        expect(split.valid.length).toBeLessThanOrEqual(size);
        expect(new Set([...split.test, ...split.valid, ...split.train])).toEqual(new Set(list));
        const parts = [split.test, split.valid, split.train].map((part) => new Set(part.flatMap(keysOf)));
        for (const [i, part] of parts.entries()) {
          for (const other of parts.slice(i + 1)) for (const key of part) expect(other.has(key)).toBe(false);
        }
      }),
    );
  });
});

describe("groupByKeys", () => {
  it("joins what is connected over others, in order of first items", () => {
    const keysOf = (item: string): string[] => item.split("");
    expect(groupByKeys(["ab", "x", "cd", "bc", "", "y"], keysOf)).toEqual([["ab", "cd", "bc"], ["x"], [""], ["y"]]);
  });

  it("agrees with a search of the graph", () => {
    const words = fc.array(fc.string({ unit: fc.constantFrom(..."abcdefgh"), maxLength: 3 }), { maxLength: 12 });
    fc.assert(
      fc.property(words, (list) => {
        const items = list.map((keys, index) => ({ keys: [...keys], index }));
        const connected = (start: number): Set<number> => {
          const seen = new Set([start]);
          const queue = [start];
          for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
            for (const other of items) {
              if (!seen.has(other.index) && other.keys.some((key) => items[at as number]?.keys.includes(key))) {
                seen.add(other.index);
                queue.push(other.index);
              }
            }
          }
          return seen;
        };
        for (const group of groupByKeys(items, (item) => item.keys)) {
          const first = group[0] as { index: number };
          expect(new Set(group.map(({ index }) => index))).toEqual(connected(first.index));
        }
      }),
    );
  });
});
