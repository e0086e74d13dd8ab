import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cleanQuery, parseAnswer, parseJsonAnswer, parsePlainAnswer } from "../../src/rl/answer.ts";

describe("parsePlainAnswer", () => {
  it.each([
    ["red shoes", "red shoes"],
    ["\n\n  red   shoes \nbecause they are red", "red shoes"],
    ['Query: "red shoes"', "red shoes"],
    ["Search query: **red shoes**", "red shoes"],
    ["- `red shoes`", "red shoes"],
    ["1. red shoes", "red shoes"],
    ["“red shoes”", "red shoes"],
    ["5 x 8 notebook", "5 x 8 notebook"],
    ["don't stop", "don't stop"],
    ["red\u001b[31mshoes\u0007", "red [31mshoes"],
    ["", null],
    [" \n\t\n", null],
    ['""', null],
    ["Query:", null],
  ])("%j: %j", (text, query) => expect(parsePlainAnswer(text)).toBe(query));
});

describe("parseJsonAnswer", () => {
  it.each([
    ['<think>hm</think><answer>{"query": "red shoes"}</answer>', "red shoes"],
    ['<answer>\n```json\n{"query": "red shoes"}\n```\n</answer>', "red shoes"],
    ['<answer>{"query": "a"}</answer> or <answer>{"query": "b"}</answer>', "b"],
    ['<answer>{"query": "a"}</answer> or <answer>nothing</answer>', "a"],
    ['<ANSWER>{"query": "a"}', "a"],
    ['{"query": "a } brace and a \\" quote {"}', 'a } brace and a " quote {'],
    ['{"query": "a"} {"other": 1}', "a"],
    ['<answer>{"query": {"query": "nested"}}</answer>', null],
    ['<answer>{"query": ["a"]}</answer>', null],
    ['<answer>{"query": 7}</answer>', null],
    ['<answer>{"query": "  "}</answer>', null],
    ['<answer>{"query": "broken</answer>', null],
    ["<answer>{query: 'a'}</answer>", null],
    ['<answer>["query"]</answer>', null],
    ['<answer>{"__proto__": {"query": "a"}}</answer>', null],
    ["<answer></answer>", null],
    ["", null],
  ])("%s: %j", (text, query) => expect(parseJsonAnswer(text)).toBe(query));
});

describe("parseAnswer", () => {
  it("takes JSON where there is an answer block or the text is an object, else the first line", () => {
    expect(parseAnswer('so: <answer>{"query": "a"}</answer>')).toBe("a");
    expect(parseAnswer("so: <answer>a</answer>")).toBeNull();
    expect(parseAnswer('{"query": "a"}')).toBe("a");
    expect(parseAnswer("a\nb")).toBe("a");
  });

  it("never throws, and what it gives is one clean line", () => {
    const pieces = fc.constantFrom(
      "<answer>",
      "</answer>",
      '{"query": ',
      '"',
      "{",
      "}",
      "\\",
      "\n",
      "word",
      "\u0000",
      "\ud800",
    );
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(pieces).map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(text, (completion) => {
        for (const parse of [parseAnswer, parseJsonAnswer, parsePlainAnswer]) {
          const query = parse(completion);
          if (query !== null) expect(query).toMatch(/^\S(.*\S)?$/u);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("is quick on hostile text of 10,000 characters and more", () => {
    const hostile = ["{", "<answer>", '{"query":', '"', "\\", "**", "`", " ", "-", "Query: "];
    const start = performance.now();
    for (const piece of hostile) {
      for (const length of [10_000, 1_000_000]) parseAnswer(piece.repeat(Math.ceil(length / piece.length)));
    }
    expect(performance.now() - start).toBeLessThan(2_000);
    expect(parseAnswer("word ".repeat(2_000))?.length).toBeLessThanOrEqual(2_000);
  });
});

describe("cleanQuery", () => {
  it("cuts a long query at a word", () => {
    const query = cleanQuery("abcdefghi ".repeat(500)) as string;
    expect(query.length).toBeGreaterThan(1_980);
    expect(query.endsWith("abcdefghi")).toBe(true);
    expect(cleanQuery("x".repeat(5_000))).toHaveLength(2_000);
  });
});
