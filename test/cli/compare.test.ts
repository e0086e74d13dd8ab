/** compare, forget and gate on a small project: a random model, the embedded search engine. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Comparison } from "../../src/eval/comparison/measure.ts";
import { writeProject } from "./project.ts";
import { lastJson, runInProcess } from "./run-in-process.ts";

let folder: string;
const inProject = (name: string): string => join(folder, name);
const common = (): string[] => ["--data", folder, "--out", inProject("out")];
const model = (): string[] => ["--model", inProject("model"), "--threads", "1"];

const extras = `
import { fromFunction } from "rec-r1/recommenders/function";
export const variants = [{ name: "k1=0.9", open: () => fromFunction((queries) => queries.map(() => [])) }];
export const baselines = {
  oracle: () => ({
    name: "oracle",
    recommender: fromFunction((queries) => queries.map(({ text }) => [{ id: text, score: 1 }])),
    query: (example) => example.relevant[0],
  }),
};
export const slices = { vowelless: () => true };
`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-compare-"));
  await writeProject(folder);
  await writeFile(inProject("rich.ts"), (await readFile(inProject("task.ts"), "utf8")) + extras);
  const trained = await runInProcess(
    "train",
    inProject("rich.ts"),
    "--data",
    folder,
    ...model(),
    "--run",
    inProject("run"),
    "--steps",
    "4",
  );
  expect(trained.code, trained.stderr).toBe(0);
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("rec-r1 compare", () => {
  it("compares baselines by name, the untrained and the tuned model and supervised fine-tuning, and keeps it all", async () => {
    const { code, stdout, stderr } = await runInProcess(
      ...["compare", inProject("rich.ts"), ...common(), "--json", "--run", inProject("run"), "--baselines", "all"],
      ...["--catalogue", inProject("catalogue.jsonl"), "--markdown", inProject("c.md"), "--latex", inProject("c.tex")],
      ...["--sft", "best-of-n", "--sft-into", inProject("sft"), "--sft-minutes", "0.1", "--sft-n", "4"],
    );
    expect(code, stderr).toBe(0);
    const comparison = lastJson(stdout) as unknown as Comparison;
    expect(comparison.systems.map(({ id }) => id)).toEqual(
      expect.arrayContaining([
        "raw",
        "variants",
        "rm3",
        "rocchio",
        "spelling",
        "fusion",
        "oracle",
        "prompting",
        "sft",
        "tuned",
      ]),
    );
    const mean = (id: string): number | undefined =>
      comparison.systems.find((system) => system.id === id)?.metrics["ndcg@10"]?.mean;
    expect([mean("raw"), mean("oracle")]).toEqual([0, 1]);
    expect(comparison.systems.find(({ id }) => id === "tuned")?.usage.completionTokens).toBeGreaterThan(0);
    expect(comparison.systems.find(({ id }) => id === "sft")?.preparation?.completionTokens).toBeGreaterThan(0);
    expect(comparison.slices.map(({ name }) => name)).toEqual(["one-word", "zero-hit", "vowelless"]);
    expect(comparison.notes.join("\n")).toMatch(/Overlap: 18 of 18 test examples are in train/);
    expect(await readFile(inProject("c.md"), "utf8")).toMatch(/^ndcg@10 on test, 18 examples/);
    expect(await readFile(inProject("c.tex"), "utf8")).toContain("\\begin{tabular}");

    const again = await runInProcess("compare", "--from", inProject("out"), "--measures", "recall_10", "map");
    expect(again.stdout).toMatch(/oracle +18 +1\.0000 +1\.0000/);
    const gate = await runInProcess("gate", inProject("out"), "--reference-system", "oracle", "--min-slice", "1");
    expect(gate.stdout).toMatch(/FAIL {2}all/);
    expect(gate.code).toBe(1);
    expect((await runInProcess("gate", inProject("out"))).code).toBe(0);
  }, 240_000);

  it("asks the same queries of another recommender, in either mode", async () => {
    const { code, stdout, stderr } = await runInProcess(
      ...["compare", inProject("task.ts"), "--data", folder, "--out", inProject("out2"), "--baselines", "none"],
      ...["--mode", "compatible", "--transfer", inProject("rich.ts")],
    );
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/mode compatible[^]*first-word-lost[^]*Transfer\nndcg@10/);
  });

  it.each([
    [["--baselines", "rm4"], /no baseline "rm4"[^]*rm3/],
    [["--sft", "best-of-n"], /--sft needs --sft-into/],
    [["--split", "tset"], /no split "tset". Did you mean "test"/],
    [["--sft", "best-of-n", "--sft-into", "x", "--sft-minutes", "-1"], /--sft-minutes: expected a number above 0/],
  ])("refuses %j", async (args, message) => {
    const { code, stderr } = await runInProcess("compare", inProject("task.ts"), ...common(), ...args);
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
  });
});

describe("rec-r1 forget", () => {
  it("measures a model before and after, and a gate can read it", async () => {
    await writeFile(inProject("gsm.jsonl"), '{"question":"1+1?","answer":"#### 2"}\n');
    await writeFile(inProject("he.jsonl"), '{"task_id":"a","prompt":"def f():","entry_point":"f","test":""}\n');
    await writeFile(inProject("prompts.txt"), "abc\n\nxyz\n");
    const out = inProject("forget.json");
    const { code, stdout, stderr } = await runInProcess(
      ...[
        "forget",
        inProject("run"),
        "--checkpoint",
        "last",
        "--gsm8k",
        inProject("gsm.jsonl"),
        "--humaneval",
        inProject("he.jsonl"),
      ],
      ...["--max-tokens", "4", "--prompts", inProject("prompts.txt"), "--out", out],
    );
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/held-out perplexity +less[^]*GSM8K accuracy[^]*KL\(policy ‖ base\)/);
    expect(stdout).toMatch(/HumanEval: 1 items parsed, none run/);
    const gate = await runInProcess(
      "gate",
      inProject("out2/comparison.json"),
      "--system",
      "raw",
      "--forget",
      out,
      "--keep-ability",
      "0",
    );
    expect(gate.stdout).toMatch(/run, step 4 held-out perplexity/);
    expect(gate.code).toBe(0);
  });
});
