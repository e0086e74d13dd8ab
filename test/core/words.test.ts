import { describe, expect, it } from "vitest";
import { countWords, distinctWords, splitWords } from "../../src/core/words.ts";

describe("words", () => {
  it("are runs of letters and digits of every script, in lower case", () => {
    expect(splitWords("Red A4-paper, ГРУЗОВИК (2×) café’s")).toEqual([
      ...["red", "a4", "paper", "грузовик", "2", "café", "s"],
    ]);
    expect(splitWords(" ,;!\n")).toEqual([]);
  });

  it("are counted with repetitions and listed without", () => {
    expect(countWords("to be or not to be")).toBe(6);
    expect(distinctWords("to be or not to be")).toEqual(["to", "be", "or", "not"]);
    expect(distinctWords("a b cd cd", 2)).toEqual(["cd"]);
  });
});
