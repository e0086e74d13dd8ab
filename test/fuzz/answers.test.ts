/** What a policy writes: any text at all, and whatever may be in it must stay text. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseAnswer, parseJsonAnswer, parsePlainAnswer } from "../../src/rl/answer.ts";
import { ReplyReader, parseReply } from "../../src/recommenders/http/reply.ts";
import { damaged, damagedJson, fuzz, timeout } from "./fuzz.ts";

const pieces = [
  ...[
    "<answer>",
    "</answer>",
    '{"query": "',
    '"}',
    "```json",
    "```",
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "\\",
    "\\u00",
    "\n",
    "\r",
  ],
  ...[
    "\u0000",
    "\u001b[31m",
    "\u009b2J",
    "\u202e",
    "\ufeff",
    "\ud800",
    "é",
    "🙂",
    "Query:",
    "query",
    "AND",
    "OR",
    "*:*",
    "title:x",
  ],
  ...["$(rm -rf /)", "; DROP TABLE", "../..", "<script>", "&amp;", "%00", "word ", "word ".repeat(500)],
];

test("answers", { timeout }, async () => {
  await fuzz({
    name: "answers",
    inputs: fc.oneof(
      fc.string({ unit: "binary", maxLength: 300 }),
      fc.array(fc.constantFrom(...pieces), { maxLength: 30 }).map((list) => list.join("")),
      damaged(Buffer.from('<think>x</think><answer>{"query": "blue \\"pen\\" set"}</answer>')).map(String),
    ),
    sizeOf: (text) => text.length,
    run: (text) => {
      for (const parse of [parseAnswer, parseJsonAnswer, parsePlainAnswer]) {
        const query = parse(text);
        if (query === null) continue;
        expect(query).toMatch(/^\S(.*\S)?$/u);
        expect(query.length).toBeLessThanOrEqual(2000);
        // Neither a terminal nor a log must take it for more than a text.
        expect(query).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
      }
    },
    leastRefused: 0,
  });
});

test("replies of a search API", { timeout }, async () => {
  const reader = await ReplyReader.create("shop", {
    hits: "$.results[*]",
    score: "$.score",
    payload: { title: "$.title" },
  });
  const good = {
    results: [
      { id: "a", score: 2, title: "Pen" },
      { id: 7, score: 1.5, title: "Ink" },
    ],
    took: 3,
  };
  await fuzz({
    name: "replies of a search API",
    inputs: damagedJson(good),
    sizeOf: (bytes) => bytes.length,
    run: (bytes) => reader.readOne(parseReply("shop", bytes.toString()), 10),
  });
});
