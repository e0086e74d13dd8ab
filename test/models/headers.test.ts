import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadModel } from "../../src/models/load.ts";
import {
  gguf,
  ggufString,
  safetensorsFrom,
  tinyConfig,
  tinyMetadata,
  u32,
  u64,
  writeBytes,
  writeFolder,
} from "./model-files.ts";

const corrupt = { code: "MODEL_FILE_CORRUPT" };
const data = Buffer.alloc(64);
const entry = { dtype: "F32", shape: [16], data_offsets: [0, 64] };

describe("safetensors headers at odds with the file", () => {
  test.each([
    ["a header longer than the file", Buffer.concat([u64(1e9), data])],
    ["a header of 2^64 - 1 bytes", Buffer.concat([u64(2n ** 64n - 1n), data])],
    ["7 bytes", Buffer.alloc(7)],
    ["no JSON", safetensorsFrom("{", data)],
    ["broken UTF-8", Buffer.concat([u64(3), Buffer.from([0x22, 0xff, 0x22]), data])],
    ["a list", safetensorsFrom([], data)],
    ["an entry that is null", safetensorsFrom({ a: null }, data)],
    ["no shape", safetensorsFrom({ a: { ...entry, shape: undefined } }, data)],
    ["a negative size", safetensorsFrom({ a: { ...entry, shape: [-16] } }, data)],
    ["a shape beyond exact numbers", safetensorsFrom({ a: { ...entry, shape: [2 ** 40, 2 ** 40] } }, data)],
    ["an end before the beginning", safetensorsFrom({ a: { ...entry, data_offsets: [64, 0] } }, data)],
    ["a size that isn't the shape's", safetensorsFrom({ a: { ...entry, data_offsets: [0, 60] } }, data)],
    ["data past the end", safetensorsFrom({ a: { ...entry, shape: [32], data_offsets: [0, 128] } }, data)],
    ["overlapping tensors", safetensorsFrom({ a: entry, b: entry }, data)],
    ["a hole", safetensorsFrom({ a: { dtype: "F32", shape: [8], data_offsets: [32, 64] } }, data)],
    ["bytes that belong to nothing", safetensorsFrom({ a: entry }, Buffer.alloc(65))],
  ])("%s", async (_, bytes) => {
    const folder = await writeFolder(tinyConfig, {});
    writeFileSync(join(folder, "model.safetensors"), bytes);
    const loading = loadModel(folder);
    await expect(loading).rejects.toMatchObject({ ...corrupt, details: { position: expect.any(Number) as number } });
  });

  test("a type that isn't supported is named", async () => {
    const folder = await writeFolder(tinyConfig, {});
    const header = { a: { dtype: "F8_E4M3", shape: [64], data_offsets: [0, 64] } };
    writeFileSync(join(folder, "model.safetensors"), safetensorsFrom(header, data));
    await expect(loadModel(folder)).rejects.toMatchObject({
      code: "UNSUPPORTED_QUANTIZATION",
      message: expect.stringMatching(/a is stored as F8_E4M3.*F32, F16, BF16/) as string,
    });
  });
});

describe("GGUF headers at odds with the file", () => {
  const start = (tensors: number | bigint, entries: number | bigint): Buffer =>
    Buffer.concat([Buffer.from("GGUF"), u32(3), u64(tensors), u64(entries)]);
  const key = ggufString("k");
  test.each([
    ["other first letters", Buffer.concat([Buffer.from("GGML"), Buffer.alloc(60)])],
    ["23 bytes", start(0, 0).subarray(0, 23)],
    ["more tensors than bytes", start(2n ** 40n, 0)],
    ["more metadata than bytes", start(0, 2n ** 62n)],
    ["a key longer than the file", Buffer.concat([start(0, 1), u64(2 ** 30), data])],
    ["an array longer than the file", Buffer.concat([start(0, 1), key, u32(9), u32(4), u64(2 ** 31), data])],
    [
      "strings that end early",
      Buffer.concat([start(0, 1), key, u32(9), u32(8), u64(3), u64(40), data.subarray(0, 44)]),
    ],
    ["an unknown metadata type", Buffer.concat([start(0, 1), key, u32(13), data])],
    [
      "arrays in arrays in arrays",
      Buffer.concat([start(0, 1), key, u32(9), ...Array.from({ length: 9 }, () => [u32(9), u64(1)]).flat(), data]),
    ],
    ["a key twice", Buffer.concat([start(0, 2), key, u32(4), u32(1), key, u32(4), u32(1), data])],
    [
      "a tensor of five dimensions",
      Buffer.concat([start(1, 0), key, u32(5), ...Array.from({ length: 5 }, () => u64(1)), u32(0), u64(0)]),
    ],
    ["a tensor past the end", Buffer.concat([start(1, 0), key, u32(1), u64(2 ** 30), u32(0), u64(0), data])],
    ["a tensor that overflows", Buffer.concat([start(1, 0), key, u32(2), u64(2 ** 50), u64(2 ** 50), u32(0), u64(0)])],
    ["an offset that isn't aligned", Buffer.concat([start(1, 0), key, u32(1), u64(1), u32(0), u64(4), data])],
    ["rows that aren't whole blocks", Buffer.concat([start(1, 0), key, u32(1), u64(31), u32(8), u64(0), data])],
    [
      "tensors that overlap",
      Buffer.concat([
        start(2, 0),
        ...["a", "b"].flatMap((name) => [ggufString(name), u32(1), u64(4), u32(0), u64(0)]),
        data,
      ]),
    ],
  ])("%s", async (_, bytes) => {
    const path = await writeBytes("bad.gguf", bytes);
    await expect(loadModel(path)).rejects.toMatchObject({
      ...corrupt,
      details: { path, position: expect.any(Number) as number },
    });
  });

  test.each([
    ["version 1", Buffer.concat([Buffer.from("GGUF"), u32(1), data]), "UNSUPPORTED_GGUF_VERSION"],
    ["big-endian", Buffer.concat([Buffer.from("GGUF"), u32(0x03000000), data]), "UNSUPPORTED_GGUF_VERSION"],
    ["a part of a model", gguf({ ...tinyMetadata(), "split.count": 3 }, {}), "MODEL_UNSUPPORTED"],
    [
      "a quantization that isn't supported",
      gguf(tinyMetadata(), { x: { type: "IQ4_XS", shape: [256], bytes: Buffer.alloc(136) } }),
      "UNSUPPORTED_QUANTIZATION",
    ],
    ["an architecture that isn't supported", gguf(tinyMetadata("mamba"), {}), "UNSUPPORTED_ARCHITECTURE"],
  ])("%s is named, with what is supported", async (_, bytes, code) => {
    await expect(loadModel(await writeBytes("other.gguf", bytes))).rejects.toMatchObject({ code });
  });

  test("the message about a quantization lists those that are supported", async () => {
    const bytes = gguf(tinyMetadata(), { x: { type: "IQ4_XS", shape: [256], bytes: Buffer.alloc(136) } });
    const path = await writeBytes("iq4.gguf", bytes);
    await expect(loadModel(path)).rejects.toThrow(/x is stored as IQ4_XS \(23\).*Q4_K.*Q6_K/);
  });
});
