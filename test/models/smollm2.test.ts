import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { loadModel } from "../../src/models/load.ts";
import type { ChatMessage, LoadedModel } from "../../src/models/model.ts";
import { pullModel, type PulledModel } from "../../src/models/pull.ts";
import type { TemplateTokenizer } from "../../src/models/tokenizer.ts";

interface Fixture {
  cases: { messages: ChatMessage[]; prompt: string; ids: number[]; greedyIds: number[]; greedyText: string }[];
  encode: { text: string; ids: number[] }[];
}
const fixtureUrl = new URL("../../../shared/fixtures/smollm2-135m-instruct.json", import.meta.url);
const weightsUrl = new URL("reference/smollm2-weights.json", import.meta.url);

describe("SmolLM2-135M-Instruct, the real one", () => {
  let pulled: PulledModel | undefined;
  let model: LoadedModel;
  let unavailable = "";

  beforeAll(async () => {
    try {
      pulled = await pullModel("smollm2-135m-instruct");
    } catch (error) {
      unavailable = (error as Error).message;
      return;
    }
    model = await loadModel("smollm2-135m-instruct");
  }, 300_000);

  test("has its shape", ({ skip }) => {
    if (!pulled) skip(unavailable);
    expect(model.name).toBe("smollm2-135m-instruct");
    expect(model.config).toEqual({
      architecture: "llama",
      vocabSize: 49152,
      hiddenSize: 576,
      intermediateSize: 1536,
      layers: 30,
      heads: 9,
      kvHeads: 3,
      headDim: 64,
      contextLength: 8192,
      rmsNormEps: 1e-5,
      ropeTheta: 100000,
      ropeScaling: null,
      tieWordEmbeddings: true,
      attentionBias: false,
      qkNorm: false,
    });
    const parameters = [...model.weights.values()].reduce((sum, { data }) => sum + data.length, 0);
    expect(parameters).toBe(134_515_008);
    expect(model.tokenizer!.endIds).toContain(2);
  });

  test("has the weights that the gguf package dequantizes", ({ skip }) => {
    if (!pulled?.path.endsWith(".gguf")) skip(unavailable || "the hub's unquantized weights were pulled");
    const { sha256 } = JSON.parse(readFileSync(weightsUrl, "utf8")) as { sha256: Record<string, string> };
    expect(Object.keys(sha256)).toHaveLength(20);
    for (const [name, expected] of Object.entries(sha256)) {
      const { data } = model.weights.get(name)!;
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      expect(createHash("sha256").update(bytes).digest("hex"), name).toBe(expected);
    }
  });

  test("renders and encodes as Transformers does", ({ skip }) => {
    if (!pulled) skip(unavailable);
    if (!existsSync(fixtureUrl)) skip("there is no ../shared/fixtures");
    const fixture = JSON.parse(readFileSync(fixtureUrl, "utf8")) as Fixture;
    const tokenizer = model.tokenizer as TemplateTokenizer;
    for (const { messages, prompt, ids, greedyIds, greedyText } of fixture.cases) {
      expect(tokenizer.renderChat(messages)).toBe(prompt);
      expect(tokenizer.encodeChat(messages)).toEqual(ids);
      expect(tokenizer.decode(greedyIds)).toBe(greedyText.replaceAll("<|im_end|>", ""));
    }
    for (const { text, ids } of fixture.encode) expect(tokenizer.encode(text)).toEqual(ids);
  });
});
