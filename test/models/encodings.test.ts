import { readFileSync } from "node:fs";
import { describe, expect, onTestFinished, test } from "vitest";
import { encodings, type Encoding } from "../../src/models/encodings.ts";
import { float16ToFloat32 } from "../../src/models/float16.ts";
import { readGgufHeader } from "../../src/models/gguf.ts";
import { openModelFile } from "../../src/models/safetensors.ts";
import { readTensor } from "../../src/models/weights.ts";
import { gguf, writeBytes } from "./model-files.ts";

interface Case {
  type: keyof typeof encodings;
  /** Its number in GGUF files. */
  ggmlType: number;
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

  test.each(reference.cases)("$type in a GGUF file", async ({ type, ggmlType, blocks, float32 }) => {
    const bytes = Buffer.from(blocks, "base64");
    const expected = Buffer.from(float32, "base64");
    const tensor = { type: ggmlType, shape: [1, expected.length / 4], bytes };
    const file = await openModelFile(await writeBytes("blocks.gguf", gguf({}, { before: tensor, x: tensor })));
    onTestFinished(() => file.handle.close());
    const stored = readGgufHeader(file).tensors.get("x")!;
    expect(stored).toMatchObject({ shape: tensor.shape, encoding: { name: type }, byteLength: bytes.length });
    const out = new Float32Array(expected.length / 4);
    // Reading block by block must give the same as reading all at once.
    await readTensor(stored, out, Buffer.alloc(stored.encoding.blockBytes));
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
