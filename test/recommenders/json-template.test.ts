import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fillBlanks, JsonTemplate, toWellFormed } from "../../src/recommenders/json-template.ts";
import type { Json } from "../../src/recommenders/json-template.ts";

const names = ["query", "topK"];

/** Texts that try to get out of their value, besides any text at all. */
const hostile = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.constantFrom(
    '"}}, "script": {"source": "System.exit(0)"}, "x": {"y": "',
    '\\"}]}',
    '\n{"index": "secrets"}\n{}',
    "{{topK}}",
    "{{query}} {{ query }}",
    "$& $1 $` $'",
    "__proto__",
    "\u2028\u2029\0\ud800",
    "'; DROP TABLE items; --",
    "]]></query>",
    "%22%7D",
  ),
);

/** Templates of any shape with the blank somewhere. */
const template = fc
  .tuple(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom("{{query}}", "before {{query}} after", "{{ query }}"))
  .map(([rest, blank]): Json => ({
    a: { match: { title: blank } },
    b: [blank, { c: 1 }],
    rest: withoutBraces(rest as Json),
  }));

function withoutBraces(value: Json): Json {
  return JSON.parse(JSON.stringify(value).replaceAll("{{", "{ {").replaceAll("}}", "} }")) as Json;
}

/** What a value is made of, with its texts left out. */
function shapeOf(value: Json): unknown {
  if (typeof value === "string") return "text";
  if (Array.isArray(value)) return (value as readonly Json[]).map(shapeOf);
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value).map(([key, item]) => [key, shapeOf(item)]);
}

describe("JsonTemplate", () => {
  it("keeps every text a value: the JSON that arrives has the shape of any other text's, and the text in it", () => {
    fc.assert(
      fc.property(template, hostile, (source, text) => {
        const filled = new JsonTemplate("test", source, names);
        const query = toWellFormed(text);
        const arrived = JSON.parse(JSON.stringify(filled.fill({ query, topK: 3 }))) as {
          a: { match: { title: string } };
        };
        const plain = JSON.parse(JSON.stringify(filled.fill({ query: "plain", topK: 3 }))) as Json;
        expect(shapeOf(arrived as unknown as Json)).toEqual(shapeOf(plain));
        const title = arrived.a.match.title;
        const wanted = (source as { a: { match: { title: string } } }).a.match.title;
        expect(title).toBe(wanted.startsWith("before") ? `before ${query} after` : query);
      }),
      { numRuns: 500 },
    );
  });

  it("fills a lone blank with the value and its type, others with text", () => {
    const filled = new JsonTemplate("test", { n: "{{topK}}", s: "top {{topK}} of {{query}}", v: "{{query}}" }, names);
    expect(filled.fill({ query: "pens", topK: 5 })).toEqual({ n: 5, s: "top 5 of pens", v: "pens" });
    expect(filled.placesOf("query")).toEqual([["s"], ["v"]]);
    expect(filled.placesOf("topK")).toEqual([["n"], ["s"]]);
  });

  it("refuses blanks in keys, unknown blanks and what is no JSON, with the place", () => {
    const cases: [unknown, RegExp][] = [
      [{ a: { "{{query}}": 1 } }, /test at a: the key "\{\{query\}\}" has a blank/],
      [{ a: ["{{user}}"] }, /test at a\.0: there is no blank \{\{user\}\}; there may be \{\{query\}\}, \{\{topK\}\}/],
      [{ a: undefined }, /test at a: undefined is no JSON value/],
      [{ a: NaN }, /NaN is no JSON value/],
      [{ a: new Date(0) }, /no JSON value/],
      [() => 1, /no JSON value/],
    ];
    for (const [source, message] of cases) expect(() => new JsonTemplate("test", source, names)).toThrowError(message);
  });

  it("keeps a key of the name __proto__ a key", () => {
    const source = JSON.parse('{"__proto__": {"polluted": "{{query}}"}}') as Json;
    const filled = new JsonTemplate("test", source, names).fill({ query: "x", topK: 1 });
    expect(JSON.stringify(filled)).toBe('{"__proto__":{"polluted":"x"}}');
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });
});

describe("fillBlanks", () => {
  it("puts in what it is given and nothing that is in that", () => {
    expect(fillBlanks("/s?q={{query}}&n={{topK}}", (name) => `[${name} {{topK}} $&]`)).toBe(
      "/s?q=[query {{topK}} $&]&n=[topK {{topK}} $&]",
    );
  });
});
