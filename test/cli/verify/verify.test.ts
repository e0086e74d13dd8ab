/** `rec-r1 verify`: right values pass, each wrong one is found, and what is absent or broken is said. */
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { hasPassed, isWithin, type Part } from "../../../src/cli/verify/check.ts";
import { formatPart, formatSummary, toJson } from "../../../src/cli/verify/format.ts";
import { runVerify } from "../../../src/cli/verify/verify.ts";
import { readSafetensorsFile } from "../../../src/models/read-tensors.ts";
import { writeSafetensors } from "../../../src/models/safetensors-writer.ts";
import { temporaryFolder } from "../../engines/local/tiny-models.ts";
import { writeReference } from "./write-reference.ts";

// Each case compiles a dozen graphs; on a busy machine that takes its time.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

let pristine: string;

beforeAll(async () => {
  pristine = await mkdtemp(join(tmpdir(), "rec-r1-verify-"));
  await writeReference(join(pristine, "tiny-models", "small"));
});
afterAll(() => rm(pristine, { recursive: true, force: true }));

/** A copy of the reference that a test may spoil. */
async function copyReference(): Promise<{ fixtures: string; model: string }> {
  const fixtures = await temporaryFolder();
  await cp(pristine, fixtures, { recursive: true });
  return { fixtures, model: join(fixtures, "tiny-models", "small") };
}

/** What reference.json holds, as far as tests change it. */
interface ReferenceJson {
  prompts?: unknown;
  logprobs: number[][];
  oldLogprobs: number[][];
  rewards: number[][];
  losses: Record<string, number>;
  lora?: unknown;
  model_type?: string;
}

async function editJson(path: string, edit: (json: ReferenceJson) => void): Promise<void> {
  const json = JSON.parse(await readFile(path, "utf8")) as ReferenceJson;
  edit(json);
  await writeFile(path, JSON.stringify(json));
}

async function editTensor(folder: string, name: string, edit: (data: Float32Array) => void): Promise<void> {
  const path = join(folder, "reference.safetensors");
  const tensors = await readSafetensorsFile(path);
  edit(tensors.get(name)!.data);
  await writeSafetensors(
    path,
    [...tensors].map(([own, { shape, data }]) => ({ name: own, shape, data })),
  );
}

const partNamed = (parts: readonly Part[], name: string): Part => parts.find((part) => part.name === name)!;
const failedIn = ({ checks }: Part): string[] =>
  checks.filter((check) => !isWithin(check)).map(({ quantity }) => quantity);

describe("a small model's reference values", () => {
  it("pass, with groups of unequal sizes and adapters on some layers only", async () => {
    const { ok, parts } = await runVerify({ fixtures: pristine });
    const part = partNamed(parts, "tiny-models/small");
    expect(part.failure).toBeUndefined();
    expect(failedIn(part)).toEqual([]);
    expect(ok).toBe(true);
    expect(part.checks.length).toBeGreaterThan(20);
    for (const { error } of part.checks) expect(Number.isFinite(error)).toBe(true);
  });

  it("pass for an architecture with biases, an untied head and a stretched rotation", async () => {
    const fixtures = await temporaryFolder();
    await writeReference(join(fixtures, "tiny-models", "other"), {
      architecture: "qwen2",
      tieWordEmbeddings: false,
      headDim: 4,
      heads: 2,
      kvHeads: 1,
      ropeScaling: { type: "llama3", factor: 4, lowFreqFactor: 1, highFreqFactor: 4, originalContextLength: 16 },
    });
    const { parts } = await runVerify({ fixtures });
    const part = partNamed(parts, "tiny-models/other");
    expect(part.failure).toBeUndefined();
    expect(failedIn(part)).toEqual([]);
  });

  const bias = "model.layers.0.self_attn.q_proj.weight";
  it.each<[string, (model: string) => Promise<void>, string[]]>([
    [
      "a log-prob",
      (model) => editJson(join(model, "reference.json"), ({ logprobs }) => (logprobs[1]![0]! += 2e-4)),
      ["log-probs", "LoRA: log-probs of the reference policy"],
    ],
    [
      "a loss",
      (model) => editJson(join(model, "reference.json"), ({ losses }) => (losses["gspo"]! += 2e-5)),
      ["gspo: loss"],
    ],
    [
      "a gradient norm",
      (model) => editJson(join(model, "reference.json"), ({ losses }) => (losses["grpo.grad_norm"]! *= 1.002)),
      ["grpo: gradient norm, relative"],
    ],
    [
      "an advantage",
      (model) => editJson(join(model, "reference.json"), ({ rewards }) => (rewards[0]![0]! += 1e-4)),
      ["advantages"],
    ],
    [
      "a gradient",
      (model) => editTensor(model, `cross_entropy/${bias}`, (data) => data.forEach((x, i) => (data[i] = 1.002 * x))),
      ["cross_entropy: gradients, relative L2"],
    ],
    [
      "a weight after the step",
      (model) => editTensor(model, `adamw/${bias}`, (data) => (data[3]! += 2e-5)),
      ["AdamW: weights after a clipped step by the reference's gradients"],
    ],
    [
      "a LoRA gradient",
      (model) =>
        editTensor(model, "lora_grad/model.layers.0.mlp.down_proj.lora_A.weight", (data) =>
          data.forEach((x, i) => (data[i] = 1.002 * x)),
        ),
      ["LoRA: gradients, relative L2"],
    ],
  ])("fail where %s is off", async (_name, spoil, expected) => {
    const { fixtures, model } = await copyReference();
    await spoil(model);
    const { ok, parts } = await runVerify({ fixtures });
    expect(ok).toBe(false);
    expect(failedIn(partNamed(parts, "tiny-models/small"))).toEqual(expect.arrayContaining(expected));
  });

  it("name the weight with the largest error", async () => {
    const { fixtures, model } = await copyReference();
    await editTensor(model, `grpo/${bias}`, (data) => data.fill(0));
    const part = partNamed((await runVerify({ fixtures })).parts, "tiny-models/small");
    const check = part.checks.find(({ quantity }) => quantity === "grpo: gradients, relative L2")!;
    expect(check).toMatchObject({ error: Infinity, where: bias });
  });

  it("are skipped as far as they are absent, and that is said", async () => {
    const { fixtures, model } = await copyReference();
    await editJson(join(model, "reference.json"), (json) => {
      delete json.lora;
      delete json.losses["cispo"];
    });
    const { ok, parts } = await runVerify({ fixtures });
    expect(ok).toBe(true);
    expect(partNamed(parts, "tiny-models/small").skipped).toEqual([
      "cispo: no reference value",
      "LoRA: no reference values",
    ]);
  });

  it.each<[string, (model: string) => Promise<void>, RegExp]>([
    ["is no JSON", (model) => writeFile(join(model, "reference.json"), "{"), /reference\.json: not JSON/],
    [
      "lacks a field",
      (model) => editJson(join(model, "reference.json"), (json) => delete json.prompts),
      /reference\.json: .*prompts/,
    ],
    [
      "lacks a completion's values",
      (model) => editJson(join(model, "reference.json"), ({ oldLogprobs }) => oldLogprobs.pop()),
      /completion 2 of prompt 2/,
    ],
    ["is cut short", (model) => writeFile(join(model, "reference.safetensors"), "short"), /reference\.safetensors/],
    [
      "belongs to an unknown architecture",
      (model) => editJson(join(model, "config.json"), (json) => (json.model_type = "x")),
      /architecture "x"/,
    ],
  ])("that can't be gone through fail with the reason: one that %s", async (_name, spoil, reason) => {
    const { fixtures, model } = await copyReference();
    await spoil(model);
    const { ok, parts } = await runVerify({ fixtures });
    expect(ok).toBe(false);
    expect(partNamed(parts, "tiny-models/small").failure).toMatch(reason);
  });
});

describe("trec_eval's values", () => {
  const reference = {
    qrels: { q1: { a: 1, b: 0, c: 2 }, q2: { d: 1 }, q3: { e: 1 } },
    run: { q1: { a: 0.5, b: 0.5, c: 0.4 }, q2: { x: 1 }, q3: {} },
    perQuery: {
      // Ties go by id, descending: b, a, c.
      q1: { recip_rank: 1 / 2, P_2: 1 / 2, recall_2: 1 / 2, map: (1 / 2 + 2 / 3) / 2 },
      q2: { recip_rank: 0, P_2: 0, recall_2: 0, map: 0 },
    },
  };

  async function verify(json: unknown): Promise<Part> {
    const fixtures = await temporaryFolder();
    await writeFile(join(fixtures, "trec-eval.json"), JSON.stringify(json));
    return partNamed((await runVerify({ fixtures })).parts, "trec-eval.json");
  }

  it("pass, and a difference of 1e-8 or a query too many or too few fails", async () => {
    expect(failedIn(await verify(reference))).toEqual([]);
    const off = structuredClone(reference);
    off.perQuery.q1.map += 1e-8;
    expect(failedIn(await verify(off))).toEqual(["map"]);
    const fewer = { ...reference, perQuery: { q1: reference.perQuery.q1 } };
    expect(failedIn(await verify(fewer))).toHaveLength(4);
    const more = { ...reference, perQuery: { ...reference.perQuery, q3: reference.perQuery.q2 } };
    expect(failedIn(await verify(more))).toHaveLength(4);
  });

  it("of a measure that we don't have are skipped, and that is said; none at all fails", async () => {
    const foreign = structuredClone(reference) as typeof reference & { perQuery: { q1: Record<string, number> } };
    foreign.perQuery.q1["bpref"] = 1;
    const part = await verify(foreign);
    expect(hasPassed(part)).toBe(true);
    expect(part.skipped).toEqual([expect.stringContaining("bpref")]);
    expect(hasPassed(await verify({ ...reference, perQuery: {} }))).toBe(false);
  });
});

describe("Lucene's answers", () => {
  async function verify(files: Record<string, string>): Promise<Part> {
    const fixtures = await temporaryFolder();
    await mkdir(join(fixtures, "lucene"));
    for (const [name, text] of Object.entries(files)) await writeFile(join(fixtures, "lucene", name), text);
    return partNamed((await runVerify({ fixtures })).parts, "lucene");
  }
  const documents = ["red fox", "red red hen", "blue whale", "blue blue blue jay", "green frog"];
  const files = {
    "docs.tsv": documents.map((text, i) => `d${i}\t${text}\n`).join(""),
    "queries.tsv": "q0\tred\nq1\tblue sky\nq2\tnothing here\n",
    "run.txt": "q0 Q0 d0 2 1.0 lucene\nq0 Q0 d1 1 2.0 lucene\nq1 Q0 d3 1 2.0 lucene\nq1 Q0 d2 2 1.0 lucene\n",
  };

  it("pass where the first hits are the same, and fail where they aren't", async () => {
    const part = await verify(files);
    expect(part.failure).toBeUndefined();
    expect(part.checks).toMatchObject([{ error: 0, tolerance: expect.closeTo(0.07) as number }]);
    const wrong = await verify({ ...files, "run.txt": files["run.txt"].replace("q1 Q0 d2", "q1 Q0 d4") });
    expect(failedIn(wrong)).toHaveLength(1);
    expect(wrong.checks[0]!.error).toBeGreaterThan(0.1);
  });

  it("that are malformed or absent fail with file and line", async () => {
    expect((await verify({ ...files, "docs.tsv": "d0\tred\nno tab\n" })).failure).toMatch(/docs\.tsv line 2/);
    expect((await verify({ ...files, "run.txt": "q0 Q0\n" })).failure).toMatch(/run\.txt line 1/);
    expect((await verify({ "docs.tsv": files["docs.tsv"] })).failure).toMatch(/queries\.tsv/);
  });
});

describe("a folder", () => {
  it("with nothing in it fails, and says what was looked for", async () => {
    const { ok, parts } = await runVerify({ fixtures: await temporaryFolder() });
    expect(ok).toBe(false);
    expect(parts.map(({ name, skipped }) => [name, skipped.length])).toEqual([
      ["tiny-models", 1],
      ["smollm2-135m-instruct.json", 1],
      ["trec-eval.json", 1],
      ["lucene", 1],
    ]);
    expect(formatSummary({ ok, parts })).toMatch(/FAILED: nothing was checked/);
  });

  it("that is absent is refused", async () => {
    const fixtures = join(await temporaryFolder(), "none");
    await expect(runVerify({ fixtures })).rejects.toMatchObject({
      code: "DATA_NO_FIXTURES",
      message: expect.stringContaining(fixtures),
    });
  });

  it("of models lists those that lack files", async () => {
    const { fixtures } = await copyReference();
    await mkdir(join(fixtures, "tiny-models", "half"));
    await writeFile(join(fixtures, "tiny-models", "half", "config.json"), "{}");
    const { ok, parts } = await runVerify({ fixtures });
    expect(ok).toBe(true);
    expect(partNamed(parts, "tiny-models/half").skipped).toEqual([
      "without model.safetensors, reference.json, reference.safetensors",
    ]);
  });

  it("is left when the user stops", async () => {
    const signal = AbortSignal.abort();
    await expect(runVerify({ fixtures: pristine, signal })).rejects.toMatchObject({ code: "ABORTED" });
  });
});

describe("the result", () => {
  const part: Part = {
    name: "thing",
    checks: [
      { quantity: "right", error: 3e-6, tolerance: 1e-5 },
      { quantity: "wrong", error: 0.25, tolerance: 1e-3, where: "there" },
      { quantity: "not a number", error: NaN, tolerance: 1 },
      { quantity: "told", error: 7, tolerance: null, note: "why" },
    ],
    skipped: ["this: absent"],
  };

  it("shows each largest error beside its tolerance", () => {
    const text = formatPart(part);
    expect(text).toMatch(/ok +right +3\.0e-6 of 1\.0e-5/);
    expect(text).toMatch(/FAILED +wrong +0\.25 of 0\.001 +at there/);
    expect(text).toMatch(/FAILED +not a number +NaN of 1/);
    expect(text).toMatch(/told +told +7\n +why/);
    expect(text).toMatch(/skipped +this: absent/);
    expect(formatPart({ ...part, failure: "it broke" })).toMatch(/FAILED +it broke/);
    expect(formatSummary({ ok: false, parts: [part] })).toBe("FAILED: 1 of 3 quantities within tolerance, 1 skipped\n");
  });

  it("is JSON with what is no number as null, and not ok", () => {
    const json = JSON.parse(JSON.stringify(toJson({ ok: false, parts: [part] }))) as { parts: Part[] };
    expect(json.parts[0]!.checks).toMatchObject([
      { quantity: "right", error: 3e-6, tolerance: 1e-5, ok: true },
      { ok: false },
      { error: null, ok: false },
      { tolerance: null, ok: true },
    ]);
  });
});
