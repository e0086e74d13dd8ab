import { describe, expect, it } from "vitest";
import { expandQuery } from "../../src/rl/expand-query.ts";

describe("expandQuery", () => {
  it.each([
    ["user", "account", "user account"],
    ["Rubbish bin", "trash-can outline, BIN trash", "Rubbish bin trash can outline"],
    ["car", "", "car"],
    ["car", "car car", "car"],
    ["car", "sports\nand an explanation", "car sports"],
    ["car", "\nsports", "car"],
    ["Café", "café Straße", "Café straße"],
  ])("adds to %j what %j has besides: %j", (query, completion, expanded) => {
    expect(expandQuery(query, completion)).toBe(expanded);
  });

  it.each([
    ["sturdy blue card stock", "blue stock", "sturdy blue card stock blue stock"],
    ["sturdy blue card stock", "Blue paper BLUE", "sturdy blue card stock blue paper"],
  ])("with `repeat`, gives %j the words %j again, each once more", (query, completion, expanded) => {
    expect(expandQuery(query, completion, { repeat: true })).toBe(expanded);
  });

  it("adds no more words than it may", () => {
    expect(expandQuery("q", "a b c d e f g h")).toBe("q a b c d e f");
    expect(expandQuery("q", "a b c", { maxWords: 1 })).toBe("q a");
    expect(expandQuery("q", "a b c", { maxWords: 0 })).toBe("q");
  });
});
