import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { AbortError } from "../../src/core/errors.ts";
import type { SentenceEncoder } from "../../src/encoders/encoder.ts";
import { loadEncoder, type EncoderOptions } from "../../src/encoders/index.ts";
import { writeTinyBert, writeWordEncoder } from "../support/tiny-encoder.ts";

const words = ["red", "blue", "pen", "paper", "query", "##s", ":"];

function rowsOf(vectors: Float32Array, dimensions: number): number[][] {
  return Array.from({ length: vectors.length / dimensions }, (_, i) => [
    ...vectors.subarray(i * dimensions, (i + 1) * dimensions),
  ]);
}

const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);

function largestDifference(found: readonly number[][], expected: readonly number[][]): number {
  expect(found.map((row) => row.length)).toEqual(expected.map((row) => row.length));
  return Math.max(...found.flatMap((row, i) => row.map((x, j) => Math.abs(x - (expected[i]?.[j] as number)))));
}

describe("all-MiniLM-L6-v2, the real one", () => {
  interface Reference {
    texts: string[];
    mean: number[][];
    cls: number[][];
    prompt: string;
    prompted: number[][];
  }
  const reference = JSON.parse(
    readFileSync(new URL("reference/all-minilm-l6-v2.json", import.meta.url), "utf8"),
  ) as Reference;
  let encoder: SentenceEncoder | undefined;
  let unavailable = "";
  const open = (options: EncoderOptions = {}) => loadEncoder("all-MiniLM-L6-v2", options);

  beforeAll(async () => {
    try {
      encoder = await open();
    } catch (error) {
      if ((error as { code?: string }).code !== "MODEL_PULL_FAILED") throw error;
      unavailable = (error as Error).message;
    }
  }, 300_000);
  afterAll(() => encoder?.close());

  it("gives the vectors that sentence-transformers gives, within 1e-4", async ({ skip }) => {
    if (!encoder) return skip(unavailable);
    expect(encoder.dimensions).toBe(384);
    const { texts, mean } = reference;
    const found = rowsOf(await encoder.encode(texts, "document"), 384);
    expect(largestDifference(found, mean)).toBeLessThan(1e-5);
  });

  it("does with the first token's vector, and with a prompt", async ({ skip }) => {
    if (!encoder) return skip(unavailable);
    const cls = await open({ pooling: "cls" });
    const found = rowsOf(await cls.encode(reference.texts.slice(0, 3), "query"), 384);
    expect(largestDifference(found, reference.cls)).toBeLessThan(1e-5);
    const prompted = await open({ queryPrompt: reference.prompt });
    const texts = reference.texts.slice(0, 3);
    const queries = rowsOf(await prompted.encode(texts, "query"), 384);
    expect(largestDifference(queries, reference.prompted)).toBeLessThan(1e-5);
    const documents = rowsOf(await prompted.encode(texts, "document"), 384);
    expect(largestDifference(documents, reference.mean.slice(0, 3))).toBeLessThan(1e-5);
    const fingerprints = [encoder, cls, prompted].map(({ fingerprint }) => fingerprint);
    expect(new Set(fingerprints).size).toBe(3);
    await Promise.all([cls.close(), prompted.close()]);
  });

  it("gives a text the same bits in any company", async ({ skip }) => {
    if (!encoder) return skip(unavailable);
    const texts = Array.from({ length: 300 }, (_, i) => reference.texts[(i * 5) % reference.texts.length] as string);
    const together = rowsOf(await encoder.encode(texts, "query"), 384);
    for (const [i, text] of reference.texts.entries()) {
      const [alone] = rowsOf(await encoder.encode([text], "query"), 384);
      expect(together[texts.indexOf(text)]).toEqual(alone);
      expect(together[texts.lastIndexOf(text)], `text ${i}`).toEqual(alone);
    }
  });
});

describe("an encoder's folder", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "rec-r1-encoder-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("with an ONNX file is run as it is", async () => {
    await writeWordEncoder(folder, words);
    const encoder = await loadEncoder(folder);
    const progress: number[] = [];
    const texts = ["red pen", "pen RED", "blue paper", "red pen", ""];
    const rows = rowsOf(await encoder.encode(texts, "query", { onProgress: (done) => progress.push(done) }), 32);
    for (const row of rows) expect(dot(row, row)).toBeCloseTo(1, 5);
    expect(rows[3]).toEqual(rows[0]);
    expect(dot(rows[0]!, rows[1]!)).toBeCloseTo(1, 5);
    expect(dot(rows[0]!, rows[2]!)).toBeLessThan(0.8);
    expect(progress.at(-1)).toBe(5);
    expect(await encoder.encode([], "query")).toHaveLength(0);
    const controller = new AbortController();
    controller.abort();
    await expect(encoder.encode(texts, "query", { signal: controller.signal })).rejects.toBeInstanceOf(AbortError);
    await encoder.close();
  });

  it("with BERT's weights is run by our graph; its settings are read, cut texts are equal", async () => {
    await writeTinyBert(folder, words);
    await writeFile(join(folder, "sentence_bert_config.json"), '{"max_seq_length": 10, "do_lower_case": false}');
    const prompts = { query: "query: ", passage: "paper: " };
    await writeFile(join(folder, "config_sentence_transformers.json"), JSON.stringify({ prompts }));
    const encoder = await loadEncoder(folder);
    const long = "red ".repeat(8);
    const rows = rowsOf(await encoder.encode([`${long} pen`, `${long} blue`, "pens", "pen"], "query"), 32);
    expect(rows[0]).toEqual(rows[1]);
    expect(rows[2]).not.toEqual(rows[3]);
    const plain = await loadEncoder(folder, { queryPrompt: "", documentPrompt: "" });
    const pick = async (from: SentenceEncoder, text: string, kind: "query" | "document") =>
      rowsOf(await from.encode([text], kind), 32)[0];
    expect(await pick(encoder, "red pen", "query")).toEqual(await pick(plain, "query: red pen", "document"));
    expect(await pick(encoder, "red pen", "document")).toEqual(await pick(plain, "paper: red pen", "query"));
    const longer = await loadEncoder(folder, { maxTokens: 1000, queryPrompt: "" });
    const [pen, blue] = rowsOf(await longer.encode([`${long} pen`, `${long} blue`], "query"), 32);
    expect(pen).not.toEqual(blue);
    await Promise.all([encoder, plain, longer].map((one) => one.close()));
  });

  it("pools as 1_Pooling/config.json says", async () => {
    await writeTinyBert(folder, words);
    const vectorOf = async (options: EncoderOptions = {}) => {
      const encoder = await loadEncoder(folder, options);
      const vector = await encoder.encode(["red pen"], "query");
      await encoder.close();
      return [...vector];
    };
    const mean = await vectorOf();
    const cls = await vectorOf({ pooling: "cls" });
    expect(cls).not.toEqual(mean);
    await mkdir(join(folder, "1_Pooling"));
    const write = (json: object) => writeFile(join(folder, "1_Pooling", "config.json"), JSON.stringify(json));
    await write({ pooling_mode_cls_token: true, pooling_mode_mean_tokens: false });
    expect(await vectorOf()).toEqual(cls);
    await write({ pooling_mode: "mean" });
    expect(await vectorOf()).toEqual(mean);
    await write({ pooling_mode_max_tokens: true });
    await expect(vectorOf()).rejects.toThrowError(/pooling is pooling_mode_max_tokens, which is not supported/);
    const modules = [{ type: "sentence_transformers.models.Dense", path: "2_Dense" }];
    await writeFile(join(folder, "modules.json"), JSON.stringify(modules));
    await expect(vectorOf()).rejects.toThrowError(/modules\.json: the encoder has a module Dense/);
    await writeFile(join(folder, "modules.json"), "{}");
    await expect(vectorOf()).rejects.toThrowError(/modules\.json: expected a list of modules/);
  });

  it("that can't be used is refused with what is wrong", async () => {
    await expect(loadEncoder(join(folder, "none"))).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    await expect(loadEncoder(folder)).rejects.toThrowError(/no encoder here: there is no config\.json/);
    await writeFile(join(folder, "config.json"), "{}");
    await expect(loadEncoder(folder)).rejects.toThrowError(/there is no tokenizer\.json/);
    await writeWordEncoder(folder, words);
    await expect(loadEncoder(folder, { file: "other.onnx" })).rejects.toThrowError(/looked for other\.onnx/);
    await writeFile(join(folder, "onnx", "model.onnx"), "not a graph");
    await expect(loadEncoder(folder)).rejects.toMatchObject({ code: "ENGINE_GRAPH" });
    await rm(join(folder, "onnx"), { recursive: true });
    await expect(loadEncoder(folder)).rejects.toThrowError(/looked for model\.onnx, .*model\.safetensors/);
    await expect(loadEncoder(folder, { pooling: "max" as never })).rejects.toMatchObject({
      code: "CONFIG_BAD_POOLING",
    });
    await expect(loadEncoder(folder, { maxTokens: 2 })).rejects.toMatchObject({ code: "CONFIG_BAD_NUMBER" });
    await writeTinyBert(folder, words, (name, shape) =>
      name.includes("layer.1.output.dense") ? null : { name, shape },
    );
    await expect(loadEncoder(folder)).rejects.toThrowError(/encoder\.layer\.1\.output\.dense\.weight is missing/);
    await writeTinyBert(folder, words, (name, shape) => ({ name, shape: shape.map((n) => n + 1) }));
    await expect(loadEncoder(folder)).rejects.toMatchObject({ code: "MODEL_WEIGHTS_MISMATCH" });
    await writeTinyBert(folder, words);
    const config = JSON.stringify({ model_type: "roberta" });
    await writeFile(join(folder, "config.json"), config);
    await expect(loadEncoder(folder)).rejects.toThrowError(/"model_type" is "roberta", which is not supported/);
  });
});
