import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { encodings, type Encoding } from "../../src/models/encodings.ts";
import { float16ToFloat32 } from "../../src/models/float16.ts";

interface Case {
  type: keyof typeof encodings;
  blocks: string;
  float32: string;
}
const reference = JSON.parse(readFileSync(new URL("reference/quantized-blocks.json", import.meta.url), "utf8")) as {
  cases: Case[];
};

describe("every encoding gives the bits that the gguf package gives", () => {
  test.each(reference.cases)("$type", ({ type, blocks, float32 }) => {
    const bytes = Buffer.from(blocks, "base64");
    const expected = Buffer.from(float32, "base64");
    const encoding: Encoding = encodings[type];
    const out = new Float32Array((bytes.length / encoding.blockBytes) * encoding.blockSize);
    encoding.decode!(bytes, out);
    expect(Buffer.from(out.buffer).equals(expected)).toBe(true);
  });

  test("all types are covered", () => {
    const covered = new Set(reference.cases.map((c) => c.type));
    expect(Object.keys(encodings).filter((type) => !covered.has(type as Case["type"]))).toEqual(["F32"]);
  });
});

test("half-precision infinities and NaN stay what they are", () => {
  expect([0x7c00, 0xfc00, 0x7e00, 0x8000].map(float16ToFloat32)).toEqual([Infinity, -Infinity, NaN, -0]);
});
